//! A stream has one terminal record, which its producer asked for or which says that it is orphaned; nothing comes behind it.

use crate::written::{Life, Rights};

/// What is wrong with text at this offset.
#[must_use]
pub fn text(life: Option<&Life>, offset: u64) -> Option<String> {
    let Some(life) = life else { return Some(format!("text at {offset}, and it never began")) };
    life.end.map(|end| format!("text at {offset}, behind its end at {end}"))
}

/// What is wrong with a terminal record at this offset.
#[must_use]
pub fn end(life: Option<&Life>, offset: u64) -> Option<String> {
    let Some(life) = life else { return Some(format!("it ends at {offset}, and never began")) };
    life.end.map(|end| format!("it ends at {offset}, and did at {end}"))
}

/// What is wrong with its having ended so.
#[must_use]
pub fn asked(rights: &Rights, kind: &str) -> Option<String> {
    let is_asked = kind == "orphaned" || rights.ends.contains(kind);
    (!is_asked).then(|| format!("it ends as {kind}, which nobody asked for"))
}

/// What is wrong with telling its producer that it ended there.
#[must_use]
pub fn answered(lives: &[Life], offset: u64) -> Option<String> {
    let is_there = lives.iter().any(|life| life.end == Some(offset));
    (!is_there).then(|| format!("its producer is told that it ended at {offset}: {:?}", lives.last()))
}
