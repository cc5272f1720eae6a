//! One server with its clients, on its way through a round.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::crowd::Remote;
use crate::manners::Manners;
use crate::measure::{self, Cpu};
use crate::pace::{Pace, Waits};
use crate::publish::Publisher;
use crate::report::{Sample, Subject};
use crate::server::{Server, Setup};

/// Messages in a burst.
pub(crate) const BURST: u32 = 100;
/// Bursts before anything is measured: more messages than a room keeps by default.
const WARM_BURSTS: u32 = 11;
/// What a block takes of a slow server's processor; of a fast one's it takes less.
const BLOCK_US: f64 = 500_000.0;
/// How long a slow server is measured in one round for one kind of publication, beside the block that is under way then.
const KIND_LIMIT: Duration = Duration::from_secs(8);

pub(crate) struct Lane {
    pub(crate) subject: Subject,
    server: Server,
    crowd: Remote,
    connections: u32,
    /// When the tenth was there; the others are measured.
    tenth: u32,
    delivered: u64,
    /// Publications in a block, and how long those of the present kind took so far.
    times: u32,
    spent: Duration,
    handshakes_us: f64,
    singles_us: Vec<f64>,
    bursts_us: Vec<f64>,
    /// From each publication, or burst of them, until everyone had it.
    pub(crate) waits_us: Vec<f64>,
    rss_empty_bytes: u64,
    rss_tenth_bytes: u64,
    rss_idle_bytes: u64,
    /// What makes the figures doubtful.
    pub(crate) notes: BTreeSet<String>,
}

impl Lane {
    /// Starts a server and a tenth of its connections, which warms up what is needed once.
    pub(crate) fn start(setup: &Setup, subject: Subject, connections: u32) -> Result<Self> {
        let server = match subject {
            Subject::Floor => setup.start_floor()?,
            Subject::Server => setup.start_server()?,
            Subject::Disk => setup.start_with_store(Manners::Greets)?,
            Subject::Peer(index) => setup.start_peer(index)?,
        };
        let mut lane = Self {
            subject,
            crowd: Remote::start(&server, setup.payload_bytes)?,
            rss_empty_bytes: measure::resident_bytes(server.process.id())?,
            server,
            connections: 0,
            tenth: connections / 10,
            delivered: 0,
            times: 1,
            spent: Duration::ZERO,
            handshakes_us: 0.0,
            singles_us: Vec::new(),
            bursts_us: Vec::new(),
            waits_us: Vec::new(),
            rss_tenth_bytes: 0,
            rss_idle_bytes: 0,
            notes: BTreeSet::new(),
        };
        let warmed = lane.warm_up();
        lane.explained(warmed)?;
        Ok(lane)
    }

    fn warm_up(&mut self) -> Result<()> {
        self.crowd.grow(self.tenth)?;
        self.connections = self.tenth;
        self.server.publishers().try_for_each(Publisher::refresh)?;
        self.publish(1, 1)?;
        self.publish(WARM_BURSTS, BURST)?;
        self.cpu()?;
        self.rss_tenth_bytes = self.resident_bytes()?;
        Ok(())
    }

    /// Measures the handshakes up to `connections`.
    pub(crate) fn grow(&mut self, connections: u32) -> Result<()> {
        let before = self.cpu()?;
        let grown = self.crowd.grow(connections);
        self.explained(grown)?;
        self.connections = connections;
        self.handshakes_us += self.microseconds_since(&before)?;
        self.rss_idle_bytes = self.resident_bytes()?;
        Ok(())
    }

    /// Sends `count` messages to everyone, `times` times.
    pub(crate) fn block(&mut self, times: u32, count: u32) -> Result<f64> {
        self.server.publishers().try_for_each(Publisher::refresh)?;
        let before = self.cpu()?;
        let published = self.publish(times, count);
        self.explained(published)?;
        let senders = f64::from(u32::try_from(self.server.others.len())? + 1);
        let deliveries = f64::from(times) * f64::from(count) * f64::from(self.connections) * senders;
        Ok(self.microseconds_since(&before)? / deliveries)
    }

