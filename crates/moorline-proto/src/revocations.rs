//! Which tokens no longer count, although they have not expired (spec/protocol.md, sections 8 and 11).

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use crate::id::UserId;
use crate::identity::{Identity, TokenId};
use crate::time::Timestamp;

/// What is revoked, by token and by user, for as long as it can matter.
#[derive(Debug)]
pub struct Revocations {
    /// How long a token that was issued now can be valid.
    keep: Duration,
    tokens: Kept<TokenId>,
    users: Kept<UserId>,
}

/// There is no room for one more revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} revocations are in force already", Revocations::MAX)]
pub struct RevocationsFull;

/// When each was revoked, and in which order they are forgotten.
#[derive(Debug)]
struct Kept<T> {
    revoked_at: HashMap<T, (Timestamp, u64)>,
    by_age: BTreeMap<(Timestamp, u64), T>,
    count: u64,
}

impl<T: Clone + Eq + Hash> Kept<T> {
    fn new() -> Self {
        Self { revoked_at: HashMap::new(), by_age: BTreeMap::new(), count: 0 }
    }

    fn revoke(&mut self, what: T, now: Timestamp) -> Result<(), RevocationsFull> {
        let known = self.revoked_at.get(&what).copied();
        if known.is_none() && self.by_age.len() >= Revocations::MAX {
            return Err(RevocationsFull);
        }
        // Again is not one more.
        known.map(|known| self.by_age.remove(&known));
        self.count += 1;
        self.by_age.insert((now, self.count), what.clone());
        self.revoked_at.insert(what, (now, self.count));
        Ok(())
    }

    fn forget_until(&mut self, end: Timestamp) {
        while let Some(oldest) = self.by_age.first_entry().filter(|entry| entry.key().0 < end) {
            let what = oldest.remove();
            self.revoked_at.remove(&what);
        }
    }
}

impl Revocations {
    /// How many of users, and how many of tokens, are kept: some 20 MB each at the worst.
    pub const MAX: usize = 100_000;

    /// Nothing is revoked. `keep`: how long a token that was issued now can be valid, tolerance included.
    #[must_use]
    pub fn new(keep: Duration) -> Self {
        Self { keep, tokens: Kept::new(), users: Kept::new() }
    }

    /// From now on the token does not count.
    ///
    /// # Errors
    /// There is no room for one more; nothing was changed.
    pub fn revoke_token(&mut self, token: TokenId, now: Timestamp) -> Result<(), RevocationsFull> {
        self.forget(now);
        self.tokens.revoke(token, now)
    }

    /// From now on no token of the user's counts that was issued until now.
    ///
    /// # Errors
    /// There is no room for one more; nothing was changed.
    pub fn revoke_user(&mut self, user: UserId, now: Timestamp) -> Result<(), RevocationsFull> {
        self.forget(now);
        self.users.revoke(user, now)
    }

    /// Whether an identity no longer counts. Tokens say in seconds when they were issued, so those of the second of the
    /// revocation are.
    #[must_use]
    pub fn cover(&self, identity: &Identity) -> bool {
        let by_token =
            identity.token.as_ref().is_some_and(|token| self.tokens.revoked_at.contains_key(token));
        let revoked_at = identity.user.as_ref().and_then(|user| self.users.revoked_at.get(user));
        by_token
            || revoked_at
                .is_some_and(|(revoked, _)| identity.issued_at.is_none_or(|issued| issued.0 <= revoked.0))
    }

    fn forget(&mut self, now: Timestamp) {
        let keep = u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX);
        let end = Timestamp(now.0.saturating_sub(keep));
        self.tokens.forget_until(end);
        self.users.forget_until(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ann(issued_at: Option<u64>, token: &str) -> Identity {
        Identity {
            issued_at: issued_at.map(Timestamp),
            token: TokenId::new(token).ok(),
            ..Identity::user(UserId::new("ann").unwrap())
        }
    }

    #[test]
    fn what_was_issued_before_is_revoked_and_what_comes_after_is_not() {
        let mut revocations = Revocations::new(HOUR);
        revocations.revoke_user(UserId::new("ann").unwrap(), Timestamp(5_500)).unwrap();
        for (issued, revoked) in
            [(Some(4_000), true), (Some(5_000), true), (Some(6_000), false), (None, true)]
        {
            assert_eq!(revocations.cover(&ann(issued, "t")), revoked, "{issued:?}");
        }
        assert!(!revocations.cover(&Identity::user(UserId::new("bob").unwrap())));
    }

    #[test]
    fn one_token_is_revoked_alone() {
        let mut revocations = Revocations::new(HOUR);
        revocations.revoke_token(TokenId::new("t1").unwrap(), Timestamp(1)).unwrap();
        assert!(revocations.cover(&ann(Some(9_000), "t1")));
        assert!(!revocations.cover(&ann(Some(9_000), "t2")));
    }

    #[test]
    fn a_revocation_is_kept_as_long_as_a_token_can_be_valid() {
        let mut revocations = Revocations::new(HOUR);
        let (first, later) = (TokenId::new("t1").unwrap(), TokenId::new("t2").unwrap());
        revocations.revoke_token(first, Timestamp(0)).unwrap();
        revocations.revoke_token(later.clone(), Timestamp(3_600_000)).unwrap();
        assert!(revocations.cover(&ann(Some(9_000), "t1")));
        revocations.revoke_token(later, Timestamp(3_600_001)).unwrap();
        assert!(!revocations.cover(&ann(Some(9_000), "t1")));
        assert!(revocations.cover(&ann(Some(9_000), "t2")));
    }

    #[test]
    fn a_user_revoked_twice_is_forgotten_after_the_second_time() {
        let mut revocations = Revocations::new(HOUR);
        let user = UserId::new("ann").unwrap();
        revocations.revoke_user(user.clone(), Timestamp(0)).unwrap();
        revocations.revoke_user(user, Timestamp(3_000_000)).unwrap();
        revocations.revoke_user(UserId::new("bob").unwrap(), Timestamp(3_600_001)).unwrap();
        assert!(revocations.cover(&ann(Some(2_000_000), "t")));
    }

    #[test]
    fn revoking_again_is_not_one_more() {
        let mut revocations = Revocations::new(HOUR);
        let user = UserId::new("ann").unwrap();
        for at in 0..=Revocations::MAX as u64 {
            revocations.revoke_user(user.clone(), Timestamp(at)).unwrap();
        }
        assert_eq!(revocations.users.by_age.len(), 1);
    }

    #[test]
    fn there_is_a_bound() {
        let mut revocations = Revocations::new(HOUR);
        for number in 0..Revocations::MAX {
            revocations.revoke_token(TokenId::new(&number.to_string()).unwrap(), Timestamp(0)).unwrap();
        }
        let one_more = TokenId::new("one more").unwrap();
        assert_eq!(revocations.revoke_token(one_more.clone(), Timestamp(0)), Err(RevocationsFull));
        assert_eq!(revocations.revoke_token(one_more, Timestamp(3_600_001)), Ok(()));
    }
}
