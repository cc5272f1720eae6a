//! The HTTP interface (spec/protocol.md, section 8).

mod bearer;
mod body;
mod caller;
mod context;
mod health;
pub(crate) mod metrics;
mod observe;
mod openapi;
pub(crate) mod origin;
mod page;
mod presented;
mod problem;
mod publish;
mod query;
mod rates;
mod recent;
mod reload;
mod rooms;
mod routes;
mod schema;
mod sessions;
mod stats;
mod streams;
mod tokens;
mod ws;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Extension, Router, middleware};
use http::StatusCode;
use moorline::ErrorCode;

use self::caller::Gate;
use self::health::Pulse;
use self::metrics::{Gauges, Requests};
use self::openapi::Document;
use self::problem::Problem;
use crate::app::{App, Mode};

/// All resources, and where connections come in.
pub(crate) fn router(app: &App) -> Router {
    let (gate, table) = (Arc::new(Gate::new(app)), routes::table());
    let document = Document::of(&table);
    let mut router = Router::new().route("/ws", get(ws::own)).route("/ws/{room}", get(ws::room));
    for resource in table {
        let (path, methods) = resource.mount(&gate);
        router = router.route(&path, methods);
    }
    if app.mode() == Mode::Development {
        router = router.merge(page::router());
    }
    let router = router
        .fallback(|| async { Problem::of(ErrorCode::NotFound, "there is no such resource") })
        .method_not_allowed_fallback(|| async {
            Problem::of(ErrorCode::NotFound, "this resource has no such method")
                .with_status(StatusCode::METHOD_NOT_ALLOWED)
        });
    layered(router, app)
        .layer(Extension(document))
        .layer(Extension(Arc::new(Gauges::default())))
        .layer(Extension(Arc::new(Pulse::default())))
        .with_state(app.clone())
}

/// What every request passes, the outermost last.
fn layered(router: Router<App>, app: &App) -> Router<App> {
    let (body_max_bytes, request_timeout) = (app.body_max_bytes(), app.request_timeout());
    let bounded = router
        .layer(DefaultBodyLimit::max(body_max_bytes))
        .layer(middleware::from_fn(move |request, next| body::check_announced(body_max_bytes, request, next)))
        .layer(middleware::from_fn(move |request, next| {
            body::answer_in_time(request_timeout, request, next)
        }));
    let guarded = match app.mode() {
        Mode::Development => bounded.layer(middleware::from_fn(origin::check)),
        Mode::Serving => bounded,
    };
    let requests = Arc::new(Requests::new(app.metrics()));
    guarded.layer(middleware::from_fn_with_state(requests, observe::observe))
}
