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
    (status = 503, description = "It drains, has never fetched its keys, a part of it does not answer, or its store cannot write", body = Health),
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
    reasons.extend(app.store_trouble());
    if reasons.is_empty() {
        (StatusCode::OK, Json(Health::of("ok")))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unready", reasons }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::app::Mode;
    use crate::settings::Sources;

    #[tokio::test]
    async fn a_store_that_cannot_write_makes_it_unready_for_as_long_as_it_cannot() {
        let why = Arc::new(Mutex::new(None));
        let asked = Arc::clone(&why);
        let trouble = Arc::new(move || asked.lock().unwrap().clone());
        let app = crate::app::tests::app(Sources::new(Mode::Development, None), Some(trouble));
        let pulse = Arc::new(Pulse::default());
        for (trouble, status, reasons) in [
            (None, StatusCode::OK, vec![]),
            (
                Some("the store cannot write: No space left on device"),
                StatusCode::SERVICE_UNAVAILABLE,
                vec!["the store cannot write: No space left on device"],
            ),
            (None, StatusCode::OK, vec![]),
        ] {
            *why.lock().unwrap() = trouble.map(str::to_owned);
            let (answered, Json(health)) = ready(State(app.clone()), Extension(Arc::clone(&pulse))).await;
            assert_eq!(
                (answered, health.reasons),
                (status, reasons.into_iter().map(str::to_owned).collect())
            );
        }
    }
}
