//! What the suite found: judged, and as a table in `docs/conformance.md`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::python::Python;
use crate::counts::Counts;
use crate::install::said;
use crate::shop::Shop;
use crate::stages::Verdict;

/// What a case, and the way in which the connection ended, may be. `NON-STRICT` is allowed by the RFC and could be
/// better; `INFORMATIONAL` is what the RFC leaves open.
const GOOD: [&str; 3] = ["OK", "NON-STRICT", "INFORMATIONAL"];

/// What the suite calls its sections.
const SECTIONS: [(u32, &str); 11] = [
    (1, "framing: text and binary messages of all sizes"),
    (2, "pings and pongs"),
    (3, "reserved bits"),
    (4, "opcodes"),
    (5, "fragmentation"),
    (6, "UTF-8"),
    (7, "closing"),
    (9, "limits: messages of up to 16 MiB, in frames and reads of all sizes"),
    (10, "a message in many fragments"),
    (12, "compression: texts, pictures and documents, 16 bytes to 128 KiB"),
    (13, "compression: offers with all parameters"),
];

const PAGE: &str = "docs/conformance.md";
const BEGIN: &str = "<!-- written by `cargo xtask autobahn --all` -->\n";
const END: &str = "<!-- end -->";

/// A case by its number, as 6.4.2.
type Number = Vec<u32>;

struct Outcome {
    behavior: String,
    close: String,
}

pub(super) struct Results {
    cases: BTreeMap<Number, Outcome>,
    python: String,
}

impl Results {
    pub(super) fn new(python: &Python) -> Self {
        Self { cases: BTreeMap::new(), python: python.version.clone() }
    }

    /// Adds what is in one of the suite's `index.json`.
    pub(super) fn read(&mut self, text: &str, agent: &str) -> Result<(), String> {
        let index: Value = serde_json::from_str(text).map_err(|why| format!("index.json: {why}"))?;
        let cases =
            index[agent].as_object().ok_or_else(|| format!("index.json has no results of {agent}"))?;
        for (number, found) in cases {
            let digits = number.split('.').map(|part| part.parse().ok()).collect::<Option<Number>>();
            let word = |name: &str| found[name].as_str().map(str::to_owned);
            let (Some(digits), Some(behavior), Some(close)) =
                (digits, word("behavior"), word("behaviorClose"))
            else {
                return Err(format!("index.json does not say what became of case {number}"));
            };
            self.cases.insert(digits, Outcome { behavior, close });
        }
        Ok(())
    }

    /// All cases, and each of them good.
    pub(super) fn verdict(&self, expected: usize) -> Verdict {
        let bad = self.cases.iter().filter(|(_, outcome)| !outcome.is_good());
        let mut failures: Vec<String> = bad
            .map(|(number, outcome)| {
                format!("case {}: {}, its close: {}", dotted(number), outcome.behavior, outcome.close)
            })
            .collect();
        let failed = failures.len() as u64;
        if self.cases.len() != expected {
            failures.push(format!("{} cases were run, not {expected}", self.cases.len()));
        }
        Verdict::suite(
            Counts { passed: self.cases.len() as u64 - failed, failed, skipped: 0 },
            (!failures.is_empty()).then(|| failures.join("\n")),
        )
    }

    /// Puts the table into the docs, in the place of the one before.
    pub(super) fn write(&self, shop: &Shop, took: Duration) -> Result<(), String> {
        let path = shop.root.join(PAGE);
        let page = fs::read_to_string(&path).map_err(|why| format!("{PAGE}: {why}"))?;
        let (before, rest) =
            page.split_once(BEGIN).ok_or_else(|| format!("{PAGE} has no `{}`", BEGIN.trim()))?;
        let (_, after) = rest.split_once(END).ok_or_else(|| format!("{PAGE} has no `{END}`"))?;
        let day = said(shop.command("date").args(["-u", "+%Y-%m-%d"]));
        let minutes = took.as_secs().div_ceil(60);
        let head = format!(
            "{} of {} cases, on {} in {minutes} minutes: {}, Python {}.",
            self.cases.len(),
            self.cases.len(),
            day.trim(),
            machine(shop),
            self.python
        );
        let text = format!("{before}{BEGIN}\n{head}\n\n{}\n{END}{after}", self.table());
        fs::write(&path, text).map_err(|why| format!("{PAGE}: {why}"))?;
        println!("written to {PAGE}: {head}");
        Ok(())
    }

