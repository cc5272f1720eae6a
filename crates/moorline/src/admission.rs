//! Connections that are not established yet: few, so that strangers cost little.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_proto::error::{ErrorCode, Rejection};

use crate::throttle::{Meters, network};

/// How many there are, together and of each address.
#[derive(Debug, Default)]
pub(crate) struct Unestablished(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Leave to be one of them, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    of: Arc<Unestablished>,
    address: Option<IpAddr>,
}

/// When to come back where too many are on their way already: most are established, or gone, by then.
const COME_BACK_IN: Duration = Duration::from_secs(1);

impl Unestablished {
    /// One more.
    ///
    /// # Errors
    /// Which limit it would cross, and when to come back.
    pub(crate) fn admit(
        self: &Arc<Self>,
        meters: &Meters,
        address: Option<IpAddr>,
    ) -> Result<Admission, Rejection> {
        address.map_or(Ok(()), |address| meters.handshake_from(address))?;
        let address = address.map(network);
        let limits = meters.limits();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= limits.unestablished_max {
            return Err(full(ErrorCode::Overloaded, "unestablished_max"));
        }
        if let Some(address) = address {
            let count = counts.by_address.entry(address).or_default();
            if *count >= limits.address_unestablished_max {
                return Err(full(ErrorCode::RateLimited, "address_unestablished_max"));
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Admission { of: Arc::clone(self), address })
    }
}

fn full(code: ErrorCode, limit: &'static str) -> Rejection {
    metrics::counter!("moorline_refused_total", "limit" => limit).increment(1);
    let why = format!("too many connections are being established: the limit is limits.{limit}");
    Rejection::new(code, why).retry_in(COME_BACK_IN)
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(address) = self.address
            && let Some(count) = counts.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

    use super::*;
    use crate::limits::Limits;
    use crate::throttle::Rates;

    #[test]
    fn places_are_bounded_and_given_back() {
        let limits = Limits { unestablished_max: 3, address_unestablished_max: 2, ..Limits::default() };
        let meters = Rates::new(limits).current();
        let all = Arc::new(Unestablished::default());
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let code = |address| all.admit(&meters, Some(address)).map_err(|rejection| rejection.code);
        let held = [code(one).unwrap(), code(one).unwrap()];
        assert_eq!(code(one).unwrap_err(), ErrorCode::RateLimited);
        let last = code(other).unwrap();
        assert_eq!(code(other).unwrap_err(), ErrorCode::Overloaded);
        drop(last);
        assert!(code(other).is_ok());
        drop(held);
        assert!(all.0.lock().unwrap().by_address.is_empty());
        assert_eq!(all.0.lock().unwrap().all, 0);
    }
}
