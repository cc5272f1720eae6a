//! Seeds that were red once, each with what it showed; and that a seed repeats.

use moorline_sim::seed::Run;
use moorline_sim::world::Scenario;

const SEEDS: [(Scenario, u64, &str); 14] = [
    (
        Scenario::Network,
        6_907_776_296_903_065_531,
        "a `reconnect` that was sent again brings everything again",
    ),
    (
        Scenario::Network,
        16_454_862_987_585_609_250,
        "a room that was cleared and forgotten has head 0 for who joins",
    ),
    (Scenario::Model, 1, "a reset that was lost with its connection is told again under a new epoch"),
    (Scenario::Model, 12, "a record in an own room that no mark names reaches a restored session"),
    (Scenario::Store, 5, "who waits for a commit that fails is told that it is not known"),
    (Scenario::Store, 12, "a session that means an earlier one is reset, perhaps twice"),
    (Scenario::Store, 24, "a session that ends while the disk is full is gone"),
    (Scenario::Store, 48, "a client goes on under the new name of its epoch"),
    (Scenario::Store, 72, "what a client names by a former epoch is not reset away"),
    (Scenario::Store, 111, "the same, where the greeting was lost"),
    (Scenario::Store, 136, "a reset covers what is missing"),
    (Scenario::Store, 243, "who is refused for now and tries again is behind what it sent since"),
    (Scenario::Store, 280, "a lost reset of @all is told again"),
    (Scenario::Store, 367, "what memory alone answered may be lost, and means nothing else later"),
];

#[test]
fn seeds_that_were_red_stay_green() {
    for (scenario, seed, what) in SEEDS {
        let verdict = Run::of(scenario).seed(seed);
        assert!(verdict.is_good(), "{scenario:?} {seed} ({what}): {:?}", verdict.found);
    }
}

#[test]
fn a_seed_repeats_exactly() {
    for scenario in [Scenario::Network, Scenario::Store, Scenario::Model] {
        let run = Run { is_traced: true, ..Run::of(scenario) };
        for seed in 0..8 {
            let (first, second) = (run.seed(seed), run.seed(seed));
            assert_eq!(first.hash, second.hash, "{scenario:?} {seed}");
            assert_eq!(first.trace, second.trace, "{scenario:?} {seed}");
        }
    }
}
