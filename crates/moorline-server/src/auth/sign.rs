//! Tokens that this server signs itself.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use humantime::format_duration;
use moorline::{Names, Pattern, Timestamp, Token, UserId};
use serde_json::{Map, Value, json};

use super::claims::{Rules, later};
use super::key::{Key, SigningFailed};
use crate::settings::Algorithm;

/// The shortest life of a token.
const TTL_MIN: Duration = Duration::from_secs(1);

/// What a token shall say.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    pub(crate) user: UserId,
    /// Rooms that may be joined; where there is none, what `auth.join` says counts.
    pub(crate) join: Option<Vec<Pattern>>,
    /// Rooms that may be published to; where there is none, what `auth.publish` says counts.
    pub(crate) publish: Option<Vec<Pattern>>,
    /// Session ids that may be chosen.
    pub(crate) session: Option<Vec<Pattern>>,
    /// How long it counts: 1 s to `auth.lifetime_max_ms`, in whole seconds.
    pub(crate) ttl: Duration,
}

/// A token, and what it says.
#[derive(Clone)]
pub(crate) struct SignedToken {
    pub(crate) token: String,
    /// Its `jti`, by which it can be revoked.
    pub(crate) token_id: String,
    pub(crate) user: UserId,
    pub(crate) expires_at: Timestamp,
}

impl fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedToken").field("token_id", &self.token_id).finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// Answered by `no_authenticator`.
    #[error("no key of auth.key can sign: it needs a secret or a private key")]
    NoKey,
    #[error(
        "a token lives {} to {} (1000 to {} ms, auth.lifetime_max_ms)",
        format_duration(TTL_MIN), format_duration(*.0), .0.as_millis()
    )]
    Ttl(Duration),
    #[error("a grant has up to {} patterns", Names::PATTERNS_MAX)]
    TooManyPatterns,
    #[error("the token would be longer than {} bytes: grant less", Token::MAX_BYTES)]
    TooLong,
    #[error("signing has failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<SigningFailed> for SignError {
    fn from(error: SigningFailed) -> Self {
        Self::Failed(error.into())
    }
}

/// Signs a token that these rules accept from now on.
pub(super) fn sign(
    key: &Key,
    rules: &Rules,
    request: &TokenRequest,
    now: Timestamp,
) -> Result<SignedToken, SignError> {
    if request.ttl < TTL_MIN || request.ttl > rules.lifetime_max {
        return Err(SignError::Ttl(rules.lifetime_max));
    }
    let token_id = uuid::Uuid::new_v4().simple().to_string();
    // Down to whole seconds, which every reader understands: never issued in the future.
    let issued_s = now.0 / 1000;
    let expires_s = issued_s + request.ttl.as_secs();
    let mut claims = Map::new();
    claims.insert("iat".to_owned(), json!(issued_s));
    claims.insert("exp".to_owned(), json!(expires_s));
    claims.insert("jti".to_owned(), json!(token_id));
    claims.insert("aud".to_owned(), json!(rules.audience.first()));
    if let Some(issuer) = rules.issuer.first() {
        claims.insert("iss".to_owned(), json!(issuer));
    }
    claims.insert(rules.user_claim.clone(), json!(request.user));
    claims.insert(rules.grants_claim.clone(), grants(request)?);
    let token = compact(key, &Value::Object(claims))?;
    let expires_at = later(Timestamp(0), Duration::from_secs(expires_s));
    Ok(SignedToken { token, token_id, user: request.user.clone(), expires_at })
}

fn grants(request: &TokenRequest) -> Result<Value, SignError> {
    let mut grants = Map::new();
    for (name, list) in
        [("join", &request.join), ("publish", &request.publish), ("session", &request.session)]
    {
        let Some(list) = list else { continue };
        if list.len() > Names::PATTERNS_MAX {
            return Err(SignError::TooManyPatterns);
        }
        grants.insert(name.to_owned(), list.iter().map(Pattern::as_str).collect());
    }
    Ok(Value::Object(grants))
}

fn compact(key: &Key, claims: &Value) -> Result<String, SignError> {
    let mut header = json!({"typ": "JWT", "alg": word(key.algorithm)});
    if let Some(id) = &key.id {
        header["kid"] = json!(id);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature = key.sign(signed.as_bytes())?;
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    if token.len() > Token::MAX_BYTES { Err(SignError::TooLong) } else { Ok(token) }
}

const fn word(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::HS384 => "HS384",
        Algorithm::HS512 => "HS512",
        Algorithm::RS256 => "RS256",
        Algorithm::ES256 => "ES256",
        Algorithm::EdDSA => "EdDSA",
    }
}
