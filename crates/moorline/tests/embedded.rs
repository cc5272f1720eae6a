//! A node inside an axum service, over TCP and over a stream that is no TCP socket: behaviour is the same for both.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use moorline::transport::{UpgradeError, axum::Upgrade};
use moorline::{
    Config, DrainConfig, Endpoint, Event, HeartbeatPolicy, Hooks, Identity, Node, Publish, RoomName, UserId,
};
use serde_json::{Value, json};
use support::{Client, Got, Io, PATIENCE};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

async fn room(
    State(node): State<Node>,
    Path((room, user)): Path<(String, String)>,
    upgrade: Upgrade,
) -> Result<Response, UpgradeError> {
    let single_room = room == "single";
    let (room, identity) = (RoomName::new(&room).ok(), UserId::new(&user).ok().map(Identity::user));
    upgrade.accept(&node, Endpoint { room, identity, single_room, ..Endpoint::default() })
}

fn router(node: &Node) -> Router {
    Router::new().route("/ws/{room}/{user}", get(room)).with_state(node.clone())
}

/// Over `axum::serve` and a TCP socket.
async fn tcp(node: &Node) -> Box<dyn Io> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(node);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Box::new(TcpStream::connect(address).await.unwrap())
}

/// Over hyper and a pipe in memory, as it would be with TLS.
async fn pipe(node: &Node) -> Box<dyn Io> {
    let (client, server) = tokio::io::duplex(8 * 1024);
    let service = hyper_util::service::TowerToHyperService::new(router(node));
    tokio::spawn(async move {
        let io = hyper_util::rt::TokioIo::new(server);
        hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await
    });
    Box::new(client)
}

fn config() -> Config {
    Config { shards: 2, ..Config::default() }
}

fn publish(to: &Value, message: &Value) -> Publish {
    Publish::parse(&json!({ "to": to, "message": message }).to_string()).unwrap()
}

async fn talks(mut client: Client, node: &Node) -> Client {
    let established = client.frame().await;
    assert_eq!(established["type"], "connection_established");
    assert_eq!(established["rooms"]["lobby"]["message_id"], 0);
    client.send(json!({"type": "publish", "to": {"room": "lobby"}, "message": {"type": "hi"}})).await;
    assert_eq!(client.frame().await["message_id"], 1);
    let answer =
        node.publish(publish(&json!({"user": "ann"}), &json!({"type": "note"})), "test").await.unwrap();
    assert_eq!(serde_json::to_value(&answer).unwrap()["reached"], 1);
    assert_eq!(client.frame().await["room"], "@user/ann");
    client
}

#[tokio::test]
async fn r03_a_tcp_socket_talks() {
    let node = Node::in_memory(config()).unwrap();
    talks(Client::connect(tcp(&node).await, "/ws/lobby/ann").await, &node).await;
}

#[tokio::test]
async fn r03_any_other_stream_talks() {
    let node = Node::in_memory(config()).unwrap();
    talks(Client::connect(pipe(&node).await, "/ws/lobby/ann").await, &node).await;
}

#[tokio::test]
async fn a_single_room_endpoint_never_mixes_two_rooms_numbers() {
    let node = Node::in_memory(config()).unwrap();
    let mut client = Client::connect(pipe(&node).await, "/ws/single/ann").await;
    assert_eq!(client.frame().await["type"], "connection_established");
    for to in [json!("all"), json!({"user": "ann"}), json!({"room": "single"})] {
        node.publish(publish(&to, &json!({"type": "m"})), "test").await.unwrap();
    }
    assert_eq!(client.frame().await["room"], "single");
}

#[tokio::test]
async fn r10_a_stream_that_is_not_read_catches_up_and_delays_nobody() {
    let node = Node::in_memory(Config { pending_max_bytes: 4096, ..config() }).unwrap();
    let mut slow = Client::connect(pipe(&node).await, "/ws/lobby/ann").await;
    let mut quick = Client::connect(pipe(&node).await, "/ws/lobby/ben").await;
    assert_eq!(quick.frame().await["type"], "connection_established");
    assert_eq!(slow.frame().await["type"], "connection_established");
    let fill = "x".repeat(1000);
    for n in 0..500 {
        let message = publish(&json!({"room": "lobby"}), &json!({"type": "m", "n": n, "fill": fill}));
        node.publish(message, "test").await.unwrap();
        assert_eq!(quick.frame().await["n"], n);
    }
    for n in 0..500 {
        assert_eq!(slow.frame().await["n"], n);
    }
}

