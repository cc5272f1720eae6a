//! What a test runner says at its end, as numbers.

use std::fmt;
use std::ops::AddAssign;

/// How many tests (or checks) ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) const NONE: Self = Self { passed: 0, failed: 0, skipped: 0 };
    pub(crate) const ONE_PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const ONE_FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// How many were really executed.
    pub(crate) fn ran(self) -> u64 {
        self.passed + self.failed
    }

    /// Adds `number` to the total that `word`, in any runner's vocabulary, stands for.
    fn add(&mut self, number: u64, word: &str) {
        match word {
            "passed" | "pass" | "xpassed" => self.passed += number,
            "failed" | "fail" | "cancelled" | "error" | "errors" => self.failed += number,
            "skipped" | "ignored" | "xfailed" | "todo" => self.skipped += number,
            _ => {}
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(out, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

/// Reads the `test result:` line of each of `cargo test`'s programs.
pub(crate) fn cargo_test(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in plain(output).lines() {
        if let Some((_, totals)) = line.split_once("test result: ") {
            let totals = totals.split_once(". ").map_or(totals, |(_, numbers)| numbers);
            totals.split(';').for_each(|part| number_then_word(&mut counts, part));
        }
    }
    counts
}

/// Reads pytest's last line: `1 failed, 12 passed, 2 skipped in 0.31s`, with or without `=` around it.
pub(crate) fn pytest(output: &str) -> Counts {
    let mut counts = Counts::default();
    let text = plain(output);
    let is_summary =
        |line: &&str| line.contains(" in ") && line.trim_matches(['=', ' ']).ends_with(is_time_end);
    if let Some(line) = text.lines().rev().map(str::trim).find(is_summary) {
        let totals = line.trim_matches(['=', ' ']).split(" in ").next().unwrap_or_default();
        totals.split(',').for_each(|part| number_then_word(&mut counts, part));
    }
    counts
}

/// Reads the closing lines of node's test runner, `# pass 3` (tap) or `ℹ pass 3` (spec), of every run in `output`.
pub(crate) fn node(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in plain(output).lines() {
        let Some(total) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) else { continue };
        if let Some((word, number)) = total.split_once(' ')
            && let Ok(number) = number.trim().parse()
        {
            counts.add(number, word);
        }
    }
    counts
}

fn is_time_end(last: char) -> bool {
    last == 's' || last == ')'
}

fn number_then_word(counts: &mut Counts, part: &str) {
    let mut words = part.split_whitespace();
    if let (Some(number), Some(word)) = (words.next(), words.next())
        && let Ok(number) = number.parse()
    {
        counts.add(number, word);
    }
}

/// The text without its terminal colours (`ESC [ … m`).
fn plain(output: &str) -> String {
    let mut pieces = output.split("\x1b[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, skipped: u64) -> Counts {
        Counts { passed, failed, skipped }
    }

    #[test]
    fn cargo_tests_are_added_up() {
        let output = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s\n\
                      junk\ntest result: \x1b[31mFAILED\x1b[0m. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(cargo_test(output), counts(7, 2, 1));
        assert_eq!(cargo_test("error: could not compile"), Counts::default());
    }

    #[test]
    fn pytests_last_line_counts() {
        let output = "10 passed in the first half\n..F\n= 1 failed, 12 passed, 2 skipped, 1 warning in 63.20s (0:01:03) =\n";
        assert_eq!(pytest(output), counts(12, 1, 2));
        assert_eq!(pytest("1 passed, 1 error in 0.31s"), counts(1, 1, 0));
        assert_eq!(pytest("no tests ran in 0.01s\n"), Counts::default());
    }

    #[test]
    fn both_of_nodes_reporters_are_read() {
        assert_eq!(
            node("# tests 5\n# suites 0\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 2\n# todo 0\n"),
            counts(3, 2, 2)
        );
        assert_eq!(node("ℹ tests 2\nℹ pass 2\nℹ fail 0\nℹ duration_ms 68.1\n"), counts(2, 0, 0));
        assert_eq!(node("# Subtest: pass 9 things\n# pass 0\n"), Counts::default());
    }

    #[test]
    fn skipped_ones_are_told_only_where_there_are_any() {
        assert_eq!(counts(2, 0, 0).to_string(), "2 passed, 0 failed");
        assert_eq!(counts(2, 1, 3).to_string(), "2 passed, 1 failed, 3 skipped");
    }
}
