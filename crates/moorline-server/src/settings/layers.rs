//! What was said about each setting, in the order in which the later wins.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Value;

use super::bound::Bound;
use super::kind::{Fault, Kind};
use super::place::Place;

/// A value as somebody wrote it.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// In the file.
    Value(Value),
    /// In a variable, or on the command line.
    Text(String),
}

/// A value, and where it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) given: Given,
    pub(super) place: Place,
    /// Where relative paths begin.
    pub(super) folder: PathBuf,
}

/// What was found, and what is wrong with it so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Where defaults that are relative paths begin.
    folder: PathBuf,
    found: BTreeMap<&'static str, Vec<Found>>,
    pub(super) places: BTreeMap<&'static str, Place>,
    pub(super) mistakes: Vec<String>,
}

impl Layers {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, ..Self::default() }
    }

    /// Adds a value that wins over those before it.
    pub(super) fn add(&mut self, name: &'static str, found: Found) {
        self.found.entry(name).or_default().push(found);
    }

    pub(super) fn mistake(&mut self, mistake: impl Into<String>) {
        self.mistakes.push(mistake.into());
    }

    /// The last value of a setting. Every one is checked: a mistake that a later layer hides would show when that goes.
    pub(super) fn read<T: Kind>(&mut self, name: &'static str, default: T, bound: &impl Bound<T>) -> T {
        let mut value = default;
        value.rebase(&self.folder);
        for found in self.found.remove(name).unwrap_or_default() {
            match found.value(bound) {
                Ok(next) => {
                    value = next;
                    self.places.insert(name, found.place);
                }
                Err(faults) => {
                    let said = faults.iter().map(|fault| found.said::<T>(name, fault, &bound.words()));
                    self.mistakes.extend(said);
                }
            }
        }
        value
    }
}

impl Found {
    fn value<T: Kind>(&self, bound: &impl Bound<T>) -> Result<T, Vec<Fault>> {
        let mut value = match &self.given {
            Given::Value(value) => T::read(value)?,
            Given::Text(text) => T::read(&T::value_of(text).map_err(Fault::whole)?)?,
        };
        bound.check(&value)?;
        value.rebase(&self.folder);
        Ok(value)
    }

    /// What a number counts, where its name says so.
    fn unit(&self, name: &str) -> String {
        let unit = match name.rsplit('_').next() {
            Some("ms") => "milliseconds",
            Some("bytes") => "bytes",
            _ => return String::new(),
        };
        let quotes =
            if matches!(self.given, Given::Value(Value::String(_))) { ", without quotes" } else { "" };
        format!(", a number of {unit}{quotes}")
    }

    /// One mistake as a line.
    fn said<T: Kind>(&self, name: &str, fault: &Fault, range: &str) -> String {
        if let Some(index) = fault.element {
            return format!("{name}[{index}] ({}) {}", self.place.element(index), short(&fault.why));
        }
        let given = match &self.given {
            _ if !T::SPEAKABLE => String::new(),
            Given::Value(value) => format!(" is {}", short(&value.to_string())),
            Given::Text(text) => format!(" is {}", short(&format!("{text:?}"))),
        };
        let why = if fault.why.is_empty() { String::new() } else { format!("{}; ", short(&fault.why)) };
        format!("{name} ({}){given}: {why}it may be {range}{}", self.place, self.unit(name))
    }
}

/// What somebody wrote may be of any length; a message is to be read.
fn short(text: &str) -> String {
    const MOST: usize = 300;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
