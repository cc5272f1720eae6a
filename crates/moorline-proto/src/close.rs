//! The close codes: one table, equal to `spec/close-codes.md`.

use crate::error::Rejection;

/// Whether and when a client comes back after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// With backoff, at once.
    Yes,
    /// After the delay that `closing` named; with backoff where none was named.
    After,
    /// Not by itself: the application has to act first.
    Never,
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reconnect:ident;)+) => {
        /// Why the server closes a connection (RFC 6455 section 7.4; 4000 to 4099 are ours).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CloseCode { $($(#[$doc])* $name = $code,)+ }

        impl CloseCode {
            /// All of them, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 { self as u16 }

            /// What a client does after it.
            #[must_use]
            pub const fn reconnect(self) -> Reconnect {
                match self { $(Self::$name => Reconnect::$reconnect,)+ }
            }
        }
    };
}

close_codes! {
    /// Asked for by the peer or the application.
    Normal = 1000, Never;
    /// The server drains.
    GoingAway = 1001, After;
    /// The peer broke RFC 6455.
    Protocol = 1002, Yes;
    /// A binary frame where the codec is text.
    Unsupported = 1003, Never;
    /// A text frame or close reason that is not UTF-8.
    InvalidText = 1007, Yes;
    /// Not allowed: the reason says what.
    Policy = 1008, Never;
    /// A message over the inbound limit.
    TooBig = 1009, Never;
    /// Our fault.
    Internal = 1011, Yes;
    /// Too slow, or the server is overloaded.
    TryLater = 1013, After;
    /// A newer connection of the same session took over.
    Replaced = 4001, Never;
    /// Ended by the application.
    Disconnected = 4002, Never;
    /// The session was revoked.
    Revoked = 4003, Never;
}

impl CloseCode {
    /// How a connection ends for which something could not be done.
    #[must_use]
    pub const fn of(rejection: &Rejection) -> Self {
        if rejection.code.is_worth_a_retry() { Self::TryLater } else { Self::Internal }
    }

    /// The row for a number, if we have one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

/// What a client does after a close with any number, also one that is not in the table (a proxy's, 1006): it comes back.
#[must_use]
pub fn reconnect_after(number: u16) -> Reconnect {
    CloseCode::from_number(number).map_or(Reconnect::Yes, CloseCode::reconnect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_spec_equals_the_enum() {
        let spec = include_str!("../../../spec/close-codes.md");
        let rows: Vec<String> = spec
            .lines()
            .filter(|line| line.starts_with("| 1") || line.starts_with("| 4"))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                format!("{} {} {}", cells[1], cells[2], cells[4])
            })
            .collect();
        let ours: Vec<String> = CloseCode::ALL
            .iter()
            .map(|code| {
                format!("{} {code:?} {}", code.number(), format!("{:?}", code.reconnect()).to_lowercase())
            })
            .collect();
        assert_eq!(rows, ours);
    }
}
