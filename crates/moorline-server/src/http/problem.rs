//! Errors as RFC 9457 problems.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use moorline::{ErrorCode, Rejection};
use serde::Serialize;

/// When to come back where nobody knows better, in milliseconds.
const RETRY_IN_MS: u64 = 1_000;

/// An answer that says what was wrong.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    rejection: Rejection,
    /// What else the answer says; rarely anything.
    headers: Option<Box<HeaderMap>>,
}

/// An error (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A URN of the code.
    #[schema(example = "urn:moorline:error:not_found")]
    r#type: String,
    /// The code in words.
    title: String,
    /// The answer's status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What exactly, and where possible how to mend it.
    detail: String,
    /// For programs: a row of the table of error codes.
    code: &'static str,
    /// When a later try may succeed, in milliseconds; also in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_in_ms: Option<u64>,
    /// Of a stream: the length of its text in Unicode code points, where that is what the request was wrong about, or where
    /// a request that wrote it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    at: Option<u64>,
}

impl Problem {
    pub(crate) fn of(code: ErrorCode, detail: impl Into<String>) -> Self {
        Rejection::new(code, detail).into()
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers: Some(Box::new(headers)), ..self }
    }

    fn retry_in_ms(&self) -> Option<u64> {
        let is_temporary =
            matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        self.rejection.retry_in_ms().or_else(|| is_temporary.then_some(RETRY_IN_MS))
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let status =
            StatusCode::from_u16(rejection.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, rejection, headers: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (error, retry_in_ms) = (self.rejection.code, self.retry_in_ms());
        let code = error.as_str();
        let body = ProblemBody {
            r#type: format!("urn:moorline:error:{code}"),
            title: code.replace('_', " "),
            status: self.status.as_u16(),
            detail: self.rejection.message,
            code,
            retry_in_ms,
            at: self.rejection.at,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers.into_iter().flat_map(|headers| *headers));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(retry_in_ms) = retry_in_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_in_ms.div_ceil(1_000)));
        }
        // For the log line of the request.
        response.extensions_mut().insert(error);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_later_try_is_announced_in_whole_seconds_and_never_too_early() {
        for (rejection, seconds) in [
            (Rejection::new(ErrorCode::RateLimited, "").retry_in(Duration::from_millis(1_001)), Some("2")),
            (Rejection::new(ErrorCode::RateLimited, "").retry_in(Duration::from_millis(20)), Some("1")),
            (Rejection::new(ErrorCode::Overloaded, ""), Some("1")),
            (Rejection::new(ErrorCode::NotFound, ""), None),
            (Rejection::new(ErrorCode::Internal, ""), None),
        ] {
            let response = Problem::from(rejection).into_response();
            let told = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(told, seconds);
        }
    }
}
