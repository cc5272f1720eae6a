//! Faults by chance, from a few seeds that stay the same; and proof that what judges them would see a defect.

use crate::counts::Counts;
use crate::job;
use crate::shop::Shop;
use crate::stages::Verdict;

/// What is run, and whether its verdict must be red, since a defect is put in.
const RUNS: [(&str, bool); 6] = [
    ("--case mixed --seconds 14 --seed 1", false),
    ("--case mixed --seconds 14 --seed 2", false),
    ("--case mixed --seconds 14 --seed 3", false),
    ("--case streams --seconds 5 --seed 13", false),
    ("--case mixed --seconds 3 --seed 4 --plant drop-997", true),
    ("--case kill --sessions 200 --seed 5 --plant ack-before-commit", true),
];

/// The line that a red verdict begins.
const RED: &str = "\nRED";

pub(crate) fn stage(shop: &Shop) -> Verdict {
    if !shop.has_server.get() {
        return Verdict::check(Err("not run: there is no server to run it against".to_owned()));
    }
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    for (run, wants_red) in RUNS {
        match one(shop, run, wants_red) {
            Ok(()) => counts += Counts::ONE_PASSED,
            Err(why) => {
                counts += Counts::ONE_FAILED;
                failures.push(why);
            }
        }
    }
    Verdict { counts, failures }
}

fn one(shop: &Shop, run: &str, wants_red: bool) -> Result<(), String> {
    let mut command = shop.cargo(&format!("run --locked --quiet --package moorline-chaos -- {run}"));
    command.env("MOORLINE_BIN", shop.server());
    let done = job::run(&mut command, job::LIMIT);
    match (wants_red, done.stdout.contains(RED)) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("`moorline-chaos {run}` did not find the defect that was put in")),
        (false, _) => done.result(),
    }
}
