//! The gate: every chosen stage, whatever became of those before it, then a table and the totals.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::install;
use crate::shop::Shop;
use crate::stages::{Stage, Verdict};

/// A row of the table at the end.
struct Row {
    name: &'static str,
    took: Duration,
    verdict: Verdict,
}

/// Runs these stages. What they need is installed first; where that cannot be, nothing runs.
pub(crate) fn run(stages: &[&Stage]) -> ExitCode {
    let mut rows = Vec::new();
    match Shop::open() {
        Err(why) => rows.push(Row { name: "tools", took: Duration::ZERO, verdict: Verdict::check(Err(why)) }),
        Ok(shop) => {
            warn_of_a_full_disk(&shop);
            rows.extend(tools(&shop, stages));
            if !rows.iter().any(is_bad) {
                rows.extend(
                    stages.iter().map(|stage| timed(stage.name, stage.about, || (stage.work)(&shop))),
                );
            }
        }
    }
    report(&rows)
}

/// What a first run takes of the disk, in KiB.
const FIRST_RUN_KIB: u64 = 6 * 1024 * 1024;

/// A disk that fills up shows as a compiler that fails; this says it beforehand, where `df` can tell.
fn warn_of_a_full_disk(shop: &Shop) {
    let Ok(output) = shop.command("df").args(["-Pk", "."]).output() else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    let free = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    if let Some(free) = free.filter(|free| *free < FIRST_RUN_KIB) {
        println!(
            "warning: {} MiB are free on the disk of {}; a first run takes up to {} MiB. CARGO_TARGET_DIR may name a folder elsewhere",
            free / 1024,
            shop.root.display(),
            FIRST_RUN_KIB / 1024
        );
    }
}

/// Installs what the stages need; no row where they need nothing.
fn tools(shop: &Shop, stages: &[&Stage]) -> Option<Row> {
    let needed: Vec<_> = install::TOOLS
        .into_iter()
        .filter(|tool| stages.iter().any(|stage| stage.needs.contains(tool)))
        .collect();
    if needed.is_empty() {
        return None;
    }
    let mut row = timed("tools", "what the stages need beyond cargo", || Verdict {
        counts: Counts::NONE,
        failures: needed.iter().filter_map(|tool| install::ready(shop, *tool).err()).collect(),
    });
    if is_bad(&row) {
        row.verdict.counts = Counts::ONE_FAILED;
        row.verdict
            .failures
            .push("no stage was run. `cargo xtask test --only …` runs those that need less".to_owned());
    }
    Some(row)
}

fn timed(name: &'static str, about: &str, work: impl FnOnce() -> Verdict) -> Row {
    println!("\n==> {name}: {about}");
    let start = Instant::now();
    let verdict = work();
    let row = Row { name, took: start.elapsed(), verdict };
    for why in &row.verdict.failures {
        println!("FAILED {name}: {why}");
    }
    println!("<== {name}: {}, {:.1} s", row.verdict.counts, row.took.as_secs_f64());
    row
}

fn is_bad(row: &Row) -> bool {
    !row.verdict.failures.is_empty()
}

/// Prints the table, the failures again, and as the last line the totals.
fn report(rows: &[Row]) -> ExitCode {
    println!("\n{:<8} {:>8}  {:<6}  outcome", "stage", "seconds", "");
    let mut totals = Counts::default();
    for Row { name, took, verdict } in rows {
        let word = if verdict.failures.is_empty() { "ok" } else { "FAILED" };
        println!("{name:<8} {:>8.1}  {word:<6}  {}", took.as_secs_f64(), verdict.counts);
        totals += verdict.counts;
    }
    let took: Duration = rows.iter().map(|row| row.took).sum();
    println!("{:<8} {:>8.1}\n", "all", took.as_secs_f64());
    for row in rows.iter().filter(|row| is_bad(row)) {
        row.verdict.failures.iter().for_each(|why| println!("FAILED {}: {why}", row.name));
    }
    println!("{totals}");
    if rows.iter().any(is_bad) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
