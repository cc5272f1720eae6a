//! How many sessions each user has, over all shards of a node: the one count that crosses them (requirement R6).

use std::collections::{HashMap, VecDeque};

use crate::id::{SessionId, UserId};
use crate::time::Timestamp;

/// The bounds per user.
#[derive(Clone, Copy, Debug)]
pub struct UserLimits {
    /// Connected sessions. Default 5 (R6).
    pub connected: usize,
    /// Absent ones; beyond it the one that is away longest expires. Default 20: a user's forgotten tabs of an hour.
    pub absent: usize,
}

impl Default for UserLimits {
    fn default() -> Self {
        Self { connected: 5, absent: 20 }
    }
}

/// The counts.
#[derive(Debug)]
pub struct Users {
    limits: UserLimits,
    entries: HashMap<UserId, Entry>,
    connected: usize,
}

#[derive(Debug, Default)]
struct Entry {
    connected: u32,
    /// In the order in which they went; none while there are none, so that a connected user costs little.
    #[expect(clippy::box_collection, reason = "one word per connected user instead of four")]
    absent: Option<Box<VecDeque<(Timestamp, SessionId)>>>,
}

impl Entry {
    fn returned(&mut self, session: &SessionId) {
        if let Some(absent) = &mut self.absent {
            absent.retain(|(_, other)| other != session);
            if absent.is_empty() {
                self.absent = None;
            }
        }
    }
}

impl Users {
    /// Nobody.
    #[must_use]
    pub fn new(limits: UserLimits) -> Self {
        Self { limits, entries: HashMap::new(), connected: 0 }
    }

    /// Other bounds from now on. Who is over one stays.
    pub const fn set_limits(&mut self, limits: UserLimits) {
        self.limits = limits;
    }

    /// A session of the user connects, new or back from absence. False, and nothing changed, at the limit.
    #[must_use]
    pub fn connect(&mut self, user: &UserId, session: &SessionId) -> bool {
        let connected = self.entries.get(user).map_or(0, |entry| entry.connected);
        if connected as usize >= self.limits.connected {
            return false;
        }
        let entry = self.entries.entry(user.clone()).or_default();
        self.connected += usize::from(entry.connected == 0);
        entry.connected += 1;
        entry.returned(session);
        true
    }

    /// A connected session of the user goes. Returns the one that expires for it, if the bound is crossed; that one no
    /// longer counts, so that the next to go names another.
    #[must_use]
    pub fn leave(&mut self, user: &UserId, session: &SessionId, now: Timestamp) -> Option<SessionId> {
        self.close(user);
        let absent = self.absent_of(user);
        absent.push_back((now, session.clone()));
        self.surplus(user)
    }

    /// A session of the user was restored, which is absent since then: in whatever order they are. Returns the one that expires for it.
    #[must_use]
    pub fn restore(&mut self, user: &UserId, session: &SessionId, since: Timestamp) -> Option<SessionId> {
        let absent = self.absent_of(user);
        let place = absent.partition_point(|(other, _)| *other <= since);
        absent.insert(place, (since, session.clone()));
        self.surplus(user)
    }

    fn absent_of(&mut self, user: &UserId) -> &mut VecDeque<(Timestamp, SessionId)> {
        self.entries.entry(user.clone()).or_default().absent.get_or_insert_default()
    }

    /// The one that is away longest, where there are too many.
    fn surplus(&mut self, user: &UserId) -> Option<SessionId> {
        let max = self.limits.absent;
        let absent = self.absent_of(user);
        let oldest = if absent.len() > max { absent.pop_front() } else { None };
        oldest.map(|(_, session)| session)
    }

    /// A connected session of the user ends: it does not become absent. Followed by [`Users::forget`].
    pub fn close(&mut self, user: &UserId) {
        if let Some(entry) = self.entries.get_mut(user) {
            self.connected -= usize::from(entry.connected == 1);
            entry.connected = entry.connected.saturating_sub(1);
        }
    }

    /// An absent session of the user ends.
    pub fn forget(&mut self, user: &UserId, session: &SessionId) {
        if let Some(entry) = self.entries.get_mut(user) {
            entry.returned(session);
            if entry.connected == 0 && entry.absent.is_none() {
                self.entries.remove(user);
            }
        }
    }

    /// How many users have connected sessions.
    #[must_use]
    pub const fn connected(&self) -> usize {
        self.connected
    }

    /// How many users have sessions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> SessionId {
        SessionId::new(name).unwrap()
    }

    #[test]
    fn several_that_go_at_once_name_one_each() {
        let mut users = Users::new(UserLimits { connected: 5, absent: 1 });
        let ann = UserId::new("ann").unwrap();
        let sessions = ["a", "b", "c", "d"].map(session);
        assert!(sessions.iter().all(|session| users.connect(&ann, session)));
        let named: Vec<_> = sessions.iter().map(|session| users.leave(&ann, session, Timestamp(0))).collect();
        assert_eq!(named, [None, Some(session("a")), Some(session("b")), Some(session("c"))]);
        assert_eq!((users.count(), users.connected()), (1, 0));
    }

    #[test]
    fn of_those_that_are_restored_the_oldest_goes_in_whatever_order_they_come() {
        let ann = UserId::new("ann").unwrap();
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [3, 1, 2]] {
            let mut users = Users::new(UserLimits { connected: 5, absent: 2 });
            let restore = |since: u64| users.restore(&ann, &session(&since.to_string()), Timestamp(since));
            assert_eq!(order.map(restore), [None, None, Some(session("1"))], "{order:?}");
        }
    }

    #[test]
    fn limits_hold_and_counts_are_exact_afterwards() {
        let mut users = Users::new(UserLimits { connected: 2, absent: 1 });
        let ann = UserId::new("ann").unwrap();
        let [a, b, c] = ["a", "b", "c"].map(session);
        assert!(users.connect(&ann, &a) && users.connect(&ann, &b));
        assert!(!users.connect(&ann, &c));
        assert_eq!(users.leave(&ann, &a, Timestamp(0)), None);
        assert!(users.connect(&ann, &c));
        assert_eq!(users.leave(&ann, &b, Timestamp(0)), Some(a.clone()));
        users.forget(&ann, &a);
        assert!(users.connect(&ann, &b));
        assert_eq!(users.leave(&ann, &b, Timestamp(0)), None);
        assert_eq!(users.leave(&ann, &c, Timestamp(0)), Some(b.clone()));
        users.forget(&ann, &b);
        users.forget(&ann, &c);
        assert_eq!((users.count(), users.connected()), (0, 0));
    }
}
