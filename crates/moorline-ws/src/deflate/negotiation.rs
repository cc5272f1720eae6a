//! The server's side of the negotiation, and what it ends in (RFC 7692 §5, §7.1).

use http::{HeaderMap, HeaderValue};

use super::{
    Parameters, WindowBits, extensions,
    parameters::{NAME, Place},
};
use crate::{frame::Role, handshake::HandshakeError};

/// What the server wants of a connection that offers compression. The defaults keep nothing between messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The server compresses each message by itself; true by default, so that a message is compressed once for
    /// all its receivers. Else every connection has its own [`Window`](super::Window) and its own frames.
    pub server_no_context_takeover: bool,
    /// The client is asked to compress each message by itself; true by default, so that nothing is kept of what it
    /// sent. Else the decoder keeps a window of what came.
    pub client_no_context_takeover: bool,
    /// The server's window is at most this, rounded down to 15, 12 or 9 bits; 15 by default.
    pub server_max_window_bits: WindowBits,
    /// The window that the decoder keeps for a client with context takeover is at most this; 15 by default. A
    /// client that does not let itself be limited is then asked to take no context over.
    pub client_max_window_bits: WindowBits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: WindowBits::MAX,
            client_max_window_bits: WindowBits::MAX,
        }
    }
}

/// How the messages of one direction are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Whether a message may refer back to those before it.
    pub context_takeover: bool,
    /// How far back it may refer.
    pub max_window_bits: WindowBits,
}

/// What both ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// From the server to the client.
    pub server: Direction,
    /// From the client to the server.
    pub client: Direction,
}

impl Agreed {
    /// How we compress what we send.
    #[must_use]
    pub const fn sending(&self, we: Role) -> Direction {
        match we {
            Role::Server => self.server,
            Role::Client => self.client,
        }
    }

    /// How the peer compresses what we receive.
    #[must_use]
    pub const fn receiving(&self, we: Role) -> Direction {
        match we {
            Role::Server => self.client,
            Role::Client => self.server,
        }
    }

    /// With which window a message is compressed once for many connections: one of three values, the same for all
    /// that may share a frame of [`Deflater::frame`](super::Deflater::frame). `None` where we take the context over.
    #[must_use]
    pub fn shared_window(&self, we: Role) -> Option<WindowBits> {
        let Direction { context_takeover, max_window_bits } = self.sending(we);
        (!context_takeover).then(|| max_window_bits.compressing())
    }
}

/// An offer that the server accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// What holds once the answer is sent.
    pub agreed: Agreed,
    /// The answer's `Sec-WebSocket-Extensions`.
    pub answer: HeaderValue,
}

/// Chooses the first acceptable offer of `permessage-deflate` in a request; `None` if there is none, and then the
/// connection is opened without compression. Other extensions are passed over, and so is an offer with a
/// parameter that is unknown, stands twice or has an impossible value (§5.1, §7).
///
/// # Errors
/// [`HandshakeError::Extensions`] if the header is not a list of extensions (RFC 6455 §9.1).
pub fn negotiate(headers: &HeaderMap, settings: &Settings) -> Result<Option<Negotiated>, HandshakeError> {
    let extensions = extensions::parse(headers).map_err(|_| HandshakeError::Extensions)?;
    let ours = extensions.iter().filter(|extension| extension.name == NAME);
    Ok(ours
        .filter_map(|offer| Parameters::parse(offer, Place::Offer))
        .next()
        .map(|offer| accept(&offer, settings)))
}

/// Every offer that can be read can be kept: whatever it asks of us, we are able to do.
fn accept(offer: &Parameters, settings: &Settings) -> Negotiated {
    let wanted = offer.server_max_window_bits.unwrap_or(WindowBits::MAX).min(settings.server_max_window_bits);
    // Only an 8 must be kept as it is; see `compressing` for how.
    let server_bits = wanted.compressing().min(wanted);
    let limit = settings.client_max_window_bits;
    let client_bits = offer.client_max_window_bits.map(|promised| promised.min(limit));
    let is_limited = client_bits.is_some() || limit == WindowBits::MAX;
    let answer = Parameters {
        server_no_context_takeover: offer.server_no_context_takeover || settings.server_no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover
            || settings.client_no_context_takeover
            || !is_limited,
        server_max_window_bits: (offer.server_max_window_bits.is_some() || server_bits < WindowBits::MAX)
            .then_some(server_bits),
        client_max_window_bits: client_bits.filter(|bits| *bits < WindowBits::MAX),
    };
    Negotiated { agreed: answer.agreed(WindowBits::MAX), answer: answer.header_value() }
}

impl Parameters {
    /// What an answer says, where the client never uses more than `promised`.
    pub(super) fn agreed(&self, promised: WindowBits) -> Agreed {
        Agreed {
            server: Direction {
                context_takeover: !self.server_no_context_takeover,
                max_window_bits: self.server_max_window_bits.unwrap_or(WindowBits::MAX),
            },
            client: Direction {
                context_takeover: !self.client_no_context_takeover,
                max_window_bits: self.client_max_window_bits.unwrap_or(WindowBits::MAX).min(promised),
            },
        }
    }
}
