//! Bodies that are too large are refused before they are sent.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use moorline::ErrorCode;

use super::problem::Problem;

/// Refuses a body by the length that its head announces. The connection ends: what follows on it is that body.
pub(crate) async fn check_announced(max_bytes: usize, request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()).is_none_or(|bytes| bytes <= max_bytes as u64) {
        return next.run(request).await;
    }
    let why = format!("a body may have {max_bytes} bytes");
    let mut response = Problem::of(ErrorCode::MessageTooBig, why).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
