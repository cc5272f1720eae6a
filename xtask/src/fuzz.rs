//! Fuzzing under libFuzzer, guided by coverage, with the stable compiler.
//!
//! What guides it is compiled into the workspace's own crates alone, by this program in the place of the compiler: the
//! dependencies are then those that are built already.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::counts::Counts;
use crate::job;
use crate::shop::{self, Shop};
use crate::stages::Verdict;

/// Tells this program that it is called in the place of the compiler.
pub(crate) const COMPILING: &str = "MOORLINE_FUZZ_COMPILING";
/// What the fuzzing program takes the name of its target from.
const TARGET: &str = "MOORLINE_FUZZ_TARGET";

/// The spec's vectors that a target is fed with beside its corpus: a file, and the field of its cases.
const VECTORS: [(&str, &str, &str); 2] =
    [("codec", "client-frames.json", "text"), ("client", "server-frames.json", "json")];

/// What `cargo fuzz` has the compiler do for libFuzzer.
const GUIDED: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];
/// Without it there are few runs in a second. What it turns off finds faults, and stays.
const OPTIMISED: [&str; 3] = ["-Copt-level=1", "-Cdebug-assertions=on", "-Coverflow-checks=on"];
/// Crates of which little is fuzzed, and that take long to compile.
const LARGE: [&str; 2] = ["moorline", "moorline_server"];

/// How long each target is fuzzed in the gate, in seconds: with the corpora that is less than a minute.
const GATE_SECONDS: u64 = 4;
/// How long each is fuzzed when somebody asks for it, in seconds.
const DEFAULT_SECONDS: u64 = 60;
/// The gate's seed. It also begins with nothing but what is kept, so that its runs are alike.
const GATE_SEED: u64 = 1;
/// One input longer than this, in seconds, is a hang.
const INPUT_SECONDS_MAX: u64 = 10;
/// More memory than this is a leak, or a bound that does not hold.
const MEMORY_MIB_MAX: u64 = 1024;
/// How much longer than it is told to a run may take: its corpus comes first.
const SLACK: Duration = Duration::from_secs(120);

/// Compiles in the place of `words[0]`, the compiler, with what libFuzzer wants.
pub(crate) fn compile(words: &[OsString]) -> ExitCode {
    let Some((compiler, arguments)) = words.split_first() else { return ExitCode::from(2) };
    let mut command = Command::new(compiler);
    // libFuzzer does not run where it is static.
    command.args(arguments.iter().filter(|word| *word != shop::STATIC));
    if let Some(name) = crate_name(arguments) {
        command.args(GUIDED);
        if !LARGE.contains(&name) {
            command.args(OPTIMISED);
        }
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{}: {why}", compiler.display());
            ExitCode::FAILURE
        }
    }
}

/// What is compiled; none where cargo only asks how the compiler calls things, as for a crate called `___`.
fn crate_name(arguments: &[OsString]) -> Option<&str> {
    let at = arguments.iter().position(|word| word == "--crate-name")?;
    arguments.get(at + 1)?.to_str().filter(|name| *name != "___")
}

/// The stage of the gate: what is kept of every target, and then a little chance.
pub(crate) fn stage(shop: &Shop) -> Verdict {
    let run = Run { seconds: GATE_SECONDS, seed: GATE_SEED, found: shop.target.join("fuzz").join("gate") };
    let empty = if run.found.exists() { fs::remove_dir_all(&run.found) } else { Ok(()) };
    let empty = empty.map_err(|why| format!("{}: {why}", run.found.display()));
    match empty.and_then(|()| targets(shop)) {
        Ok(names) => fuzz(shop, &names, &run),
        Err(why) => Verdict::check(Err(why)),
    }
}

/// `cargo xtask fuzz [TARGET] [--seconds N]`, or with a file: one input again.
///
/// # Errors
/// It cannot be what was meant.
pub(crate) fn chore(words: &[&str]) -> Result<ExitCode, String> {
    let shop = Shop::open()?;
    let all = targets(&shop)?;
    let (names, rest) = match words {
        [name, rest @ ..] if !name.starts_with("--") => (vec![known(&all, name)?], rest),
        rest => (all, rest),
    };
    let run = |seconds| Run { seconds, seed: chance(), found: shop.target.join("fuzz").join("found") };
    let verdict = match rest {
        [] => fuzz(&shop, &names, &run(DEFAULT_SECONDS)),
        ["--seconds", seconds] => {
            let count = seconds.parse().ok().filter(|seconds| *seconds > 0);
            let count = count.ok_or_else(|| format!("--seconds takes a number from 1, not `{seconds}`"))?;
            fuzz(&shop, &names, &run(count))
        }
        [input] if names.len() == 1 => again(&shop, &names[0], Path::new(input)),
        _ => {
            return Err(
                "cargo xtask fuzz [TARGET] [--seconds N], or cargo xtask fuzz TARGET INPUT".to_owned()
            );
        }
    };
    for why in &verdict.failures {
        println!("FAILED {why}");
    }
    println!("{}", verdict.counts);
    Ok(if verdict.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every target: a folder of the corpora each. That the program has the same ones, a test of it says.
fn targets(shop: &Shop) -> Result<Vec<String>, String> {
    let folder = shop.root.join("fuzz").join("corpus");
    let entries = folder.read_dir().map_err(|why| format!("{}: {why}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn known(all: &[String], name: &str) -> Result<String, String> {
    let found = all.iter().find(|target| *target == name);
    found.cloned().ok_or_else(|| format!("`{name}` is no target: there are {}", all.join(", ")))
}

struct Run {
    seconds: u64,
    seed: u64,
    /// Where what reaches something new is kept, a folder for each target.
    found: PathBuf,
}

fn chance() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()).max(1)
}

fn fuzz(shop: &Shop, names: &[String], run: &Run) -> Verdict {
    let program = match build(shop) {
        Ok(program) => program,
        Err(why) => return Verdict::check(Err(why)),
    };
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    for name in names {
        match one(shop, &program, name, run) {
            Ok(()) => counts += Counts::ONE_PASSED,
            Err(why) => {
                counts += Counts::ONE_FAILED;
                failures.push(why);
            }
        }
    }
    Verdict { counts, failures }
}

fn build(shop: &Shop) -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("fuzzing needs Linux: run it in a container, or leave it to CI; \
            `cargo test -p moorline-fuzz` runs the corpora everywhere"
            .to_owned());
    }
    if std::env::var_os("CXX").is_none() && shop.find(&["c++", "g++", "clang++"]).is_none() {
        return Err("fuzzing needs a C++ compiler, for libFuzzer: `apt-get install g++`".to_owned());
    }
    let this = std::env::current_exe().map_err(|why| format!("where this program is: {why}"))?;
    let mut command = shop.cargo("build --locked --package moorline-fuzz --features linked");
    command.env("RUSTC_WORKSPACE_WRAPPER", this).env(COMPILING, "1");
    job::run(&mut command, job::LIMIT).result()?;
    Ok(shop.built("debug").join("moorline-fuzz"))
}

