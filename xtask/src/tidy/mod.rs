//! The house rules that no compiler checks, each a pure function from the repository's text to what it found wrong.

mod arrows;
mod docs;
mod rows;
mod sizes;
mod spec;
mod tree;
mod words;

use crate::shop::{self, Shop};
use crate::stages::Verdict;
use tree::Tree;

/// Something that breaks a rule: where, and which.
#[derive(Debug, PartialEq, Eq)]
struct Finding(String);

impl Finding {
    /// About a whole file, or about no file in particular.
    fn at(place: &str, what: impl std::fmt::Display) -> Self {
        Self(format!("{place}: {what}"))
    }

    /// About a line, counted from 1.
    fn line(path: &str, line: usize, what: impl std::fmt::Display) -> Self {
        Self(format!("{path}:{line}: {what}"))
    }
}

/// The rules over text; the arrows are over cargo's metadata.
const RULES: [fn(&Tree) -> Vec<Finding>; 5] =
    [arrows::purity, sizes::check, spec::check, words::check, docs::check];

pub(crate) fn stage(shop: &Shop) -> Verdict {
    Verdict::check(check(shop))
}

fn check(shop: &Shop) -> Result<(), String> {
    let tree = Tree::read(&shop.root)?;
    let mut findings = arrows::check(&shop::metadata(&shop.root, &[])?);
    findings.extend(RULES.iter().flat_map(|rule| rule(&tree)));
    for Finding(text) in &findings {
        println!("{text}");
    }
    println!("{} files looked at. {}", tree.files.len(), rows::summary(&tree));
    if findings.is_empty() { Ok(()) } else { Err(format!("{} findings", findings.len())) }
}
