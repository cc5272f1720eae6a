//! A broadcast allocates for its message, never for a receiver.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use allocation_counter::{AllocationInfo, measure};
use support::crowd::Crowd;

/// What a shard may allocate to hand one batch to all of its members: the room's list of batches that wait.
const HANDED_OUT_MAX: u64 = 1;
/// What encoding takes: the batch, its records, its bytes and where each ends; and of each message its text, its envelope and
/// what they are shared by.
const ENCODED_MAX: u64 = 8;
const ENCODED_PER_MESSAGE_MAX: u64 = 9;

/// What it takes to hand a batch of so many messages to so many members, once everything is warm.
fn handed_out(members: u64, messages: u64) -> (AllocationInfo, u64) {
    let mut crowd = Crowd::new(members);
    let warm = crowd.batch(messages);
    crowd.announce(&warm);
    let batch = crowd.batch(messages);
    let before = crowd.sockets.writes;
    let info = measure(|| crowd.announce(&batch));
    (info, crowd.sockets.writes - before)
}

#[test]
fn receivers_cost_no_allocation() {
    for messages in [1, 100] {
        for members in [1, 1_000, 2_000] {
            let (info, writes) = handed_out(members, messages);
            assert_eq!(writes, members, "everyone was written to, once");
            assert!(info.count_total <= HANDED_OUT_MAX, "{messages} messages to {members} members: {info:?}");
        }
    }
}

/// Batches that come together leave in one write, and joining them costs the same for any crowd.
#[test]
fn batches_that_come_together_cost_no_allocation_per_receiver() {
    let joined = |members| {
        let mut crowd = Crowd::new(members);
        let batches: Vec<_> = (0..100).map(|_| crowd.batch(1)).collect();
        let info = measure(|| crowd.announce_all(&batches));
        assert_eq!(crowd.sockets.writes, members * 2, "a greeting and one write for all batches");
        info.count_total
    };
    assert_eq!(joined(10), joined(2_000));
}

#[test]
fn encoding_costs_a_constant_per_message() {
    for messages in [1, 10, 100] {
        let mut crowd = Crowd::new(1);
        let info = measure(|| drop(crowd.batch(messages)));
        let max = ENCODED_MAX + ENCODED_PER_MESSAGE_MAX * messages;
        assert!(info.count_total <= max, "{messages} messages: {info:?}");
    }
}
