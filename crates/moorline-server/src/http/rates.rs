//! How often each API key may call.

use std::sync::{Arc, Mutex, PoisonError};

use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moorline::{ErrorCode, Rate, Rejection};

/// What each key has used. It holds one entry for each key that has called; whenever the keys are read anew, those that
/// have nothing to wait for are forgotten.
pub(crate) struct KeyRates<K>(Mutex<Option<Used<K>>>);

struct Used<K> {
    rate: Rate,
    keys: Arc<K>,
    limiter: DefaultKeyedRateLimiter<String>,
}

impl<K> Default for KeyRates<K> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K> KeyRates<K> {
    /// Counts one request.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub(crate) fn count(&self, rate: Option<Rate>, keys: &Arc<K>, id: &str) -> Result<(), Rejection> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = rate else {
            *used = None;
            return Ok(());
        };
        let used = match &mut *used {
            Some(same) if same.rate == rate => same,
            other => other.insert(Used::new(rate, keys)),
        };
        if !Arc::ptr_eq(&used.keys, keys) {
            used.limiter.retain_recent();
            used.limiter.shrink_to_fit();
            used.keys = Arc::clone(keys);
        }
        used.limiter.check_key(&id.to_owned()).map_err(|until| {
            metrics::counter!("moorline_refused_total", "limit" => "key_requests").increment(1);
            let wait = until.wait_time_from(used.limiter.clock().now());
            let why = format!("limits.key_requests_per_s: {} requests per second of one API key", rate.per_s);
            Rejection::new(ErrorCode::RateLimited, why).retry_in(wait)
        })
    }
}

impl<K> Used<K> {
    fn new(rate: Rate, keys: &Arc<K>) -> Self {
        let quota = Quota::per_second(rate.per_s).allow_burst(rate.burst);
        Self { rate, keys: Arc::clone(keys), limiter: RateLimiter::keyed(quota) }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(burst: u32) -> Option<Rate> {
        Some(Rate { per_s: NonZeroU32::MIN, burst: NonZeroU32::new(burst).unwrap() })
    }

    #[test]
    fn each_key_has_its_own_share() {
        let (rates, keys) = (KeyRates::default(), Arc::new(()));
        for _ in 0..2 {
            rates.count(rate(2), &keys, "a").unwrap();
        }
        let refused = rates.count(rate(2), &keys, "a").unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        assert!(refused.retry_in_ms().is_some_and(|ms| (1..=1_000).contains(&ms)), "{refused:?}");
        rates.count(rate(2), &keys, "b").unwrap();
    }

    #[test]
    fn new_keys_keep_what_was_used_and_a_new_rate_does_not() {
        let (rates, keys) = (KeyRates::default(), Arc::new(()));
        rates.count(rate(1), &keys, "a").unwrap();
        assert!(rates.count(rate(1), &Arc::new(()), "a").is_err());
        rates.count(rate(2), &keys, "a").unwrap();
        rates.count(None, &keys, "a").unwrap();
        rates.count(rate(1), &keys, "a").unwrap();
    }
}
