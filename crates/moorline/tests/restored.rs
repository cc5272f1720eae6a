//! Sessions that a store kept over a restart.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use moorline::broker::{Durability, LocalBroker, MemoryLog, MemorySessions, RetentionRules};
use moorline::{
    Backend, Config, Epoch, Hooks, Node, Offset, Position, RoomName, SessionId, Timestamp, UserId,
};
use moorline_proto::session_record::{Mark, SessionRecord};
use moorline_proto::token::{ResumeToken, TokenSet};

const EPOCH: Epoch = Epoch(7);

fn record(number: usize, away: Option<Duration>) -> Arc<SessionRecord> {
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let acked = Position { epoch: EPOCH, offset: Offset::START };
    let mark = |name: &str| Mark {
        room: RoomName::stored(name).unwrap(),
        acked,
        begin: Offset::START,
        is_added: false,
    };
    Arc::new(SessionRecord {
        id: SessionId::new(&format!("session-{number}")).unwrap(),
        user: UserId::new(&format!("user-{}", number / 10)).ok(),
        token: None,
        tokens: TokenSet::new(ResumeToken::from_random([7; 32]).hash()),
        metadata: None,
        connected_at: Timestamp(now),
        disconnected_at: away
            .map(|away| Timestamp(now.saturating_sub(u64::try_from(away.as_millis()).unwrap()))),
        reconnections: 0,
        own_rooms: true,
        rooms: vec![mark("@all"), mark("lobby"), mark(&format!("room-{}", number % 1000))],
    })
}

fn start(restored: Vec<Arc<SessionRecord>>) -> Node {
    let log = MemoryLog::new(EPOCH, RetentionRules::default());
    let broker = Arc::new(LocalBroker::new(log, || Now::at(Timestamp(0)), Durability::Memory));
    let backend = Backend { restored, ..Backend::new(broker, Arc::new(MemorySessions::new())) };
    let config = Config { shards: 2, absent_max_bytes: 1 << 30, ..Config::default() };
    Node::start(config, backend, Hooks::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_sessions_are_absent_ones_and_end_with_their_lifetimes() {
    let ages = [Some(0), Some(1800), Some(3601), None];
    let restored = ages.iter().enumerate().map(|(n, away)| record(n, away.map(Duration::from_secs)));
    let node = start(restored.collect());
    let stats = node.stats().await;
    assert_eq!((stats.sessions, stats.absent, stats.users), (3, 3, 1));
    let room = node.room(&RoomName::new("lobby").unwrap()).await.unwrap();
    assert_eq!((room.connected, room.absent), (0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_are_restored_before_anybody_is_answered() {
    const COUNT: usize = 100_000;
    let restored = (0..COUNT).map(|number| record(number, Some(Duration::from_secs(1)))).collect();
    let began = Instant::now();
    let node = start(restored);
    let stats = tokio::time::timeout(Duration::from_secs(60), node.stats()).await.unwrap();
    println!("{COUNT} sessions were restored within {:?}", began.elapsed());
    assert_eq!(stats.absent, COUNT);
}
