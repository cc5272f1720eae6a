//! Counting what clients do against their limits (requirement R23).

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::id::UserId;

use crate::limits::{Limits, Rate};

/// How many users or addresses are counted at once, in some 50 MB. Those that were quiet are forgotten every few seconds; while
/// there are more, the bounds of each connection, and of those that are not established, are all that counts.
const KEYS_MAX: usize = 500_000;
/// How many frames in a row are refused before the connection is closed: whoever does not listen is not worth answering.
const REFUSED_MAX: u32 = 100;

/// The limits in force, and what counts against them. Shared by a node's connections.
#[derive(Debug)]
pub(crate) struct Rates(RwLock<Arc<Meters>>);

/// One set of limits with its counts: replaced as a whole.
#[derive(Debug)]
pub(crate) struct Meters {
    limits: Limits,
    user_messages: Option<Keyed<UserId>>,
    address_messages: Option<Keyed<IpAddr>>,
    address_handshakes: Option<Keyed<IpAddr>>,
    user_handshakes: Option<Keyed<UserId>>,
}

/// Counts for each of many.
#[derive(Debug)]
struct Keyed<K: Clone + Eq + Hash> {
    limiter: RateLimiter<K, HashMapStateStore<K>, DefaultClock>,
    burst: NonZeroU32,
}

impl<K: Clone + Eq + Hash> Keyed<K> {
    fn new(rate: Rate) -> Self {
        Self { limiter: RateLimiter::hashmap(quota(rate)), burst: rate.burst }
    }

    fn check(&self, key: &K, weight: NonZeroU32, limit: &'static str) -> Result<(), Rejection> {
        if self.limiter.len() >= KEYS_MAX {
            return Ok(());
        }
        match self.limiter.check_key_n(key, weight.min(self.burst)) {
            Ok(outcome) => outcome.map_err(|until| exceeded(limit, wait(&until))),
            // It was cut to the burst, so there is no such thing.
            Err(_) => Ok(()),
        }
    }

    fn forget_quiet(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

impl Meters {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            user_messages: limits.user_messages.map(Keyed::new),
            address_messages: limits.address_messages.map(Keyed::new),
            address_handshakes: limits.address_handshakes.map(Keyed::new),
            user_handshakes: limits.user_handshakes.map(Keyed::new),
        }
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// One more handshake from an address.
    pub(crate) fn handshake_from(&self, address: IpAddr) -> Result<(), Rejection> {
        let meter = self.address_handshakes.as_ref();
        meter.map_or(Ok(()), |meter| meter.check(&network(address), NonZeroU32::MIN, "address_handshakes"))
    }

    /// One more handshake of a user.
    pub(crate) fn handshake_of(&self, user: &UserId) -> Result<(), Rejection> {
        let meter = self.user_handshakes.as_ref();
        meter.map_or(Ok(()), |meter| meter.check(user, NonZeroU32::MIN, "user_handshakes"))
    }
}

impl Rates {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(RwLock::new(Arc::new(Meters::new(limits))))
    }

    pub(crate) fn current(&self) -> Arc<Meters> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Other limits from now on. What was counted is forgotten.
    pub(crate) fn replace(&self, limits: Limits) {
        if *self.current().limits() != limits {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Meters::new(limits));
        }
    }

    /// Forgets who has been quiet for long enough to be anybody.
    pub(crate) fn forget_quiet(&self) {
        let meters = self.current();
        meters.user_messages.as_ref().into_iter().for_each(Keyed::forget_quiet);
        meters.user_handshakes.as_ref().into_iter().for_each(Keyed::forget_quiet);
        meters.address_messages.as_ref().into_iter().for_each(Keyed::forget_quiet);
        meters.address_handshakes.as_ref().into_iter().for_each(Keyed::forget_quiet);
    }
}

/// Counts one connection's frames. There is none where no limit was in force when the connection came.
#[derive(Debug)]
pub(crate) struct Throttle {
    rates: Arc<Rates>,
    user: Option<UserId>,
    /// Kept even where addresses are not limited: they may be from now on. In a box, as the task that holds this has 8 bytes to spare.
    address: Option<Box<IpAddr>>,
    own: Option<Box<Own>>,
}

/// A connection's own counts; none before its first frame, since most connections are silent.
#[derive(Debug)]
struct Own {
    meters: Arc<Meters>,
    messages: Option<Direct>,
    bytes: Option<Direct>,
    refused: u32,
}

