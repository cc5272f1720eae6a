//! The client's side of the negotiation: whether an answer fits the offer (RFC 7692 §5.2, §7.1).

use http::HeaderMap;
use thiserror::Error;

use super::{
    Agreed, Parameters, WindowBits,
    extensions::{self, Extension, Malformed},
    parameters::{NAME, Place},
};

/// Why a client must fail the connection after the server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The header is not a list of extensions (RFC 6455 §9.1).
    #[error("the server's Sec-WebSocket-Extensions is not a list of extensions")]
    Malformed,
    /// The server names an extension that was not offered, or ours twice (RFC 6455 §4.1).
    #[error("the server accepted an extension that was not offered, or one twice")]
    NotOffered,
    /// A parameter is unknown, stands twice or has an impossible value.
    #[error("the server answered permessage-deflate with parameters that have no meaning")]
    Parameters,
    /// The parameters do not keep what the offer demands.
    #[error("the server answered permessage-deflate with parameters that do not fit the offer")]
    Unfit,
}

impl Parameters {
    /// Checks the server's answer to this offer; `None` if the server declined. An answer may ask more than was
    /// offered, but not less: see [`AnswerError`].
    ///
    /// # Errors
    /// Why the client must fail the connection.
    pub fn check(&self, headers: &HeaderMap) -> Result<Option<Agreed>, AnswerError> {
        let extensions = extensions::parse(headers).map_err(|Malformed| AnswerError::Malformed)?;
        let answer = match &extensions[..] {
            [] => return Ok(None),
            [answer @ Extension { name: NAME, .. }] => answer,
            _ => return Err(AnswerError::NotOffered),
        };
        let answer = Self::parse(answer, Place::Answer).ok_or(AnswerError::Parameters)?;
        if self.permits(&answer) {
            Ok(Some(answer.agreed(self.client_max_window_bits.unwrap_or(WindowBits::MAX))))
        } else {
            Err(AnswerError::Unfit)
        }
    }

    /// What was asked of the server must be granted, and only what was offered may be asked of the client. That
    /// it takes no context over can be asked of every client.
    fn permits(&self, answer: &Self) -> bool {
        let granted = |bits| answer.server_max_window_bits.is_some_and(|answered| answered <= bits);
        (answer.server_no_context_takeover || !self.server_no_context_takeover)
            && self.server_max_window_bits.is_none_or(granted)
            && (answer.client_max_window_bits.is_none() || self.client_max_window_bits.is_some())
    }
}
