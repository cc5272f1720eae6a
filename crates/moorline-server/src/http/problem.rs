//! Errors as RFC 9457 problems.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use moorline::{ErrorCode, Rejection};

/// An answer that says what was wrong.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    rejection: Rejection,
    /// What else the answer says; rarely anything.
    headers: Option<Box<HeaderMap>>,
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
        let code = self.rejection.code;
        let body = serde_json::json!({
            "type": format!("urn:moorline:error:{code}"),
            "title": code.as_str().replace('_', " "),
            "status": self.status.as_u16(),
            "detail": self.rejection.message,
            "code": code.as_str(),
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers.into_iter().flat_map(|headers| *headers));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
