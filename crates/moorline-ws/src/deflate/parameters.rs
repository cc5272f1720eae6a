//! The four parameters of the extension (RFC 7692 §7.1), as a header carries them.

use std::fmt;

use http::HeaderValue;

use super::{
    WindowBits,
    extensions::{Extension, Parameter},
};

/// The registered name of the extension.
pub(super) const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// What a client offers, or a server answers. As text it is an element of `Sec-WebSocket-Extensions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters {
    /// The server compresses each message by itself (§7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself (§7.1.1.2); in an offer, it says that it will.
    pub client_no_context_takeover: bool,
    /// The server's window is at most this (§7.1.2.1).
    pub server_max_window_bits: Option<WindowBits>,
    /// In an answer, the client's window is at most this. In an offer, the server may limit it, and it will not be
    /// larger than this anyway; [`WindowBits::MAX`] is written, and read, as the parameter without a value (§7.1.2.2).
    pub client_max_window_bits: Option<WindowBits>,
}

/// Where parameters stand decides what a value may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Offer,
    Answer,
}

impl Parameters {
    /// The offer that leaves every choice to the server, and lets it limit the client's window.
    pub const OFFER: Self = Self {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: None,
        client_max_window_bits: Some(WindowBits::MAX),
    };

    /// The value of `Sec-WebSocket-Extensions`.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        // The text is made of the names above and digits; the other arm is for the type alone.
        HeaderValue::from_str(&self.to_string()).unwrap_or(HeaderValue::from_static(NAME))
    }

    /// `None` for a parameter that is unknown, stands twice, or has a value that it must not have (§7.1): then the
    /// whole offer is declined.
    pub(super) fn parse(extension: &Extension<'_>, place: Place) -> Option<Self> {
        let mut parameters = Self::default();
        for (index, parameter) in extension.parameters.iter().enumerate() {
            if extension.parameters[..index].iter().any(|earlier| earlier.name == parameter.name) {
                return None;
            }
            parameters.set(parameter, place)?;
        }
        Some(parameters)
    }

    fn set(&mut self, parameter: &Parameter<'_>, place: Place) -> Option<()> {
        let value = parameter.value.as_deref();
        match parameter.name {
            SERVER_NO_CONTEXT_TAKEOVER if value.is_none() => self.server_no_context_takeover = true,
            CLIENT_NO_CONTEXT_TAKEOVER if value.is_none() => self.client_no_context_takeover = true,
            SERVER_MAX_WINDOW_BITS => self.server_max_window_bits = Some(WindowBits::parse(value?)?),
            CLIENT_MAX_WINDOW_BITS => {
                let bits = match value {
                    None if place == Place::Offer => WindowBits::MAX,
                    value => WindowBits::parse(value?)?,
                };
                self.client_max_window_bits = Some(bits);
            }
            _ => return None,
        }
        Some(())
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        let flags = [
            (self.server_no_context_takeover, SERVER_NO_CONTEXT_TAKEOVER),
            (self.client_no_context_takeover, CLIENT_NO_CONTEXT_TAKEOVER),
        ];
        for (_, name) in flags.into_iter().filter(|(is_set, _)| *is_set) {
            write!(f, "; {name}")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; {SERVER_MAX_WINDOW_BITS}={bits}")?;
        }
        match self.client_max_window_bits {
            Some(WindowBits::MAX) => write!(f, "; {CLIENT_MAX_WINDOW_BITS}"),
            Some(bits) => write!(f, "; {CLIENT_MAX_WINDOW_BITS}={bits}"),
            None => Ok(()),
        }
    }
}