    /// Warms up for a kind of publication, which it also reckons the size of a block from: `times`, or fewer where the server is slow.
    pub(crate) fn begin(&mut self, times: u32, count: u32) -> Result<()> {
        let publication_us = self.block(1, count)? * f64::from(count) * f64::from(self.connections);
        let fits = |times: &u32| f64::from(*times) * publication_us <= BLOCK_US;
        self.times = (1..=times).take_while(fits).last().unwrap_or(1);
        self.spent = Duration::ZERO;
        Ok(())
    }

    /// Unless this kind has had its time.
    pub(crate) fn measure_block(&mut self, count: u32) -> Result<()> {
        if self.spent > KIND_LIMIT {
            return Ok(());
        }
        let begun = Instant::now();
        let cost = self.block(self.times, count)?;
        self.spent += begun.elapsed();
        if count == 1 { &mut self.singles_us } else { &mut self.bursts_us }.push(cost);
        Ok(())
    }

    pub(crate) fn finish(self, round: u32) -> Result<Sample> {
        let rss_after_bytes = self.resident_bytes()?;
        let added = f64::from(self.connections - self.tenth);
        // Less than 2^53 bytes.
        let grown = |bytes: u64| (bytes as f64 - self.rss_tenth_bytes as f64) / added;
        Ok(Sample {
            subject: self.subject,
            round,
            connections: self.connections,
            handshake_us: self.handshakes_us / added,
            single_us: median(&self.singles_us)?,
            burst_us: median(&self.bursts_us)?,
            single_blocks_us: self.singles_us,
            burst_blocks_us: self.bursts_us,
            idle_bytes_per_connection: grown(self.rss_idle_bytes),
            after_bytes_per_connection: grown(rss_after_bytes),
            rss_empty_bytes: self.rss_empty_bytes,
            rss_idle_bytes: self.rss_idle_bytes,
            rss_after_bytes,
        })
    }

    /// From now on so many publish at once, each over a connection of its own.
    pub(crate) fn set_senders(&mut self, setup: &Setup, senders: u32) -> Result<()> {
        self.server.others =
            (1..senders).map(|_| setup.publisher(self.server.address)).collect::<Result<_>>()?;
        Ok(())
    }

    /// Publishes and waits until all have everything, so that no two publications of a sender can share a write.
    fn publish(&mut self, times: u32, count: u32) -> Result<()> {
        for _ in 0..times {
            let server = &mut self.server;
            let senders = server.others.len() as u64 + 1;
            self.delivered += u64::from(count) * u64::from(self.connections) * senders;
            self.crowd.begin_to_receive(self.delivered)?;
            let begun = Instant::now();
            server.publishers().try_for_each(|publisher| publisher.send(count))?;
            server.publishers().try_for_each(Publisher::confirm)?;
            self.crowd.wait()?;
            self.waits_us.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    /// Clients publish by themselves.
    pub(crate) fn pace(&mut self, pace: Pace) -> Result<Waits> {
        self.delivered += u64::from(pace.publications) * u64::from(pace.burst) * u64::from(self.connections);
        let waits = self.crowd.pace(pace);
        waits.map_err(|error| error.context(self.server.process.last_words()))
    }

    fn resident_bytes(&self) -> Result<u64> {
        measure::resident_bytes(self.server.process.id())
    }

    fn cpu(&mut self) -> Result<Cpu> {
        let cpu = Cpu::at_rest(self.server.process.id())?;
        if cpu.restless {
            self.notes
                .insert("a server did not come to rest before a reading: figures may be too high".to_owned());
        }
        Ok(cpu)
    }

    fn microseconds_since(&mut self, before: &Cpu) -> Result<f64> {
        let spent = self.cpu()?.since(before);
        if spent.threads_ended > 0 {
            self.notes
                .insert("a server's thread ended while it was measured: figures may be too low".to_owned());
        }
        Ok(f64::from(u32::try_from(spent.ns / 1000).context("more than an hour of CPU")?))
    }

    /// Adds to an error what the server's process says of itself.
    fn explained(&mut self, done: Result<()>) -> Result<()> {
        done.map_err(|error| {
            let state = match self.server.process.ensure_alive() {
                Ok(()) => "the server's process is running".to_owned(),
                Err(ended) => format!("the server's process: {ended}"),
            };
            error.context(format!("{state}; {}", self.server.process.last_words()))
        })
    }
}

pub(crate) fn median(values: &[f64]) -> Result<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("nothing was measured")
}
