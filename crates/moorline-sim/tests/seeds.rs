//! Seeds that were red once, each with what it showed; and that a seed repeats.

use moorline_sim::seed::Run;
use moorline_sim::world::Scenario;

const SEEDS: [(Scenario, u64, &str); 29] = [
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
    (Scenario::Network, 2_000, "the answer to a subscription is taken for a later one's"),
    (Scenario::Network, 3_171, "the same, of a room that was forgotten in between"),
    (Scenario::Network, 6_760, "a room is left twice, and told so once"),
    (Scenario::Network, 8_509, "joins that overlap are told apart"),
    (Scenario::Store, 1_528, "a reset of an own room that was quiet is told"),
    (Scenario::Store, 2_396, "an acknowledgement crosses with a join that reads again"),
    (
        Scenario::Store,
        3_135,
        "a room that was forgotten, and begun anew, in a commit that nobody was told of",
    ),
    (Scenario::Store, 3_335, "a reset is of the join that it belongs to"),
    (
        Scenario::Store,
        4_239,
        "a reset of numbers that mean nothing is told again where its connection ended before it came",
    ),
    (Scenario::Store, 4_844, "who acknowledges while it reads again goes on behind that"),
    (Scenario::Store, 6_221, "a join that changes nothing has no `joined`"),
    (Scenario::Store, 9_151, "a room whose records wait for a commit is forgotten"),
    (Scenario::Store, 9_322, "who left a room has acknowledged nothing of it"),
    (
        Scenario::Store,
        9_644,
        "an id is known for longer than its record, which a crash let nobody see, and than its room",
    ),
    (Scenario::Store, 24_684, "what was acknowledged while the disk was full is kept once it is not"),
];

#[test]
fn seeds_that_were_red_stay_green() {
    for (scenario, seed, what) in SEEDS {
        let verdict = Run { streams: false, ..Run::of(scenario) }.seed(seed);
        assert!(verdict.is_good(), "{scenario:?} {seed} ({what}): {:?}", verdict.found);
    }
}

/// The same, of worlds with streams.
const STREAMS: [(Scenario, u64, &str); 6] = [
    (Scenario::Network, 310, "a join that overtakes the texts of another one brings them"),
    (Scenario::Store, 5, "the same, where the first chunk has the application's object"),
    (Scenario::Store, 20_842, "a piece from before a room's head does not change where its histories ended"),
    (Scenario::Store, 439, "a stream whose name had been another one's is not taken away with that one"),
    (Scenario::Store, 22_120, "what was acknowledged while the disk was full is kept once it is not"),
    (Scenario::Store, 2_078, "a stream ends and its room is cleared in a commit that nobody was told of"),
];

#[test]
fn r27_streams_seeds_that_were_red_stay_green() {
    for (scenario, seed, what) in STREAMS {
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
