//! The world: who is in it, and what one step of it is.

mod announcing;
mod application;
mod faults;
mod healing;
mod hearing;
mod network;
mod producing;
mod setting;
mod workload;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use moorline_proto::client::ClientConfig;
use moorline_proto::id::RoomName;
use moorline_proto::position::Epoch;
use moorline_proto::shard::ShardConfig;
use moorline_proto::time::{Instant, Now, Timestamp};

use self::faults::Faults;
use self::producing::Producing;
use crate::backend::Backend;
use crate::driver::Driver;
use crate::ground::{Clock, Disk, Ground, Memory, Model};
use crate::names;
use crate::peer::Peer;
use crate::planted::{Planted, Spoiling};
use crate::random::Random;
use crate::trace::Trace;

/// The epoch of the first log.
pub const EPOCH: Epoch = Epoch(7);
const ROOMS: [&str; 3] = ["a", "b", "c"];
const LIFETIME: Duration = Duration::from_secs(60);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// The network alone: the node lives in memory, and does not end.
    Network,
    /// The store and the clocks too: the node crashes, and comes back with what it had kept on a disk.
    Store,
    /// The same over a model of a store, which bugs can be planted in.
    Model,
}

impl Scenario {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Store => "store",
            Self::Model => "model",
        }
    }
}

/// How wild it is.
#[derive(Clone, Copy, Debug)]
pub struct Wildness {
    /// What goes wrong.
    pub scenario: Scenario,
    /// Shards of the node.
    pub shards: usize,
    /// Clients at the beginning.
    pub peers: usize,
    /// A bug that it has.
    pub planted: Option<Planted>,
    /// Whether there may be streams in it.
    pub streams: bool,
    /// Whether it is written down what happens.
    pub is_traced: bool,
}

/// Everything.
pub struct World {
    /// Decides what happens.
    pub random: Random,
    /// Since the beginning.
    pub micros: u64,
    clock: Clock,
    /// What the shards share.
    pub backend: Rc<Backend>,
    config: Arc<ShardConfig>,
    /// The node's shards.
    pub shards: Vec<Driver>,
    /// The clients, also those that have ended.
    pub peers: Vec<Peer>,
    connections: u64,
    numbers: u64,
    spoiling: Spoiling,
    /// What happened.
    pub trace: Trace,
    /// Whether the faults are over.
    pub is_calm: bool,
    faults: Faults,
    producing: Producing,
}

impl World {
    /// A world as its seed wants it.
    ///
    /// # Errors
    /// Its store could not be opened.
    pub fn new(seed: u64, wildness: Wildness) -> Result<Self, String> {
        let mut random = Random(seed);
        let clock = Clock::default();
        clock.set(moment(0));
        let faults = Faults::new(seed, wildness.scenario);
        let rules = faults.rules(setting::rules(&mut random));
        let ground: Box<dyn Ground> = match wildness.scenario {
            Scenario::Network => Box::new(Memory::new(EPOCH, rules, clock.clone())),
            Scenario::Store => Box::new(Disk::new(EPOCH, rules, clock.clone(), seed)),
            Scenario::Model => Box::new(Model::new(EPOCH, rules, clock.clone(), wildness.planted)),
        };
        let backend = Rc::new(Backend::new(ground, clock.clone(), wildness.planted)?);
        let config = Arc::new(setting::config(&mut random));
        let mut new_shard = || Driver::new(&config, &backend, moment(0), random.number());
        let shards = (0..wildness.shards).map(|_| new_shard()).collect();
        let mut world = Self {
            random,
            micros: 0,
            clock,
            backend,
            config,
            shards,
            peers: Vec::new(),
            connections: 0,
            numbers: 0,
            spoiling: Spoiling::default(),
            trace: Trace::new(wildness.is_traced),
            is_calm: false,
            faults,
            producing: Producing::new(seed, wildness.streams && wildness.scenario != Scenario::Model),
        };
        for shard in &mut world.shards {
            shard.saves_at_once = wildness.scenario != Scenario::Network;
            shard.settle(moment(0));
        }
        for _ in 0..wildness.peers {
            world.newcomer();
        }
        Ok(world)
    }

    /// What the clocks show.
    #[must_use]
    pub fn now(&self) -> Now {
        let now = moment(self.micros);
        Now { timestamp: Timestamp(now.timestamp.0.saturating_add_signed(self.faults.wall_ms)), ..now }
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        let millis = self.micros / 1_000;
        self.trace.note(|| format!("{millis:>9} {}", text()));
    }

    pub(crate) fn violation(&mut self, found: Option<String>) {
        if let Some(text) = found {
            self.note(|| format!("WRONG: {text}"));
            self.backend.violation(text);
        }
    }

    /// Whether something was found to be wrong.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        !self.backend.violations.borrow().is_empty()
    }

    /// A client that nobody has seen before.
    pub(crate) fn newcomer(&mut self) {
        let number = self.peers.len();
        let user = self.random.chance(60).then(|| names::user(["ann", "bob"][self.random.below(2)]));
        let session = self.random.chance(50).then(|| names::session(&format!("s{number}")));
        let home = self.random.chance(40).then(|| self.any_room());
        let config = ClientConfig { session: session.clone(), metadata: None, seed: self.random.number() };
        let now = self.now().instant;
        self.peers.push(Peer { wanted: session, ..Peer::new(config, user, home, now) });
        self.drain_client(number);
    }

    pub(crate) fn any_room(&mut self) -> RoomName {
        names::room(ROOMS[self.random.below(ROOMS.len())])
    }

    /// One thing happens.
    pub fn step(&mut self) {
        self.weather();
        self.produce();
        match self.random.below(100) {
            0..=39 => self.network(),
            40..=54 => self.backend_answers(),
            55..=69 => self.somebody_hears(),
            70..=83 => self.somebody_acts(),
            84..=89 => self.somebody_is_cut_off(),
            90..=92 => self.application_acts(),
            93..=98 => {
                let micros = [1_000, 50_000, 400_000, 3_000_000][self.random.below(4)];
                self.pass(micros);
            }
            _ => self.pass(25_000_000),
        }
        self.pump();
    }

    /// Time passes.
    pub fn pass(&mut self, micros: u64) {
        self.micros += micros;
        let now = self.now();
        self.clock.set(now);
        self.backend.expire();
        self.backend.lapse();
        for shard in 0..self.shards.len() {
            self.shards[shard].handle_timeout(now);
            self.after(shard);
        }
        for peer in 0..self.peers.len() {
            if self.peers[peer].client.poll_timeout().is_some_and(|at| at <= now.instant) {
                self.peers[peer].client.handle_timeout(now.instant);
                self.drain_client(peer);
            }
            let gone = self.peers[peer].ended_at.is_some_and(|at| now.instant.since(at).as_secs() > 5);
            if gone && !self.is_calm && self.peers.len() < 24 {
                self.peers[peer].ended_at = Some(now.instant + Duration::from_secs(100_000));
                self.newcomer();
            }
        }
    }
}

/// A moment so many microseconds after the beginning, where nobody set the wall clock.
fn moment(micros: u64) -> Now {
    let elapsed = Duration::from_micros(micros);
    Now { instant: Instant::since_start(elapsed), timestamp: Timestamp(1_700_000_000_000 + micros / 1_000) }
}
