//! Compression of messages (requirement R34): what is agreed with a client, and what belongs to threads instead of connections.

use std::cell::RefCell;

use moorline_proto::coding::Coding;
use moorline_ws::deflate::{Agreed, Inflater, Negotiated, Settings, WindowBits, negotiate};
use moorline_ws::frame::Role;
use moorline_ws::handshake::HandshakeError;

use crate::config::Config;

const LARGE: WindowBits = WindowBits::MAX;
/// Smaller windows than agreed are always allowed, so the other arms, which no number here takes, are right too.
const MEDIUM: WindowBits = match WindowBits::new(12) {
    Some(bits) => bits,
    None => WindowBits::MIN,
};
const SMALL: WindowBits = match WindowBits::new(9) {
    Some(bits) => bits,
    None => WindowBits::MIN,
};

thread_local! {
    /// It keeps nothing between two calls, so that connections need none of their own.
    static INFLATER: RefCell<Inflater> = const { RefCell::new(Inflater::new()) };
}

/// Lends the thread's inflater.
pub(crate) fn with_inflater<T>(act: impl FnOnce(&mut Inflater) -> T) -> T {
    INFLATER.with_borrow_mut(act)
}

/// What a request's offer ends in; none where compression is off or not offered. No context is taken over, whatever is offered:
/// a connection then holds no window, a frame is shared by all its receivers, and no message's length tells of another.
pub(crate) fn agree(
    config: &Config,
    headers: &http::HeaderMap,
) -> Result<Option<Negotiated>, HandshakeError> {
    match config.compression {
        Some(_) => negotiate(headers, &Settings::default()),
        None => Ok(None),
    }
}

/// How we compress what such a connection is sent.
pub(crate) fn coding(agreed: &Agreed) -> Option<Coding> {
    agreed.shared_window(Role::Server).map(|window| match window {
        window if window >= LARGE => Coding::Deflate15,
        window if window >= MEDIUM => Coding::Deflate12,
        _ => Coding::Deflate9,
    })
}

/// The window of a coding.
pub(crate) const fn window(coding: Coding) -> WindowBits {
    match coding {
        Coding::Deflate15 => LARGE,
        Coding::Deflate12 => MEDIUM,
        Coding::Deflate9 => SMALL,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

    use moorline_ws::deflate::Direction;

    use super::*;

    #[test]
    fn r34_no_window_is_larger_than_what_was_agreed() {
        for bits in 8..=15 {
            let direction =
                |bits| Direction { context_takeover: false, max_window_bits: WindowBits::new(bits).unwrap() };
            let agreed = Agreed { server: direction(bits), client: direction(15) };
            let used = window(coding(&agreed).unwrap());
            // Where 8 bits were agreed, 9 refer no further back than those do.
            assert!(used.bits() <= bits.max(9), "{bits}: {used}");
            assert_eq!(Some(used), agreed.shared_window(Role::Server));
        }
    }

    #[test]
    fn r34_a_level_that_is_none_is_refused() {
        for level in [0, 10] {
            let compression = Some(crate::Compression { level, ..crate::Compression::DEFAULT });
            let error = Config { compression, ..Config::default() }.check().unwrap_err();
            assert_eq!(error.setting, "compression.level");
        }
    }

    #[test]
    fn r34_a_node_that_does_not_compress_does_not_look_at_what_is_offered() {
        let mut headers = http::HeaderMap::new();
        headers.insert("sec-websocket-extensions", "=".parse().unwrap());
        let mut config = Config::default();
        assert_eq!(agree(&config, &headers), Ok(None));
        config.compression = Some(crate::Compression::DEFAULT);
        assert_eq!(agree(&config, &headers), Err(HandshakeError::Extensions));
    }
}
