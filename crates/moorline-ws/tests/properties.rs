//! What holds for any bytes and any cuts, without a reference to compare with.

mod common;
#[path = "common/generate.rs"]
#[allow(dead_code, reason = "no streams of a client are drawn here")]
mod generate;

use std::borrow::Cow;

use common::Driver;
use generate::LIMIT;
use moorline_ws::{
    close::{self, Close},
    decoder::{Decoder, Limits},
    event::Event,
    frame::{self, OpCode, Role},
};
use proptest::{collection::vec, prelude::*};

/// Something an endpoint can send with this crate.
#[derive(Debug, Clone)]
enum Sent {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

impl Sent {
    fn put_as_server(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => frame::put_text(out, text.as_bytes()),
            Self::Binary(bytes) => {
                frame::put_header(out, OpCode::Binary, bytes.len());
                out.extend_from_slice(bytes);
            }
            Self::Ping(payload) => frame::put_ping(out, payload),
            Self::Pong(payload) => frame::put_pong(out, payload),
            Self::Close(code, reason) => frame::put_close(out, *code, reason),
        }
    }

    fn put_as_client(&self, out: &mut Vec<u8>, mask: [u8; 4]) {
        match self {
            Self::Text(text) => frame::put_masked(out, OpCode::Text, text.as_bytes(), mask),
            Self::Binary(bytes) => frame::put_masked(out, OpCode::Binary, bytes, mask),
            Self::Ping(payload) => frame::put_masked(out, OpCode::Ping, payload, mask),
            Self::Pong(payload) => frame::put_masked(out, OpCode::Pong, payload, mask),
            Self::Close(code, reason) => {
                frame::put_masked(out, OpCode::Close, &close::payload(*code, reason), mask);
            }
        }
    }

    fn event(&self) -> Event<'_> {
        match self {
            Self::Text(text) => Event::Text(text.into()),
            Self::Binary(bytes) => Event::Binary(bytes.into()),
            Self::Ping(payload) => Event::Ping(payload.into()),
            Self::Pong(payload) => Event::Pong(payload.into()),
            Self::Close(code, reason) => {
                let cut = (0..=close::MAX_REASON_LEN).rev().find(|&end| reason.is_char_boundary(end));
                let end = cut.unwrap_or(0).min(reason.len());
                Event::Close(Some(Close { code: *code, reason: reason[..end].into() }))
            }
        }
    }
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let string = |most| vec(any::<char>(), 0..most).prop_map(String::from_iter);
    let short = || vec(any::<u8>(), 0..=125);
    let item = prop_oneof![
        string(100).prop_map(Sent::Text),
        vec(any::<u8>(), 0..300).prop_map(Sent::Binary),
        short().prop_map(Sent::Ping),
        short().prop_map(Sent::Pong),
    ];
    let end = (prop_oneof![Just(1000u16), 3000u16..5000], string(60)).prop_map(|(c, r)| Sent::Close(c, r));
    (vec(item, 1..6), end).prop_map(|(mut items, end)| {
        items.push(end);
        items
    })
}

proptest! {
    #![proptest_config(generate::config(512))]

    #[test]
    fn arbitrary_bytes_never_panic_nor_are_hoarded(parts in vec(vec(any::<u8>(), 0..100), 0..10)) {
        for role in [Role::Server, Role::Client] {
            // The driver checks what is held at each step.
            let mut driver = Driver::new(role, LIMIT);
            parts.iter().for_each(|part| driver.feed(part));
        }
    }

    #[test]
    fn what_is_written_here_is_read_here(sent in sent(), mask in any::<[u8; 4]>(), step in 1usize..200) {
        let expected: Vec<Event<'_>> = sent.iter().map(Sent::event).collect();
        let (mut server, mut client) = (Vec::new(), Vec::new());
        for item in &sent {
            item.put_as_server(&mut server);
            item.put_as_client(&mut client, mask);
        }
        for (receiver, bytes) in [(Role::Client, &server), (Role::Server, &client)] {
            let mut driver = Driver::new(receiver, 64 * 1024);
            bytes.chunks(step).for_each(|part| driver.feed(part));
            prop_assert_eq!(driver.outcome.violation, None);
            prop_assert_eq!(&driver.outcome.events, &expected);
            prop_assert!(driver.decoder.is_idle());
        }
    }

    #[test]
    fn prebuilt_frames_equal_those_put_in_place(payload in vec(any::<u8>(), 0..=125), text in ".{0,300}") {
        let mut out = Vec::new();
        frame::put_text(&mut out, text.as_bytes());
        prop_assert_eq!(out.len(), frame::header_len(text.len()) + text.len());
        frame::put_ping(&mut out, &payload);
        frame::put_pong(&mut out, &payload);
        let shared = [frame::text(text.as_bytes()), frame::ping(&payload), frame::pong(&payload)].concat();
        prop_assert_eq!(out, shared);
    }
}

#[test]
fn a_decoder_is_small() {
    assert_eq!(size_of::<Decoder>(), 16);
}

#[test]
fn whole_frames_are_borrowed_even_between_fragments() {
    let mut decoder = Decoder::new(Role::Server, Limits::DEFAULT);
    let mut whole = common::Frame::whole(common::TEXT, "hello").bytes();
    let decoded = decoder.decode(&mut whole).unwrap();
    assert_eq!(decoded.used, whole_len(5));
    assert!(matches!(decoded.event, Some(Event::Text(Cow::Borrowed("hello")))));
    assert!(decoder.is_idle());

    decoder.decode(&mut common::Frame::new(common::TEXT, "he").bytes()).unwrap();
    let held = decoder.held_bytes();
    let mut ping = common::Frame::whole(common::PING, "now").bytes();
    assert!(matches!(decoder.decode(&mut ping).unwrap().event, Some(Event::Ping(Cow::Borrowed(b"now")))));
    assert_eq!(decoder.held_bytes(), held);
}

fn whole_len(payload_len: usize) -> usize {
    frame::header_len(payload_len) + 4 + payload_len
}

#[test]
fn nothing_is_held_once_the_message_is_handed_over() {
    let mut decoder = Decoder::new(Role::Server, Limits::DEFAULT);
    let mut bytes = common::Frame::whole(common::TEXT, "x".repeat(1000)).bytes();
    let (first, second) = bytes.split_at_mut(700);
    assert_eq!(decoder.decode(first).unwrap().event, None);
    assert!((692..=692 + Driver::OVERHEAD).contains(&decoder.held_bytes()));
    let event = decoder.decode(second).unwrap().event;
    assert!(decoder.is_idle(), "while the event lives");
    match event {
        Some(Event::Text(Cow::Owned(text))) => assert_eq!((text.len(), text.capacity()), (1000, 1000)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_after_a_close_or_a_violation_is_ignored() {
    let endings = [common::Frame::close(1000, "").bytes(), vec![0xff]];
    for mut ending in endings {
        let mut decoder = Decoder::new(Role::Server, Limits::DEFAULT);
        let _ = decoder.decode(&mut ending);
        let mut more = common::Frame::whole(common::TEXT, "late").bytes();
        let len = more.len();
        let decoded = decoder.decode(&mut more).unwrap();
        assert_eq!((decoded.used, decoded.event), (len, None));
        assert!(decoder.is_idle());
    }
}

#[test]
fn no_bytes_are_no_event() {
    let mut decoder = Decoder::new(Role::Client, Limits::default());
    assert_eq!(decoder.decode(&mut []).unwrap().used, 0);
    assert!(decoder.is_idle());
}
