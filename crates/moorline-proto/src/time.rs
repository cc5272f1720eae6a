//! Moments. The core never asks for one; the driver passes both kinds in.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::{Duration, UNIX_EPOCH};

/// A monotonic moment: microseconds since the driver's own beginning, from 1 on, so that an `Option` of it costs no more. Decides
/// timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The moment this long after the driver's beginning.
    #[must_use]
    pub fn since_start(elapsed: Duration) -> Self {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    /// How long after the driver's beginning this is.
    #[must_use]
    pub const fn elapsed(self) -> Duration {
        Duration::from_micros(self.0.get() - 1)
    }

    /// How long after `earlier` this is; zero where it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// The driver's beginning.
impl Default for Instant {
    fn default() -> Self {
        Self(NonZeroU64::MIN)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self::since_start(self.elapsed().saturating_add(rhs))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self::since_start(self.elapsed().saturating_sub(rhs))
    }
}

/// A wall-clock moment: milliseconds since 1970, UTC. Shown to people and stored, never subtracted for a timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The last moment that ISO 8601 can write with a four-digit year; later ones are shown as this one.
    const LAST: u64 = 253_402_300_799_999;
}

/// ISO 8601 in UTC with milliseconds, as on the wire: `2026-11-21T12:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = UNIX_EPOCH + Duration::from_millis(self.0.min(Self::LAST));
        humantime::format_rfc3339_millis(at).fmt(f)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Both kinds of moment at once: what a driver passes into a machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// For timeouts.
    pub instant: Instant,
    /// For people.
    pub timestamp: Timestamp,
}

impl Now {
    /// A moment by one clock that is both: virtual time, where nobody sets the wall clock.
    #[must_use]
    pub fn at(timestamp: Timestamp) -> Self {
        Self { instant: Instant::since_start(Duration::from_millis(timestamp.0)), timestamp }
    }

    /// What the wall clock would have shown at an earlier instant, had it not been set since.
    #[must_use]
    pub fn timestamp_of(self, earlier: Instant) -> Timestamp {
        let ago = u64::try_from(self.instant.since(earlier).as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.timestamp.0.saturating_sub(ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_in_iso_8601() {
        assert_eq!(Timestamp(1_704_110_400_000).to_string(), "2024-01-01T12:00:00.000Z");
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn instants_saturate() {
        let start = Instant::default();
        assert_eq!(start - Duration::from_secs(1), start);
        assert_eq!(start.since(start + Duration::from_secs(1)), Duration::ZERO);
    }
}
