//! Close frames: which codes may travel, what a peer said, and the answer to it (RFC 6455 §5.5.1, §7.4).

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    event::cow_text,
    frame::{self, MAX_CONTROL_PAYLOAD},
    violation::Violation,
};

/// The longest reason a close frame can carry: what its two bytes of code leave of a control frame (§5.5).
pub const MAX_REASON_LEN: usize = MAX_CONTROL_PAYLOAD - 2;

/// What a close frame says. The code is one that [`is_valid_code`] permits, the reason at most
/// [`MAX_REASON_LEN`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close<'a> {
    /// Why the peer closes, as a number (§7.4).
    pub code: u16,
    /// The same as text, often empty; meant for logs, not for users.
    pub reason: Cow<'a, str>,
}

impl<'a> Close<'a> {
    /// Reads the payload of a close frame; an empty one says nothing.
    pub(crate) fn parse(payload: Cow<'a, [u8]>) -> Result<Option<Self>, Violation> {
        match *payload {
            [] => Ok(None),
            [_] => Err(Violation::TruncatedCloseCode),
            [high, low, ..] => {
                let code = u16::from_be_bytes([high, low]);
                if !is_valid_code(code) {
                    return Err(Violation::CloseCode(code));
                }
                let reason = cow_text(skip_code(payload))?;
                Ok(Some(Self { code, reason }))
            }
        }
    }
}

fn skip_code(payload: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match payload {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[2..]),
        Cow::Owned(mut bytes) => {
            bytes.drain(..2);
            Cow::Owned(bytes)
        }
    }
}

/// Whether a code may stand in a close frame (§7.4): 1000–1003 and 1007–1014 are defined (1012–1014 by IANA's
/// registry), 3000–4999 are for libraries and applications. All others are reserved, or, like 1005, 1006 and
/// 1015, only name what happened when no close frame came.
#[must_use]
pub const fn is_valid_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The close frame with which a server answers the peer's (§5.5.1): the same code without the reason, or an
/// empty frame where the peer gave no code. Send it once, and only if no close frame was sent before.
///
/// ```
/// # use moorline_ws::close;
/// assert_eq!(&close::reply(None)[..], [0x88, 0]);
/// ```
#[must_use]
pub fn reply(received: Option<&Close<'_>>) -> Bytes {
    match received {
        Some(close) => frame::close(close.code, ""),
        None => Bytes::from_static(&[0x88, 0]),
    }
}

/// The payload of a close frame: the code, then as much of the reason as fits in [`MAX_REASON_LEN`] bytes
/// without cutting a character. For clients, who mask it with [`frame::put_masked`]; servers use
/// [`frame::close`].
#[must_use]
pub fn payload(code: u16, reason: &str) -> Vec<u8> {
    let reason = truncate(reason);
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    payload
}

/// The longest prefix of whole characters that fits.
pub(crate) fn truncate(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON_LEN);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_travel() {
        let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999];
        for code in valid.into_iter().chain([4000, 4999]) {
            assert!(is_valid_code(code), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!is_valid_code(code), "{code}");
        }
    }

    #[test]
    fn a_payload_is_nothing_or_a_code_and_a_reason() {
        let parse = |bytes: &'static [u8]| Close::parse(Cow::Borrowed(bytes));
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"\x03"), Err(Violation::TruncatedCloseCode));
        assert_eq!(parse(b"\x03\xe8"), Ok(Some(Close { code: 1000, reason: "".into() })));
        assert_eq!(parse(b"\x0f\xa0bye"), Ok(Some(Close { code: 4000, reason: "bye".into() })));
        assert_eq!(parse(b"\x03\xed"), Err(Violation::CloseCode(1005)));
        assert_eq!(parse(b"\x03\xe8\xff"), Err(Violation::InvalidUtf8));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(truncate(&"a".repeat(123)).len(), 123);
        assert_eq!(truncate(&"a".repeat(124)).len(), 123);
        assert_eq!(truncate(&"é".repeat(62)).len(), 122);
        assert_eq!(truncate(&"𝄞".repeat(31)).len(), 120);
        assert_eq!(payload(1000, &"€".repeat(50)).len(), 2 + 123);
    }

    #[test]
    fn a_reply_carries_the_code_only() {
        let close = Close { code: 4001, reason: "gone".into() };
        assert_eq!(&reply(Some(&close))[..], [0x88, 2, 0x0f, 0xa1]);
        assert_eq!(&reply(None)[..], [0x88, 0]);
    }
}
