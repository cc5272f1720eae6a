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

/// The hashes that resume a session: of the token handed out last, and of the one that was presented for it. The old one
/// works until the new one has been presented, so a client that never saw the answer is not locked out.
#[derive(Clone, Copy, Debug)]
pub struct TokenPair {
    current: TokenHash,
    presented: Option<TokenHash>,
}

impl TokenPair {
    /// For a new session.
    #[must_use]
    pub const fn new(current: TokenHash) -> Self {
        Self { current, presented: None }
    }

    /// Whether `token` resumes the session.
    #[must_use]
    pub fn accepts(&self, token: &ResumeToken) -> bool {
        let hash = token.hash();
        // Both are always compared, so that the time says nothing.
        let current = self.current.matches(&hash);
        let presented = self.presented.is_some_and(|old| old.matches(&hash));
        current | presented
    }

    /// The pair after a resume with `presented`, answered by a token with the hash `next`. An owner who resumes without
    /// a token keeps the one handed out last valid until the new one is presented.
    #[must_use]
    pub fn rotated(&self, presented: Option<&ResumeToken>, next: TokenHash) -> Self {
        let kept = presented.map_or(self.current, ResumeToken::hash);
        Self { current: next, presented: Some(kept) }
    }

    /// The hash of the token handed out last, and of the one that still works beside it, for a store.
    #[must_use]
    pub const fn hashes(&self) -> (TokenHash, Option<TokenHash>) {
        (self.current, self.presented)
    }

    /// The pair that a store kept.
    #[must_use]
    pub const fn stored(current: TokenHash, presented: Option<TokenHash>) -> Self {
        Self { current, presented }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_token_works_until_the_new_one_is_presented() {
        let [a, b, c] = [1, 2, 3].map(|n| ResumeToken::from_random([n; 32]));
        let pair = TokenPair::new(a.hash());
        assert!(pair.accepts(&a) && !pair.accepts(&b));
        let pair = pair.rotated(Some(&a), b.hash());
        assert!(pair.accepts(&a) && pair.accepts(&b));
        let pair = pair.rotated(Some(&b), c.hash());
        assert!(!pair.accepts(&a) && pair.accepts(&b) && pair.accepts(&c));
        assert!(!pair.accepts(&ResumeToken::presented(&"x".repeat(4096))));
    }

    #[test]
    fn a_token_says_nothing_in_debug() {
        assert_eq!(format!("{:?}", ResumeToken::from_random([7; 32])), "ResumeToken(…)");
    }
}
