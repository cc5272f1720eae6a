//! The Autobahn test suite against the echo server of `crates/moorline/examples`: its short sections in the gate, all of
//! it by `cargo xtask autobahn --all`, which also writes the table in `docs/conformance.md`.

mod echo;
mod python;
mod results;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use self::echo::{Echo, Profile};
use self::python::Python;
use self::results::Results;
use crate::counts::Counts;
use crate::job;
use crate::shop::Shop;
use crate::stages::Verdict;

/// A choice of cases.
struct Extent {
    name: &'static str,
    /// Played at the same time, each by a process of the suite's.
    parts: &'static [&'static [&'static str]],
    /// How many these are: fewer would mean that some went unseen.
    count: usize,
    profile: Profile,
    limit: Duration,
}

/// What takes seconds.
const SHORT: Extent = Extent {
    name: "short",
    parts: &[&["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]],
    count: 247,
    profile: Profile::Dev,
    limit: Duration::from_secs(5 * 60),
};

/// With large messages (section 9) and compression (12 and 13), for half an hour or more.
const ALL: Extent = Extent {
    name: "all",
    parts: &[
        &["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.1.*"],
        &["12.2.*", "12.3.*"],
        &["12.4.*", "12.5.*"],
        &["13.1.*", "13.2.*", "13.3.*"],
        &["13.4.*", "13.5.*", "13.6.*", "13.7.*"],
    ],
    count: 517,
    profile: Profile::Release,
    limit: Duration::from_secs(3 * 60 * 60),
};

/// The suite's own name of what it tests.
const AGENT: &str = "moorline-ws";
/// Begins the suite, whose folder comes before all else that this Python has. A folder on the search path alone would not
/// do: what makes a package of several folders is read from a folder of packages only.
const START: &str = "import site, sys; folder = sys.argv.pop(1); sys.path.insert(0, folder); site.addsitedir(folder); \
                     from autobahntestsuite.wstest import run; run()";
const STANDS_FOR_IT: &str = "the table in crates/moorline-ws/tests/autobahn_table.rs stands for it";

/// The gate's part. Where there is no Python 2.7 its cases are counted as skipped.
pub(crate) fn stage(shop: &Shop) -> Verdict {
    let Some(python) = python::find(shop) else {
        println!("not run: no Python 2.7 here; {STANDS_FOR_IT}");
        return Verdict {
            counts: Counts { skipped: SHORT.count as u64, ..Counts::default() },
            failures: vec![],
        };
    };
    match run(shop, &python, &SHORT) {
        Ok(results) => results.verdict(SHORT.count),
        Err(why) => Verdict::check(Err(why)),
    }
}

/// `cargo xtask autobahn`: the same by itself.
pub(crate) fn short() -> ExitCode {
    exit(Shop::open().and_then(|shop| by_itself(&shop, &SHORT)).map(drop))
}

/// `cargo xtask autobahn --all`: every case, and the table in the docs if all of them are passed.
pub(crate) fn all() -> ExitCode {
    let written = Shop::open().and_then(|shop| {
        let start = Instant::now();
        let results = by_itself(&shop, &ALL)?;
        results.write(&shop, start.elapsed())
    });
    exit(written)
}

fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("FAILED autobahn: {why}");
            ExitCode::FAILURE
        }
    }
}

fn by_itself(shop: &Shop, extent: &Extent) -> Result<Results, String> {
    let python = python::find(shop).ok_or(python::MISSING)?;
    let results = run(shop, &python, extent)?;
    let verdict = results.verdict(extent.count);
    println!("{}", verdict.counts);
    if verdict.failures.is_empty() { Ok(results) } else { Err(verdict.failures.join("\n")) }
}

/// Installs the suite, builds and starts the server, and plays the cases.
fn run(shop: &Shop, python: &Python, extent: &Extent) -> Result<Results, String> {
    let suite = python.suite(shop)?;
    let place = shop.target.join("autobahn").join(extent.name);
    if place.exists() {
        fs::remove_dir_all(&place).map_err(|why| format!("{}: {why}", place.display()))?;
    }
    let echo = Echo::start(shop, extent.profile)?;
    let mut running = Vec::new();
    for (index, cases) in extent.parts.iter().enumerate() {
        let part = Part { place: place.join(index.to_string()), limit: extent.limit };
        let command = part.prepare(shop.command(&python.program), &suite, &echo.url, cases)?;
        running.push(thread::spawn(move || part.play(command)));
    }
    let mut results = Results::new(python);
    let texts: Vec<_> = running.into_iter().map(|part| part.join().map_err(|_| "a part panicked")).collect();
    for text in texts {
        results.read(&text??, AGENT)?;
    }
    echo.stop()?;
    Ok(results)
}

/// What one process of the suite's plays.
struct Part {
    place: PathBuf,
    limit: Duration,
}

impl Part {
    fn prepare(
        &self,
        mut python: Command,
        suite: &Path,
        url: &str,
        cases: &[&str],
    ) -> Result<Command, String> {
        let spec = json!({
            "outdir": self.place, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
            "servers": [{ "agent": AGENT, "url": url }],
        });
        let file = self.place.join("spec.json");
        let written = fs::create_dir_all(&self.place).and_then(|()| fs::write(&file, spec.to_string()));
        written.map_err(|why| format!("{}: {why}", file.display()))?;
        python.env_remove("PYTHONPATH").args(["-s", "-c", START]).arg(suite);
        python.args(["-m", "fuzzingclient", "-s"]).arg(file);
        Ok(python)
    }

    /// The suite's exit code says nothing: what counts is what it wrote.
    fn play(&self, mut command: Command) -> Result<String, String> {
        job::run(&mut command, self.limit).result()?;
        let index = self.place.join("index.json");
        fs::read_to_string(&index).map_err(|why| format!("no results in {}: {why}", index.display()))
    }
}
