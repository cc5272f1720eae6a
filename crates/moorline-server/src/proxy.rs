//! Where a request comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

#[allow(dead_code)]
#[derive(Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

#[allow(dead_code)]
pub(crate) struct ClientOrigin {
    pub(crate) address: IpAddr,
    pub(crate) host: Option<String>,
    pub(crate) is_https: bool,
}

pub(crate) fn client(parts: &http::request::Parts, _trusted: &[IpNet]) -> ClientOrigin {
    let peer = parts.extensions.get::<PeerAddress>();
    ClientOrigin {
        address: peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip()),
        host: parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned),
        is_https: false,
    }
}