#[tokio::test]
async fn r10_a_stream_that_takes_nothing_is_given_back() {
    let stall = Config { stall_timeout: Duration::from_millis(100), pending_max_bytes: 4096, ..config() };
    let node = Node::in_memory(stall).unwrap();
    let mut client = Client::connect(pipe(&node).await, "/ws/lobby/ann").await;
    let fill = "x".repeat(1000);
    for _ in 0..200 {
        let message = publish(&json!({"room": "lobby"}), &json!({"type": "m", "fill": fill}));
        node.publish(message, "test").await.unwrap();
    }
    // Nothing is read here: what tells that the other end was dropped is that writing fails.
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    let given_back = async {
        while client.io.write_all(&ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, given_back).await.expect("the stream to be dropped");
    assert_eq!(node.stats().await.absent, 1);
}

#[tokio::test]
async fn r20_a_callback_tells_of_a_dead_peer() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let (told, mut tell) = tokio::sync::mpsc::channel(16);
    let seen = Arc::clone(&events);
    let observer = Arc::new(move |event: &Event| {
        seen.lock().unwrap().push(event.clone());
        told.try_send(()).unwrap();
    });
    let heartbeat = HeartbeatPolicy {
        interval: Duration::from_millis(20),
        idle_timeout: Duration::from_secs(60),
        pong_timeout: Some(Duration::from_millis(50)),
    };
    let node = Node::in_memory_with(
        Config { heartbeat, ..config() },
        Hooks { observer: Some(observer), ..Hooks::default() },
    )
    .unwrap();
    let mut client = Client::connect(tcp(&node).await, "/ws/lobby/ann").await;
    let established: Value = match client.next().await {
        Got::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    };
    for _ in 0..3 {
        tokio::time::timeout(PATIENCE, tell.recv()).await.unwrap().unwrap();
    }
    let session = established["session"].as_str().unwrap();
    let events = events.lock().unwrap();
    assert!(
        matches!(&events[0], Event::Connected { session: s, resumed: false, .. } if s.as_str() == session)
    );
    assert!(matches!(&events[1], Event::Dead { session: s, user: Some(_) } if s.as_str() == session));
    assert!(matches!(&events[2], Event::Disconnected { code: Some(1001), .. }));
}

#[tokio::test]
async fn r32_a_drain_tells_everyone_and_ends() {
    let drain = DrainConfig { timeout: Duration::from_secs(5), spread: Duration::from_secs(1) };
    let node = Node::in_memory(Config { drain, ..config() }).unwrap();
    let mut clients = Vec::new();
    for io in [tcp(&node).await, pipe(&node).await] {
        let mut client = Client::connect(io, "/ws/lobby/ann").await;
        assert_eq!(client.frame().await["type"], "connection_established");
        clients.push(client);
    }
    let draining = tokio::spawn({
        let node = node.clone();
        async move { node.drain().await }
    });
    for mut client in clients {
        assert_eq!(client.frame().await["type"], "closing");
        assert_eq!(client.next().await, Got::Closed(1001));
        assert_eq!(client.next().await, Got::End);
    }
    tokio::time::timeout(PATIENCE, draining).await.unwrap().unwrap();
}

#[tokio::test]
async fn r07_several_at_once_keep_their_order_and_their_refusals() {
    let node = Node::in_memory(config()).unwrap();
    let good = || Publish::parse(r#"{"to":"all","message":{"type":"m"}}"#);
    let answers = node.publish_all(vec![good(), Publish::parse("{}"), good()], "test").await;
    let ids: Vec<Option<Value>> = answers
        .iter()
        .map(|answer| {
            answer.as_ref().ok().map(|answer| serde_json::to_value(answer).unwrap()["message_id"].clone())
        })
        .collect();
    assert_eq!(ids, [Some(json!(1)), None, Some(json!(2))]);
}

#[tokio::test]
async fn settings_that_cannot_be_are_named() {
    let error = Node::in_memory(Config { shards: 0, ..Config::default() }).unwrap_err();
    assert!(error.to_string().contains("shards"), "{error}");
}

#[test]
fn a_node_needs_a_runtime() {
    assert!(matches!(Node::in_memory(Config::default()), Err(moorline::StartError::Runtime(_))));
}
