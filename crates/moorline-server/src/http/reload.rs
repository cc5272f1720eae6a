//! `POST /v1/reload`: what SIGHUP does, with an answer.

use axum::Json;
use axum::extract::State;
use moorline::ErrorCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::Invalid;
use super::problem::Problem;
use crate::app::App;

/// What a reload did.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reload {
    /// Settings that changed and count from now on.
    reloaded: Vec<String>,
    /// Settings that changed and count after a restart.
    needs_restart: Vec<String>,
}

/// Reads the configuration, the keys and the certificate anew.
#[utoipa::path(post, path = "/v1/reload", tag = "operation",
    responses((status = 200, description = "What changed", body = Reload), Invalid))]
pub(crate) async fn reload(State(app): State<App>) -> Result<Json<Reload>, Problem> {
    let reloaded = app.reload().await.map_err(|error| Problem::of(ErrorCode::BadFrame, error.to_string()))?;
    Ok(Json(Reload { reloaded: reloaded.reloaded, needs_restart: reloaded.needs_restart }))
}
