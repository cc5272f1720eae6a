//! How long it took.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;

/// Longer waits are counted as this long.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Three figures are kept of each wait.
const FIGURES: u8 = 3;

/// Waits, in microseconds. Many tasks write at once, so each writes to one of several histograms.
pub(super) struct Latency(Vec<Mutex<Histogram<u64>>>);

impl Latency {
    /// # Errors
    /// The bounds above cannot be.
    pub(super) fn new(parts: usize) -> Result<Self, hdrhistogram::CreationError> {
        let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
        let part = || Histogram::new_with_bounds(1, longest, FIGURES).map(Mutex::new);
        (0..parts.max(1)).map(|_| part()).collect::<Result<_, _>>().map(Self)
    }

    /// Counts a wait; `who` waited.
    pub(super) fn record(&self, who: usize, micros: u64) {
        if let Some(part) = self.0.get(who % self.0.len()) {
            part.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
        }
    }

    /// Of all waits; none where there were none.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let mut all: Option<Histogram<u64>> = None;
        for part in &self.0 {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut all {
                None => all = Some(part.clone()),
                // All have the same bounds, so nothing can be out of them.
                Some(all) => all.add(&*part).ok()?,
            }
        }
        all.filter(|all| !all.is_empty()).map(|all| Quantiles::of(&all))
    }
}

/// So many of a hundred waits were no longer than that, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quantiles {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

impl Quantiles {
    fn of(all: &Histogram<u64>) -> Self {
        let at = |quantile| all.value_at_quantile(quantile);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: all.max() }
    }

    /// In milliseconds.
    pub(super) fn json(&self) -> serde_json::Value {
        let [p50, p90, p99, p999, max] =
            [self.p50, self.p90, self.p99, self.p999, self.max].map(|micros| micros as f64 / 1_000.0);
        json!({ "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max })
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p90, p99, max] = [self.p50, self.p90, self.p99, self.max].map(shown);
        write!(f, "p50 {p50}, p90 {p90}, p99 {p99}, max {max}")
    }
}

/// Microseconds, for people.
fn shown(micros: u64) -> String {
    let millis = micros as f64 / 1_000.0;
    match micros {
        ..10_000 => format!("{millis:.2} ms"),
        10_000..100_000 => format!("{millis:.1} ms"),
        100_000..10_000_000 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_waits_whoever_waited() {
        let latency = Latency::new(4).unwrap();
        assert_eq!(latency.quantiles(), None);
        for micros in 1..=1_000 {
            latency.record(usize::try_from(micros).unwrap(), micros);
        }
        let Quantiles { p50, p90, p99, p999, max } = latency.quantiles().unwrap();
        assert_eq!((p50, p90, p99, p999, max), (500, 900, 990, 999, 1_000));
    }

    #[test]
    fn a_wait_without_end_counts_as_the_longest() {
        let latency = Latency::new(1).unwrap();
        latency.record(0, u64::MAX);
        let longest = u64::try_from(LONGEST.as_micros()).unwrap();
        assert!(latency.quantiles().unwrap().max >= longest);
    }

    #[test]
    fn waits_are_shown_with_three_figures() {
        let table = [
            (1, "0.00 ms"),
            (1_234, "1.23 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (12_345_678, "12.3 s"),
        ];
        for (micros, expected) in table {
            assert_eq!(shown(micros), expected);
        }
    }
}
