//! Why a token is refused: in words that hold nothing of it, since they go to the client and to the log.

use moorline::{AuthenticateError, Names, PatternError, Token};

/// What is wrong with JSON in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JsonFault {
    #[error("is not a JSON object")]
    NotAnObject,
    #[error("is nested too deep")]
    TooDeep,
    #[error("has a name twice")]
    Twice,
}

/// What is wrong with one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimFault {
    #[error("is missing")]
    Missing,
    #[error("is not a string")]
    NotAString,
    #[error("is not a time in seconds")]
    NotATime,
    #[error("is not a string or an array of strings")]
    NotStrings,
    #[error("is not an id: 1 to 128 bytes without control characters")]
    NotAnId,
    #[error("lies in the future")]
    Future,
    #[error("is further from iat than a token may live here")]
    TooFar,
    #[error("is not meant for this server")]
    NotOurs,
    #[error("{0}")]
    Json(#[from] JsonFault),
    #[error("has a name that is none of join, publish and session")]
    UnknownGrant,
    #[error("has a grant that is not an array of up to {} strings", Names::PATTERNS_MAX)]
    NotPatterns,
    #[error("has a pattern that {0}")]
    Pattern(#[from] PatternError),
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the token is longer than {} bytes", Token::MAX_BYTES)]
    TooLong,
    #[error("the token does not have three parts")]
    Parts,
    #[error("the token's {0} is not base64url without padding")]
    Encoding(&'static str),
    #[error("the token's header {0}")]
    Header(JsonFault),
    #[error("the header's alg is none of HS256, HS384, HS512, RS256, ES256 and EdDSA")]
    Algorithm,
    #[error("the header's typ is neither JWT nor at+jwt")]
    Kind,
    #[error("the header's kid is not a string of 1 to 256 bytes")]
    KeyId,
    #[error("the header has {0}, which is not accepted")]
    Parameter(&'static str),
    #[error("the token names no key that is known here")]
    UnknownKey,
    #[error("the token names no key, and there is not just one here")]
    NoKeyId,
    #[error("the header's alg is not the algorithm of its key")]
    OtherAlgorithm,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token's claims: the JSON {0}")]
    Claims(JsonFault),
    #[error("the token has expired")]
    Expired,
    /// A claim, by its name here: never what stands in it.
    #[error("the claim {0} {1}")]
    Claim(String, ClaimFault),
}

impl From<Refusal> for AuthenticateError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.to_string())
    }
}

/// A claim and what is wrong with it.
pub(super) fn claim(name: &str, fault: impl Into<ClaimFault>) -> Refusal {
    Refusal::Claim(name.to_owned(), fault.into())
}
