//! The HTTP interface (spec/protocol.md, section 8).

mod body;
pub(crate) mod metrics;
pub(crate) mod origin;
mod page;
mod problem;
mod publish;
mod query;
mod rooms;
mod sessions;
mod stats;
mod ws;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post, put};
use http::StatusCode;
use moorline::ErrorCode;

use self::problem::Problem;
use crate::app::App;

/// All resources.
pub(crate) fn router(app: &App) -> Router {
    let (body_max_bytes, request_timeout) = (app.body_max_bytes(), app.request_timeout());
    Router::new()
        .route("/v1/publish", post(publish::one))
        .route("/v1/batch", post(publish::batch))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{id}", get(sessions::show).patch(sessions::update).delete(sessions::end))
        .route("/v1/sessions/{id}/rooms/{room}", put(sessions::join).delete(sessions::leave))
        .route("/v1/rooms", get(rooms::list))
        .route("/v1/rooms/{room}", get(rooms::show))
        .route("/v1/rooms/{room}/messages", get(rooms::messages).delete(rooms::clear))
        .route("/v1/users/{id}", get(sessions::user))
        .route("/v1/users/{id}/sessions", delete(sessions::end_all))
        .route("/v1/stats", get(stats::stats))
        .route("/ws/stats", get(stats::ws_stats))
        .route("/ws/status", get(stats::ws_status))
        .route("/ws", get(ws::own))
        .route("/ws/{room}", get(ws::room))
        .route("/livez", get(stats::live))
        .route("/readyz", get(stats::ready))
        .merge(page::router())
        .fallback(|| async { Problem::of(ErrorCode::NotFound, "there is no such resource") })
        .method_not_allowed_fallback(|| async {
            Problem::of(ErrorCode::NotFound, "this resource has no such method")
                .with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(DefaultBodyLimit::max(body_max_bytes))
        .layer(middleware::from_fn(move |request, next| body::check_announced(body_max_bytes, request, next)))
        .layer(middleware::from_fn(move |request, next| body::answer_in_time(request_timeout, request, next)))
        .layer(middleware::from_fn(origin::check))
        .with_state(app.clone())
}