    /// A line for each section; what is neither of the three columns has failed, and then no table is written.
    fn table(&self) -> String {
        let mut lines = String::from(
            "| section | | cases | OK | NON-STRICT | INFORMATIONAL |\n|---|---|---|---|---|---|\n",
        );
        let mut line = |name: &str, about: &str, of: &dyn Fn(&Number) -> bool| {
            let cases = || self.cases.iter().filter(|(number, _)| of(number));
            let like = |word: &str| cases().filter(|(_, outcome)| outcome.worst() == word).count();
            let counts =
                [cases().count(), like(GOOD[0]), like(GOOD[1]), like(GOOD[2])].map(|count| count.to_string());
            lines.push_str(&format!("| {name} | {about} | {} |\n", counts.join(" | ")));
        };
        for (section, about) in SECTIONS {
            line(&section.to_string(), about, &|number| number.first() == Some(&section));
        }
        line("all", "", &|_| true);
        lines
    }
}

impl Outcome {
    fn is_good(&self) -> bool {
        [&self.behavior, &self.close].iter().all(|word| GOOD.contains(&word.as_str()))
    }

    /// The one of the two words that is further from `OK`.
    fn worst(&self) -> &str {
        if self.behavior == GOOD[0] { &self.close } else { &self.behavior }
    }
}

fn dotted(number: &[u32]) -> String {
    number.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

fn machine(shop: &Shop) -> String {
    let system = said(shop.command("uname").args(["-sr"]));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {}, {cores} cores", system.trim(), shop.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(index: &str) -> Result<Results, String> {
        let python = Python { program: "python2.7".into(), version: "2.7.18".to_owned() };
        let mut results = Results::new(&python);
        results.read(index, "us").map(|()| results)
    }

    fn index(cases: &[(&str, &str, &str)]) -> String {
        let case = |(number, behavior, close): &(&str, &str, &str)| {
            format!("\"{number}\": {{\"behavior\": \"{behavior}\", \"behaviorClose\": \"{close}\"}}")
        };
        format!("{{\"us\": {{{}}}}}", cases.iter().map(case).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn both_words_of_a_case_must_be_good() {
        let found = results(&index(&[
            ("1.1.1", "OK", "OK"),
            ("3.2", "NON-STRICT", "OK"),
            ("7.13.1", "INFORMATIONAL", "INFORMATIONAL"),
        ]));
        let verdict = found.expect("results").verdict(3);
        assert_eq!((verdict.counts, verdict.failures), (Counts { passed: 3, ..Counts::default() }, vec![]));
        for (behavior, close) in
            [("OK", "WRONG CODE"), ("FAILED", "OK"), ("UNIMPLEMENTED", "OK"), ("OK", "UNCLEAN")]
        {
            let verdict = results(&index(&[("12.1.1", behavior, close), ("2.1", "OK", "OK")]))
                .expect("results")
                .verdict(2);
            assert_eq!(verdict.counts, Counts { passed: 1, failed: 1, skipped: 0 });
            assert_eq!(verdict.failures, [format!("case 12.1.1: {behavior}, its close: {close}")]);
        }
    }

    #[test]
    fn a_case_that_was_not_run_is_missed() {
        let verdict = results(&index(&[("1.1.1", "OK", "OK")])).expect("results").verdict(2);
        assert_eq!(verdict.failures, ["1 cases were run, not 2"]);
        assert!(!results("{\"us\": {}}").expect("no results").verdict(0).failures.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for text in ["", "{}", "{\"us\": {\"1.x\": {}}}", "{\"us\": {\"1.1\": {\"behavior\": \"OK\"}}}"] {
            assert!(results(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_section() {
        let found = results(&index(&[
            ("1.1.1", "OK", "OK"),
            ("1.2.1", "NON-STRICT", "OK"),
            ("12.1.1", "OK", "INFORMATIONAL"),
        ]));
        let table = found.expect("results").table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[2].ends_with("| 2 | 1 | 1 | 0 |"), "{}", lines[2]);
        assert!(lines[11].ends_with("| 1 | 0 | 0 | 1 |"), "{}", lines[11]);
        assert_eq!(lines[13], "| all |  | 3 | 1 | 1 | 1 |");
    }
}
