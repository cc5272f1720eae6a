//! Who publishes in a room: what, and when.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::Load;
use super::room::Room;
use super::run::Run;
use super::schedule::Schedule;

/// Messages that wait for an answer: a connection may have 1,024 by default, and beyond the server refuses.
const IN_FLIGHT_MAX: u64 = 1_000;
/// Messages that are sent together, but for a burst that is larger: as many as fit well into one request.
const TOGETHER_MAX: u64 = 100;
/// Bytes of payload that are sent together, but for a burst that is larger.
const TOGETHER_BYTES: u64 = 256 * 1024;
/// How long a closed loop waits for the last receiver before it goes on without.
const ROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// A room's publisher. It is polled together with the connection that it sends over, so [`Publisher::next`] may be dropped
/// and called again at any moment.
pub(super) struct Publisher {
    run: Arc<Run>,
    room: Arc<Room>,
    /// What all messages have before their own fields, and behind them.
    head: String,
    tail: String,
    /// The number of the next message.
    number: u64,
    pace: Pace,
}

enum Pace {
    Closed(Round),
    /// The schedule, and the number of the next of our own bursts.
    Open(Schedule, u64),
}

/// Where a closed loop stands.
#[derive(Default)]
struct Round {
    /// When it began; none before the first.
    began: Option<Instant>,
    /// What was received and accepted before it.
    received: u64,
    accepted: u64,
}

impl Publisher {
    pub(super) fn new(run: &Arc<Run>, room: &Arc<Room>) -> Self {
        let name = serde_json::Value::from(room.name.as_str());
        let pace = match run.plan.load {
            Load::Open(schedule) => Pace::Open(schedule, 0),
            Load::Closed | Load::Idle => Pace::Closed(Round::default()),
        };
        Self {
            run: Arc::clone(run),
            room: Arc::clone(room),
            head: format!(r#""to":{{"room":{name}}},"message":{{"type":"bench""#),
            tail: format!(r#","data":"{}"}}}}"#, "x".repeat(run.plan.payload)),
            number: 0,
            pace,
        }
    }

    /// The publishes that are to be sent now, each without its opening `{`.
    pub(super) async fn next(&mut self) -> Vec<String> {
        if matches!(self.pace, Pace::Closed(_)) { self.next_round().await } else { self.next_due().await }
    }

    /// A burst, once everyone has the last one.
    async fn next_round(&mut self) -> Vec<String> {
        self.finish_round().await;
        let quiet_until = self.room.quiet_until.load(SeqCst);
        if quiet_until > self.run.now() {
            tokio::time::sleep_until(self.run.moment(quiet_until)).await;
        }
        let (received, accepted) = (self.room.received.load(SeqCst), self.room.accepted.load(SeqCst));
        self.pace = Pace::Closed(Round { began: Some(Instant::now()), received, accepted });
        let now = self.run.now();
        self.burst(now)
    }

    async fn finish_round(&self) {
        let Pace::Closed(Round { began: Some(began), received, accepted }) = self.pace else { return };
        let everyone_has_it = async {
            loop {
                let target = if self.room.in_flight() > 0 {
                    // The answers come first: they say how many there are to wait for.
                    u64::MAX
                } else {
                    let messages = self.room.accepted.load(SeqCst) - accepted;
                    received + messages * self.room.members.load(SeqCst)
                };
                if self.room.received.load(SeqCst) >= target {
                    return;
                }
                self.room.received_or_changed(target).await;
            }
        };
        // Whoever has not got it by now is found by the count in the end.
        let _late = tokio::time::timeout_at(began + ROUND_TIMEOUT, everyone_has_it).await;
    }

    /// What is due.
    async fn next_due(&mut self) -> Vec<String> {
        let run = Arc::clone(&self.run);
        let burst = run.plan.burst;
        loop {
            while self.room.in_flight() > 0 && self.room.in_flight() + burst > IN_FLIGHT_MAX {
                self.room.wake.notified().await;
            }
            let Ok(first) = self.room.due.acquire().await else { return std::future::pending().await };
            first.forget();
            let more = self.room.due.forget_permits(self.more_together());
            let publishes: Vec<String> = (0..=more).flat_map(|_| self.due_burst()).collect();
            if !publishes.is_empty() {
                return publishes;
            }
        }
    }

    /// Bursts that may be sent together with a first one.
    fn more_together(&self) -> usize {
        let bytes = (self.tail.len() as u64).max(1);
        let messages = TOGETHER_MAX.min(TOGETHER_BYTES / bytes);
        usize::try_from((messages / self.run.plan.burst).saturating_sub(1)).unwrap_or_default()
    }

    /// The next burst of the schedule; none while the server asked to be left alone.
    fn due_burst(&mut self) -> Vec<String> {
        let Pace::Open(schedule, own) = &mut self.pace else { return Vec::new() };
        let due = schedule.due_in(self.room.index, *own);
        *own += 1;
        let now = self.run.now();
        if now < self.room.quiet_until.load(SeqCst) {
            self.room.limited.fetch_add(self.run.plan.burst, SeqCst);
            return Vec::new();
        }
        let due = self.run.traffic_at() + u64::try_from(due.as_micros()).unwrap_or(u64::MAX);
        self.run.lateness.record(0, now.saturating_sub(due));
        self.burst(due)
    }

    fn burst(&mut self, due: u64) -> Vec<String> {
        let burst = self.run.plan.burst;
        self.room.sent.fetch_add(burst, SeqCst);
        (0..burst).map(|_| self.publish(due)).collect()
    }

    fn publish(&mut self, due: u64) -> String {
        let mut text = String::with_capacity(self.head.len() + self.tail.len() + 48);
        text.push_str(&self.head);
        // Writing to a String cannot fail.
        let _done = write!(text, r#","n":{},"t":{due}"#, self.number);
        text.push_str(&self.tail);
        self.number += 1;
        text
    }
}
