//! The gate's stages: one table, in the order in which they run.

use crate::counts::{self, Counts};
use crate::install::Tool;
use crate::job;
use crate::shop::Shop;
use crate::{autobahn, budgets, chaos, fuzz, server, suites, tidy};

/// What became of a stage.
pub(crate) struct Verdict {
    pub(crate) counts: Counts,
    /// Why it failed, each in a line.
    pub(crate) failures: Vec<String>,
}

impl Verdict {
    /// What is so far known of a stage of several parts.
    pub(crate) const NOTHING: Self = Self { counts: Counts::NONE, failures: Vec::new() };

    /// This and another part of the same stage.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.counts += other.counts;
        self.failures.extend(other.failures);
        self
    }

    /// For a stage that is one check.
    pub(crate) fn check(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self { counts: Counts::ONE_PASSED, failures: Vec::new() },
            Err(why) => Self { counts: Counts::ONE_FAILED, failures: vec![why] },
        }
    }

    /// For a stage that is a test runner: its totals, its exit, and the rule that no suite is empty.
    pub(crate) fn suite(mut counts: Counts, failure: Option<String>) -> Self {
        let mut failures: Vec<String> = failure.into_iter().collect();
        if counts.ran() == 0 {
            failures.push("not one test ran".to_owned());
        }
        if counts.failed > 0 && failures.is_empty() {
            failures.push("tests failed, though the runner's exit code says otherwise".to_owned());
        }
        if counts.failed == 0 && !failures.is_empty() {
            counts.failed = 1;
        }
        Self { counts, failures }
    }
}

/// One stage of the gate.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    /// What it shows, in a line.
    pub(crate) about: &'static str,
    /// What has to be installed first.
    pub(crate) needs: &'static [Tool],
    /// Whether it talks to the server, which then has to be built.
    pub(crate) wants_server: bool,
    pub(crate) work: fn(&Shop) -> Verdict,
}

const fn check(name: &'static str, about: &'static str, work: fn(&Shop) -> Verdict) -> Stage {
    Stage { name, about, needs: &[], wants_server: false, work }
}

const fn suite(
    name: &'static str,
    about: &'static str,
    needs: &'static [Tool],
    work: fn(&Shop) -> Verdict,
) -> Stage {
    Stage { name, about, needs, wants_server: true, work }
}

const STAGES: [Stage; 14] = [
    check("fmt", "the code is formatted", |shop| cargo(shop, "fmt --all --check")),
    check("clippy", "no lint of the workspace fires", |shop| {
        cargo(
            shop,
            "clippy --workspace --all-targets --features moorline-fuzz/libfuzzer --locked -- -D warnings",
        )
    }),
    check("tidy", "the house rules: arrows, purity, sizes, words, links, vectors", tidy::stage),
    Stage { needs: &[Tool::CargoDeny], ..check("deny", "dependencies: bans, licences, sources", deny) },
    check("docs", "the API's documentation builds without a warning", docs),
    check("rust", "unit, property and doc tests of the workspace", rust_tests),
    check("budgets", "the core takes no more instructions than it may", budgets::stage),
    check("autobahn", "the WebSocket layer against the Autobahn test suite", autobahn::stage),
    check("fuzz", "what is fed with anybody's bytes, fed with what is kept and a little chance", fuzz::stage),
    check("build", "the server that the suites below talk to; on Linux it needs no library", server::build),
    suite(
        "python",
        "the server from outside, spoken to by Python",
        &[Tool::Python, Tool::Nginx],
        suites::python,
    ),
    suite("chaos", "the server under faults, and that a defect would be seen", &[], chaos::stage),
    suite("node", "the server from outside, spoken to by Node", &[Tool::Node], suites::node),
    suite("browser", "the server from a page in Chromium", &[Tool::Node, Tool::Chromium], suites::browser),
];

pub(crate) fn all() -> Vec<&'static Stage> {
    STAGES.iter().collect()
}

pub(crate) fn only(name: &str) -> Vec<&'static Stage> {
    STAGES.iter().filter(|stage| stage.name == name).collect()
}

/// The stages that a list like `fmt,tidy` names, in the gate's order, with the build that a suite of them wants.
pub(crate) fn named(names: &str) -> Result<Vec<&'static Stage>, String> {
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    if let Some(unknown) = names.iter().find(|name| only(name).is_empty()) {
        return Err(format!("no stage is called `{unknown}`"));
    }
    let wants_server = STAGES.iter().any(|stage| stage.wants_server && names.contains(&stage.name));
    let chosen = |stage: &&Stage| names.contains(&stage.name) || (wants_server && stage.name == "build");
    Ok(STAGES.iter().filter(chosen).collect())
}

pub(crate) fn names() -> String {
    STAGES.iter().map(|stage| stage.name).collect::<Vec<_>>().join(", ")
}

pub(crate) fn listed() -> String {
    STAGES.iter().map(|stage| format!("  {:<8} {}", stage.name, stage.about)).collect::<Vec<_>>().join("\n")
}

fn cargo(shop: &Shop, args: &str) -> Verdict {
    Verdict::check(job::run(&mut shop.cargo(args), job::LIMIT).result())
}

/// Advisories are left out: their database is on a host that not every machine reaches.
fn deny(shop: &Shop) -> Verdict {
    cargo(shop, "deny --locked check bans licenses sources")
}

fn docs(shop: &Shop) -> Verdict {
    let mut command = shop.cargo("doc --workspace --no-deps --locked");
    Verdict::check(job::run(command.env("RUSTDOCFLAGS", "-Dwarnings"), job::LIMIT).result())
}

fn rust_tests(shop: &Shop) -> Verdict {
    let done = job::run(&mut shop.cargo("test --workspace --locked --no-fail-fast"), job::LIMIT);
    Verdict::suite(counts::cargo_test(&done.stdout), done.failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &str) -> Vec<&'static str> {
        named(names).expect("known names").iter().map(|stage| stage.name).collect()
    }

    #[test]
    fn stages_are_chosen_by_name_in_the_gates_order() {
        assert_eq!(chosen("tidy,fmt"), ["fmt", "tidy"]);
        assert_eq!(chosen("node"), ["build", "node"]);
        assert!(named("fmt,lint").is_err_and(|why| why.contains("`lint`")));
    }

    #[test]
    fn an_empty_suite_fails_and_so_does_one_whose_runner_says_so() {
        let passed = Counts { passed: 3, ..Counts::default() };
        assert!(Verdict::suite(passed, None).failures.is_empty());
        assert_eq!(Verdict::suite(Counts::default(), None).counts, Counts::ONE_FAILED);
        assert_eq!(Verdict::suite(passed, Some("exit 1".to_owned())).counts.failed, 1);
        assert!(!Verdict::suite(Counts::ONE_FAILED, None).failures.is_empty());
    }
}
