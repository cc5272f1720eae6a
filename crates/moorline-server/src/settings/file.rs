//! Settings in a file.

use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize as _;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::layers::{Found, Given, Layers};
use super::nearest::offer;
use super::place::Place;
use super::raw::{NAMES, SECTIONS};

/// The largest configuration file: far more than all settings take.
const MAX_BYTES: u64 = 1 << 20;
/// For how many errors it is looked up whether a key stands twice: each takes as long as reading the file.
const FIRST_MAX: usize = 16;

/// Adds what the file says. Paths in it begin at its folder.
pub(super) fn add(layers: &mut Layers, path: &Path) {
    match read(path).and_then(|text| Ok((absolute_folder(path)?, text))) {
        Ok((folder, text)) => {
            let name = path.display().to_string().replace(char::is_control, "?");
            FileLayer { name: &name, folder: &folder, text: &text, layers }.add();
        }
        Err(why) => layers.mistake(format!("the configuration file {} {why}", path.display())),
    }
}

/// Where the file is: relative paths begin there.
pub(super) fn absolute_folder(path: &Path) -> Result<std::path::PathBuf, String> {
    let absolute = std::path::absolute(path).map_err(|error| format!("has no folder: {error}"))?;
    Ok(absolute.parent().unwrap_or(&absolute).to_owned())
}

fn read(path: &Path) -> Result<String, String> {
    let unopened = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "does not exist: name another one with --config, or write one with `moorline config init`"
                .to_owned()
        }
        _ => format!("cannot be opened: {error}"),
    };
    let metadata = std::fs::metadata(path).map_err(unopened)?;
    if metadata.is_dir() {
        return Err("is a directory: name the file in it".to_owned());
    }
    // Opening a pipe would wait for whoever writes into it.
    if !metadata.is_file() {
        return Err("is a pipe or a device: write it into a file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(unopened)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes: it is not a configuration of this server"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("is not UTF-8, beginning in line {line}: save it as UTF-8")
    })
}

/// Where a key of a document begins, and whether it is a table's.
fn find(table: &DeTable<'_>, parts: &[&str]) -> Option<(usize, bool)> {
    let (first, rest) = parts.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match value.get_ref() {
        DeValue::Table(inner) if !rest.is_empty() => find(inner, rest),
        value => rest.is_empty().then(|| (key.span().start, matches!(value, DeValue::Table(_)))),
    }
}

struct FileLayer<'a> {
    name: &'a str,
    folder: &'a Path,
    text: &'a str,
    layers: &'a mut Layers,
}

impl FileLayer<'_> {
    fn add(mut self) {
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(self.text);
        self.text = text;
        let (document, errors) = DeTable::parse_recoverable(text);
        for (index, error) in errors.iter().enumerate() {
            let (line, column) = self.position(error.span().map_or(0, |span| span.start));
            let why = error.message().trim_end().replace('\n', "; ");
            let span = error.span().filter(|_| index < FIRST_MAX);
            let there = span.and_then(|span| self.first(span)).unwrap_or_default();
            self.layers.mistake(format!("{}:{line}:{column}: this is not TOML: {why}{there}", self.name));
        }
        if errors.is_empty() {
            for (key, value) in document.get_ref() {
                let line = self.line(key.span().start);
                self.section(key.get_ref(), line, value.get_ref());
            }
        }
    }

    /// Where the key at that place stands already: the end of a message.
    fn first(&self, key: Range<usize>) -> Option<String> {
        let line = self.text.get(..key.start)?.rfind('\n').map_or(0, |newline| newline + 1);
        let (before, rest) = self.text.split_at_checked(line)?;
        let header = |text: &str| Some(text.trim().strip_prefix('[')?.split(']').next()?.replace('[', ""));
        let given = self.text.get(key)?;
        let name = match header(rest.lines().next()?) {
            Some(table) => table,
            None => {
                let table = before.lines().rev().find_map(header);
                table.into_iter().chain([given.to_owned()]).collect::<Vec<_>>().join(".")
            }
        };
        let parts: Vec<&str> = name.split('.').map(|part| part.trim().trim_matches(['"', '\''])).collect();
        // What is wrong is that key, not something else in its line.
        parts.last().filter(|last| **last == given.trim_matches(['"', '\'']))?;
        // The document itself may have the second one in the place of the first.
        let (document, _known) = DeTable::parse_recoverable(before);
        let (start, is_table) = find(document.get_ref(), &parts)?;
        let (name, line) = (parts.join(".").escape_debug().to_string(), self.line(start));
        Some(if is_table {
            format!("; the table [{name}] exists already, in line {line}: move there what is below this one")
        } else {
            format!("; {name} is set already, in line {line}: keep one of the two")
        })
    }

    fn section(&mut self, section: &str, line: usize, value: &DeValue<'_>) {
        let at = format!("{}:{line}", self.name);
        let sections = || SECTIONS.iter().map(|section| section.name);
        if !sections().any(|known| known == section) {
            let (what, near) = match value {
                DeValue::Table(_) | DeValue::Array(_) => ("section", offer(section, sections())),
                _ => ("setting", offer(section, NAMES.iter().copied())),
            };
            let section = section.escape_debug();
            return self.layers.mistake(format!("there is no {what} {section} ({at}){near}"));
        }
        let DeValue::Table(fields) = value else {
            return self.layers.mistake(format!("{section} ({at}) is a section: write [{section}]"));
        };
        for (key, value) in fields {
            self.field(&format!("{section}.{}", key.get_ref()), key.span().start, value);
        }
    }

    fn field(&mut self, name: &str, start: usize, value: &toml::Spanned<DeValue<'_>>) {
        let line = self.line(start);
        let elements = match value.get_ref() {
            DeValue::Array(elements) => {
                elements.iter().map(|element| self.line(element.span().start)).collect()
            }
            _ => Vec::new(),
        };
        let place = Place::File { name: self.name.to_owned(), line, elements };
        let Some(known) = NAMES.iter().copied().find(|known| *known == name) else {
            let near = offer(name, NAMES.iter().copied());
            let name = name.escape_debug();
            return self.layers.mistake(format!("there is no setting {name} ({place}){near}"));
        };
        match Value::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(value) => {
                let folder = self.folder.to_owned();
                self.layers.add(known, Found { given: Given::Value(value), place, folder });
            }
            Err(error) => self.layers.mistake(format!("{name} ({place}): {}", error.message())),
        }
    }

    fn line(&self, at: usize) -> usize {
        self.position(at).0
    }

    /// The line and the column, from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[begin..].chars().count() + 1)
    }
}
