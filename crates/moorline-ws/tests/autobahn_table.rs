//! The short cases of the Autobahn test suite (its sections 1 to 7), against the decoder alone: what the client
//! sends, and what must become of it. Each case arrives whole, byte by byte, and in parts of 997 bytes,
//! which are cases of their own there (2.6, 2.11, 5.4, 5.5 and their like).
//! What an endpoint must *answer* follows from the events and is tested where the driver is.

mod common;

use common::{BINARY, CLOSE, CONTINUATION, FIN, Frame, Outcome, PING, PONG, TEXT, decode_cut, stream};
use moorline_ws::{close::Close, event::Event, violation::Violation};

const LIMIT: usize = 1 << 20;

/// Plays a case: all `events` must be reported, then `violation`.
fn case(name: &str, frames: &[Frame], events: Vec<Event<'static>>, violation: Option<Violation>) {
    let bytes = stream(frames);
    let expected = Outcome { events, violation };
    for step in [bytes.len().max(1), 1, 997] {
        let outcome = decode_cut(&bytes, (0..bytes.len()).step_by(step), LIMIT);
        assert!(outcome == expected, "case {name}, {step} bytes at a time: {:?}", outcome.violation);
    }
}

fn passes(name: &str, frames: &[Frame], events: Vec<Event<'static>>) {
    case(name, frames, events, None);
}

fn fails(name: &str, frames: &[Frame], violation: Violation) {
    case(name, frames, vec![], Some(violation));
}

fn text(text: &str) -> Event<'static> {
    Event::Text(text.to_owned().into())
}

fn binary(bytes: impl Into<Vec<u8>>) -> Event<'static> {
    Event::Binary(bytes.into().into())
}

fn ping(payload: impl Into<Vec<u8>>) -> Event<'static> {
    Event::Ping(payload.into().into())
}

fn pong(payload: impl Into<Vec<u8>>) -> Event<'static> {
    Event::Pong(payload.into().into())
}

fn closed(code: u16, reason: &str) -> Event<'static> {
    Event::Close(Some(Close { code, reason: reason.to_owned().into() }))
}

/// A message with a fragment for each part.
fn fragments<P: AsRef<[u8]>>(opcode: u8, parts: &[P]) -> Vec<Frame> {
    let frame = |(index, part): (usize, &P)| {
        let opcode = if index == 0 { opcode } else { CONTINUATION };
        let fin = if index + 1 == parts.len() { FIN } else { 0 };
        Frame::new(fin | opcode, part)
    };
    parts.iter().enumerate().map(frame).collect()
}

/// A fragment for each byte.
fn bytewise(opcode: u8, payload: &[u8]) -> Vec<Frame> {
    fragments(opcode, &payload.chunks(1).collect::<Vec<_>>())
}

#[test]
fn section_1_messages_of_all_sizes() {
    for (number, len) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
        let payload = "*".repeat(len);
        passes(&format!("1.1.{number}"), &[Frame::whole(TEXT, &payload)], vec![text(&payload)]);
        let payload = vec![0xfe; len];
        passes(&format!("1.2.{number}"), &[Frame::whole(BINARY, &payload)], vec![binary(payload)]);
    }
}

#[test]
fn section_2_pings_and_pongs() {
    let odd = [0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff];
    for (name, payload) in
        [("2.1", &b""[..]), ("2.2", b"Hello, world!"), ("2.3", &odd), ("2.4", &[0xfe; 125])]
    {
        passes(name, &[Frame::whole(PING, payload)], vec![ping(payload)]);
    }
    fails("2.5", &[Frame::whole(PING, [0xfe; 126])], Violation::LongControl);
    passes("2.7", &[Frame::whole(PONG, "")], vec![pong("")]);
    passes("2.8", &[Frame::whole(PONG, "unsolicited")], vec![pong("unsolicited")]);
    let frames = [Frame::whole(PONG, "unsolicited"), Frame::whole(PING, "ping")];
    passes("2.9", &frames, vec![pong("unsolicited"), ping("ping")]);
    let payloads: Vec<String> = (0..10).map(|i| format!("payload-{i}")).collect();
    let frames: Vec<Frame> = payloads.iter().map(|payload| Frame::whole(PING, payload)).collect();
    passes("2.10", &frames, payloads.into_iter().map(ping).collect());
}

