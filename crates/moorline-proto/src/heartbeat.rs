//! When to ping a peer, and when to give it up (requirements R18 to R20).

use std::time::Duration;

use crate::time::Instant;

/// How patient a node is. All four policies of the sources are values of these fields.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How often every peer is pinged. Default 30 s (R18).
    pub interval: Duration,
    /// How long a peer may show no sign of life. Default 90 s (R19).
    pub idle_timeout: Duration,
    /// How long a ping may stay unanswered; none (the default) leaves it to `idle_timeout`.
    pub pong_timeout: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), idle_timeout: Duration::from_secs(90), pong_timeout: None }
    }
}

impl Policy {
    /// The least time to answer a ping before idleness counts as death: a phone that wakes its radio needs a second.
    const GRACE_MIN: Duration = Duration::from_secs(1);
    /// The time to answer the extra ping that is sent where idleness is allowed for less than a ping interval.
    const GRACE_MAX: Duration = Duration::from_secs(10);

    /// How long a peer has to answer before `idle_timeout` may end it, so that no value of it drops a healthy one.
    fn grace(&self) -> Duration {
        match self.pong_timeout {
            Some(timeout) => timeout,
            None if self.idle_timeout < self.interval => Self::GRACE_MAX,
            None => self.interval.clamp(Self::GRACE_MIN, Self::GRACE_MAX),
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until [`Heartbeat::next`].
    Wait,
    /// Ping it; the ping counts as sent.
    Ping,
    /// It is dead.
    Dead,
}

/// One connection's liveness.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    last_seen: Instant,
    next_ping: Instant,
    last_ping: Option<Instant>,
    last_pong: Option<Instant>,
    /// The first ping since the last sign of life.
    unanswered: Option<Instant>,
    round_trip_us: u32,
    missed: u32,
}

impl Heartbeat {
    /// A later look than this past a deadline means that we were the ones who slept: then the peer gets another ping.
    const OVERSLEPT: Duration = Duration::from_secs(2);

    /// A connection that begins now.
    #[must_use]
    pub fn new(now: Instant, policy: &Policy) -> Self {
        Self {
            last_seen: now,
            next_ping: now + policy.interval,
            last_ping: None,
            last_pong: None,
            unanswered: None,
            round_trip_us: 0,
            missed: 0,
        }
    }

    /// Anything was received.
    pub fn seen(&mut self, now: Instant) {
        self.last_seen = now;
        self.unanswered = None;
        self.missed = 0;
    }

    /// An answer to a ping was received: a pong of either kind.
    pub fn ponged(&mut self, now: Instant) {
        // A ping has two answers, of either kind: the first one tells the time.
        if let Some(sent) = self.last_ping.filter(|&sent| self.last_pong.is_none_or(|pong| pong < sent)) {
            self.round_trip_us = u32::try_from(now.since(sent).as_micros()).unwrap_or(u32::MAX).max(1);
        }
        self.last_pong = Some(now);
        self.seen(now);
    }

    /// What to do now.
    pub fn due(&mut self, now: Instant, policy: &Policy) -> Action {
        let dead_at = self.dead_at(policy);
        if dead_at.is_some_and(|at| now >= at && now.since(at) <= Self::OVERSLEPT) {
            return Action::Dead;
        }
        let overslept = dead_at.is_some_and(|at| now >= at);
        let idle = self.unanswered.is_none() && now >= self.last_seen + policy.idle_timeout;
        if !overslept && !idle && now < self.next_ping {
            return Action::Wait;
        }
        if overslept {
            self.unanswered = None;
        }
        self.unanswered.get_or_insert(now);
        self.last_ping = Some(now);
        self.next_ping = now + policy.interval;
        self.missed = self.missed.saturating_add(1);
        Action::Ping
    }

    /// When to look again.
    #[must_use]
    pub fn next(&self, policy: &Policy) -> Instant {
        let end = self.dead_at(policy).unwrap_or(self.last_seen + policy.idle_timeout);
        self.next_ping.min(end)
    }

