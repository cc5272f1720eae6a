//! Bodies that are too large are refused before they are sent, and those that never come are not waited for.

use std::time::Duration;

use axum::extract::rejection::StringRejection;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use moorline::{ErrorCode, Rejection, check_depth};
use serde::Deserialize;

use super::problem::Problem;
use super::streams;

/// The body as text, with its limits answered as problems.
pub(crate) fn text(body: Result<String, StringRejection>) -> Result<String, Problem> {
    let text = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::of(ErrorCode::MessageTooBig, "the body is over its limit"),
        _ => Problem::of(ErrorCode::BadFrame, error.body_text()),
    })?;
    check_depth(text.as_bytes()).map_err(|error| Problem::of(ErrorCode::BadFrame, error.to_string()))?;
    Ok(text)
}

/// The body's fields. A list of their values in order is none: it would be read as if it had names.
pub(crate) fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    check_object(text)?;
    serde_json::from_str(text).map_err(|error| Problem::of(ErrorCode::BadFrame, error.to_string()))
}

/// Refuses what is no JSON object.
pub(crate) fn check_object(text: &str) -> Result<(), Rejection> {
    if text.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    Err(Rejection::new(ErrorCode::BadFrame, "this is no JSON object"))
}

/// Whether the bounds on bodies and time are not for it: text that streams in has the stream's own.
fn streams_in(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>();
    request.method() == Method::PUT && path.is_some_and(|path| path.as_str() == streams::PATH)
}

/// Ends a request whose body, or answer, does not come in time. The connection ends: the rest of that body may yet follow.
pub(crate) async fn answer_in_time(timeout: Duration, request: Request, next: Next) -> Response {
    if streams_in(&request) {
        return next.run(request).await;
    }
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let why = format!("the request was not complete within {} ms", timeout.as_millis());
            let mut response = Problem::of(ErrorCode::BadFrame, why)
                .with_status(StatusCode::REQUEST_TIMEOUT)
                .into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// Refuses a body by the length that its head announces. The connection ends: what follows on it is that body.
pub(crate) async fn check_announced(max_bytes: usize, request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()).is_none_or(|bytes| bytes <= max_bytes as u64)
        || streams_in(&request)
    {
        return next.run(request).await;
    }
    let why = format!("a body may have {max_bytes} bytes");
    let mut response = Problem::of(ErrorCode::MessageTooBig, why).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
