//! The HTTP interface (spec/protocol.md, section 8).

mod bearer;
mod body;
mod caller;
mod context;
mod door;
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
pub(crate) use self::door::Door;
use self::health::Pulse;
use self::metrics::{Gauges, Requests};
use self::openapi::Document;
use self::problem::Problem;
use crate::app::{App, Mode};

/// What answers requests.
pub(crate) struct Front {
    pub(crate) router: Router,
    /// Answers handshakes before the router sees them; none where the router is to answer everything.
    pub(crate) door: Option<Door>,
}

impl From<Router> for Front {
    fn from(router: Router) -> Self {
        Self { router, door: None }
    }
}

/// All resources, and where connections come in.
pub(crate) fn front(app: &App) -> Front {
    let requests = Arc::new(Requests::new(app.metrics()));
    Front { router: router(app, Arc::clone(&requests)), door: Some(Door::new(app.clone(), requests)) }
}

fn router(app: &App, requests: Arc<Requests>) -> Router {
    let (gate, table) = (Arc::new(Gate::new(app)), routes::table());
    let document = Document::of(&table);
    let mut router = Router::new().route(door::OWN, get(ws::own)).route(door::ROOM, get(ws::room));
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
    layered(router, app, requests)
        .layer(Extension(document))
        .layer(Extension(Arc::new(Gauges::default())))
        .layer(Extension(Arc::new(Pulse::default())))
        .with_state(app.clone())
}

/// What every request passes, the outermost last.
fn layered(router: Router<App>, app: &App, requests: Arc<Requests>) -> Router<App> {
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
    guarded.layer(middleware::from_fn_with_state(requests, observe::observe))
}
