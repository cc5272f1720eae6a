//! Words that are not written here.

use super::Finding;
use super::tree::{Tree, has_word, is_word, numbered};

/// In no source of a crate: what is to be done is done, or an issue.
const UNFINISHED: [&str; 3] = ["TODO", "FIXME", "XXX"];
/// Nor these: the one panics, the other grows without end.
const CALLS: [&str; 2] = ["todo!(", "unbounded_channel"];
/// Names that say nothing about what the type is.
const VAGUE: [&str; 4] = ["Manager", "Helper", "Util", "Utils"];
/// In no file at all: places of one person's machine. Put together here, so that this file does not hold them.
const PLACES: [&str; 3] = [concat!("/wo", "rk/"), concat!("../sha", "red"), concat!("far", "m-")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.crate_sources() {
        for (line, code) in numbered(&file.text) {
            findings.extend(source_line(code).map(|what| Finding::line(&file.path, line, what)));
        }
    }
    for file in &tree.files {
        for (line, text) in numbered(&file.text) {
            let places = PLACES.iter().filter(|place| text.contains(**place));
            findings.extend(
                places
                    .map(|place| Finding::line(&file.path, line, format_args!("`{place}` is not for here"))),
            );
            if file.path.starts_with("crates/") && names_getter(text) {
                findings.push(Finding::line(
                    &file.path,
                    line,
                    "a getter has its field's name, without `get_`",
                ));
            }
        }
    }
    findings
}

fn source_line(code: &str) -> impl Iterator<Item = String> {
    let unfinished = UNFINISHED.iter().filter(move |word| has_word(code, word));
    let calls = CALLS.iter().filter(move |call| code.contains(**call));
    let vague = declared(code).filter(|name| VAGUE.iter().any(|ending| name.ends_with(ending)));
    let refused = unfinished.chain(calls).map(|word| format!("no `{word}` in a crate's source"));
    refused.chain(vague.map(|name| format!("`{name}`: a type is named for what it is")))
}

/// The name of the type that a line declares.
fn declared(code: &str) -> impl Iterator<Item = &str> {
    let words: Vec<&str> =
        code.trim_start().split(|character| !is_word(character)).filter(|word| !word.is_empty()).collect();
    let is_comment = code.trim_start().starts_with("//");
    let position = words.iter().position(|word| ["struct", "enum", "trait", "type", "union"].contains(word));
    position.filter(|_| !is_comment).and_then(|position| words.get(position + 1).copied()).into_iter()
}

fn names_getter(code: &str) -> bool {
    let code = code.trim_start();
    code.starts_with("pub ") && code.split('(').next().is_some_and(|head| head.contains("fn get_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn unfinished_and_unbounded_code_is_found_in_crates() {
        for text in ["// TODO: later", "// FIXME", "let x = todo!();", "mpsc::unbounded_channel()"] {
            assert_eq!(found("crates/a/src/b.rs", text), 1, "{text}");
            assert_eq!(found("bench/src/b.rs", text), 0, "{text}");
        }
        assert_eq!(found("crates/a/src/b.rs", "const TODOS: u8 = 0xXXXX;"), 0);
    }

    #[test]
    fn vague_types_are_found_where_they_are_declared() {
        assert_eq!(found("crates/a/src/b.rs", "pub(crate) struct SessionManager<T> {"), 1);
        assert_eq!(found("crates/a/src/b.rs", "pub enum Utils {"), 1);
        assert_eq!(
            found("crates/a/src/b.rs", "/// Not a struct SessionManager.\nlet x = ConnectionManager::new();"),
            0
        );
    }

    #[test]
    fn getters_are_found() {
        assert_eq!(found("crates/a/src/b.rs", "    pub async fn get_room(&self) {"), 1);
        assert_eq!(found("crates/a/src/b.rs", "fn get_room() {}\npub fn room(x: fn_get_y) {}"), 0);
    }

    #[test]
    fn one_machines_places_are_found_everywhere() {
        for place in PLACES {
            assert_eq!(found("docs/a.md", &format!("see {place}b")), 1);
        }
    }
}
