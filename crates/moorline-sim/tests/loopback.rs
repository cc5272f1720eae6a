//! Guarantee 1 of the protocol, and the bounds, as properties: of a network that fails in every way, and of a node that
//! crashes and comes back.
//!
//! The seeds are the same each time; `cargo run -p moorline-sim -- --seeds 10000` runs others.

use std::ops::Range;

use moorline_sim::seed::Run;
use moorline_sim::world::Scenario;

/// Runs so many seeds, and fails with the first that is red.
fn explore(scenario: Scenario, seeds: Range<u64>) {
    let (mut deliveries, mut resets) = (0, 0);
    for seed in seeds {
        let verdict = Run::of(scenario).seed(seed);
        deliveries += verdict.deliveries;
        resets += verdict.resets;
        let name = scenario.name();
        let again = format!("cargo run -p moorline-sim -- --scenario {name} --seed {seed} --trace");
        assert!(verdict.is_good(), "{}\nrepeat it with: {again}", verdict.found.join("\n"));
    }
    println!("{deliveries} deliveries, {resets} resets");
}

/// Most worlds have streams: every reader's text is a prefix of what was sent at every moment, and all of it at the end.
#[test]
fn r27_streams_every_text_is_whole_whatever_happens() {
    explore(Scenario::Network, 10_000..10_064);
    explore(Scenario::Store, 10_000..10_064);
}

#[test]
fn every_record_once_in_order_or_a_reset() {
    explore(Scenario::Network, 0..256);
}

#[test]
fn what_was_answered_survives_every_crash() {
    explore(Scenario::Store, 0..300);
}
