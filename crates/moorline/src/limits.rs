//! How much a client may do in a time (requirements R6 and R23).

use std::num::NonZeroU32;

/// So many in each second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Per second.
    pub per_s: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// What clients may do. None is no limit; the defaults are those of an embedded node, whose application decides: no rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames of one connection.
    pub connection_messages: Option<Rate>,
    /// Bytes of one connection's frames.
    pub connection_bytes: Option<Rate>,
    /// Frames of one user, all its connections together.
    pub user_messages: Option<Rate>,
    /// Frames of one address, an IPv6 network of 64 bits being one.
    pub address_messages: Option<Rate>,
    /// Handshakes of one address.
    pub address_handshakes: Option<Rate>,
    /// Handshakes of one user.
    pub user_handshakes: Option<Rate>,
    /// Connections that are not established yet, together. Default 4,096: each holds a buffer for up to the hello timeout.
    pub unestablished_max: usize,
    /// Those of one address. Default 4,096.
    pub address_unestablished_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connection_messages: None,
            connection_bytes: None,
            user_messages: None,
            address_messages: None,
            address_handshakes: None,
            user_handshakes: None,
            unestablished_max: 4096,
            address_unestablished_max: 4096,
        }
    }
}
