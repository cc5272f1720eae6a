//! The sessions of one server, what they are members of, and what has come to them.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::plan::{Plan, Zipf};
use crate::client::{Progress, STALL_LIMIT};
use crate::streams::heard::Frame;
use crate::streams::wire::Wire;

/// Of whom nothing is a member: it publishes.
const PUBLISHER: usize = 0;
/// Publications that wait for their answers: a connection may have 1,024.
const UNANSWERED_MAX: u64 = 1_000;
/// Requests that may wait for their answers, so that what is measured is the server and not its queues.
const IN_FLIGHT_MAX: u64 = 2_000;
const DATA_BYTES: usize = 64;
/// Significant digits of the waits that are kept.
const DIGITS: u8 = 3;
/// The same draws in every run.
const SEED: u64 = 7;

/// What has been heard.
struct Heard {
    plan: Plan,
    /// The last message of each membership.
    last: Vec<u64>,
    /// When each message of each room was due.
    due: Vec<Vec<Instant>>,
    waits_us: Histogram<u64>,
    deliveries: u64,
    answers: u64,
}

pub(crate) struct Hall {
    pub(crate) plan: Plan,
    wire: Wire,
    heard: Heard,
    asked: u64,
}

/// How something at a rate went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paced {
    /// What was answered, or delivered, before the last was due, in parts of all of it.
    pub(crate) in_time: f64,
    pub(crate) count: u64,
}

impl Hall {
    /// Connects the publisher.
    pub(crate) fn new(server: SocketAddrV4, plan: Plan) -> Result<Self> {
        let mut wire = Wire::new(server)?;
        wire.connect("publisher", None)?;
        let heard = Heard {
            plan,
            last: vec![0; plan.memberships()],
            due: vec![Vec::new(); plan.rooms()],
            waits_us: Histogram::new(DIGITS)?,
            deliveries: 0,
            answers: 0,
        };
        Ok(Self { plan, wire, heard, asked: 0 })
    }

    /// Connects these sessions, each of a user of its own.
    pub(crate) fn connect(&mut self, sessions: std::ops::Range<usize>) -> Result<()> {
        sessions.into_iter().try_for_each(|session| self.wire.connect(&format!("u{session}"), None).map(drop))
    }

    /// The memberships for which `chosen` says so; how many they are.
    pub(crate) fn join(&mut self, chosen: impl Fn(bool) -> bool) -> Result<u64> {
        let before = self.asked;
        for slot in 0..self.plan.per_session {
            for session in 0..self.plan.sessions {
                let (room, is_first) = self.plan.room(session, slot);
                if chosen(is_first) {
                    self.ask(session, "join", room)?;
                }
            }
        }
        self.until("joining", |heard, asked| heard.answers == asked)?;
        Ok(self.asked - before)
    }

    /// Publishes to rooms by Zipf's law, each when it is due, until every member has everything.
    pub(crate) fn publish(&mut self, per_second: u32, length: Duration) -> Result<Paced> {
        let mut zipf = Zipf::new(self.plan.rooms(), SEED);
        let data = "x".repeat(DATA_BYTES);
        let total = per_second * u32::try_from(length.as_secs())?;
        let (begun, every) = (Instant::now(), Duration::from_secs(1) / per_second);
        let mut next = 0;
        while next < total {
            while next < total
                && begun + every * next <= Instant::now()
                && self.asked - self.heard.answers < UNANSWERED_MAX
            {
                let room = zipf.draw();
                self.heard.due[room].push(begun + every * next);
                let text = format!(
                    r#"{{"type":"publish","to":{{"room":"r{room}"}},"message":{{"type":"m","data":"{data}"}},"ref":0}}"#
                );
                self.asked += 1;
                self.wire.say(PUBLISHER, &text);
                next += 1;
            }
            self.look()?;
        }
        let members = self.plan.per_room as u64;
        let all = u64::from(total) * members;
        let in_time = self.heard.deliveries as f64 / all as f64;
        self.until("waiting for messages", |heard, asked| heard.deliveries == all && heard.answers == asked)?;
        Ok(Paced { in_time, count: all })
    }

    /// Sessions leave rooms and join them again, each when it is due, until all is answered.
    pub(crate) fn churn(&mut self, per_second: u32, length: Duration) -> Result<Paced> {
        let turns = usize::try_from(u64::from(per_second) * length.as_secs())?;
        let turns = turns / (2 * self.plan.sessions) * 2 * self.plan.sessions;
        let (begun, every) = (Instant::now(), Duration::from_secs(1) / per_second);
        let before = self.heard.answers;
        for turn in 0..turns {
            let due = begun + every * u32::try_from(turn)?;
            while Instant::now() < due {
                self.look()?;
            }
            let (session, times) = (turn % self.plan.sessions, turn / self.plan.sessions);
            let (room, _) = self.plan.room(session, times / 2 % self.plan.per_session);
            self.ask(session, if times.is_multiple_of(2) { "leave" } else { "join" }, room)?;
        }
        self.look()?;
        let in_time = (self.heard.answers - before) as f64 / turns.max(1) as f64;
        self.until("joining and leaving", |heard, asked| heard.answers == asked)?;
        Ok(Paced { in_time, count: turns as u64 })
    }

