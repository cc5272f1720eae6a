//! Which requirement rows have a test of their name (`r12_…`, `test_r12_…`). For information: no rule.

use std::collections::BTreeSet;

use super::tree::{Tree, is_word};

const PREFIX: char = 'r';

pub(super) fn summary(tree: &Tree) -> String {
    let files =
        tree.files.iter().filter(|file| file.path.starts_with("crates/") || file.path.starts_with("tests/"));
    let rows: BTreeSet<&str> = files.flat_map(|file| named(&file.text)).collect();
    let list = rows.iter().map(|row| format!("R{row}")).collect::<Vec<_>>().join(" ");
    format!("Rows that have tests ({}): {}", rows.len(), if list.is_empty() { "none" } else { &list })
}

/// The two digits of each `r12_` that begins a word, or follows `test_`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(PREFIX).filter_map(|(start, _)| {
        let (before, after) = (&text[..start], &text[start + 1..]);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        let begins = !before.ends_with(is_word) || before.ends_with("test_");
        (begins && after[2..].starts_with('_')).then_some(digits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_the_names_of_tests() {
        let text = "fn r07_lists() {}\ndef test_r12_acks():\ntest('r31_stats')\nlet error42_ = r5_; attr88_x";
        let tree = Tree::of(&[("tests/a.py", text), ("docs/a.md", "r99_x")]);
        assert_eq!(summary(&tree), "Rows that have tests (3): R07 R12 R31");
    }
}
