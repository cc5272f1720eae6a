//! One room: every message of a `POST /publish`, one a line, is emitted to it.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("a port, please")?.parse()?;
    let (layer, io) = SocketIo::builder().max_buffer_size(4096).build_layer();
    io.ns("/", async |socket: SocketRef| socket.join("bench"));
    let publish = move |body: String| async move {
        for line in body.lines() {
            let message: serde_json::Value = serde_json::from_str(line).map_err(|_| StatusCode::BAD_REQUEST)?;
            io.to("bench").emit("m", &message).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        }
        Ok::<_, StatusCode>(StatusCode::NO_CONTENT)
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, Router::new().route("/publish", post(publish)).layer(layer)).await?;
    Ok(())
}