/// The counts of one thing, which hold no clock of their own.
type Direct = RateLimiter<NotKeyed, InMemoryState, OneClock>;

/// One clock for the counts of all connections: a copy for each would be half of their bytes.
#[derive(Clone, Debug)]
struct OneClock;

static CLOCK: LazyLock<DefaultClock> = LazyLock::new(DefaultClock::default);

impl Clock for OneClock {
    type Instant = <DefaultClock as Clock>::Instant;

    fn now(&self) -> Self::Instant {
        CLOCK.now()
    }
}

impl Throttle {
    pub(crate) fn new(rates: &Arc<Rates>, user: Option<UserId>, address: Option<IpAddr>) -> Option<Self> {
        let meters = rates.current();
        let limits = meters.limits();
        let is_limited = limits.connection_messages.is_some()
            || limits.connection_bytes.is_some()
            || (limits.user_messages.is_some() && user.is_some())
            || (limits.address_messages.is_some() && address.is_some());
        let address = address.map(|address| Box::new(network(address)));
        is_limited.then(|| Self { rates: Arc::clone(rates), user, address, own: None })
    }

    /// One more frame, which counts as `weight`: a publish to many sessions is as many.
    ///
    /// # Errors
    /// Which limit it would cross, and when to come back.
    pub(crate) fn count(&mut self, bytes: usize, weight: usize) -> Result<(), Rejection> {
        let weight = u32::try_from(weight).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let outcome = self.check(bytes, weight);
        if let Some(own) = &mut self.own {
            own.refused = if outcome.is_ok() { 0 } else { own.refused.saturating_add(1) };
        }
        outcome
    }

    /// Whether the client goes on although it is refused.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.refused >= REFUSED_MAX)
    }

    fn check(&mut self, bytes: usize, weight: NonZeroU32) -> Result<(), Rejection> {
        let meters = self.rates.current();
        if self.own.as_ref().is_none_or(|own| !Arc::ptr_eq(&own.meters, &meters)) {
            let direct = |rate: Rate| RateLimiter::direct_with_clock(quota(rate), OneClock);
            let limits = meters.limits();
            // Who did not listen until now may begin anew.
            self.own = Some(Box::new(Own {
                refused: 0,
                messages: limits.connection_messages.map(direct),
                bytes: limits.connection_bytes.map(direct),
                meters: Arc::clone(&meters),
            }));
        }
        if let Some(Own { messages, bytes: weighed, .. }) = self.own.as_deref() {
            let limits = meters.limits();
            if let Some((messages, rate)) = messages.as_ref().zip(limits.connection_messages) {
                check_direct(messages, rate, weight, "connection_messages")?;
            }
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            if let Some((weighed, rate)) = weighed.as_ref().zip(limits.connection_bytes)
                && let Some(bytes) = NonZeroU32::new(bytes)
            {
                check_direct(weighed, rate, bytes, "connection_bytes")?;
            }
        }
        if let Some((meter, user)) = meters.user_messages.as_ref().zip(self.user.as_ref()) {
            meter.check(user, weight, "user_messages")?;
        }
        if let Some((meter, address)) = meters.address_messages.as_ref().zip(self.address.as_deref()) {
            meter.check(address, weight, "address_messages")?;
        }
        Ok(())
    }
}

/// What is larger than all that may come at once waits for all of it.
fn check_direct(
    meter: &Direct,
    rate: Rate,
    weight: NonZeroU32,
    limit: &'static str,
) -> Result<(), Rejection> {
    match meter.check_n(weight.min(rate.burst)) {
        Ok(outcome) => outcome.map_err(|until| exceeded(limit, wait(&until))),
        // It was cut to the burst, so there is no such thing.
        Err(_) => Ok(()),
    }
}

fn quota(rate: Rate) -> Quota {
    Quota::per_second(rate.per_s).allow_burst(rate.burst)
}

fn wait(until: &NotUntil<governor::clock::QuantaInstant>) -> Duration {
    until.wait_time_from(CLOCK.now())
}

/// The answer to what crosses a limit, by the name of its setting.
fn exceeded(limit: &'static str, wait: Duration) -> Rejection {
    metrics::counter!("moorline_refused_total", "limit" => limit).increment(1);
    Rejection::new(ErrorCode::RateLimited, format!("too many: the limit is limits.{limit}_per_s"))
        .retry_in(wait)
}

