//! The specification is there, and every golden vector is used by a test. That its tables equal the code's enums is a
//! test of `moorline-proto`.

use serde_json::Value;

use super::Finding;
use super::tree::{File, Tree};

const PAGES: [&str; 3] = ["spec/protocol.md", "spec/close-codes.md", "spec/errors.md"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let missing = PAGES.iter().filter(|page| !tree.has(page)).map(|page| Finding::at(page, "is missing"));
    missing
        .chain(tree.files.iter().filter(|file| is_vector(file)).flat_map(|vector| judge(vector, tree)))
        .collect()
}

fn is_vector(file: &File) -> bool {
    file.path.starts_with("spec/vectors/") && file.path.ends_with(".json")
}

fn judge(vector: &File, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(why) = serde_json::from_str::<Value>(&vector.text) {
        findings.push(Finding::at(&vector.path, format_args!("is no JSON: {why}")));
    }
    let name = vector.path.rsplit('/').next().unwrap_or_default();
    if !tree.files.iter().any(|file| is_test(&file.path) && file.text.contains(name)) {
        findings.push(Finding::at(&vector.path, "no test names it"));
    }
    findings
}

fn is_test(path: &str) -> bool {
    let is_code = [".rs", ".py", ".mjs", ".js", ".ts"].iter().any(|ending| path.ends_with(ending));
    is_code && ["crates/", "tests/", "clients/"].iter().any(|top| path.starts_with(top))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("spec/protocol.md", ""),
        ("spec/close-codes.md", ""),
        ("spec/errors.md", ""),
        ("spec/vectors/hello.json", "{}"),
        ("tests/wire/python/test_vectors.py", "load('hello.json')"),
    ];

    #[test]
    fn a_used_vector_and_all_pages_are_fine() {
        assert_eq!(check(&Tree::of(&GOOD)), []);
    }

    #[test]
    fn a_missing_page_is_found() {
        assert_eq!(check(&Tree::of(&GOOD[1..])), [Finding::at(GOOD[0].0, "is missing")]);
    }

    #[test]
    fn a_vector_that_no_test_names_is_found() {
        assert_eq!(check(&Tree::of(&GOOD[..4])), [Finding::at(GOOD[3].0, "no test names it")]);
    }

    #[test]
    fn a_broken_vector_is_found() {
        let mut files = GOOD;
        files[3].1 = "{";
        assert_eq!(check(&Tree::of(&files)).len(), 1);
    }
}
