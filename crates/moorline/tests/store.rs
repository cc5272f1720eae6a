//! A session store that fails, and one that gives a session to another node: what the node's clients are told.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use moorline::broker::{
    Durability, Fence, LocalBroker, MemoryLog, MemorySessions, NodeId, RetentionRules, SessionStore,
    StoreError, Stored,
};
use moorline::transport::{UpgradeError, axum::Upgrade};
use moorline::{
    Backend, Config, Endpoint, Epoch, Hooks, Identity, Node, RoomName, SessionId, Timestamp, UserId,
};
use moorline_proto::session_record::SessionRecord;
use serde_json::json;
use support::{Client, Got};

/// Session records in memory, of a disk that can be full.
#[derive(Default)]
struct Sessions {
    kept: MemorySessions,
    is_full: AtomicBool,
}

impl SessionStore for Sessions {
    fn load(&self, id: SessionId) -> BoxFuture<'static, Result<Option<Arc<SessionRecord>>, StoreError>> {
        self.kept.load(id)
    }

    fn claim(&self, id: SessionId, owner: NodeId) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.kept.claim(id, owner)
    }

    fn save(&self, record: Arc<SessionRecord>, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        match self.is_full.load(Ordering::Relaxed) {
            true => ready(Err(StoreError::Unavailable)).boxed(),
            false => self.kept.save(record, fence),
        }
    }

    fn settled(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.kept.settled()
    }

    fn remove(&self, id: SessionId, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        self.kept.remove(id, fence)
    }
}

async fn room(State(node): State<Node>, upgrade: Upgrade) -> Result<Response, UpgradeError> {
    let identity = UserId::new("ann").ok().map(Identity::user);
    upgrade.accept(&node, Endpoint { room: RoomName::new("lobby").ok(), identity, ..Endpoint::default() })
}

fn start(sessions: &Arc<Sessions>) -> Node {
    let log = MemoryLog::new(Epoch(7), RetentionRules::default());
    let broker =
        Arc::new(LocalBroker::new(log, || moorline_proto::time::Now::at(Timestamp(0)), Durability::Memory));
    let backend = Backend::new(broker, Arc::clone(sessions) as _);
    Node::start(Config { shards: 2, ..Config::default() }, backend, Hooks::default()).unwrap()
}

async fn connect(node: &Node) -> Client {
    let (client, server) = tokio::io::duplex(8 * 1024);
    let router = Router::new().route("/ws", get(room)).with_state(node.clone());
    let service = hyper_util::service::TowerToHyperService::new(router);
    tokio::spawn(async move {
        let io = hyper_util::rt::TokioIo::new(server);
        hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await
    });
    Client::connect(Box::new(client), "/ws").await
}

#[tokio::test]
async fn who_connects_while_nothing_can_be_kept_is_told_to_try_later() {
    let sessions = Arc::new(Sessions::default());
    let node = start(&sessions);
    sessions.is_full.store(true, Ordering::Relaxed);
    let mut client = connect(&node).await;
    assert_eq!(client.next().await, Got::Closed(1013));
    sessions.is_full.store(false, Ordering::Relaxed);
    let mut client = connect(&node).await;
    assert_eq!(client.frame().await["type"], "connection_established");
}

#[tokio::test]
async fn a_session_that_another_node_claimed_is_let_go_of() {
    let sessions = Arc::new(Sessions::default());
    let node = start(&sessions);
    let mut client = connect(&node).await;
    let established = client.frame().await;
    let id = SessionId::new(established["session"].as_str().unwrap()).unwrap();
    sessions.claim(id.clone(), NodeId("another".into())).await.unwrap();
    client.send(json!({"type": "join", "room": "side"})).await;
    // Nothing that it joins could be kept: it is not told that it has.
    assert_eq!(client.next().await, Got::Closed(4001));
    assert!(node.session(&id).await.is_err());
    // Its record stays: it is the other node's.
    assert!(sessions.load(id).await.unwrap().is_some());
}
