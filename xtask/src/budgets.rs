//! How many instructions the pure core takes, held against a budget. Counted by callgrind, so that neither the machine nor what
//! else runs on it is in the figures; what the kernel does is not in them either: `bench/` has that.

use std::path::Path;

use crate::counts::Counts;
use crate::job;
use crate::shop::Shop;
use crate::stages::Verdict;

/// How far above its budget a figure may lie, in percent: compilers differ.
const TOLERANCE: u64 = 15;

/// What is counted: the difference of two runs of the example `fan_out`, so that what happens once is not in it.
struct Budget {
    name: &'static str,
    /// Members, batches, messages in each.
    less: [u64; 3],
    more: [u64; 3],
    /// By how many the difference is divided.
    parts: u64,
    /// Instructions each. Raise one only with the reason in the commit.
    max: u64,
}

const BUDGETS: [Budget; 3] = [
    Budget {
        name: "a message's write to one of 1,000 members",
        less: [1_000, 100, 1],
        more: [1_000, 300, 1],
        parts: 200 * 1_000,
        max: 120,
    },
    Budget {
        name: "a message in a burst of 100, encoded, for one of 1,000 members",
        less: [1_000, 2, 100],
        more: [1_000, 22, 100],
        parts: 20 * 100 * 1_000,
        max: 8,
    },
    Budget {
        name: "a session, from its claim to its greeting",
        less: [1_000, 0, 1],
        more: [3_000, 0, 1],
        parts: 2_000,
        max: 34_500,
    },
];

pub(crate) fn stage(shop: &Shop) -> Verdict {
    let Some(valgrind) = shop.find(&["valgrind"]) else {
        println!("not run: no valgrind (Debian: apt-get install valgrind)");
        return Verdict { counts: Counts { skipped: 1, ..Counts::default() }, failures: Vec::new() };
    };
    let build = "build --release --locked --package moorline-proto --example fan_out";
    if let Err(why) = job::run(&mut shop.cargo(build), job::LIMIT).result() {
        return Verdict::check(Err(why));
    }
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    for budget in &BUDGETS {
        match check(shop, &valgrind, budget) {
            Ok(()) => counts += Counts::ONE_PASSED,
            Err(why) => {
                counts += Counts::ONE_FAILED;
                failures.push(why);
            }
        }
    }
    Verdict { counts, failures }
}

fn check(shop: &Shop, valgrind: &Path, budget: &Budget) -> Result<(), String> {
    let (less, more) = (count(shop, valgrind, budget.less)?, count(shop, valgrind, budget.more)?);
    let (name, max, found) = (budget.name, budget.max, more.saturating_sub(less) / budget.parts);
    println!("{found} instructions, of {max}: {name}");
    if found == 0 || found * 100 > max * (100 + TOLERANCE) {
        return Err(format!("{name}: {found} instructions, where the budget is {max}"));
    }
    Ok(())
}

fn count(shop: &Shop, valgrind: &Path, arguments: [u64; 3]) -> Result<u64, String> {
    let mut command = shop.command(valgrind);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=1"]);
    command.arg(shop.built("release").join("examples").join("fan_out"));
    let done = job::run(command.args(arguments.map(|argument| argument.to_string())), job::LIMIT);
    let collected = collected(&done.stdout);
    done.result()?;
    collected.ok_or_else(|| "callgrind does not say what it collected".to_owned())
}

/// The total in callgrind's last words: `==123== Collected : 456`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_where_there_is_one() {
        let said = "1000 writes, 9 bytes\n==7== \n==7== Events    : Ir\n==7== Collected : 120034\n";
        assert_eq!(collected(said), Some(120_034));
        assert_eq!(collected("==7== Collected : much"), None);
        assert_eq!(collected("no totals"), None);
    }
}
