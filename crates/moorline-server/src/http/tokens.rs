//! Tokens: issued and revoked.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use http::StatusCode;
use moorline::{ErrorCode, Names, Node, Pattern, Timestamp, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{self, text};
use super::openapi::Invalid;
use super::problem::Problem;
use super::query::{self, Path};
use super::schema;
use super::sessions::Disconnected;
use crate::app::App;
use crate::auth::{SignError, TokenRequest};

const TTL_LEAST: Duration = Duration::from_secs(1);
const TTL_DEFAULT: Duration = Duration::from_secs(15 * 60);

/// Whom a token is for, and what it allows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenOrder {
    /// The user.
    #[schema(min_length = 1, max_length = 128, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$")]
    user: String,
    /// Patterns of rooms that it may join; without it the setting `auth.join` counts.
    #[schema(max_items = 64)]
    join: Option<Vec<PatternText>>,
    /// Patterns of rooms that it may publish to; without it the setting `auth.publish` counts.
    #[schema(max_items = 64)]
    publish: Option<Vec<PatternText>>,
    /// Patterns of session ids that it may choose; without it none.
    #[schema(max_items = 64)]
    session: Option<Vec<PatternText>>,
    /// How long it is valid, in milliseconds; 15 min by default, and at most `auth.lifetime_max_ms`.
    #[schema(minimum = 1000, maximum = 31_536_000_000_u64)]
    ttl_ms: Option<u64>,
}

/// A name, or many: `*` stands for any run of characters, `{user}` for the user.
#[derive(Deserialize, ToSchema)]
#[schema(as = Pattern, min_length = 1, max_length = 255, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$")]
pub(crate) struct PatternText(String);

/// A token that was issued.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuedToken {
    /// The token.
    token: String,
    /// Its id (`jti`), by which it can be revoked.
    token_id: String,
    /// Whose it is.
    user: String,
    /// When it expires.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Issues a token for a user, signed with the first key of `auth.key` that can sign.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = TokenOrder,
    responses((status = 200, description = "The token", body = IssuedToken), Invalid))]
pub(crate) async fn issue(
    State(app): State<App>,
    body: Result<String, StringRejection>,
) -> Result<Json<IssuedToken>, Problem> {
    let order: TokenOrder = body::fields(&text(body)?)?;
    let request = TokenRequest {
        user: query::user(&order.user)?,
        join: order.join.map(|list| patterns("join", &list)).transpose()?,
        publish: order.publish.map(|list| patterns("publish", &list)).transpose()?,
        session: order.session.map(|list| patterns("session", &list)).transpose()?,
        ttl: ttl(order.ttl_ms, app.lifetime_max())?,
    };
    let why = "this server checks no tokens, so it issues none";
    let verifier = app.verifier().ok_or_else(|| Problem::of(ErrorCode::NoAuthenticator, why))?;
    let signed = verifier.sign(&request).map_err(|error| unsigned(&error))?;
    Ok(Json(IssuedToken {
        token: signed.token,
        token_id: signed.token_id,
        user: signed.user.to_string(),
        expires_at: signed.expires_at,
    }))
}

fn unsigned(error: &SignError) -> Problem {
    let code = match error {
        SignError::NoKey => ErrorCode::NoAuthenticator,
        SignError::Ttl(_) | SignError::TooManyPatterns | SignError::TooLong => ErrorCode::BadFrame,
        SignError::Failed(cause) => {
            tracing::error!(%cause, "a token could not be signed");
            ErrorCode::Internal
        }
    };
    Problem::of(code, error.to_string())
}

fn patterns(name: &str, texts: &[PatternText]) -> Result<Vec<Pattern>, Problem> {
    if texts.len() > Names::PATTERNS_MAX {
        let why = format!("{name} has up to {} patterns", Names::PATTERNS_MAX);
        return Err(Problem::of(ErrorCode::BadFrame, why));
    }
    let refused = |error| Problem::of(ErrorCode::BadFrame, format!("a pattern of {name} {error}"));
    texts.iter().map(|text| Pattern::new(&text.0).map_err(refused)).collect()
}

fn ttl(asked_ms: Option<u64>, most: Duration) -> Result<Duration, Problem> {
    let ttl = asked_ms.map_or(TTL_DEFAULT.min(most), Duration::from_millis);
    if (TTL_LEAST..=most).contains(&ttl) {
        return Ok(ttl);
    }
    let why = format!("ttl_ms is {} to {} here", TTL_LEAST.as_millis(), most.as_millis());
    Err(Problem::of(ErrorCode::BadFrame, why))
}

/// Revokes one token. Idempotent.
///
/// Sessions whose current or last token it is end with close 4003.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = schema::Id, Path, description = "The token's id (`jti`)")),
    responses((status = 204, description = "It is revoked"), Invalid))]
pub(crate) async fn revoke(State(node): State<Node>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = TokenId::new(&id)
        .map_err(|error| Problem::of(ErrorCode::IdInvalid, format!("the token id {error}")))?;
    node.revoke_token(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes every token of a user that was issued until now.
///
/// Its sessions end with close 4003.
#[utoipa::path(delete, path = "/v1/users/{id}/tokens", tag = "tokens", params(("id" = schema::Id, Path, description = "The user's id")),
    responses((status = 200, description = "They are revoked", body = Disconnected), Invalid))]
pub(crate) async fn revoke_all(
    State(node): State<Node>,
    Path(id): Path<String>,
) -> Result<Json<Disconnected>, Problem> {
    let disconnected = node.revoke_user(&query::user(&id)?).await?;
    Ok(Json(Disconnected { disconnected }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_token_lives_as_long_as_asked_within_bounds() {
        assert_eq!(ttl(None, HOUR).unwrap(), TTL_DEFAULT);
        assert_eq!(ttl(None, Duration::from_secs(60)).unwrap(), Duration::from_secs(60));
        assert_eq!(ttl(Some(3_600_000), HOUR).unwrap(), HOUR);
        for wrong in [0, 999, 3_600_001, u64::MAX] {
            assert!(ttl(Some(wrong), HOUR).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_are_checked_and_counted() {
        let texts = |count: usize, text: &str| -> Vec<PatternText> {
            (0..count).map(|_| PatternText(text.to_owned())).collect()
        };
        assert_eq!(patterns("join", &texts(64, "a*")).unwrap().len(), 64);
        assert!(patterns("join", &texts(65, "a*")).is_err());
        assert!(patterns("join", &texts(1, "")).is_err());
    }
}
