//! Real clients, real shards, a real broker, and a network that fails in every way: guarantee 1 of the protocol, and the
//! bounds, as properties.
//!
//! A failure prints the seed of its case; `MOORLINE_SEED=… cargo test -p moorline-broker --test loopback` repeats it. The
//! cases are the same each time; `MOORLINE_CASES=10000` explores as many others.

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use support::checks::planted::Planted;
use support::checks::{convergence, leaks};
use support::random::Random;
use support::world::{Wildness, World};

const CASES: u64 = 256;
const STEPS: usize = 400;

/// What a case came to.
struct Verdict {
    found: Vec<String>,
    trace: Vec<String>,
    deliveries: u64,
    resets: u64,
}

/// Runs one case until something is wrong or it is over.
fn run(seed: u64, planted: Option<Planted>) -> Verdict {
    let mut random = Random(seed ^ 0x5eed);
    let wildness = Wildness { nodes: 1 + random.below(2), peers: 2 + random.below(5), planted };
    let mut world = World::new(seed, wildness);
    for _ in 0..STEPS {
        world.step();
        if world.is_wrong() {
            return verdict(&world, Vec::new());
        }
    }
    world.heal();
    if world.is_wrong() {
        return verdict(&world, Vec::new());
    }
    let mut found = convergence::check(&world);
    if found.is_empty() {
        world.end();
        found = leaks::check(&world);
    }
    verdict(&world, found)
}

fn verdict(world: &World, mut found: Vec<String>) -> Verdict {
    found.extend(world.backend.violations.borrow().iter().cloned());
    let truth = world.backend.truth.borrow();
    let trace = world.trace.iter().cloned().collect();
    Verdict { found, trace, deliveries: truth.deliveries, resets: truth.resets }
}

fn seed_of_the_environment() -> Option<u64> {
    std::env::var("MOORLINE_SEED").ok().map(|text| text.parse().expect("MOORLINE_SEED is a number"))
}

#[test]
fn every_record_once_in_order_or_a_reset() {
    let given = seed_of_the_environment();
    let explored = std::env::var("MOORLINE_CASES").ok().and_then(|text| text.parse().ok());
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").subsec_nanos();
    let mut random = Random(if explored.is_some() { u64::from(clock) } else { 0 });
    let cases: u64 = explored.unwrap_or(CASES);
    let (mut deliveries, mut resets) = (0, 0);
    for case in 0..if given.is_some() { 1 } else { cases } {
        let seed = given.unwrap_or_else(|| random.next());
        let verdict = run(seed, None);
        deliveries += verdict.deliveries;
        resets += verdict.resets;
        assert!(
            verdict.found.is_empty(),
            "{}\n\ncase {case}, MOORLINE_SEED={seed}:\n{}",
            verdict.trace.join("\n"),
            verdict.found.join("\n")
        );
    }
    println!("{deliveries} deliveries, {resets} resets");
}

#[test]
fn planted_bugs_are_found() {
    for planted in Planted::ALL {
        let red = (0..64).find(|&seed| !run(seed, Some(planted)).found.is_empty());
        assert!(red.is_some(), "{planted:?} is not noticed");
        println!("{planted:?} is noticed in case {red:?}");
    }
}