/// What counts as one address: of IPv6 the 64 bits that one customer has.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

    use super::*;

    fn rate(per_s: u32, burst: u32) -> Option<Rate> {
        Some(Rate { per_s: NonZeroU32::new(per_s).unwrap(), burst: NonZeroU32::new(burst).unwrap() })
    }

    fn throttle(limits: Limits) -> Option<Throttle> {
        Throttle::new(&Arc::new(Rates::new(limits)), UserId::new("ann").ok(), "10.0.0.1".parse().ok())
    }

    #[test]
    fn a_connection_without_limits_costs_nothing() {
        assert!(throttle(Limits::default()).is_none());
    }

    #[test]
    fn r37_a_silent_connection_holds_no_counts_and_one_that_speaks_small_ones() {
        assert_eq!((size_of::<Throttle>(), size_of::<Own>()), (32, 96));
    }

    #[test]
    fn what_is_over_the_burst_is_told_when_to_come_back() {
        let mut throttle = throttle(Limits { connection_messages: rate(1, 3), ..Limits::default() }).unwrap();
        assert!((0..3).all(|_| throttle.count(10, 1).is_ok()));
        let refused = throttle.count(10, 1).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        assert!(refused.message.contains("limits.connection_messages_per_s"), "{refused}");
        assert!((1..=1000).contains(&refused.retry_in_ms().unwrap()), "{refused:?}");
    }

    #[test]
    fn bytes_are_weighed() {
        let mut throttle = throttle(Limits { connection_bytes: rate(1, 100), ..Limits::default() }).unwrap();
        assert!(throttle.count(60, 1).is_ok());
        assert!(throttle.count(60, 1).is_err());
        assert!(throttle.count(40, 1).is_ok());
    }

    #[test]
    fn a_frame_to_many_counts_as_many() {
        let mut throttle =
            throttle(Limits { connection_messages: rate(1, 10), ..Limits::default() }).unwrap();
        assert!(throttle.count(1, 8).is_ok());
        assert!(throttle.count(1, 100).is_err());
        assert!(throttle.count(1, 2).is_ok());
        assert!(throttle.count(1, 1).is_err());
    }

    #[test]
    fn connections_of_one_user_share_its_limit_and_addresses_theirs() {
        for limits in [
            Limits { user_messages: rate(1, 2), ..Limits::default() },
            Limits { address_messages: rate(1, 2), ..Limits::default() },
        ] {
            let rates = Arc::new(Rates::new(limits));
            let new =
                || Throttle::new(&rates, UserId::new("ann").ok(), "::ffff:10.0.0.1".parse().ok()).unwrap();
            let (mut one, mut other) = (new(), new());
            assert!(one.count(1, 1).is_ok() && other.count(1, 1).is_ok());
            assert!(one.count(1, 1).is_err() && other.count(1, 1).is_err());
        }
    }

    #[test]
    fn who_never_listens_is_hopeless() {
        let mut throttle = throttle(Limits { connection_messages: rate(1, 1), ..Limits::default() }).unwrap();
        assert!(throttle.count(1, 1).is_ok());
        let refused = (0..REFUSED_MAX).filter(|_| throttle.count(1, 1).is_err()).count();
        assert_eq!(u32::try_from(refused), Ok(REFUSED_MAX));
        assert!(throttle.is_hopeless());
    }

    #[test]
    fn addresses_count_from_the_moment_at_which_they_are_limited() {
        let rates = Arc::new(Rates::new(Limits { connection_messages: rate(50, 200), ..Limits::default() }));
        let mut throttle = Throttle::new(&rates, None, "10.0.0.1".parse().ok()).unwrap();
        assert!((0..3).all(|_| throttle.count(1, 1).is_ok()));
        rates.replace(Limits { address_messages: rate(1, 2), ..Limits::default() });
        assert!((0..2).all(|_| throttle.count(1, 1).is_ok()));
        assert!(throttle.count(1, 1).unwrap_err().message.contains("limits.address_messages_per_s"));
    }

    #[test]
    fn other_limits_count_at_once() {
        let rates = Arc::new(Rates::new(Limits { connection_messages: rate(1, 1), ..Limits::default() }));
        let mut throttle = Throttle::new(&rates, None, None).unwrap();
        assert!(throttle.count(1, 1).is_ok() && throttle.count(1, 1).is_err());
        rates.replace(Limits::default());
        assert!((0..100).all(|_| throttle.count(1, 1).is_ok()));
    }

    #[test]
    fn an_address_is_a_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
