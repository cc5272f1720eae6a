//! The pages that a repository has, links that lead somewhere, and settings that exist.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::{File, Tree, has_word, numbered};

const PAGES: [&str; 6] =
    ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// A setting in the environment: `MOORLINE__SECTION__NAME`.
const SETTING: &str = "MOORLINE__";
const SETTING_SOURCES: [&str; 2] = ["crates/moorline-server/src/", "crates/moorline/src/"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let missing = PAGES.iter().filter(|page| !tree.has(page)).map(|page| Finding::at(page, "is missing"));
    let pages = || tree.files.iter().filter(|file| is_page(&file.path));
    let links = pages().flat_map(|page| dead_links(page, tree));
    let settings =
        pages().filter(|page| !page.path.starts_with("spec/")).flat_map(|page| unknown_settings(page, tree));
    let tests = pages().flat_map(|page| unknown_tests(page, tree));
    missing.chain(links).chain(settings).chain(tests).collect()
}

/// Tests that a page names and nothing defines.
fn unknown_tests(page: &File, tree: &Tree) -> Vec<Finding> {
    let defines = |name: &str| {
        let definition = format!("def {name}(");
        tree.files.iter().any(|file| file.path.starts_with("tests/") && file.text.contains(&definition))
    };
    let mut findings = Vec::new();
    for (line, text) in numbered(&page.text) {
        let names = text.split('`').skip(1).step_by(2).filter(|word| is_test(word));
        let unknown = names.filter(|name| !defines(name));
        findings.extend(
            unknown.map(|name| Finding::line(&page.path, line, format_args!("there is no test {name}"))),
        );
    }
    findings
}

/// Whether it is the name of a test, and not of a file.
fn is_test(word: &str) -> bool {
    word.starts_with("test_")
        && word.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

fn is_page(path: &str) -> bool {
    path.ends_with(".md") && (!path.contains('/') || path.starts_with("docs/") || path.starts_with("spec/"))
}

fn dead_links(page: &File, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut is_code = false;
    for (line, text) in numbered(&page.text) {
        is_code ^= text.trim_start().starts_with("```");
        let dead =
            links(text).into_iter().filter(|link| !is_code && !leads_somewhere(&page.path, link, tree));
        findings.extend(
            dead.map(|link| {
                Finding::line(&page.path, line, format_args!("the link to {link} leads nowhere"))
            }),
        );
    }
    findings
}

/// Targets of `[text](target)` and `[name]: target`, outside of `code`.
fn links(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect();
    let mut found = Vec::new();
    for (start, opening) in prose.match_indices("](") {
        let target = &prose[start + opening.len()..];
        found.push(target.split([')', ' ']).next().unwrap_or_default().to_owned());
    }
    if let Some((name, target)) = prose.split_once("]: ")
        && name.starts_with('[')
    {
        found.push(target.split_whitespace().next().unwrap_or_default().to_owned());
    }
    found
}

fn leads_somewhere(from: &str, link: &str, tree: &Tree) -> bool {
    let path = link.split('#').next().unwrap_or_default();
    let is_elsewhere = link.contains("://") || link.starts_with("mailto:");
    is_elsewhere || path.is_empty() || resolved(from, path).is_some_and(|path| tree.has(&path))
}

/// The path that `link` means in the file `from`; `None` where it leaves the repository.
fn resolved(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Settings whose section or name no source of the server knows.
fn unknown_settings(page: &File, tree: &Tree) -> Vec<Finding> {
    let is_source = |file: &&File| SETTING_SOURCES.iter().any(|folder| file.path.starts_with(folder));
    let known = |word: &str| tree.files.iter().filter(is_source).any(|file| has_word(&file.text, word));
    let mut findings = Vec::new();
    for (line, text) in numbered(&page.text) {
        let unknown = settings(text).into_iter().filter(|name| !name.to_lowercase().split("__").all(known));
        findings.extend(unknown.map(|name| {
            Finding::line(&page.path, line, format_args!("no setting is called {SETTING}{name}"))
        }));
    }
    findings
}

/// What follows `MOORLINE__` in a line, where something does.
fn settings(line: &str) -> BTreeSet<&str> {
    let is_name =
        |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_';
    let after = line.match_indices(SETTING).map(|(start, _)| &line[start + SETTING.len()..]);
    let names = after.map(|rest| rest.split(|character| !is_name(character)).next().unwrap_or_default());
    names.map(|name| name.trim_end_matches('_')).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<Finding> {
        let source = ("crates/moorline-server/src/config.rs", "struct Http { listen: String }\nhttp: Http");
        let mut files: Vec<_> = PAGES.iter().filter(|page| **page != path).map(|page| (*page, "")).collect();
        files.extend([source, ("spec/errors.md", ""), (path, text)]);
        check(&Tree::of(&files))
    }

    #[test]
    fn a_missing_page_is_found() {
        assert_eq!(check(&Tree::of(&[])).len(), PAGES.len());
    }

    #[test]
    fn dead_links_are_found_and_others_are_not() {
        let live =
            "[a](../README.md#x) [b](https://x.y/z) [c](#d) [e](../spec/) `[f](g)`\n```\n[h](i)\n```\n";
        assert_eq!(found("docs/a.md", live), []);
        assert_eq!(found("docs/a.md", "[a](b.md) and [c](../../d.md)").len(), 2);
        assert_eq!(found("README.md", "[a]: docs/nothing.md").len(), 1);
    }

    #[test]
    fn tests_that_nothing_defines_are_found() {
        let unknown = Finding::line("docs/a.md", 1, "there is no test test_r99_nothing");
        assert_eq!(found("docs/a.md", "`test_r99_nothing` and `test_files.py` and `test_…`"), [unknown]);
    }

    #[test]
    fn settings_that_no_source_knows_are_found() {
        assert_eq!(found("docs/a.md", "`MOORLINE__HTTP__LISTEN=…`, `MOORLINE__…`"), []);
        let unknown = Finding::line("README.md", 1, "no setting is called MOORLINE__HTTP__LISTENS");
        assert_eq!(found("README.md", "MOORLINE__HTTP__LISTENS"), [unknown]);
    }
}
