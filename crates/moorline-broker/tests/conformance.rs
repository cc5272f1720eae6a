//! The implementations in memory pass their seams' suites.

use moorline_broker::{Durability, LocalBroker, MemoryLog, MemorySessions, RetentionRules, conformance};
use moorline_proto::position::Epoch;
use moorline_proto::time::{Now, Timestamp};

#[test]
fn the_memory_log_is_a_log() {
    conformance::log(|rules| MemoryLog::new(Epoch(7), rules));
}

fn local_broker() -> LocalBroker {
    let log = MemoryLog::new(Epoch(7), RetentionRules::default());
    LocalBroker::new(log, || Now::at(Timestamp(1_700_000_000_000)), Durability::Memory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_local_broker_is_a_broker() {
    conformance::broker(local_broker).await;
}

#[tokio::test]
async fn the_local_broker_is_a_broker_on_one_thread_too() {
    conformance::broker(local_broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_sessions_are_a_session_store() {
    conformance::session_store(MemorySessions::new).await;
}