    /// Nothing is said but answers to heartbeats; how many of these came.
    pub(crate) fn idle(&mut self, length: Duration) -> Result<u64> {
        let (begun, before) = (Instant::now(), self.wire.pings());
        while begun.elapsed() < length {
            self.look()?;
        }
        Ok(self.wire.pings() - before)
    }

    /// From when a message was due until a member had it, in microseconds.
    pub(crate) fn wait_us(&self, percentile: f64) -> f64 {
        self.heard.waits_us.value_at_percentile(percentile) as f64
    }

    fn ask(&mut self, session: usize, what: &str, room: usize) -> Result<()> {
        let mut progress = Progress::new(self.heard.answers);
        while self.asked - self.heard.answers >= IN_FLIGHT_MAX {
            self.look()?;
            ensure!(!progress.stalled(self.heard.answers), "no answers for {STALL_LIMIT:?}");
        }
        self.asked += 1;
        self.wire.say(session + 1, &format!(r#"{{"type":"{what}","room":"r{room}","ref":0}}"#));
        Ok(())
    }

    fn until(&mut self, what: &str, done: impl Fn(&Heard, u64) -> bool) -> Result<()> {
        let mut progress = Progress::new(0);
        while !done(&self.heard, self.asked) {
            self.look()?;
            let Heard { answers, deliveries, .. } = &self.heard;
            ensure!(
                !progress.stalled(answers + deliveries),
                "{what}: {answers} of {} answers and {deliveries} messages came, and none for {STALL_LIMIT:?}",
                self.asked
            );
        }
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        let Self { wire, heard, .. } = self;
        wire.look(|link, frame| heard.hear(link, frame))
    }
}

impl Heard {
    fn hear(&mut self, link: usize, frame: &Frame<'_>) -> Result<()> {
        match frame.kind {
            "m" => self.message(link, frame),
            "reply" => {
                ensure!(frame.ok, "refused");
                self.answers += 1;
                Ok(())
            }
            "joined" | "left" | "position" | "pong" => Ok(()),
            _ => bail!("this was not to come"),
        }
    }

    /// Every message of a room comes to each member, once and in its order.
    fn message(&mut self, link: usize, frame: &Frame<'_>) -> Result<()> {
        let room: Option<usize> =
            frame.room.and_then(|name| name.strip_prefix('r')).and_then(|number| number.parse().ok());
        let room = room.filter(|room| *room < self.plan.rooms()).context("of an unknown room")?;
        let id = frame.message_id.context("without a number")?;
        let session = link.checked_sub(PUBLISHER + 1).context("the publisher is no member")?;
        let slot = self.plan.slot(room);
        ensure!(self.plan.room(session, slot).0 == room, "session {session} is no member");
        let last = &mut self.last[session * self.plan.per_session + slot];
        ensure!(id == *last + 1, "message {id} after message {last}");
        *last = id;
        let due = self.due[room].get(usize::try_from(id - 1)?).context("nobody published it")?;
        self.waits_us.record(u64::try_from(due.elapsed().as_micros())?)?;
        self.deliveries += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_missing_repeated_or_not_for_a_session_is_found() {
        let plan = Plan { sessions: 20, per_session: 2, per_room: 10 };
        let due = vec![vec![Instant::now(); 3]; plan.rooms()];
        let waits_us = Histogram::new(DIGITS).unwrap();
        let mut heard = Heard { plan, last: vec![0; 40], due, waits_us, deliveries: 0, answers: 0 };
        let mut hear = |link: usize, room: usize, id: u64| {
            let text = format!(r#"{{"type":"m","room":"r{room}","message_id":{id}}}"#);
            heard.hear(link, &Frame::parse(text.as_bytes()).unwrap())
        };
        let (mine, _) = plan.room(0, 0);
        hear(1, mine, 1).unwrap();
        assert!(hear(1, mine, 1).is_err(), "twice");
        assert!(hear(1, mine, 3).is_err(), "a gap");
        hear(1, mine, 2).unwrap();
        assert!(hear(1, 1 - mine, 1).is_err(), "of another room");
        assert!(hear(0, mine, 1).is_err(), "to the publisher");
        hear(1, mine, 3).unwrap();
        assert!(hear(1, mine, 4).is_err(), "never published");
        assert_eq!(heard.deliveries, 3);
    }
}
