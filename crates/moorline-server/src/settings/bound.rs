//! What a value may be.

use moorline::Pattern;

use super::kind::{Element, Fault, File, JwksTable, KeyTable, RuleTable};

/// A range, or whatever else bounds a value.
pub(super) trait Bound<T> {
    /// In words that follow "it may be".
    fn words(&self) -> String;

    /// Says what is wrong.
    fn check(&self, value: &T) -> Result<(), Vec<Fault>>;
}

/// A number, both ends included.
pub(super) struct Between(pub(super) u64, pub(super) u64);

/// 0, or a number from the first to the second.
pub(super) struct ZeroOr(pub(super) u64, pub(super) u64);

/// A number up to this; 0 switches the setting off.
pub(super) struct OffTo(pub(super) u64);

/// A number, and another setting that it must not be below.
pub(super) struct BetweenAnd(pub(super) Between, pub(super) &'static str);

/// Whatever has the kind. In words.
pub(super) struct Any(pub(super) &'static str);

/// One of these.
pub(super) struct Words(pub(super) &'static [&'static str]);

/// Text of so many bytes, without control characters.
pub(super) struct Text(pub(super) usize, pub(super) usize);

/// A cookie's name, or nothing.
pub(super) struct Cookie;

/// A list: at least, at most, what its elements are, and what is wrong with one.
pub(super) struct List<T>(
    pub(super) usize,
    pub(super) usize,
    pub(super) &'static str,
    pub(super) fn(&T) -> Result<(), String>,
);

fn sure(holds: bool) -> Result<(), Vec<Fault>> {
    if holds { Ok(()) } else { Err(Fault::whole("")) }
}

impl Bound<u64> for Between {
    fn words(&self) -> String {
        format!("{} to {}", self.0, self.1)
    }

    fn check(&self, value: &u64) -> Result<(), Vec<Fault>> {
        sure((self.0..=self.1).contains(value))
    }
}

impl Bound<u64> for ZeroOr {
    fn words(&self) -> String {
        format!("0, or {} to {}", self.0, self.1)
    }

    fn check(&self, value: &u64) -> Result<(), Vec<Fault>> {
        sure(*value == 0 || (self.0..=self.1).contains(value))
    }
}

impl Bound<u64> for OffTo {
    fn words(&self) -> String {
        format!("0 (off) to {}", self.0)
    }

    fn check(&self, value: &u64) -> Result<(), Vec<Fault>> {
        sure(*value <= self.0)
    }
}

impl Bound<u64> for BetweenAnd {
    fn words(&self) -> String {
        format!("{}, at least {}", self.0.words(), self.1)
    }

    fn check(&self, value: &u64) -> Result<(), Vec<Fault>> {
        self.0.check(value)
    }
}

impl<T> Bound<T> for Any {
    fn words(&self) -> String {
        self.0.to_owned()
    }

    fn check(&self, _value: &T) -> Result<(), Vec<Fault>> {
        Ok(())
    }
}

impl Bound<String> for Words {
    fn words(&self) -> String {
        self.0.join(", ")
    }

    fn check(&self, value: &String) -> Result<(), Vec<Fault>> {
        sure(self.0.contains(&value.as_str()))
    }
}

impl Bound<String> for Text {
    fn words(&self) -> String {
        format!("{} to {} bytes without control characters", self.0, self.1)
    }

    fn check(&self, value: &String) -> Result<(), Vec<Fault>> {
        sure((self.0..=self.1).contains(&value.len()) && !value.chars().any(char::is_control))
    }
}

impl Bound<String> for Cookie {
    fn words(&self) -> String {
        "a cookie's name, up to 128 letters, digits and any of !#$%&'*+-.^_`|~".to_owned()
    }

    fn check(&self, value: &String) -> Result<(), Vec<Fault>> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        sure(value.len() <= 128 && value.bytes().all(token))
    }
}

impl<T: Element> Bound<Vec<T>> for List<T> {
    fn words(&self) -> String {
        let least = if self.0 > 0 { format!(", at least {}", self.0) } else { String::new() };
        format!("a list of up to {} {}{least}", self.1, self.2)
    }

    fn check(&self, value: &Vec<T>) -> Result<(), Vec<Fault>> {
        if !(self.0..=self.1).contains(&value.len()) {
            return Err(Fault::whole(format!("it has {} elements", value.len())));
        }
        let faults: Vec<Fault> = value
            .iter()
            .enumerate()
            .filter_map(|(index, element)| {
                Some(Fault { element: Some(index), why: (self.3)(element).err()? })
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// An element of text with something in it.
pub(super) fn text(element: &str) -> Result<(), String> {
    let good = (1..=256).contains(&element.len()) && !element.chars().any(char::is_control);
    if good { Ok(()) } else { Err("must have 1 to 256 bytes and no control characters".to_owned()) }
}

pub(super) fn origin(element: &String) -> Result<(), String> {
    let parsed = crate::http::origin::Origins::parse(std::slice::from_ref(element));
    parsed.map(|_| ()).map_err(|error| format!("cannot be: {error}"))
}

pub(super) fn network(element: &String) -> Result<(), String> {
    super::resolve::network(element).map(|_| ()).ok_or_else(|| {
        format!("is {element:?}: it is an address or a network, like 10.0.0.1, 10.0.0.0/8 or fd00::/8")
    })
}

pub(super) fn pattern(element: &String) -> Result<(), String> {
    Pattern::new(element).map(|_| ()).map_err(|error| format!("is {element:?}: a pattern {error}"))
}

pub(super) fn key(element: &KeyTable) -> Result<(), String> {
    if let Some(id) = &element.id {
        text(id).map_err(|why| format!("has an id: it {why}"))?;
    }
    named(&element.file)
}

pub(super) fn jwks(element: &JwksTable) -> Result<(), String> {
    if element.algorithms.is_empty() {
        return Err("has no algorithms: name those that its keys may be used for".to_owned());
    }
    match (&element.url, &element.file) {
        (Some(url), None) => {
            let fetchable = crate::auth::fetchable(url);
            fetchable.map(|_| ()).map_err(|why| format!("has a url that cannot be: it {why}"))
        }
        (None, Some(file)) => named(file),
        _ => Err("must have a url or a file, one of the two".to_owned()),
    }
}

pub(super) fn rule(element: &RuleTable) -> Result<(), String> {
    let prefix = &element.prefix;
    if prefix.is_empty() || prefix.len() > moorline::RoomName::MAX_BYTES || prefix.starts_with('@') {
        let most = moorline::RoomName::MAX_BYTES;
        return Err(format!("must have a prefix of 1 to {most} bytes that does not begin with @"));
    }
    let within = |name, value: Option<u64>, bound: Between| match value {
        Some(value) if bound.check(&value).is_err() => {
            Err(format!("has {name} = {value}: it may be {}", bound.words()))
        }
        _ => Ok(()),
    };
    within("records", element.records, Between(1, 1_000_000))?;
    within("bytes", element.bytes, Between(1_024, super::raw::GIB))?;
    within("age_ms", element.age_ms, Between(1_000, 7 * super::raw::DAY))
}

fn named(file: &File) -> Result<(), String> {
    file.given().map(|_| ()).ok_or_else(|| "has an empty file: name one".to_owned())
}
