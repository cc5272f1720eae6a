//! The checks are checked: bugs that the world is told to have are found.

use moorline_sim::planted::Planted;
use moorline_sim::seed::Run;

/// How many seeds may miss a planted bug.
const SEEDS: u64 = 400;

#[test]
fn planted_bugs_are_found() {
    for planted in Planted::ALL {
        let run =
            Run { scenario: planted.scenario(), planted: Some(planted), streams: true, is_traced: false };
        let red = (0..SEEDS).find(|&seed| !run.seed(seed).is_good());
        let Some(red) = red else { panic!("{planted:?} is not noticed") };
        let verdict = Run::of(planted.scenario()).seed(red);
        assert!(verdict.is_good(), "seed {red} without {planted:?}: {:?}", verdict.found);
        println!("{planted:?} is noticed in seed {red:?}");
    }
}
