//! Sessions that were away while much was published, and come back at once.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::crowd::Remote;
use crate::lane::{self, BURST};
use crate::manners::Manners;
use crate::measure::Cpu;
use crate::server::{Server, Setup};

/// Of each kind in a round, in turns.
const REPEATS: u32 = 3;
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What it took to bring all sessions the same records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    seconds: f64,
    cpu_ns: f64,
    /// Of all sessions together.
    records: f64,
}

impl Flow {
    pub(crate) fn per_second(self) -> f64 {
        self.records / self.seconds
    }

    pub(crate) fn cpu_us(self) -> f64 {
        self.cpu_ns / 1e3 / self.records
    }

    /// What is left of it beside another.
    pub(crate) fn without(self, other: Self) -> Self {
        Self { seconds: self.seconds - other.seconds, cpu_ns: self.cpu_ns - other.cpu_ns, ..self }
    }

    fn median(flows: &[Self]) -> Result<Self> {
        let of = |of: fn(&Self) -> f64| lane::median(&flows.iter().map(of).collect::<Vec<_>>());
        Ok(Self {
            seconds: of(|flow| flow.seconds)?,
            cpu_ns: of(|flow| flow.cpu_ns)?,
            records: of(|flow| flow.records)?,
        })
    }
}

/// A round's medians.
#[derive(Debug)]
pub(crate) struct Storm {
    /// A burst to sessions that are connected.
    pub(crate) live: Flow,
    /// Sessions that missed nothing came back.
    pub(crate) empty: Flow,
    /// Sessions that missed a burst came back.
    pub(crate) replay: Flow,
}

/// One round, on a server with a store of its own.
pub(crate) fn run(setup: &Setup, sessions: u32, notes: &mut BTreeSet<String>) -> Result<Storm> {
    let server = setup.start_with_store(Manners::Resumes)?;
    let crowd = Remote::start(&server, setup.payload_bytes)?;
    let mut scene = Scene { server, crowd, sessions, delivered: 0, notes };
    let (mut live, mut empty, mut replay) = (Vec::new(), Vec::new(), Vec::new());
    let acted = scene.act(&mut live, &mut empty, &mut replay);
    acted.map_err(|error| error.context(scene.server.process.last_words()))?;
    Ok(Storm { live: Flow::median(&live)?, empty: Flow::median(&empty)?, replay: Flow::median(&replay)? })
}

struct Scene<'a> {
    server: Server,
    crowd: Remote,
    sessions: u32,
    /// To all clients since the beginning.
    delivered: u64,
    notes: &'a mut BTreeSet<String>,
}

impl Scene<'_> {
    fn act(&mut self, live: &mut Vec<Flow>, empty: &mut Vec<Flow>, replay: &mut Vec<Flow>) -> Result<()> {
        self.crowd.grow(self.sessions)?;
        // The first of each warms up.
        self.publish_live()?;
        self.come_back(false)?;
        self.come_back(true)?;
        for _ in 0..REPEATS {
            live.push(self.measured(Self::publish_live)?);
            self.leave()?;
            empty.push(self.measured(|scene| scene.crowd.grow(scene.sessions))?);
            self.leave()?;
            self.publish()?;
            replay.push(self.measured(Self::grow_and_receive)?);
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        self.server.publisher.send(BURST)?;
        self.server.publisher.confirm()
    }

    fn publish_live(&mut self) -> Result<()> {
        self.delivered += u64::from(BURST) * u64::from(self.sessions);
        self.crowd.begin_to_receive(self.delivered)?;
        self.publish()?;
        self.crowd.wait()
    }

    fn come_back(&mut self, misses: bool) -> Result<()> {
        self.leave()?;
        if misses {
            self.publish()?;
            return self.grow_and_receive();
        }
        self.crowd.grow(self.sessions)
    }

    /// Until every session has everything.
    fn grow_and_receive(&mut self) -> Result<()> {
        self.crowd.grow(self.sessions)?;
        self.delivered += u64::from(BURST) * u64::from(self.sessions);
        self.crowd.begin_to_receive(self.delivered)?;
        self.crowd.wait()
    }

    /// Until the server knows that all are gone.
    fn leave(&mut self) -> Result<()> {
        self.crowd.leave()?;
        self.server.publisher.refresh()?;
        let begun = Instant::now();
        loop {
            let absent = self.server.publisher.absent()?;
            if absent == u64::from(self.sessions) {
                return Ok(());
            }
            if begun.elapsed() > LEAVE_LIMIT {
                bail!("{absent} of {} sessions are absent after {LEAVE_LIMIT:?}", self.sessions);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn measured(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<Flow> {
        let process = self.server.process.id();
        let before = Cpu::at_rest(process)?;
        let begun = Instant::now();
        act(self)?;
        let seconds = begun.elapsed().as_secs_f64();
        let after = Cpu::at_rest(process)?;
        if before.restless || after.restless {
            self.notes
                .insert("a server did not come to rest before a reading: figures may be too high".to_owned());
        }
        let spent = after.since(&before);
        if spent.threads_ended > 0 {
            self.notes
                .insert("a server's thread ended while it was measured: figures may be too low".to_owned());
        }
        // Less than 2^53 nanoseconds.
        Ok(Flow { seconds, cpu_ns: spent.ns as f64, records: f64::from(BURST) * f64::from(self.sessions) })
    }
}
