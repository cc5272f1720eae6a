//! When to try again: full jitter, so that clients that were sent away together do not come back together.

use std::time::Duration;

/// The bound of the first delay.
const FIRST: Duration = Duration::from_secs(1);
/// The bound of every later one.
const LONGEST: Duration = Duration::from_secs(30);

/// Delays between attempts: uniform between nothing and a bound that doubles from 1 s to 30 s.
#[derive(Debug)]
pub(super) struct Backoff {
    random: u64,
    attempts: u32,
}

impl Backoff {
    pub(super) const fn new(seed: u64) -> Self {
        Self { random: seed, attempts: 0 }
    }

    /// It worked: the next delay is a first one.
    pub(super) const fn reset(&mut self) {
        self.attempts = 0;
    }

    pub(super) fn next(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.attempts.min(5)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.draw() % (millis + 1))
    }

    /// SplitMix64: small, seeded, and good enough to spread attempts.
    const fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_under_a_bound_that_doubles_and_begins_anew() {
        let mut longest = [Duration::ZERO; 8];
        for seed in 0..400 {
            let mut backoff = Backoff::new(seed);
            for longest in &mut longest {
                *longest = backoff.next().max(*longest);
            }
            backoff.reset();
            assert!(backoff.next() <= FIRST);
        }
        for (attempt, bound) in [1, 2, 4, 8, 16, 30, 30, 30].into_iter().enumerate() {
            let bound = Duration::from_secs(bound);
            assert!(longest[attempt] <= bound && longest[attempt] > bound.mul_f64(0.9), "{attempt}");
        }
    }
}
