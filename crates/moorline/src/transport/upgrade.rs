//! From an HTTP request to a bare socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{RawReader, Reader, Writer, raw, stream};
use crate::compression;
use crate::handshake::{Endpoint, Incoming, Opening};
use crate::node::Node;
use moorline_proto::codec::SUBPROTOCOL;
use moorline_proto::error::Rejection;

/// Why a request did not become a connection. [`UpgradeError::response`] answers it.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The request breaks RFC 6455, section 4.2.1.
    #[error(transparent)]
    Handshake(#[from] moorline_ws::handshake::HandshakeError),
    /// It offers subprotocols, and none that is spoken here.
    #[error("offer the subprotocol {SUBPROTOCOL}, or none")]
    Subprotocol,
    /// The server that took it cannot upgrade.
    #[error("this HTTP server does not support upgrades")]
    NotUpgradable,
    /// Too many come at once. The rejection says which limit, and when to come back.
    #[error("{}", .0.message)]
    Limited(Rejection),
    /// The node drains.
    #[error("the server is going away, come back soon")]
    Draining,
}

impl UpgradeError {
    /// The status that tells the client.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        match self {
            Self::Handshake(error) => error.status(),
            Self::Subprotocol => http::StatusCode::BAD_REQUEST,
            Self::NotUpgradable => http::StatusCode::INTERNAL_SERVER_ERROR,
            Self::Draining => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Limited(rejection) => http::StatusCode::from_u16(rejection.code.http_status())
                .unwrap_or(http::StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// When to come back, where that may help.
    #[must_use]
    pub const fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Limited(rejection) => rejection.retry_in,
            Self::Draining => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The whole answer, with the headers that the status asks for.
    #[must_use]
    pub fn response(&self) -> http::Response<String> {
        let mut response = match self {
            Self::Handshake(error) => error.response(),
            _ => http::Response::new(self.to_string()),
        };
        *response.status_mut() = self.status();
        if let Some(wait) = self.retry_in() {
            let seconds = wait.as_millis().div_ceil(1000).max(1).to_string();
            response.headers_mut().extend(seconds.parse().map(|value| (http::header::RETRY_AFTER, value)));
        }
        response
    }
}

impl Node {
    /// Takes a WebSocket handshake over: returns the answer to send, and serves the connection from then on by itself.
    ///
    /// The request must come from a hyper server that serves with upgrades. A TCP socket is taken out of hyper and costs no
    /// more than itself; anything else (TLS) works through a buffer.
    ///
    /// # Errors
    /// Says why the request is no handshake for this node; nothing was changed.
    pub fn upgrade<B>(
        &self,
        request: &mut http::Request<B>,
        endpoint: Endpoint,
    ) -> Result<http::Response<()>, UpgradeError> {
        if self.is_draining() {
            return Err(UpgradeError::Draining);
        }
        let accepted = moorline_ws::handshake::check(request)?;
        let says_hello = accepted.protocols.iter().any(|protocol| protocol == SUBPROTOCOL);
        if !says_hello && !accepted.protocols.is_empty() {
            return Err(UpgradeError::Subprotocol);
        }
        let negotiated = compression::agree(self.config(), request.headers())?;
        let admission = self.admit(endpoint.address).map_err(UpgradeError::Limited)?;
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(UpgradeError::NotUpgradable)?;
        let (opening, protocol) =
            if says_hello { (Opening::Hello, Some(SUBPROTOCOL)) } else { (Opening::Bare, None) };
        let deflate = negotiated.as_ref().map(|negotiated| negotiated.agreed);
        let node = self.clone();
        self.spawn(async move {
            match upgrade.await {
                Ok(upgraded) => {
                    let (reader, writer, early) = split(upgraded);
                    // Its own allocation, freed as a whole: inside of the task's it would leave a hole for each connection.
                    let incoming = Incoming { reader, writer, early, opening, deflate, admission };
                    Box::pin(node.open(incoming, endpoint)).await;
                }
                Err(error) => tracing::debug!(%error, "the client went away during the handshake"),
            }
        });
        let mut response = accepted.response(protocol);
        if let Some(negotiated) = negotiated {
            response.headers_mut().insert(http::header::SEC_WEBSOCKET_EXTENSIONS, negotiated.answer);
        }
        Ok(response)
    }
}

/// Takes the socket out of hyper, with what the client sent behind its handshake.
fn split(upgraded: Upgraded) -> (Reader, Writer, Bytes) {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return bare(parts.io.into_inner(), parts.read_buf),
        Err(upgraded) => upgraded,
    };
    match hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => bare(parts.io.into_inner(), parts.read_buf),
        Err(upgraded) => {
            let (reader, writer) = stream::split(Box::new(TokioIo::new(upgraded)));
            (Reader::Stream(reader), Writer::Stream(writer), Bytes::new())
        }
    }
}

fn bare(stream: TcpStream, early: Bytes) -> (Reader, Writer, Bytes) {
    // Small frames must not wait for an acknowledgement of the one before; failing that, they are only later.
    let _slower = stream.set_nodelay(true);
    raw::keep_little_unsent(&stream);
    let stream = Arc::new(stream);
    (Reader::Raw(RawReader(Arc::clone(&stream))), Writer::Raw(stream), early)
}