#[test]
fn section_3_reserved_bits() {
    let hello = || Frame::whole(TEXT, "Hello, world!");
    let reserved = |rsv: u8, mut frame: Frame| {
        frame.first |= rsv << 4;
        frame
    };
    fails("3.1", &[reserved(1, hello())], Violation::ReservedBits);
    for (name, rsv) in [("3.2", 2), ("3.3", 3), ("3.4", 4)] {
        let frames = [hello(), reserved(rsv, hello()), Frame::whole(PING, "")];
        case(name, &frames, vec![text("Hello, world!")], Some(Violation::ReservedBits));
    }
    fails("3.5", &[reserved(5, Frame::whole(BINARY, [0xff; 8]))], Violation::ReservedBits);
    fails("3.6", &[reserved(6, Frame::whole(PING, "Hello, world!"))], Violation::ReservedBits);
    fails("3.7", &[reserved(7, Frame::whole(CLOSE, ""))], Violation::ReservedBits);
}

#[test]
fn section_4_reserved_opcodes() {
    for opcode in (3..8).chain(11..16) {
        let violation = Violation::UnknownOpcode(opcode);
        fails("4.x.1", &[Frame::whole(opcode, "")], violation);
        fails("4.x.2", &[Frame::whole(opcode, "reserved opcode payload")], violation);
        let frames = [Frame::whole(TEXT, "Hello"), Frame::whole(opcode, ""), Frame::whole(PING, "")];
        case("4.x.3", &frames, vec![text("Hello")], Some(violation));
    }
}

#[test]
fn section_5_fragments_in_order() {
    let mut with_ping = fragments(TEXT, &["fragment1", "fragment2"]);
    passes("5.3", &with_ping, vec![text("fragment1fragment2")]);
    with_ping.insert(1, Frame::whole(PING, "ping payload"));
    passes("5.6", &with_ping, vec![ping("ping payload"), text("fragment1fragment2")]);
    let mut five = fragments(TEXT, &["fragment1", "fragment2", "fragment3", "fragment4", "fragment5"]);
    five.insert(4, Frame::whole(PING, "pongme 2!"));
    five.insert(2, Frame::whole(PING, "pongme 1!"));
    let whole = text("fragment1fragment2fragment3fragment4fragment5");
    passes("5.19", &five, vec![ping("pongme 1!"), ping("pongme 2!"), whole]);
}

#[test]
fn section_5_fragments_out_of_order() {
    for (name, opcode) in [("5.1", PING), ("5.2", PONG)] {
        fails(name, &fragments(opcode, &["fragment1", "fragment2"]), Violation::FragmentedControl);
    }
    for (name, first) in [("5.9", FIN | CONTINUATION), ("5.12", CONTINUATION)] {
        let frames = [Frame::new(first, "non-continuation payload"), Frame::whole(TEXT, "Hello, world!")];
        fails(name, &frames, Violation::UnexpectedContinuation);
    }
    let mut frames = fragments(TEXT, &["fragment1", "fragment2"]);
    frames.extend([Frame::new(CONTINUATION, "fragment3"), Frame::whole(TEXT, "fragment4")]);
    let unexpected = Some(Violation::UnexpectedContinuation);
    case("5.15", &frames, vec![text("fragment1fragment2")], unexpected);
    for (name, first) in [("5.16", CONTINUATION), ("5.17", FIN | CONTINUATION)] {
        let frames = [Frame::new(first, "fragment1"), Frame::new(TEXT, "fragment2")];
        fails(name, &frames, Violation::UnexpectedContinuation);
    }
    let frames = [Frame::new(TEXT, "fragment1"), Frame::whole(TEXT, "fragment2")];
    fails("5.18", &frames, Violation::InterruptedMessage);
}

