use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt as _, stream};
use moorline::broker::RetentionRules;
use moorline::stream::StreamState;
use moorline::{Config, RoomName};

use super::*;

const PARTS: usize = 3;

/// A node on which another stream has used up the share of open ones.
struct Full {
    node: Node,
    other: Writer,
    /// How many parts of the body were read.
    read: Arc<AtomicUsize>,
}

impl Full {
    async fn start() -> Self {
        let retention = RetentionRules { total_bytes: 1024 * 1024, ..RetentionRules::default() };
        let node = Node::in_memory(Config { shards: 1, retention, ..Config::default() }).unwrap();
        let mut other = writer(&node, "other");
        other.open(None).await.unwrap();
        let refused = loop {
            let content = "x".repeat(CHUNK_MAX_BYTES - 4096).into();
            match other.ask(StreamAct::Append { fence: other.fence, at: other.at, content }).await {
                Ok(Answer::Appended { at, .. }) => other.at = at,
                refused => break refused.unwrap_err(),
            }
        };
        assert_eq!(refused.code, ErrorCode::Overloaded);
        Self { node, other, read: Arc::default() }
    }

    /// Begins to write a body that does not fit.
    fn put(&self, at: Option<u64>) -> oneshot::Receiver<Result<Written, Rejection>> {
        let read = Arc::clone(&self.read);
        let parts = stream::repeat_with(move || {
            read.fetch_add(1, Ordering::Relaxed);
            io::Result::Ok("y".repeat(CHUNK_MAX_BYTES))
        });
        let body = Body::from_stream(parts.take(PARTS)).into_data_stream();
        let (answer, answered) = oneshot::channel();
        tokio::spawn(run(writer(&self.node, "a"), at, (Inflow::new(body, CHUNK_MAX_BYTES), true), answer));
        answered
    }

    async fn release(&self) {
        self.other.finish(Outcome::Cancelled).await.unwrap();
    }

    async fn state(&self) -> StreamState {
        let (room, stream) = (RoomName::new("r").unwrap(), StreamName::new("a").unwrap());
        self.node.view_stream(&room, &stream).await.unwrap().unwrap().state
    }
}

fn writer(node: &Node, stream: &str) -> Writer {
    let (room, stream) = (RoomName::new("r").unwrap(), StreamName::new(stream).unwrap());
    Writer { node: node.clone(), room, stream, caller: Caller { name: "test".into() }, fence: 0, at: 0 }
}

const WHOLE: u64 = (PARTS * CHUNK_MAX_BYTES) as u64;

#[tokio::test(start_paused = true)]
async fn r27_streams_a_body_waits_while_it_cannot_be_kept() {
    let full = Full::start().await;
    let mut put = full.put(None);
    let waits = tokio::time::timeout(Duration::from_secs(5), &mut put).await;
    assert!(waits.is_err(), "{waits:?}");
    // One part is tried, and one waits.
    assert_eq!((full.read.load(Ordering::Relaxed), full.state().await), (2, StreamState::Open));
    full.release().await;
    assert_eq!(put.await.unwrap().unwrap().at, WHOLE);
    assert_eq!(full.state().await, StreamState::Ended(Outcome::Complete { message: None }));
}

#[tokio::test(start_paused = true)]
async fn r27_streams_a_body_that_cannot_be_kept_for_long_leaves_the_stream_open() {
    let full = Full::start().await;
    let began = Instant::now();
    let refused = full.put(None).await.unwrap().unwrap_err();
    assert_eq!((refused.code, refused.at), (ErrorCode::Overloaded, Some(0)));
    assert!(refused.message.contains("?at=0"), "{refused}");
    let took = began.elapsed();
    assert!(took > TRY_FOR - TRY_EVERY * 2 && took < TRY_FOR + TRY_EVERY, "{took:?}");
    assert_eq!(full.state().await, StreamState::Open);
    full.release().await;
    assert_eq!(full.put(Some(0)).await.unwrap().unwrap().at, WHOLE);
}

#[tokio::test(start_paused = true)]
async fn r27_streams_a_body_that_cannot_be_kept_does_not_delay_the_drain() {
    let full = Full::start().await;
    let mut put = full.put(None);
    let waits = tokio::time::timeout(Duration::from_secs(1), &mut put).await;
    assert!(waits.is_err(), "{waits:?}");
    let began = Instant::now();
    let (refused, ()) = tokio::join!(put, full.node.drain());
    let refused = refused.unwrap().unwrap_err();
    assert_eq!((refused.code, refused.at), (ErrorCode::Unavailable, Some(0)));
    assert!(refused.message.contains("drains") && began.elapsed() < TRY_FOR / 2, "{refused}");
    assert_eq!(full.state().await, StreamState::Open);
}