fn one(shop: &Shop, program: &Path, name: &str, run: &Run) -> Result<(), String> {
    let (found, failed) = (run.found.join(name), shop.target.join("fuzz").join("failed"));
    for folder in [&found, &failed] {
        fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    }
    let seeds = seeds(shop, name)?;
    let prefix = failed.join(format!("{name}-"));
    let mut command = fuzzer(shop, program, name);
    command.args([
        format!("-max_total_time={}", run.seconds),
        format!("-seed={}", run.seed),
        format!("-artifact_prefix={}", prefix.display()),
    ]);
    command.arg(found).arg(shop.root.join("fuzz").join("corpus").join(name)).args(seeds);
    let before = newest(&failed, name);
    let done = job::run(&mut command, Duration::from_secs(run.seconds) + SLACK);
    let Some(failure) = done.failure else { return Ok(()) };
    let input = newest(&failed, name).filter(|input| before.as_ref() != Some(input)).map_or_else(
        || "no input was kept".to_owned(),
        |input| format!("again: cargo xtask fuzz {name} {}", input.display()),
    );
    Err(format!("{name}: {failure}; {input}"))
}

fn fuzzer(shop: &Shop, program: &Path, name: &str) -> Command {
    let mut command = shop.command(program);
    command.env(TARGET, name).env("RUST_BACKTRACE", "1");
    command.args([
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ]);
    command
}

/// Runs one input, as it was found.
fn again(shop: &Shop, name: &str, input: &Path) -> Verdict {
    let input = match input.canonicalize() {
        Ok(input) => input,
        Err(why) => return Verdict::check(Err(format!("{}: {why}", input.display()))),
    };
    let ran =
        build(shop).and_then(|program| job::run(fuzzer(shop, &program, name).arg(input), SLACK).result());
    Verdict::check(ran)
}

/// Writes the spec's vectors as inputs, a file each. Returns their folder, where the target has any.
fn seeds(shop: &Shop, name: &str) -> Result<Option<PathBuf>, String> {
    let Some((_, file, field)) = VECTORS.iter().find(|(target, ..)| *target == name) else {
        return Ok(None);
    };
    let path = shop.root.join("spec").join("vectors").join(file);
    let text = fs::read(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    let vectors: Value = serde_json::from_slice(&text).map_err(|why| format!("{}: {why}", path.display()))?;
    let folder = shop.target.join("fuzz").join("vectors").join(name);
    fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let cases = vectors["cases"].as_array().into_iter().flatten();
    let texts: Vec<&str> = cases.filter_map(|case| case[*field].as_str()).collect();
    if texts.is_empty() {
        return Err(format!("{} has no case with `{field}`", path.display()));
    }
    for (index, text) in texts.into_iter().enumerate() {
        fs::write(folder.join(index.to_string()), text)
            .map_err(|why| format!("{}: {why}", folder.display()))?;
    }
    Ok(Some(folder))
}

/// What failed last of a target.
fn newest(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = folder.read_dir().ok()?.filter_map(Result::ok);
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}-")));
    ours.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok()).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_told_from_questions_about_the_compiler() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(crate_name(&words("--crate-name moorline_ws --edition=2024")), Some("moorline_ws"));
        assert_eq!(crate_name(&words("- --crate-name ___ --print=cfg")), None);
        assert_eq!(crate_name(&words("-vV")), None);
    }

    #[test]
    fn a_target_is_known_or_the_others_are_named() {
        let all = ["client".to_owned(), "store".to_owned()];
        assert_eq!(known(&all, "store"), Ok("store".to_owned()));
        assert!(known(&all, "stores").is_err_and(|why| why.contains("client, store")));
    }

    #[test]
    fn what_failed_last_is_of_the_target_that_is_asked_for() {
        let folder = std::env::temp_dir().join(format!("moorline-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("codec-crash-1"), "").expect("written");
        assert_eq!(newest(&folder, "codec"), Some(folder.join("codec-crash-1")));
        assert_eq!(newest(&folder, "client"), None);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
