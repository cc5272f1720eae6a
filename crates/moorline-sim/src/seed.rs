//! What a seed comes to.

use std::collections::BTreeMap;

use crate::invariants::{convergence, leaks, leases};
use crate::planted::Planted;
use crate::random::Random;
use crate::world::{Scenario, Wildness, World};

/// What happens to the world before it heals.
const STEPS: usize = 400;

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What goes wrong.
    pub scenario: Scenario,
    /// A bug that it has.
    pub planted: Option<Planted>,
    /// Whether there may be streams.
    pub streams: bool,
    /// Whether it is written down what happens.
    pub is_traced: bool,
}

impl Run {
    /// A world without a planted bug, and without a trace.
    #[must_use]
    pub const fn of(scenario: Scenario) -> Self {
        Self { scenario, planted: None, streams: true, is_traced: false }
    }

    /// Runs a seed until something is wrong or it is over.
    #[must_use]
    pub fn seed(self, seed: u64) -> Verdict {
        let mut random = Random(seed ^ 0x5eed);
        let Self { scenario, planted, streams, is_traced } = self;
        let shards = 1 + random.below(2);
        let peers = 2 + random.below(5);
        let wildness = Wildness { scenario, shards, peers, planted, streams, is_traced };
        let mut world = match World::new(seed, wildness) {
            Ok(world) => world,
            Err(why) => return Verdict { found: vec![why], ..Verdict::default() },
        };
        let found = live(&mut world);
        Verdict::of(&world, found)
    }
}

fn live(world: &mut World) -> Vec<String> {
    for _ in 0..STEPS {
        world.step();
        if world.is_wrong() {
            return Vec::new();
        }
    }
    world.heal();
    if world.is_wrong() {
        return Vec::new();
    }
    let mut found = convergence::check(world);
    found.extend(leases::check(world));
    if !found.is_empty() {
        return found;
    }
    world.end();
    leaks::check(world)
}

/// What a seed came to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong.
    pub found: Vec<String>,
    /// The last of what happened, where it was written down.
    pub trace: Vec<String>,
    /// A fingerprint of everything that happened, where it was written down.
    pub hash: u64,
    /// Messages that clients were given.
    pub deliveries: u64,
    /// Resets that clients were told.
    pub resets: u64,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Verdict {
    fn of(world: &World, mut found: Vec<String>) -> Self {
        found.extend(world.backend.violations.borrow().iter().cloned());
        let truth = world.backend.truth.borrow();
        Self {
            found,
            trace: world.trace.tail().map(str::to_owned).collect(),
            hash: world.trace.hash(),
            deliveries: truth.deliveries,
            resets: truth.resets,
            faults: world.fault_counts().clone(),
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.found.is_empty()
    }
}
