//! A node inside an axum service: `cargo run -p moorline --features axum --example embedded`, then
//! `curl -X POST http://127.0.0.1:9000/say/lobby -d hi` while something listens on `ws://127.0.0.1:9000/ws/lobby`.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, http::StatusCode};
use moorline::transport::{UpgradeError, axum::Upgrade};
use moorline::{Config, Endpoint, Node, Publish, RoomName};

async fn room(
    State(node): State<Node>,
    Path(room): Path<String>,
    upgrade: Upgrade,
) -> Result<Response, UpgradeError> {
    // Here your service decides who this is, and checks the Origin; see `Endpoint`.
    upgrade.accept(&node, Endpoint { room: RoomName::new(&room).ok(), ..Endpoint::default() })
}

async fn say(State(node): State<Node>, Path(room): Path<String>, text: String) -> Result<String, StatusCode> {
    let body = serde_json::json!({ "to": { "room": room }, "message": { "type": "said", "text": text } });
    let publish = Publish::parse(&body.to_string()).map_err(|_| StatusCode::BAD_REQUEST)?;
    let answer = node.publish(publish, "say").await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{answer:?}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::in_memory(Config::default())?;
    let router =
        Router::new().route("/ws/{room}", get(room)).route("/say/{room}", post(say)).with_state(node);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
