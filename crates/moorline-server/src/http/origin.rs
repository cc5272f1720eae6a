//! Which pages may call. Serving, `http.origins` and our own name decide whether a page may use its visitor's cookie.
//!
//! In development pages of this machine alone, and under its own names alone. A request without `Origin` comes from no page,
//! or from one that believes to be ours: another name that leads here (DNS rebinding) shows in `Host`.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Uri};
use moorline::ErrorCode;

use super::problem::Problem;
use crate::proxy::ClientOrigin;
use crate::settings::SettingsError;

/// Origins in the setting; a page more is a wildcard in disguise.
const ORIGINS_MAX: usize = 256;

/// The origins that are as good as our own.
#[derive(Debug, Default)]
pub(crate) struct Origins(Vec<Origin>);

/// What a request's `Origin` says about the page that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginVerdict {
    /// There is none: no browser sent it.
    None,
    /// The page was served under the name that it calls.
    Own,
    /// The page is one of those in the settings.
    Listed,
    /// Anybody's page.
    Foreign,
}

impl Origins {
    /// Reads `http.origins`.
    ///
    /// # Errors
    /// Names the entry that is no origin, and how one looks.
    pub(crate) fn parse(list: &[String]) -> Result<Self, SettingsError> {
        if list.len() > ORIGINS_MAX {
            let count = list.len();
            return Err(SettingsError::new(format!(
                "http.origins has {count} entries: {ORIGINS_MAX} is the most"
            )));
        }
        let origins = list.iter().map(|text| {
            Origin::listed(text).map_err(|why| {
                SettingsError::new(format!(
                    "http.origins: `{text}` {why}; write it like https://app.example.com"
                ))
            })
        });
        origins.collect::<Result<_, _>>().map(Self)
    }

    /// Judges the page that a request comes from. More than one `Origin`, or one that cannot be read, is foreign.
    pub(crate) fn judge(&self, headers: &HeaderMap, client: &ClientOrigin) -> OriginVerdict {
        let mut given = headers.get_all(ORIGIN).iter();
        let Some(first) = given.next() else { return OriginVerdict::None };
        let origin = first.to_str().ok().filter(|_| given.next().is_none()).and_then(Origin::read);
        let Some(origin) = origin else { return OriginVerdict::Foreign };
        if client.host.as_deref().is_some_and(|host| origin.is_at(host)) {
            OriginVerdict::Own
        } else if self.0.contains(&origin) {
            OriginVerdict::Listed
        } else {
            OriginVerdict::Foreign
        }
    }
}

