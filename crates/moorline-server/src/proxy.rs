//! Where a request really comes from, as far as proxies that we trust can tell.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// How many proxies are followed. A chain has two or three; what is written beyond that is somebody's play.
const HOPS_MAX: usize = 32;

/// The socket's other end; an extension of every request that came in through `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

/// The client as it is seen from outside of all trusted proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientOrigin {
    /// Its address; an IPv4 address is never written as IPv6.
    pub(crate) address: IpAddr,
    /// The name (and port, where it is said) under which it called. None where there is no one name.
    pub(crate) host: Option<String>,
}

/// Who sent this request. `X-Forwarded-…` counts only where the socket's other end is trusted; then the right-most address
/// that is not trusted is the client's. The host is the one that the nearest proxy wrote, the right-most too.
///
/// A request without a [`PeerAddress`] comes from 0.0.0.0, which nobody trusts by accident.
pub(crate) fn client(parts: &Parts, trusted: &[IpNet]) -> ClientOrigin {
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let peer = parts.extensions.get::<PeerAddress>().map_or(unknown, |peer| peer.0);
    let peer = peer.ip().to_canonical();
    if !is_trusted(peer, trusted) {
        return ClientOrigin { address: peer, host: host(parts) };
    }
    ClientOrigin {
        address: walk(peer, &parts.headers, trusted),
        host: last(&parts.headers, &FORWARDED_HOST).map(str::to_owned).or_else(|| host(parts)),
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Goes from the nearest proxy outwards, to the first address that nobody vouches for. What is no address ends the walk at
/// the last one that was understood.
fn walk(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    for entry in entries(headers, &FORWARDED_FOR).take(HOPS_MAX) {
        let Some(next) = entry.and_then(parse) else { break };
        address = next;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    address
}

/// The entries of a list that may be spread over several headers, from the right. An entry that is no text is None.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'a str>> {
    let values = headers.get_all(name).iter().rev().map(|value| value.to_str().ok());
    values.flat_map(|value| {
        let is_text = value.is_some();
        let entries = value.unwrap_or_default().rsplit(',').map(str::trim);
        entries.map(move |entry| is_text.then_some(entry))
    })
}

/// The right-most entry, where it says anything.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    entries(headers, name).next().flatten().filter(|entry| !entry.is_empty())
}

/// An address as proxies write it: bare, with a port, in brackets, or in quotes.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim_matches('"');
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse::<IpAddr>().or_else(|_| entry.parse::<SocketAddr>().map(|it| it.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// The name in the request itself: its one `Host`, or that of an absolute URL, which comes before.
fn host(parts: &Parts) -> Option<String> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.as_str().to_owned());
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?;
    host.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTED: [&str; 3] = ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"];

    fn seen(peer: &str, headers: &[(&str, &str)]) -> ClientOrigin {
        let mut request = http::Request::builder().uri("/ws");
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(PeerAddress(SocketAddr::new(peer.parse().unwrap(), 4711)));
        client(&parts, &TRUSTED.map(|network| network.parse().unwrap()))
    }

    #[test]
    fn the_right_most_untrusted_address_is_the_clients() {
        for (peer, forwarded, address) in [
            ("203.0.113.9", &[][..], "203.0.113.9"),
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("10.1.1.1", &[], "10.1.1.1"),
            ("10.1.1.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.1.1.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
            ("10.1.1.1", &["6.6.6.6, 198.51.100.1, 192.0.2.7,10.2.2.2"], "198.51.100.1"),
            ("10.1.1.1", &["6.6.6.6", "198.51.100.1", "10.2.2.2"], "198.51.100.1"),
            ("10.1.1.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.1.1.1", &["198.51.100.1, nonsense"], "10.1.1.1"),
            ("10.1.1.1", &["198.51.100.1, nonsense, 10.2.2.2"], "10.2.2.2"),
            ("10.1.1.1", &["198.51.100.1,"], "10.1.1.1"),
            ("10.1.1.1", &[""], "10.1.1.1"),
            ("10.1.1.1", &["198.51.100.1, \u{e9}"], "10.1.1.1"),
            ("10.1.1.1", &["198.51.100.1:5000"], "198.51.100.1"),
            ("10.1.1.1", &["[2001:db8::1]:5000"], "2001:db8::1"),
            ("10.1.1.1", &["\"[2001:db8::1]\""], "2001:db8::1"),
            ("10.1.1.1", &["2001:db8::1, fd00::1"], "2001:db8::1"),
            ("::ffff:10.1.1.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("::ffff:203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
        ] {
            let headers: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
            assert_eq!(seen(peer, &headers).address.to_string(), address, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_list_without_end_is_not_followed() {
        let list = vec!["10.0.0.1"; 10_000].join(",");
        let list = format!("198.51.100.1,{list}");
        assert_eq!(seen("10.1.1.1", &[("x-forwarded-for", &list)]).address.to_string(), "10.0.0.1");
    }

    #[test]
    fn the_host_is_the_trusted_proxys_word() {
        let host = |peer, headers: &[(&str, &str)]| seen(peer, headers).host;
        let (own, forwarded) = (("host", "inner:8080"), ("x-forwarded-host", "app.example.com"));
        assert_eq!(host("203.0.113.9", &[own, forwarded]).as_deref(), Some("inner:8080"));
        assert_eq!(host("10.1.1.1", &[own, forwarded]).as_deref(), Some("app.example.com"));
        assert_eq!(host("10.1.1.1", &[own]).as_deref(), Some("inner:8080"));
        let forged = ("x-forwarded-host", "evil.example, app.example.com");
        assert_eq!(host("10.1.1.1", &[own, forged]).as_deref(), Some("app.example.com"));
        assert_eq!(host("203.0.113.9", &[own, ("host", "other")]), None);
        assert_eq!(host("203.0.113.9", &[]), None);
    }
}
