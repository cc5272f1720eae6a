//! The cases of the Autobahn test suite with compression (its sections 12 and 13), in short: every offer, every size and
//! every length of fragments, in a few messages where the suite sends a thousand. They are for where the suite itself,
//! which needs Python 2.7 and half an hour, is not run; `cargo xtask autobahn --all` plays it.

#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function")]

mod common;
#[path = "common/echo.rs"]
mod echo;

use common::{BINARY, CONTINUATION, FIN, Frame, RSV1, TEXT};
use echo::{Cut, Echo, Sender, encoded};
use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};
use moorline_ws::{
    deflate::{Agreed, Settings, WindowBits, negotiate},
    event::Event,
    frame::Role,
};

const LIMIT: usize = 1 << 20;
/// Enough that each refers to those before it, where that was agreed.
const MESSAGES: usize = 3;

/// The bytes of a message, and of its fragments where it has some.
const SIZES: [(usize, Option<usize>); 18] = [
    (16, None),
    (64, None),
    (256, None),
    (1024, None),
    (4096, None),
    (8192, None),
    (16_384, None),
    (32_768, None),
    (65_536, None),
    (131_072, None),
    (8192, Some(256)),
    (16_384, Some(256)),
    (32_768, Some(256)),
    (65_536, Some(256)),
    (131_072, Some(256)),
    (131_072, Some(1024)),
    (131_072, Some(4096)),
    (131_072, Some(32_768)),
];

/// What the client offers, the answer of a server that takes everything, and what holds then: whether the client and the
/// server take their contexts over, and the bits of the server's window.
type Offer = (&'static str, &'static str, &'static str, (bool, bool, u8));

const OFFERS: [Offer; 10] = [
    (
        "12.1, 13.1",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits",
        "permessage-deflate; client_no_context_takeover",
        (false, true, 15),
    ),
    (
        "13.2",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        (false, false, 15),
    ),
    (
        "13.3",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=9",
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=9",
        (false, true, 9),
    ),
    (
        "13.4",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=15",
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=15",
        (false, true, 15),
    ),
    (
        "13.5",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; \
         server_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
        (false, false, 9),
    ),
    (
        "13.6",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; \
         server_max_window_bits=15",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
        (false, false, 15),
    ),
    (
        "13.7",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; \
         server_max_window_bits=9, permessage-deflate; client_no_context_takeover; client_max_window_bits; \
         server_no_context_takeover, permessage-deflate; client_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
        (false, false, 9),
    ),
    // What the suite never offers: that the client takes its context over, and the smallest window.
    ("both take over", "permessage-deflate", "permessage-deflate", (true, true, 15)),
    (
        "the client takes over",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover",
        (true, false, 15),
    ),
    (
        "the smallest window",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=8",
        (true, true, 8),
    ),
];

/// A server that takes everything.
const SETTINGS: Settings = Settings {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: WindowBits::MAX,
    client_max_window_bits: WindowBits::MAX,
};

fn agree((name, offer, answer, expected): Offer) -> Agreed {
    let mut headers = HeaderMap::new();
    headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
    let negotiated = negotiate(&headers, &SETTINGS).unwrap().unwrap();
    assert_eq!(negotiated.answer, answer, "{name}");
    let Agreed { client, server } = negotiated.agreed;
    let found = (client.context_takeover, server.context_takeover, server.max_window_bits.bits());
    assert_eq!(found, expected, "{name}");
    negotiated.agreed
}

/// Records as an application sends them; no two messages are the same.
fn json(length: usize, seed: usize) -> Vec<u8> {
    let record = |number: usize| {
        format!(
            "{{\"id\":{},\"name\":\"user {}\",\"tags\":[\"one\",\"two\"]}},",
            number * 7919 + seed,
            number % 31
        )
    };
    (0..).flat_map(|number| record(number).into_bytes()).take(length).collect()
}

/// What cannot be compressed.
fn noise(length: usize, seed: usize) -> Vec<u8> {
    let mut state = u64::try_from(seed).unwrap() + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// Compressed where that is shorter, in fragments of this length.
fn frames(sender: &mut Sender, opcode: u8, message: &[u8], fragment: Option<usize>) -> Vec<Frame> {
    let (bit, payload) = match sender.compress(message) {
        Some(compressed) => (RSV1, compressed),
        None => (0, message.to_vec()),
    };
    let parts: Vec<&[u8]> = payload.chunks(fragment.unwrap_or(payload.len())).collect();
    let frame = |(index, part): (usize, &&[u8])| {
        let first = if index == 0 { bit | opcode } else { CONTINUATION };
        Frame::new(if index + 1 == parts.len() { FIN | first } else { first }, part)
    };
    parts.iter().enumerate().map(frame).collect()
}

/// Sends messages of this size, and reads each before the next one; returns how many bytes the echoes took.
fn play(name: &str, agreed: &Agreed, opcode: u8, (length, fragment): (usize, Option<usize>)) -> usize {
    let mut echo = Echo::new(LIMIT, Some(agreed));
    let mut sender = Sender::new(Role::Client, agreed);
    for index in 0..MESSAGES {
        let (message, expected) = if opcode == TEXT {
            let message = json(length, index);
            let text = String::from_utf8(message.clone()).unwrap();
            (message, Event::Text(text.into()))
        } else {
            let message = noise(length, index);
            (message.clone(), Event::Binary(message.into()))
        };
        let cut = if index % 2 == 0 { Cut::Nowhere } else { Cut::Every(997) };
        let sent = encoded(&frames(&mut sender, opcode, &message, fragment));
        cut.parts(&sent).iter().for_each(|part| echo.receive(part));
        assert!(echo.replies() == [expected], "{name}: message {index} of {length} bytes");
    }
    echo.written_bytes
}

#[test]
fn every_size_comes_back_with_every_offer() {
    for offer in OFFERS {
        let agreed = agree(offer);
        for (index, size) in SIZES.into_iter().enumerate() {
            let name = format!("{}, case {}", offer.0, index + 1);
            let bytes = play(&name, &agreed, TEXT, size);
            // The records shrink to less than half, once there are some; what would not is sent as it is.
            let most = if size.0 >= 1024 { MESSAGES * size.0 / 2 } else { MESSAGES * (size.0 + 4) };
            assert!(bytes <= most, "{name}: {bytes} bytes for {MESSAGES} messages of {}", size.0);
        }
    }
}

#[test]
fn what_cannot_be_compressed_comes_back_too() {
    for offer in OFFERS.into_iter().filter(|offer| ["13.2", "13.3", "both take over"].contains(&offer.0)) {
        let agreed = agree(offer);
        for (index, size) in SIZES.into_iter().enumerate() {
            let name = format!("noise, {}, case {}", offer.0, index + 1);
            let bytes = play(&name, &agreed, BINARY, size);
            assert!(bytes <= MESSAGES * (size.0 + 10), "{name}: {bytes} bytes");
        }
    }
}

/// The messages differ in their numbers alone, so a server that takes its context over says less.
#[test]
fn a_context_that_is_taken_over_makes_echoes_shorter() {
    let size = (1024, None);
    let bytes = |name: &str| {
        let offer = *OFFERS.iter().find(|offer| offer.0 == name).unwrap();
        play(name, &agree(offer), TEXT, size)
    };
    let (alone, together) = (bytes("13.2"), bytes("both take over"));
    assert!(together * 4 < alone * 3, "{together} bytes with it, {alone} without");
}