#[test]
fn section_6_1_empty_fragments() {
    passes("6.1.1", &[Frame::whole(TEXT, "")], vec![text("")]);
    passes("6.1.2", &fragments(TEXT, &["", "", ""]), vec![text("")]);
    passes("6.1.3", &fragments(TEXT, &["", "middle frame payload", ""]), vec![text("middle frame payload")]);
}

#[test]
fn section_6_2_text_cut_anywhere() {
    let hello = "Hello-µ@ßöäüàá-UTF-8!!";
    passes("6.2.1", &[Frame::whole(TEXT, hello)], vec![text(hello)]);
    let (first, second) = hello.as_bytes().split_at(7);
    passes("6.2.2", &fragments(TEXT, &[first, second]), vec![text(hello)]);
    passes("6.2.3", &bytewise(TEXT, hello.as_bytes()), vec![text(hello)]);
    passes("6.2.4", &bytewise(TEXT, "κόσμε".as_bytes()), vec![text("κόσμε")]);
}

#[test]
fn section_6_3_wrong_text_in_any_cut() {
    let wrong = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    fails("6.3.1", &[Frame::whole(TEXT, wrong)], Violation::InvalidUtf8);
    fails("6.3.2", &bytewise(TEXT, wrong), Violation::InvalidUtf8);
}

/// The refusal must come with the first byte that is wrong, not with the end of the frame or the message.
#[test]
fn section_6_4_wrong_text_fails_at_once() {
    let before = "κόσμε".as_bytes();
    let cases: [(&str, &[u8], &[u8]); 2] = [("6.4.1", b"", b"\xf4\x90"), ("6.4.2", b"\xf4", b"\x90")];
    for (name, cut_off, wrong) in cases {
        let first = Frame::new(TEXT, [before, cut_off].concat());
        passes(name, std::slice::from_ref(&first), vec![]);
        fails(name, &[first, Frame::new(CONTINUATION, wrong)], Violation::InvalidUtf8);
    }
    // 6.4.3 and 6.4.4: in one frame, whose remainder has not come yet.
    let frame = Frame::whole(TEXT, [before, b"\xf4\x90\x80\x80edited"].concat()).bytes();
    let wrong = 6 + before.len() + 1;
    assert_eq!(decode_cut(&frame[..wrong], [8], LIMIT).violation, None);
    for cut in 0..=wrong {
        let outcome = decode_cut(&frame[..=wrong], [cut], LIMIT);
        assert_eq!(outcome.violation, Some(Violation::InvalidUtf8), "cut at {cut}");
    }
}

/// 6.5 to 6.23, as the bytes of the text.
const VALID: &[&[u8]] = &[
    b"\x00",
    b"\xc2\x80",
    b"\xe0\xa0\x80",
    b"\xf0\x90\x80\x80", // 6.7: the first character of each length
    b"\x7f",
    b"\xdf\xbf",
    b"\xef\xbf\xbf",
    b"\xf4\x8f\xbf\xbf", // 6.9: the last
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbd", // 6.11: next to the surrogates
    b"\xef\xbf\xbe",
    b"\xf0\x9f\xbf\xbe",
    b"\xf0\x9f\xbf\xbf",
    b"\xf3\xbf\xbf\xbe",
    b"\xf4\x8f\xbf\xbe", // 6.22: no characters, but valid
    b"\xef\xbf\xb9\xef\xbf\xba\xef\xbf\xbb\xef\xbf\xbc\xef\xbf\xbd", // 6.23: specials
];

const INVALID: &[&[u8]] = &[
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80", // 6.8: five and six bytes
    b"\xf7\xbf\xbf\xbf",
    b"\xfb\xbf\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf\xbf", // 6.10: beyond the last
    b"\xf4\x90\x80\x80",         // 6.11: likewise
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80", // 6.12: continuation bytes alone
    b"\xc0 \xc1 \xdf ",
    b"\xe0 \xef ",
    b"\xf0 \xf7 ",
    b"\xf8 \xfb ",
    b"\xfc \xfd ", // 6.13: first bytes alone
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",             // 6.14: the last byte missing
    b"\xdf\xef\xbf\xf7\xbf\xbf", // 6.15: several of these
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff", // 6.16: bytes that never occur
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf", // 6.17: a slash, overlong
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf", // 6.18: the longest overlong ones
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80", // 6.19: an overlong zero
    b"\xed\xa0\x80",
    b"\xed\xad\xbf",
    b"\xed\xae\x80",
    b"\xed\xaf\xbf",
    b"\xed\xb0\x80",
    b"\xed\xbe\x80",
    b"\xed\xbf\xbf", // 6.20: surrogates
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf", // 6.21: in pairs
];

