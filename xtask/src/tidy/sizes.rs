//! How long things may be. The length of functions is clippy's; here is that its exceptions give a reason.

use super::Finding;
use super::tree::{File, Tree, numbered};

const FILE_LINES: usize = 500;
/// Within its first lines a longer file says why.
const REASON: &str = "// tidy: long file because ";
const REASON_WITHIN: usize = 5;
const LINT: &str = "clippy::too_many_lines";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let ours = |file: &&File| {
        file.path.ends_with(".rs")
            && ["crates/", "xtask/", "bench/", "chaos/", "fuzz/"].iter().any(|top| file.path.starts_with(top))
    };
    tree.files
        .iter()
        .filter(ours)
        .flat_map(|file| length(file).into_iter().chain(unexplained(file)))
        .collect()
}

fn length(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    let is_source = file.path.contains("/src/");
    let is_explained = file.text.lines().take(REASON_WITHIN).any(|line| line.starts_with(REASON));
    (is_source && lines > FILE_LINES && !is_explained).then(|| {
        Finding::at(
            &file.path,
            format_args!("{lines} lines; over {FILE_LINES} it is split, or says `{REASON}…` at its top"),
        )
    })
}

/// Attributes that allow a long function, without `reason = "…"`.
fn unexplained(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (start, _) in file.text.match_indices(LINT) {
        let (before, after) = file.text.split_at(start);
        let Some(opening) = before.rfind("#[").into_iter().chain(before.rfind("#![")).max() else { continue };
        let attribute = &file.text[opening..start + after.find(")]").unwrap_or(after.len())];
        let is_exception =
            ["#[allow(", "#[expect(", "#![allow(", "#![expect("].iter().any(|it| attribute.starts_with(it));
        if is_exception && !attribute.contains("reason = \"") {
            let line = numbered(before).count();
            findings.push(Finding::line(
                &file.path,
                line,
                format_args!("{LINT} is allowed without `reason = \"…\"`"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_needs_a_reason() {
        let long = "//\n".repeat(FILE_LINES + 1);
        let explained = format!("{REASON}it is one table\n{long}");
        let found = |path, text: &str| check(&Tree::of(&[(path, text)])).len();
        assert_eq!(found("crates/a/src/b.rs", &long), 1);
        assert_eq!(found("crates/a/src/b.rs", &explained), 0);
        assert_eq!(found("crates/a/src/b.rs", &long[3..]), 0);
        assert_eq!(found("crates/a/tests/b.rs", &long), 0);
    }

    #[test]
    fn an_exception_for_a_long_function_needs_a_reason() {
        let found = |attribute: &str| {
            let text = format!("use a;\n{attribute}\nfn f(x: [u8; 2]) {{}}\n").replace("LINT", LINT);
            check(&Tree::of(&[("xtask/src/b.rs", &text)])).len()
        };
        assert_eq!(found("#[expect(LINT)]"), 1);
        assert_eq!(found("#[allow(\n    LINT,\n)]"), 1);
        assert_eq!(found("#[expect(LINT, reason = \"one table\")]"), 0);
        assert_eq!(found("#[expect(\n    LINT,\n    reason = \"one table\"\n)]"), 0);
        assert_eq!(found("#[warn(LINT)]"), 0);
    }
}
