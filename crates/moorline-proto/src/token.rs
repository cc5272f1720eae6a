//! Resume tokens: 256 random bits, of which the server keeps only hashes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What proves that a client owns a session. Never logged: its `Debug` says nothing.
#[derive(Clone)]
pub struct ResumeToken(String);

impl std::fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeToken(…)")
    }
}

impl ResumeToken {
    /// The longest text that is looked at; what we hand out has 43 characters.
    pub const MAX_BYTES: usize = 128;

    /// A token from 256 bits of the operating system's randomness.
    #[must_use]
    pub fn from_random(bits: [u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bits))
    }

    /// What a client presents; checked by its hash alone. Text that is too long cannot match, so it becomes empty.
    #[must_use]
    pub fn presented(text: &str) -> Self {
        if text.len() > Self::MAX_BYTES { Self(String::new()) } else { Self(text.to_owned()) }
    }

    /// The text for the client.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its hash, for the server to keep.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

/// The SHA-256 of a resume token.
#[derive(Clone, Copy, Debug)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The hashes that resume a session: of the two tokens handed out last, and of the one that was presented for them. The
/// old one works until a newer one has been presented, so a client that never saw an answer is not locked out; and where a
/// delayed hello with the old one comes after it, neither is a client that holds what was handed out before that.
#[derive(Clone, Debug)]
pub struct TokenSet {
    current: TokenHash,
    /// None for a session that was never resumed, as most are.
    others: Option<Box<Others>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Others {
    earlier: Option<TokenHash>,
    presented: Option<TokenHash>,
}

impl TokenSet {
    /// For a new session.
    #[must_use]
    pub const fn new(current: TokenHash) -> Self {
        Self { current, others: None }
    }

    fn others(&self) -> Others {
        self.others.as_deref().copied().unwrap_or_default()
    }

    /// Whether `token` resumes the session.
    #[must_use]
    pub fn accepts(&self, token: &ResumeToken) -> bool {
        let hash = token.hash();
        // All are always compared, so that the time says nothing.
        self.handed_out(&hash) | self.others().presented.is_some_and(|old| old.matches(&hash))
    }

    fn handed_out(&self, hash: &TokenHash) -> bool {
        let earlier = self.others().earlier.is_some_and(|earlier| earlier.matches(hash));
        self.current.matches(hash) | earlier
    }

    /// The set after a resume, by `presented` or by the session's owner without one, answered by a token with the hash
    /// `next`. A token that the set does not accept is not taken in.
    #[must_use]
    pub fn rotated(&self, presented: Option<&ResumeToken>, next: TokenHash) -> Self {
        match presented.map(ResumeToken::hash).filter(|hash| self.handed_out(hash)) {
            Some(seen) => Self::stored(next, [None, Some(seen)]),
            None => Self::stored(next, [Some(self.current), self.others().presented]),
        }
    }

    /// The hashes for a store: handed out last, handed out before that, presented.
    #[must_use]
    pub fn hashes(&self) -> (TokenHash, [Option<TokenHash>; 2]) {
        let Others { earlier, presented } = self.others();
        (self.current, [earlier, presented])
    }

    /// The set that a store kept.
    #[must_use]
    pub fn stored(current: TokenHash, [earlier, presented]: [Option<TokenHash>; 2]) -> Self {
        let are_any = earlier.is_some() || presented.is_some();
        Self { current, others: are_any.then(|| Box::new(Others { earlier, presented })) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_token_works_until_the_new_one_is_presented() {
        let [a, b, c] = [1, 2, 3].map(|n| ResumeToken::from_random([n; 32]));
        let set = TokenSet::new(a.hash());
        assert!(set.accepts(&a) && !set.accepts(&b));
        let set = set.rotated(Some(&a), b.hash());
        assert!(set.accepts(&a) && set.accepts(&b));
        let set = set.rotated(Some(&b), c.hash());
        assert!(!set.accepts(&a) && set.accepts(&b) && set.accepts(&c));
        assert!(!set.accepts(&ResumeToken::presented(&"x".repeat(4096))));
    }

    #[test]
    fn a_late_hello_with_the_old_token_does_not_void_the_newer_one() {
        let [a, b, c, junk] = [1, 2, 3, 4].map(|n| ResumeToken::from_random([n; 32]));
        let set = TokenSet::new(a.hash()).rotated(Some(&a), b.hash()).rotated(Some(&a), c.hash());
        assert!(set.accepts(&a) && set.accepts(&b) && set.accepts(&c));
        let seen = set.rotated(Some(&b), ResumeToken::from_random([5; 32]).hash());
        assert!(!seen.accepts(&a) && seen.accepts(&b) && !seen.accepts(&c));
        let owner = set.rotated(Some(&junk), ResumeToken::from_random([6; 32]).hash());
        assert!(!owner.accepts(&junk) && owner.accepts(&a) && owner.accepts(&c));
    }

    #[test]
    fn a_token_says_nothing_in_debug() {
        assert_eq!(format!("{:?}", ResumeToken::from_random([7; 32])), "ResumeToken(…)");
    }
}
