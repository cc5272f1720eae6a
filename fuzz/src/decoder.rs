//! WebSocket frames. However the bytes are cut, the same comes of them, and no more than the limit is held or inflated.
//!
//! Input: how the connection is (role, limit, compression), how it is cut, and then its bytes.

use moorline_ws::deflate::Agreed;
use moorline_ws::event::Event;
use moorline_ws::frame::Role;

use crate::driver::{Driver, Outcome, agreed};

const LIMITS: [usize; 4] = [0, 130, 4096, 64 * 1024];
/// The most that a control frame may hold.
const CONTROL_MAX: usize = 125;

struct Connection {
    role: Role,
    limit: usize,
    deflate: Option<Agreed>,
}

pub(crate) fn run(input: &[u8]) {
    let Some((&[how, cuts], bytes)) = input.split_first_chunk() else { return };
    let connection = Connection {
        role: if how & 1 == 0 { Role::Server } else { Role::Client },
        limit: LIMITS[usize::from(how >> 1 & 3)],
        deflate: match how >> 3 & 3 {
            0 => None,
            1 => Some(agreed(false, 15)),
            2 => Some(agreed(true, 9)),
            _ => Some(agreed(true, 15)),
        },
    };
    let whole = connection.decode(bytes.chunks(bytes.len().max(1)));
    assert_eq!(connection.decode(bytes.chunks(1)), whole, "byte by byte");
    assert_eq!(connection.decode(pieces(bytes, cuts)), whole, "in pieces, from {cuts}");
    for event in &whole.events {
        assert!(connection.is_within_limit(event), "{event:?}");
    }
}

impl Connection {
    fn decode<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
        let mut driver = match &self.deflate {
            Some(agreed) => Driver::with_deflate(self.role, self.limit, agreed),
            None => Driver::new(self.role, self.limit),
        };
        pieces.for_each(|piece| driver.feed(piece));
        driver.outcome
    }

    fn is_within_limit(&self, event: &Event<'_>) -> bool {
        match event {
            Event::Text(text) => text.len() <= self.limit,
            Event::Binary(bytes) => bytes.len() <= self.limit,
            Event::Ping(bytes) | Event::Pong(bytes) => bytes.len() <= CONTROL_MAX,
            Event::Close(close) => close.as_ref().is_none_or(|close| close.reason.len() <= CONTROL_MAX - 2),
        }
    }
}

/// Cuts as uneven as a number makes them.
fn pieces(mut bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(141).wrapping_add(3);
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(state >> 3).max(1)));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}