    /// When an unanswered ping becomes death: at the pong timeout, or at the idle timeout once there was time to answer.
    fn dead_at(&self, policy: &Policy) -> Option<Instant> {
        let sent = self.unanswered?;
        let idle = (self.last_seen + policy.idle_timeout).max(sent + policy.grace());
        Some(policy.pong_timeout.map_or(idle, |timeout| idle.min(sent + timeout)))
    }

    /// The last sign of life.
    #[must_use]
    pub const fn last_seen(&self) -> Instant {
        self.last_seen
    }

    /// The last ping.
    #[must_use]
    pub const fn last_ping(&self) -> Option<Instant> {
        self.last_ping
    }

    /// The last answer to one.
    #[must_use]
    pub const fn last_pong(&self) -> Option<Instant> {
        self.last_pong
    }

    /// How long the last answer took; none before the first.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        if self.round_trip_us == 0 { None } else { Some(Duration::from_micros(self.round_trip_us as u64)) }
    }

    /// Pings since the last sign of life.
    #[must_use]
    pub const fn missed(&self) -> u32 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Instant {
        Instant::default() + SECOND * seconds
    }

    fn policy(interval: u32, idle: u32, pong: Option<u32>) -> Policy {
        Policy {
            interval: SECOND * interval,
            idle_timeout: SECOND * idle,
            pong_timeout: pong.map(|s| SECOND * s),
        }
    }

    /// Runs a peer that answers every ping after `answers_after`, and returns when it was given up.
    fn run(policy: &Policy, answers_after: Option<Duration>, end: Instant) -> Option<Instant> {
        let mut heartbeat = Heartbeat::new(at(0), policy);
        let mut answer: Option<Instant> = None;
        loop {
            let due = heartbeat.next(policy);
            let now = answer.map_or(due, |answer| answer.min(due));
            if now > end {
                return None;
            }
            if answer == Some(now) {
                heartbeat.ponged(now);
                answer = None;
                continue;
            }
            match heartbeat.due(now, policy) {
                Action::Dead => return Some(now),
                Action::Ping => answer = answers_after.map(|after| now + after),
                Action::Wait => panic!("{now:?} was said to be due"),
            }
        }
    }

    #[test]
    fn the_policies_of_the_sources() {
        for (interval, idle, pong, dead) in [
            (30, 90, None, 90),
            (30, 120, None, 120),
            (30, 300, None, 300),
            (30, 300, Some(10), 40),
            (30, 300, Some(60), 90),
            (30, 30, None, 40),
            (30, 5, None, 15),
        ] {
            let policy = policy(interval, idle, pong);
            assert_eq!(run(&policy, None, at(1000)), Some(at(dead)), "{policy:?}");
        }
    }

    #[test]
    fn no_setting_drops_a_healthy_peer() {
        for interval in [1, 7, 30, 600] {
            for idle in [1, 5, 29, 30, 31, 90, 3600] {
                for pong in [None, Some(1), Some(10), Some(60)] {
                    let policy = policy(interval, idle, pong);
                    let answer = Some(Duration::from_millis(900));
                    assert_eq!(run(&policy, answer, at(10_000)), None, "{policy:?}");
                }
            }
        }
    }

    #[test]
    fn who_overslept_asks_again_first() {
        let policy = policy(30, 90, None);
        let mut heartbeat = Heartbeat::new(at(0), &policy);
        assert_eq!(heartbeat.due(at(30), &policy), Action::Ping);
        assert_eq!(heartbeat.due(at(500), &policy), Action::Ping);
        assert_eq!(heartbeat.due(at(509), &policy), Action::Wait);
        assert_eq!(heartbeat.due(at(510), &policy), Action::Dead);
    }

    #[test]
    fn the_round_trip_is_measured() {
        let policy = Policy::default();
        let mut heartbeat = Heartbeat::new(at(0), &policy);
        assert_eq!(heartbeat.due(at(30), &policy), Action::Ping);
        assert_eq!(heartbeat.missed(), 1);
        heartbeat.ponged(at(31));
        assert_eq!(heartbeat.round_trip(), Some(SECOND));
        assert_eq!(heartbeat.missed(), 0);
    }
}
