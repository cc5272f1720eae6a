//! How often each API key may call.

use std::sync::{Arc, Mutex, PoisonError};

use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moorline::{ErrorCode, Rate, Rejection};

use crate::keys::ApiKeys;

/// What each key has used. It holds one entry for each key that has called; whenever the keys are read anew, those that
/// have nothing to wait for are forgotten.
#[derive(Default)]
pub(crate) struct KeyRates(Mutex<Option<Used>>);

struct Used {
    rate: Rate,
    keys: Arc<ApiKeys>,
    limiter: DefaultKeyedRateLimiter<String>,
}

impl KeyRates {
    /// Counts one request.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub(crate) fn count(&self, rate: Option<Rate>, keys: &Arc<ApiKeys>, id: &str) -> Result<(), Rejection> {
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
            let wait = until.wait_time_from(used.limiter.clock().now());
            let why = format!("limits.key_requests_per_s: {} requests per second of one API key", rate.per_s);
            Rejection::new(ErrorCode::RateLimited, why).retry_in(wait)
        })
    }
}

impl Used {
    fn new(rate: Rate, keys: &Arc<ApiKeys>) -> Self {
        let quota = Quota::per_second(rate.per_s).allow_burst(rate.burst);
        Self { rate, keys: Arc::clone(keys), limiter: RateLimiter::keyed(quota) }
    }
}
