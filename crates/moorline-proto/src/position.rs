//! Places in a log.

use std::fmt;
use std::str::FromStr;

/// A record's number within its room, `message_id` on the wire. Rises, need not be dense; 0 is before every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// Before every record.
    pub const START: Self = Self(0);
    /// The largest on the wire, so that a JavaScript number holds it: 2^53 − 1.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl serde::Serialize for Offset {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Offset {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if number > Self::MAX.0 {
            return Err(serde::de::Error::custom("a message_id is at most 2^53-1"));
        }
        Ok(Self(number))
    }
}

/// Names one history of a log. Offsets of different epochs do not compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// What no log ever has: stands for an epoch that a client made up.
    pub const UNKNOWN: Self = Self(0);
}

/// Sixteen hexadecimal digits on the wire.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text names no epoch that any log of ours ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an epoch")]
pub struct UnknownEpoch;

impl FromStr for Epoch {
    type Err = UnknownEpoch;
    fn from_str(text: &str) -> Result<Self, UnknownEpoch> {
        let canonical =
            text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !canonical {
            return Err(UnknownEpoch);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| UnknownEpoch)
    }
}

impl serde::Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How far a reader has come in a room: everything up to and including `offset` of that epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Position {
    /// Which history.
    pub epoch: Epoch,
    /// How far in it.
    #[serde(rename = "message_id")]
    pub offset: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_survives_the_wire() {
        let epoch = Epoch(0x00ab_cdef);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        for wrong in ["", "1", "+0000000000abcde", "0000000000ABCDEF", "00000000000000000"] {
            assert_eq!(wrong.parse::<Epoch>(), Err(UnknownEpoch));
        }
    }

    #[test]
    fn an_offset_fits_a_javascript_number() {
        assert!(serde_json::from_str::<Offset>("9007199254740991").is_ok());
        for wrong in ["9007199254740992", "-1", "1.5", "\"1\"", "1e3"] {
            assert!(serde_json::from_str::<Offset>(wrong).is_err(), "{wrong}");
        }
    }
}
