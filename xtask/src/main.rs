//! Chores of the repository: the gate and its parts. A module per chore; `cargo xtask help` lists them.

mod autobahn;
mod budgets;
mod chaos;
mod counts;
mod fuzz;
mod gate;
mod install;
mod job;
mod leftovers;
mod server;
mod shop;
mod stages;
mod suites;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <chore>

  test                    the whole gate: what CI runs, and what has to pass before a change lands
  test --only fmt,tidy    some of its stages, by name
  fuzz [TARGET]           every fuzz target, or one, for a minute each: with --seconds N for so long
  fuzz TARGET INPUT       one input again
  tidy                    the house rules that no compiler checks
  autobahn                the short sections of the Autobahn test suite; needs Python 2.7
  autobahn --all          all of it, for half an hour, and the table in docs/conformance.md
  help                    this text";

fn main() -> ExitCode {
    if std::env::var_os(fuzz::COMPILING).is_some() {
        return fuzz::compile(&std::env::args_os().skip(1).collect::<Vec<_>>());
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => gate::run(&stages::all()),
        ["test", "--only", names] => match stages::named(names) {
            Ok(chosen) => gate::run(&chosen),
            Err(why) => usage(&why),
        },
        ["test", "--only"] => usage("--only needs the names of stages"),
        ["fuzz", words @ ..] => fuzz::chore(words).unwrap_or_else(|why| usage(&why)),
        ["tidy"] => gate::run(&stages::only("tidy")),
        ["autobahn"] => autobahn::short(),
        ["autobahn", "--all"] => autobahn::all(),
        ["help" | "--help" | "-h"] => {
            println!("{HELP}\n\nStages of the gate, in order:\n{}", stages::listed());
            ExitCode::SUCCESS
        }
        [] => usage("which chore?"),
        other => usage(&format!("no chore is called `{}`", other.join(" "))),
    }
}

/// Says what was wrong and what there is. Exit code 2: the caller's mistake, not a failed gate.
fn usage(why: &str) -> ExitCode {
    eprintln!("{why}\n\n{HELP}\n\nStages: {}", stages::names());
    ExitCode::from(2)
}
