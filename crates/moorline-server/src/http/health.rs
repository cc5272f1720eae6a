//! Whether the process lives, and whether it can serve.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::recent::Recent;
use crate::app::App;

/// How long a shard may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// For how long that answer is good: whoever asks more often costs nothing.
const GOOD_FOR: Duration = Duration::from_millis(500);

/// Whether every part of the node answered lately.
pub(crate) struct Pulse(Recent<bool>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Recent::new(|_| GOOD_FOR))
    }
}

/// How the server is.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    /// `ok`, `draining` or `unready`.
    status: &'static str,
    /// What is missing, where it is `unready`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

impl Health {
    const fn of(status: &'static str) -> Self {
        Self { status, reasons: Vec::new() }
    }
}

/// Whether the process answers.
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, description = "It does", body = Health)))]
pub(crate) async fn live() -> Json<Health> {
    Json(Health::of("ok"))
}

/// Whether the server can take connections and requests.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, description = "It can", body = Health),
    (status = 503, description = "It drains, has never fetched its keys, or a part of it does not answer", body = Health),
))]
pub(crate) async fn ready(
    State(app): State<App>,
    Extension(pulse): Extension<Arc<Pulse>>,
) -> (StatusCode, Json<Health>) {
    if app.node().is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(Health::of("draining")));
    }
    let mut reasons = app.verifier().map(|verifier| verifier.missing()).unwrap_or_default();
    if !pulse.0.answer(app.node().is_responsive(ANSWER_WITHIN)).await {
        reasons.push(format!("a shard did not answer within {} ms", ANSWER_WITHIN.as_millis()));
    }
    if reasons.is_empty() {
        (StatusCode::OK, Json(Health::of("ok")))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unready", reasons }))
    }
}
