//! The repository's files as text, so that every rule is a function of them.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A file of the repository.
pub(super) struct File {
    /// Relative to the root, with `/`.
    pub(super) path: String,
    /// Its text; empty where it is none.
    pub(super) text: String,
}

/// All files that are tracked, or would be by `git add .`.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self, String> {
        let mut git = Command::new("git");
        git.args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let output = git.current_dir(root).output().map_err(|why| format!("git ls-files: {why}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let listed = String::from_utf8_lossy(&output.stdout);
        let read = |path: &str| {
            let bytes = fs::read(root.join(path)).ok()?; // deleted, but not yet in the index
            Some(File { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() })
        };
        Ok(Self { files: listed.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect() })
    }

    /// Whether there is such a file, or a folder with files in it.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let is_it = |file: &File| {
            file.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path.is_empty() || self.files.iter().any(is_it)
    }

    /// The Rust sources below `src` of every crate under `crates/`.
    pub(super) fn crate_sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| is_crate_source(&file.path))
    }
}

fn is_crate_source(path: &str) -> bool {
    let mut folders = path.split('/');
    path.ends_with(".rs") && folders.next() == Some("crates") && folders.nth(1) == Some("src")
}

/// The lines of a text, counted from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Whether `character` may be part of a Rust identifier.
pub(super) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether `word` occurs in `text` by itself, not as a part of a longer one.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, _)| {
        !text[..start].ends_with(is_word) && !text[start + word.len()..].starts_with(is_word)
    })
}

#[cfg(test)]
impl Tree {
    /// A repository of these paths and texts.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_there_when_something_is_in_them() {
        let tree = Tree::of(&[("spec/vectors/a.json", "")]);
        assert!(tree.has("spec/") && tree.has("spec/vectors/a.json") && tree.has(""));
        assert!(!tree.has("spec/vec") && !tree.has("docs"));
    }

    #[test]
    fn a_crates_sources_are_told_from_its_tests() {
        assert!(is_crate_source("crates/a/src/b/c.rs"));
        assert!(!is_crate_source("crates/a/tests/src/c.rs") && !is_crate_source("bench/src/main.rs"));
    }

    #[test]
    fn words_stand_alone() {
        assert!(has_word("a port: u16", "port") && !has_word("export, ports", "port"));
    }
}
