//! A room that is measured: what all of its members count together, and what its publisher waits for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

/// What an answer lacks that is no refusal either.
pub(super) const NO_ID: &str = "answered without a message id";

/// What became of a message that was published.
pub(super) enum Answer {
    /// It has this id.
    Accepted(u64),
    /// Not now: the server asks to be left alone for so long.
    Later(Duration),
    /// Refused.
    Refused,
}

/// Counts of one room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: String,
    pub(super) index: u64,
    /// Connections that are in it now.
    pub(super) members: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) accepted: AtomicU64,
    /// Refused for a limit of the server's, or held back because the server asked for it.
    pub(super) limited: AtomicU64,
    /// Deliveries, each message once for each member.
    pub(super) received: AtomicU64,
    /// The lowest and the highest message id that anybody has heard of.
    first: AtomicU64,
    head: AtomicU64,
    /// Until then nothing is sent, in microseconds of the run.
    pub(super) quiet_until: AtomicU64,
    /// Bursts that are due and not taken by the publisher.
    pub(super) due: Semaphore,
    /// The publisher wants to be woken when as much was received.
    wake_at: AtomicU64,
    pub(super) wake: Notify,
    claimed: AtomicBool,
}

impl Room {
    pub(super) fn new(name: String, index: u64) -> Self {
        let zero = AtomicU64::default;
        Self {
            name,
            index,
            members: zero(),
            sent: zero(),
            answered: zero(),
            accepted: zero(),
            limited: zero(),
            received: zero(),
            first: AtomicU64::new(u64::MAX),
            head: zero(),
            quiet_until: zero(),
            due: Semaphore::new(0),
            wake_at: AtomicU64::new(u64::MAX),
            wake: Notify::new(),
            claimed: AtomicBool::new(false),
        }
    }

    /// Whether the caller is to publish here: the first one that asks.
    pub(super) fn claim(&self) -> bool {
        !self.claimed.swap(true, SeqCst)
    }

    pub(super) fn joined(&self) {
        self.members.fetch_add(1, SeqCst);
    }

    /// The lowest and the highest id of its messages; none without any.
    pub(super) fn ids(&self) -> Option<(u64, u64)> {
        let (first, head) = (self.first.load(SeqCst), self.head.load(SeqCst));
        (first <= head).then_some((first, head))
    }

    /// There is a message with this id.
    fn heard_of(&self, id: u64) {
        // Almost always it is behind the others, and one look is enough.
        if id > self.head.load(SeqCst) {
            self.head.fetch_max(id, SeqCst);
        }
        if id < self.first.load(SeqCst) {
            self.first.fetch_min(id, SeqCst);
        }
    }

    pub(super) fn left(&self) {
        self.members.fetch_sub(1, SeqCst);
        self.wake.notify_one();
    }

    pub(super) fn delivered(&self, id: u64) {
        self.heard_of(id);
        if self.received.fetch_add(1, SeqCst) + 1 >= self.wake_at.load(SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Counts what became of a message, `now` in microseconds of the run.
    pub(super) fn answered(&self, answer: &Answer, now: u64) {
        match answer {
            Answer::Accepted(id) => {
                self.accepted.fetch_add(1, SeqCst);
                self.heard_of(*id);
            }
            Answer::Later(wait) => {
                self.limited.fetch_add(1, SeqCst);
                let wait = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
                self.quiet_until.fetch_max(now.saturating_add(wait), SeqCst);
            }
            Answer::Refused => {}
        }
        self.answered.fetch_add(1, SeqCst);
        self.wake.notify_one();
    }

    /// Messages that were sent and not answered.
    pub(super) fn in_flight(&self) -> u64 {
        let answered = self.answered.load(SeqCst);
        self.sent.load(SeqCst).saturating_sub(answered)
    }

    /// Waits until as much was received, or something else has changed.
    pub(super) async fn received_or_changed(&self, target: u64) {
        self.wake_at.store(target, SeqCst);
        if self.received.load(SeqCst) < target {
            self.wake.notified().await;
        }
        self.wake_at.store(u64::MAX, SeqCst);
    }

    /// Whether all that was accepted has reached all who are there.
    pub(super) fn is_complete(&self) -> bool {
        let expected = self.accepted.load(SeqCst) * self.members.load(SeqCst);
        self.in_flight() == 0 && self.received.load(SeqCst) >= expected
    }
}
