//! Who may call in development: pages of this machine alone, and under its own names alone. A request without `Origin`
//! comes from no page, or from one that believes to be ours: another name that leads here (DNS rebinding) shows in `Host`.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};
use moorline::ErrorCode;

use super::problem::Problem;
use crate::settings::SettingsError;

/// Stub.
#[derive(Debug, Default)]
pub(crate) struct Origins;

impl Origins {
    pub(crate) fn parse(list: &[String]) -> Result<Self, SettingsError> {
        let wrong = list.iter().find(|text| {
            !is_loopback_origin(&HeaderValue::from_static("http://localhost")) || !text.contains("://")
        });
        wrong.map_or(Ok(Self), |text| Err(SettingsError::new(format!("http.origins: `{text}` is no origin"))))
    }
}

/// Refuses pages of other machines, and names that are not this machine's.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    if let Err(why) = allowed(request.headers()) {
        return Problem::of(ErrorCode::ForbiddenOrigin, why).into_response();
    }
    next.run(request).await
}

fn allowed(headers: &HeaderMap) -> Result<(), &'static str> {
    if headers.get_all(ORIGIN).iter().any(|origin| !is_loopback_origin(origin)) {
        return Err("in development only pages of this machine may connect");
    }
    if headers.get_all(HOST).iter().any(|host| !is_loopback_host(host)) {
        return Err("in development this server is called localhost, 127.0.0.1 or [::1], and nothing else");
    }
    Ok(())
}

fn is_loopback_origin(origin: &HeaderValue) -> bool {
    let uri = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
    uri.is_some_and(|uri| uri.scheme_str().is_some() && uri.host().is_some_and(is_loopback))
}

fn is_loopback_host(host: &HeaderValue) -> bool {
    let authority = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    authority.is_some_and(|authority| is_loopback(authority.host()))
}

fn is_loopback(host: &str) -> bool {
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
            assert_eq!(is_loopback_origin(&HeaderValue::from_static(origin)), allowed, "{origin}");
        }
    }

    #[test]
    fn only_names_of_this_machine() {
        for (host, allowed) in [
            ("localhost:8080", true),
            ("127.0.0.1", true),
            ("[::1]:8080", true),
            ("example.com:8080", false),
            ("127.0.0.1.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_host(&HeaderValue::from_static(host)), allowed, "{host}");
        }
    }
}
