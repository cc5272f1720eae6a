//! The kinds of values that settings have, and how each is read and written.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::nearest::offer;
use super::{Algorithm, LogFormat};

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Which element, where the setting is a list and one of them is meant.
    pub(super) element: Option<usize>,
    /// In words; empty where the range says enough.
    pub(super) why: String,
}

impl Fault {
    pub(super) fn whole(why: impl Into<String>) -> Vec<Self> {
        vec![Self { element: None, why: why.into() }]
    }
}

/// What a setting's value is.
pub(super) trait Kind: Clone + PartialEq {
    /// From the file.
    fn read(value: &Value) -> Result<Self, Vec<Fault>>;

    /// From the environment or the command line: text as it is, unless the kind says otherwise.
    fn value_of(text: &str) -> Result<Value, String> {
        Ok(Value::String(text.to_owned()))
    }

    /// For the file.
    fn write(&self) -> Value;

    /// Makes what is relative begin at that folder.
    fn rebase(&mut self, _folder: &Path) {}

    /// Whether it may be repeated in a message: lists hold keys' and key sets' places, which is nobody's business.
    const SPEAKABLE: bool = true;

    /// Whether it is written as tables of its own, `[[section.name]]`.
    const IS_TABLES: bool = false;
}

impl Kind for u64 {
    fn read(value: &Value) -> Result<Self, Vec<Fault>> {
        value.as_integer().and_then(|number| Self::try_from(number).ok()).ok_or_else(|| Fault::whole(""))
    }

    fn value_of(text: &str) -> Result<Value, String> {
        Ok(text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer))
    }

    fn write(&self) -> Value {
        // Larger ones are in no range.
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Kind for bool {
    fn read(value: &Value) -> Result<Self, Vec<Fault>> {
        value.as_bool().ok_or_else(|| Fault::whole(""))
    }

    fn value_of(text: &str) -> Result<Value, String> {
        Ok(text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Boolean))
    }

    fn write(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Kind for String {
    fn read(value: &Value) -> Result<Self, Vec<Fault>> {
        value.as_str().map(str::to_owned).ok_or_else(|| Fault::whole("text, in quotes, is meant"))
    }

    fn write(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Kind for SocketAddr {
    fn read(value: &Value) -> Result<Self, Vec<Fault>> {
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| Fault::whole(""))
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Kind for LogFormat {
    fn read(value: &Value) -> Result<Self, Vec<Fault>> {
        match value.as_str() {
            Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => Err(Fault::whole("")),
        }
    }

    fn write(&self) -> Value {
        Value::from(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// A file's or a directory's path; none where it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct File(PathBuf);

impl File {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn given(&self) -> Option<PathBuf> {
        (!self.0.as_os_str().is_empty()).then(|| self.0.clone())
    }
}

impl Kind for File {
    fn read(value: &Value) -> Result<Self, Vec<Fault>> {
        <String as Kind>::read(value).map(|text| Self(text.into()))
    }

    fn write(&self) -> Value {
        Value::String(self.0.to_string_lossy().into_owned())
    }

    fn rebase(&mut self, folder: &Path) {
        if !self.0.as_os_str().is_empty() {
            self.0 = folder.join(&self.0);
        }
    }
}

/// One of `[[auth.key]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct KeyTable {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) file: File,
}

/// One of `[[auth.jwks]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct JwksTable {
    pub(super) url: Option<String>,
    pub(super) file: Option<File>,
    pub(super) algorithms: Vec<Algorithm>,
}

/// One of `[[retention.rule]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct RuleTable {
    pub(super) prefix: String,
    pub(super) records: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) age_ms: Option<u64>,
}

/// What a list has.
pub(super) trait Element: Clone + PartialEq {
    const IS_TABLE: bool = true;

    fn read(value: &Value) -> Result<Self, String>;
    fn write(&self) -> Value;
    fn rebase(&mut self, _folder: &Path) {}
}

impl Element for String {
    const IS_TABLE: bool = false;

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| "must be text, in quotes".to_owned())
    }

    fn write(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Element for KeyTable {
    fn read(value: &Value) -> Result<Self, String> {
        read_table(value, &["id", "algorithm", "file"])
    }

    fn write(&self) -> Value {
        let algorithm = Value::from(self.algorithm.word());
        table([
            ("id", self.id.as_ref().map(Kind::write)),
            ("algorithm", Some(algorithm)),
            ("file", Some(self.file.write())),
        ])
    }

    fn rebase(&mut self, folder: &Path) {
        self.file.rebase(folder);
    }
}

impl Element for JwksTable {
    fn read(value: &Value) -> Result<Self, String> {
        read_table(value, &["url", "file", "algorithms"])
    }

    fn write(&self) -> Value {
        let algorithms = self.algorithms.iter().map(|algorithm| Value::from(algorithm.word())).collect();
        table([
            ("url", self.url.as_ref().map(Kind::write)),
            ("file", self.file.as_ref().map(Kind::write)),
            ("algorithms", Some(Value::Array(algorithms))),
        ])
    }

    fn rebase(&mut self, folder: &Path) {
        if let Some(file) = &mut self.file {
            file.rebase(folder);
        }
    }
}

impl Element for RuleTable {
    fn read(value: &Value) -> Result<Self, String> {
        read_table(value, &["prefix", "records", "bytes", "age_ms"])
    }

    fn write(&self) -> Value {
        table([
            ("prefix", Some(Kind::write(&self.prefix))),
            ("records", self.records.as_ref().map(Kind::write)),
            ("bytes", self.bytes.as_ref().map(Kind::write)),
            ("age_ms", self.age_ms.as_ref().map(Kind::write)),
        ])
    }
}

impl<T: Element> Kind for Vec<T> {
    const SPEAKABLE: bool = false;
    const IS_TABLES: bool = T::IS_TABLE;

    fn read(value: &Value) -> Result<Self, Vec<Fault>> {
        let elements = value.as_array().ok_or_else(|| Fault::whole("a list, in [ ], is meant"))?;
        let (mut read, mut faults) = (Self::new(), Vec::new());
        for (index, element) in elements.iter().enumerate() {
            match T::read(element) {
                Ok(element) => read.push(element),
                Err(why) => faults.push(Fault { element: Some(index), why }),
            }
        }
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }

    /// A list as in the file, or its elements with commas between them.
    fn value_of(text: &str) -> Result<Value, String> {
        if text.trim_start().starts_with('[') {
            let parsed = toml::de::ValueDeserializer::parse(text).and_then(Value::deserialize);
            return parsed.map_err(|error| error.message().replace('\n', "; "));
        }
        let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
        Ok(Value::Array(elements.map(Value::from).collect()))
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(Element::write).collect())
    }

    fn rebase(&mut self, folder: &Path) {
        for element in self {
            element.rebase(folder);
        }
    }
}

/// A table with no other names than these.
fn read_table<T: DeserializeOwned>(value: &Value, names: &[&str]) -> Result<T, String> {
    let table = value.as_table().ok_or("must be a table, in { }")?;
    if let Some(unknown) = table.keys().find(|name| !names.contains(&name.as_str())) {
        let near = offer(unknown, names.iter().copied());
        return Err(format!("has no {}{near}: it has {}", unknown.escape_debug(), names.join(", ")));
    }
    T::deserialize(value.clone())
        .map_err(|error| format!("cannot be: {}", error.to_string().trim_end().replace('\n', " ")))
}

fn table<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    let given = entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Table(given.collect())
}
