//! JSON objects of which every name stands once.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::refusal::JsonFault;

/// An object's values, unparsed, by their unescaped names.
pub(super) struct Object<'a> {
    values: BTreeMap<String, &'a RawValue>,
    is_twice: bool,
}

impl<'a> Object<'a> {
    /// Parses a whole text as one object.
    ///
    /// # Errors
    /// It is none, is nested too deep, or has a name twice.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, JsonFault> {
        moorline::check_depth(text).map_err(|_deep| JsonFault::TooDeep)?;
        let object: Self = serde_json::from_slice(text).map_err(|_other| JsonFault::NotAnObject)?;
        if object.is_twice { Err(JsonFault::Twice) } else { Ok(object) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The text of a value.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.values.get(name).map(|value| value.get())
    }

    /// A value of that type; `fault` where it is of another.
    pub(super) fn value<T: DeserializeOwned, E>(&self, name: &str, fault: E) -> Result<Option<T>, E> {
        self.text(name).map(serde_json::from_str).transpose().map_err(|_kind| fault)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut object = Object { values: BTreeMap::new(), is_twice: false };
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value::<&RawValue>()?;
            object.is_twice |= object.values.insert(name, value).is_some();
        }
        Ok(object)
    }
}