#[test]
fn section_6_5_to_6_23_which_text_is_valid() {
    let word = "κόσμε";
    for end in 0..=word.len() {
        let frame = Frame::whole(TEXT, &word.as_bytes()[..end]);
        match word.get(..end) {
            Some(valid) => passes("6.6", &[frame], vec![text(valid)]),
            None => fails("6.6", &[frame], Violation::InvalidUtf8),
        }
    }
    for bytes in VALID {
        let valid = std::str::from_utf8(bytes).unwrap();
        passes(&format!("{bytes:x?}"), &[Frame::whole(TEXT, bytes)], vec![text(valid)]);
        passes(&format!("{bytes:x?} in fragments"), &bytewise(TEXT, bytes), vec![text(valid)]);
    }
    for bytes in INVALID {
        fails(&format!("{bytes:x?}"), &[Frame::whole(TEXT, bytes)], Violation::InvalidUtf8);
        fails(&format!("{bytes:x?} in fragments"), &bytewise(TEXT, bytes), Violation::InvalidUtf8);
    }
}

#[test]
fn section_7_1_nothing_counts_after_a_close() {
    let close = || Frame::close(1000, "");
    passes("7.1.1", &[Frame::whole(TEXT, "Hello"), close()], vec![text("Hello"), closed(1000, "")]);
    for after in [close(), Frame::whole(PING, ""), Frame::whole(TEXT, "Hello"), Frame::whole(3, "")] {
        passes("7.1.2 to 7.1.4", &[close(), after], vec![closed(1000, "")]);
    }
    let frames = [Frame::new(TEXT, "fragment1"), close(), Frame::whole(CONTINUATION, "fragment2")];
    passes("7.1.5", &frames, vec![closed(1000, "")]);
    let large = "BAsd7&jh23".repeat(26_000);
    let frames = [Frame::whole(TEXT, &large), close(), Frame::whole(PING, "")];
    passes("7.1.6", &frames, vec![text(&large), closed(1000, "")]);
}

#[test]
fn section_7_3_payloads_of_close_frames() {
    passes("7.3.1", &[Frame::whole(CLOSE, "")], vec![Event::Close(None)]);
    fails("7.3.2", &[Frame::whole(CLOSE, "a")], Violation::TruncatedCloseCode);
    passes("7.3.3", &[Frame::close(1000, "")], vec![closed(1000, "")]);
    passes("7.3.4", &[Frame::close(1000, "Hello World!")], vec![closed(1000, "Hello World!")]);
    let longest = "*".repeat(123);
    passes("7.3.5", &[Frame::close(1000, &longest)], vec![closed(1000, &longest)]);
    fails("7.3.6", &[Frame::close(1000, "*".repeat(124))], Violation::LongControl);
    let reason = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    fails("7.5.1", &[Frame::close(1000, reason)], Violation::InvalidUtf8);
}

#[test]
fn section_7_7_to_7_13_close_codes() {
    let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    for code in valid.into_iter().chain([3000, 3999, 4000, 4999]) {
        passes("7.7", &[Frame::close(code, "")], vec![closed(code, "")]);
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        fails("7.9 and 7.13", &[Frame::close(code, "")], Violation::CloseCode(code));
    }
}

#[test]
fn section_10_1_a_message_in_many_fragments() {
    let payload = "*".repeat(65_536);
    let parts: Vec<&[u8]> = payload.as_bytes().chunks(1300).collect();
    passes("10.1.1", &fragments(TEXT, &parts), vec![text(&payload)]);
}