/// A scheme, a host and a port: in lower case, the port written out where the scheme has one.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// An origin that somebody means to allow; why it cannot be meant.
    fn listed(text: &str) -> Result<Self, &'static str> {
        match text {
            "*" => return Err("would let every page use its visitors' cookies: name the origins"),
            "null" => return Err("is what any sandboxed page or file sends: it names nobody"),
            _ if text.contains('*') => return Err("has a wildcard: name each origin"),
            _ => {}
        }
        let origin = Self::read(text)
            .ok_or("is no origin: scheme://host or scheme://host:port, with nothing behind")?;
        match origin.scheme.as_str() {
            "ws" | "wss" => Err("names the socket: the origin is that of the page, http:// or https://"),
            _ => Ok(origin),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.parse::<Scheme>().ok()?.as_str().to_ascii_lowercase();
        let (host, port) = host_and_port(rest)?;
        let port = port.or_else(|| default_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// Whether `called` is this host and port. A name without a port has the default one of either scheme: ours, seen from
    /// outside, is not known for sure.
    fn is_at(&self, called: &str) -> bool {
        let default = default_port(&self.scheme);
        host_and_port(called).is_some_and(|(host, port)| host == self.host && port.or(default) == self.port)
    }
}

/// Reads `host` or `host:port`, with nothing before or behind; an IPv6 address in brackets.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let authority = text.parse::<Authority>().ok().filter(|_| !text.contains('@'))?;
    let (host, port) = (authority.host(), authority.port_u16());
    // What is left of the port where it is no number would be lost otherwise.
    let is_whole = text.len() == host.len() + authority.port().map_or(0, |port| port.as_str().len() + 1);
    (is_whole && !host.is_empty() && (port.is_some() || authority.port().is_none()))
        .then(|| (host.to_ascii_lowercase(), port))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Refuses pages of other machines, and names that are not this machine's.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    match judge(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// # Errors
/// The page is of another machine, or this one is called by a name that is not its own.
pub(crate) fn judge(headers: &HeaderMap) -> Result<(), Problem> {
    allowed(headers).map_err(|why| {
        let origin = headers.get(ORIGIN);
        tracing::warn!(?origin, why, "refused");
        Problem::of(ErrorCode::ForbiddenOrigin, why)
    })
}

pub(crate) fn allowed(headers: &HeaderMap) -> Result<(), &'static str> {
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

    fn judged(listed: &[&str], host: &str, origins: &[&str]) -> OriginVerdict {
        let listed: Vec<String> = listed.iter().map(|origin| (*origin).to_owned()).collect();
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let client = ClientOrigin { address, host: Some(host.to_owned()) };
        Origins::parse(&listed).unwrap().judge(&headers, &client)
    }

    #[test]
    fn an_origin_is_none_own_listed_or_foreign() {
        use OriginVerdict::{Foreign, Listed, None, Own};
        let listed =
            ["https://app.example.com", "http://localhost:3000", "https://x.example:8443", "app://shell"];
        for (host, origins, verdict) in [
            ("chat.example.com", &[][..], None),
            ("chat.example.com", &["https://chat.example.com"], Own),
            ("chat.example.com", &["http://chat.example.com"], Own),
            ("chat.example.com", &["https://chat.example.com:443"], Own),
            ("chat.example.com:443", &["https://chat.example.com"], Own),
            ("Chat.Example.Com", &["https://CHAT.example.com"], Own),
            ("chat.example.com:8080", &["http://chat.example.com:8080"], Own),
            ("[::1]:8080", &["http://[::1]:8080"], Own),
            ("chat.example.com:8080", &["http://chat.example.com"], Foreign),
            ("chat.example.com", &["http://chat.example.com:8080"], Foreign),
            ("chat.example.com", &["https://evil.example"], Foreign),
            ("chat.example.com", &["https://chat.example.com.evil.example"], Foreign),
            ("chat.example.com", &["https://chat.example.com@evil.example"], Foreign),
            ("chat.example.com", &["https://chat.example.com/"], Foreign),
            ("chat.example.com", &["null"], Foreign),
            ("null", &["null"], Foreign),
            ("chat.example.com", &[""], Foreign),
            ("", &["https://"], Foreign),
            ("chat.example.com", &["https://chat.example.com", "https://chat.example.com"], Foreign),
            ("chat.example.com", &["https://app.example.com"], Listed),
            ("chat.example.com", &["https://app.example.com:443"], Listed),
            ("chat.example.com", &["HTTPS://APP.example.com"], Listed),
            ("chat.example.com", &["http://app.example.com"], Foreign),
            ("chat.example.com", &["https://app.example.com:8443"], Foreign),
            ("chat.example.com", &["https://x.example:8443"], Listed),
            ("chat.example.com", &["https://x.example"], Foreign),
            ("chat.example.com", &["http://localhost:3000"], Listed),
            ("chat.example.com", &["app://shell"], Listed),
            ("chat.example.com", &["app://other"], Foreign),
        ] {
            assert_eq!(judged(&listed, host, origins), verdict, "{host} {origins:?}");
        }
    }

    #[test]
    fn a_page_is_not_our_own_where_our_name_is_unknown() {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static("https://chat.example.com"));
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let client = ClientOrigin { address, host: None };
        assert_eq!(Origins::default().judge(&headers, &client), OriginVerdict::Foreign);
    }

    #[test]
    fn what_is_no_origin_is_refused_with_its_name() {
        for entry in [
            "*",
            "null",
            "",
            "https://*.example.com",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://app.example.com?x",
            "https://user@app.example.com",
            "https://app.example.com:",
            "https://app.example.com:70000",
            "https://",
            "https:// app.example.com",
            "wss://app.example.com",
            "https://caf\u{e9}.example",
        ] {
            let error = Origins::parse(&[entry.to_owned()]).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{entry}`")) && error.contains("http.origins"),
                "{entry}: {error}"
            );
        }
        assert!(Origins::parse(&vec!["https://a.example".to_owned(); 257]).is_err());
    }
}
