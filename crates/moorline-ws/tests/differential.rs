//! The same bytes through tungstenite and through this crate: the same events, and a refusal where it refuses.
//!
//! The deliberate differences, each checked to be no other:
//! - lengths that are not in the fewest bytes: refused here, as §5.2 demands (in a control frame as too long);
//!   tungstenite takes them;
//! - close codes that must not be sent: refused here; tungstenite reports a close frame of 1002 in their place;
//! - close code 1014 (bad gateway, in IANA's registry): accepted here; tungstenite does not know it;
//! - what breaks a rule in a frame that is incomplete: refused here at once; tungstenite waits for the frame;
//! - a frame that breaks two rules, one of them the size: here the one that the earlier byte breaks is named.

mod common;
#[path = "common/generate.rs"]
mod generate;

use std::io::{self, Cursor, Read, Write};

use common::Outcome;
use generate::{LIMIT, client_stream};
use moorline_ws::{close::Close, event::Event, violation::Violation};
use proptest::prelude::*;
use tungstenite::{
    Error, Message, WebSocket,
    error::ProtocolError,
    protocol::{Role, WebSocketConfig},
};

/// A socket with all that will ever arrive, and no interest in the answers.
struct Pipe(Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of a stream: its events, and the close code of its refusal, if it refuses.
fn reference(bytes: &[u8]) -> (Vec<Event<'static>>, Option<u16>, Ended) {
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    let pipe = Pipe(Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_partially_read(pipe, Vec::new(), Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => events.push(event(message)),
            Err(Error::ConnectionClosed) => return (events, None, Ended::Closed),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, None, Ended::OutOfBytes);
            }
            Err(Error::Protocol(_)) => return (events, Some(1002), Ended::Refused),
            Err(Error::Utf8(_)) => return (events, Some(1007), Ended::Refused),
            Err(Error::Capacity(_)) => return (events, Some(1009), Ended::Refused),
            Err(other) => panic!("not an answer to bytes: {other}"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    OutOfBytes,
    Refused,
}

fn event(message: Message) -> Event<'static> {
    match message {
        Message::Text(text) => Event::Text(text.as_str().to_owned().into()),
        Message::Binary(bytes) => Event::Binary(bytes.to_vec().into()),
        Message::Ping(bytes) => Event::Ping(bytes.to_vec().into()),
        Message::Pong(bytes) => Event::Pong(bytes.to_vec().into()),
        Message::Close(close) => {
            Event::Close(close.map(|close| Close {
                code: close.code.into(),
                reason: close.reason.as_str().to_owned().into(),
            }))
        }
        Message::Frame(_) => unreachable!("reading gives no frames"),
    }
}

fn compare(bytes: &[u8], ours: &Outcome) -> Result<(), TestCaseError> {
    let (mut events, code, ended) = reference(bytes);
    match ours.violation {
        None => {
            prop_assert_eq!(code, None, "accepted here, refused there");
            let bad_gateway =
                |event: &&Event<'_>| matches!(event, Event::Close(Some(Close { code: 1014, .. })));
            if let Some(close) = ours.events.last().filter(bad_gateway) {
                prop_assert_eq!(events.pop(), Some(refused_close()));
                events.push(close.clone());
            }
        }
        Some(Violation::NonMinimalLength | Violation::LongControl) => events.truncate(ours.events.len()),
        Some(Violation::CloseCode(_)) if ended == Ended::Closed => {
            prop_assert_eq!(events.pop(), Some(refused_close()));
        }
        Some(_) if ended == Ended::OutOfBytes => {}
        Some(violation) => {
            prop_assert_eq!(ended, Ended::Refused, "refused here: {}", violation);
            if !breaks_two_rules(violation, code) {
                prop_assert_eq!(Some(violation.close_code()), code, "{}", violation);
            }
        }
    }
    prop_assert_eq!(&ours.events, &events);
    Ok(())
}

/// What tungstenite reports for a close code that it does not permit.
fn refused_close() -> Event<'static> {
    Event::Close(Some(Close { code: 1002, reason: "Protocol violation".into() }))
}

/// Where both refuse the same frame for different reasons.
fn breaks_two_rules(violation: Violation, theirs: Option<u16>) -> bool {
    match theirs {
        Some(1009) => violation.close_code() == 1002,
        Some(1007) => matches!(violation, Violation::CloseCode(_)),
        Some(1002) => matches!(violation, Violation::TooBig { .. }),
        _ => false,
    }
}

proptest! {
    #![proptest_config(generate::config(2000))]

    #[test]
    fn agrees_with_tungstenite_however_the_bytes_are_cut(
        bytes in client_stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = common::decode(&bytes, LIMIT);
        compare(&bytes, &whole)?;
        for cut in 0..=bytes.len() {
            prop_assert_eq!(&common::decode_cut(&bytes, [cut], LIMIT), &whole, "cut at {}", cut);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(&common::decode_cut(&bytes, cuts, LIMIT), &whole);
        prop_assert_eq!(&common::decode_by_byte(&bytes, LIMIT), &whole);
    }
}

#[test]
fn lengths_in_too_many_bytes_are_refused_here_only() {
    let mut frame = common::Frame::whole(common::TEXT, "a");
    frame.length = common::Length::Wide16;
    assert_eq!(reference(&frame.bytes()), (vec![Event::Text("a".into())], None, Ended::OutOfBytes));
    assert_eq!(common::decode(&frame.bytes(), LIMIT).violation, Some(Violation::NonMinimalLength));
}
