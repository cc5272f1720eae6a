//! Who may call from a browser: in development, pages of this machine alone. A request without `Origin` comes from no page.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Uri, header};
use moorline::ErrorCode;

use super::problem::Problem;

/// Refuses pages of other machines.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    if origins.any(|origin| !is_loopback(origin)) {
        return Problem::of(
            ErrorCode::ForbiddenOrigin,
            "in development only pages of this machine may connect",
        )
        .into_response();
    }
    next.run(request).await
}

fn is_loopback(origin: &HeaderValue) -> bool {
    let Some(uri) = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok()) else { return false };
    let Some(host) = uri.scheme_str().and(uri.host()) else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_machine() {
        for (origin, allowed) in [
            ("http://localhost:3000", true),
            ("https://LOCALHOST", true),
            ("http://127.0.0.1:8080", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:5173", true),
            ("http://example.com", false),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://[::2]", false),
            ("null", false),
            ("", false),
            ("localhost", false),
            ("file:///etc", false),
        ] {
            assert_eq!(is_loopback(&HeaderValue::from_static(origin)), allowed, "{origin}");
        }
    }
}
