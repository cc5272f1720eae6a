//! What is told of each request: its id in the answer, one line in the log, and its share of the metrics. Neither the
//! path nor the query is told: both may hold what is nobody's business.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{Extensions, Method, StatusCode};

use super::caller::Caller;
use super::{context, metrics};

/// What others ask for every few seconds: its lines would hide those of the rest.
const QUIET: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// One request, as it is told.
struct Told<'a> {
    method: &'static str,
    route: &'a str,
    status: StatusCode,
    took: Duration,
    request_id: &'a str,
    trace_id: Option<&'a str>,
    key: Option<&'a str>,
}

/// Follows a request from its head to the head of its answer.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = context::request_id(request.headers());
    let trace_id = context::trace_id(request.headers()).map(str::to_owned);
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let told = Told {
        method,
        route: route.as_ref().map_or("unmatched", MatchedPath::as_str),
        status: response.status(),
        took: started.elapsed(),
        request_id: id.to_str().unwrap_or_default(),
        trace_id: trace_id.as_deref(),
        key: key(response.extensions()),
    };
    metrics::count_request(told.method, told.route, told.status, told.took);
    log(&told);
    response.headers_mut().insert(context::REQUEST_ID, id);
    response
}

fn key(extensions: &Extensions) -> Option<&str> {
    extensions.get::<Caller>().map(|caller| &*caller.name)
}

fn log(told: &Told<'_>) {
    let Told { method, route, request_id, trace_id, key, .. } = *told;
    let (status, micros) = (told.status.as_u16(), u32::try_from(told.took.as_micros()).unwrap_or(u32::MAX));
    let ms = f64::from(micros) / 1e3;
    if QUIET.contains(&route) {
        tracing::debug!(method, route, status, ms, request_id, trace_id, key, "request");
    } else {
        tracing::info!(method, route, status, ms, request_id, trace_id, key, "request");
    }
}

/// The method, where it is one of those there are: anyone may invent more.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
