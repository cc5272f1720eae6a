//! Producers, streams and readers of one server, and what they do.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::heard;
use super::schedule::Plan;
use super::tally::{Reader, Tally};
use super::wire::Wire;
use crate::client::{Progress, STALL_LIMIT};

/// Each its own user, so that none needs more than a client's share of what open streams may take.
const PRODUCERS: usize = 16;
/// Answers that a producer waits for: the server allows 1,024.
const IN_FLIGHT_MAX: u32 = 1_000;
const LEASE_MS: u32 = 600_000;

/// How appending went.
#[derive(Debug)]
pub(crate) struct Paced {
    /// Appends that were answered before the last was due.
    pub(crate) in_time: u64,
    /// From when an append was due until a reader had it, sorted.
    waits: Vec<Duration>,
    /// From when the last was due until all had everything.
    pub(crate) tail: Duration,
}

impl Paced {
    /// In milliseconds.
    pub(crate) fn wait_ms(&self, share: usize) -> f64 {
        let wait = self.waits.get(self.waits.len() * share / 100);
        wait.map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e3)
    }
}

pub(crate) struct Scene {
    plan: Plan,
    producers: usize,
    wire: Wire,
    pub(crate) tally: Tally,
}

impl Scene {
    /// Connects the producers.
    pub(crate) fn new(server: SocketAddrV4, plan: Plan) -> Result<Self> {
        let producers = PRODUCERS.min(plan.streams());
        let tally = Tally::new(plan, producers)?;
        let mut scene = Self { plan, producers, wire: Wire::new(server)?, tally };
        for number in 0..producers {
            scene.wire.connect(&format!("p{number}"), None)?;
            scene.tally.in_flight.push(0);
        }
        Ok(scene)
    }

    /// Connects readers, members of nothing yet. `receive_bytes` bounds what the kernel keeps for each.
    pub(crate) fn add_readers(&mut self, count: usize, receive_bytes: Option<usize>) -> Result<()> {
        for _ in 0..count {
            self.wire.connect(&format!("r{}", self.tally.readers.len()), receive_bytes)?;
            self.tally.in_flight.push(0);
            self.tally.readers.push(Reader::default());
        }
        Ok(())
    }

    /// Asks for a membership.
    pub(crate) fn join(&mut self, reader: usize, room: usize) {
        self.tally.expect(reader, room);
        self.ask(self.producers + reader, &format!(r#"{{"type":"join","room":"r{room}","ref":0}}"#));
    }

    /// Nothing is read any more from what the server sends this reader.
    pub(crate) fn sleep(&mut self, reader: usize) -> Result<()> {
        self.wire.sleep(self.producers + reader)
    }

    pub(crate) fn wake(&mut self, reader: usize) -> Result<()> {
        self.wire.wake(self.producers + reader)
    }

    /// Opens all streams, until members have been told.
    pub(crate) fn open(&mut self) -> Result<()> {
        for stream in 0..self.plan.streams() {
            let (room, name) = (self.plan.room_of(stream), heard::name(stream));
            let text = format!(
                r#"{{"type":"stream_open","room":"r{room}","stream":"{name}","lease_ms":{LEASE_MS},"ref":{stream}}}"#
            );
            self.ask(stream % self.producers, &text);
        }
        let copies = self.tally.missing;
        self.until("opening", |tally| tally.outstanding == 0 && tally.opened == copies)
    }

    /// Appends as planned, until all is answered and nobody but who sleeps misses anything.
    pub(crate) fn pace(&mut self, asleep: usize) -> Result<Paced> {
        let total = self.plan.total();
        let begun = self.tally.begin();
        let mut progress = Progress::new(0);
        let mut next = 0;
        while next < total || self.tally.outstanding > 0 || self.tally.missing > asleep {
            next = self.append_due(next, begun.elapsed())?;
            self.look()?;
            ensure!(
                !progress.stalled(self.tally.heard),
                "{next} of {total} appends sent, {} not answered, {} copies not whole, and nothing came for {STALL_LIMIT:?}",
                self.tally.outstanding,
                self.tally.missing
            );
        }
        let tail = begun.elapsed().saturating_sub(self.plan.length());
        let (mut waits, in_time) =
            self.tally.pacing.take().map(|pacing| (pacing.waits, pacing.in_time)).unwrap_or_default();
        waits.sort_unstable();
        Ok(Paced { in_time, waits, tail })
    }

    /// Ends all streams, until members have been told.
    pub(crate) fn end(&mut self) -> Result<()> {
        for stream in 0..self.plan.streams() {
            let (room, name, fence) =
                (self.plan.room_of(stream), heard::name(stream), self.tally.fences[stream]);
            let text = format!(
                r#"{{"type":"stream_end","room":"r{room}","stream":"{name}","fence":{fence},"outcome":"complete","ref":0}}"#
            );
            self.ask(stream % self.producers, &text);
        }
        let copies = self.tally.copies().count();
        self.until("ending", |tally| tally.outstanding == 0 && tally.ended == copies)
    }

    /// Until who is awake has so many messages that are no stream's.
    pub(crate) fn filled(&mut self, messages: u32) -> Result<()> {
        self.until("waiting for messages", |tally| tally.messages >= messages)
    }

    /// Until every answer is there and no copy of a text misses anything.
    pub(crate) fn catch_up(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.until("catching up", |tally| tally.outstanding == 0 && tally.missing == 0)?;
        Ok(begun.elapsed())
    }

    /// Until every answer is there.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.until("waiting for answers", |tally| tally.outstanding == 0)
    }

    fn until(&mut self, what: &str, done: impl Fn(&Tally) -> bool) -> Result<()> {
        let mut progress = Progress::new(0);
        while !done(&self.tally) {
            self.look()?;
            ensure!(
                !progress.stalled(self.tally.heard),
                "{what}: {} not answered, {} copies not whole, and nothing came for {STALL_LIMIT:?}",
                self.tally.outstanding,
                self.tally.missing
            );
        }
        Ok(())
    }

    /// Sends what is due, in its order, as far as answers keep up. The number of the next.
    fn append_due(&mut self, mut next: u64, elapsed: Duration) -> Result<u64> {
        let due = self.plan.due(elapsed);
        while next < due {
            let (stream, number) = self.plan.place(next);
            let link = stream % self.producers;
            if self.tally.in_flight[link] >= IN_FLIGHT_MAX {
                break;
            }
            let script = &self.tally.scripts[stream];
            let (room, name, fence) =
                (self.plan.room_of(stream), heard::name(stream), self.tally.fences[stream]);
            let (at, content) = (number * script.token_points(), script.token(number)?);
            let text = format!(
                r#"{{"type":"stream_append","room":"r{room}","stream":"{name}","fence":{fence},"at":{at},"content":"{content}","ref":0}}"#
            );
            self.ask(link, &text);
            next += 1;
        }
        Ok(next)
    }

    fn ask(&mut self, link: usize, text: &str) {
        self.tally.asked(link);
        self.wire.say(link, text);
    }

    fn look(&mut self) -> Result<()> {
        let Self { wire, tally, .. } = self;
        wire.look(|link, frame| tally.hear(link, frame))
    }
}
