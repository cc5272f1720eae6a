//! The short cases of the Autobahn test suite (its sections 1 to 7 and 10) as a table: a row for each, by its number, with
//! what the client sends and what it must read. So they are played where the suite itself, which needs Python 2.7, cannot
//! be; `cargo xtask autobahn` plays the suite. Its cases with compression are in `autobahn_deflate.rs`.

mod common;
#[path = "common/echo.rs"]
mod echo;

use std::collections::BTreeSet;

use common::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT};
use echo::{Cut, Echo, encoded};
use moorline_ws::{close::Close, event::Event};

const LIMIT: usize = 1 << 20;
/// Every row arrives in each of these ways. That is a case of its own in the suite here and there, and a row too.
const CUTS: [Cut; 4] = [Cut::Nowhere, Cut::BetweenFrames, Cut::Every(1), Cut::Every(997)];

const HELLO: &str = "Hello, world!";
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const INVALID_PAYLOAD: u16 = 1007;

/// A case: what is sent, step by step, and what must have come back after each.
struct Row {
    number: String,
    steps: Vec<(Vec<Vec<u8>>, Vec<Event<'static>>)>,
}

impl Row {
    fn new(number: impl Into<String>) -> Self {
        Self { number: number.into(), steps: Vec::new() }
    }

    fn sends(mut self, frames: &[Frame], replies: Vec<Event<'static>>) -> Self {
        self.steps.push((encoded(frames), replies));
        self
    }

    /// Sends something that is no whole frame.
    fn sends_bytes(mut self, bytes: &[u8], replies: Vec<Event<'static>>) -> Self {
        self.steps.push((vec![bytes.to_vec()], replies));
        self
    }

    /// Sends frames, has these replies, and closes in peace.
    fn passes(self, frames: &[Frame], replies: Vec<Event<'static>>) -> Self {
        self.sends(frames, replies).sends(&[Frame::close(NORMAL, "")], vec![closed(NORMAL)])
    }

    /// Sends frames and is refused.
    fn fails(self, frames: &[Frame], code: u16) -> Self {
        self.sends(frames, vec![closed(code)])
    }

    fn play(&self, cut: Cut) {
        let mut echo = Echo::new(LIMIT, None);
        for (index, (sent, replies)) in self.steps.iter().enumerate() {
            cut.parts(sent).iter().for_each(|part| echo.receive(part));
            let came = echo.replies();
            assert!(came == *replies, "case {}, step {index}, {cut:?}: {}", self.number, shown(&came));
        }
        echo.receive(&Frame::whole(PING, "after the end").bytes());
        assert_eq!(echo.replies(), [], "case {}: nothing may come after a close", self.number);
    }
}

/// The beginning of what came instead.
fn shown(events: &[Event<'_>]) -> String {
    format!("{events:?}").chars().take(300).collect()
}

fn text(text: &str) -> Event<'static> {
    Event::Text(text.to_owned().into())
}

fn valid(bytes: &[u8]) -> Event<'static> {
    text(std::str::from_utf8(bytes).expect("the table says that it is text"))
}

fn pong(payload: impl Into<Vec<u8>>) -> Event<'static> {
    Event::Pong(payload.into().into())
}

fn closed(code: u16) -> Event<'static> {
    Event::Close(Some(Close { code, reason: "".into() }))
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
fn bytewise(payload: &[u8]) -> Vec<Frame> {
    fragments(TEXT, &payload.chunks(1).collect::<Vec<_>>())
}

fn rows() -> Vec<Row> {
    let sections: [fn() -> Vec<Row>; 9] = [
        framing,
        pings_and_pongs,
        reserved_bits,
        reserved_opcodes,
        fragments_in_order,
        fragments_out_of_order,
        text_in_parts,
        which_text_is_valid,
        closing,
    ];
    let mut rows: Vec<Row> = sections.iter().flat_map(|section| section()).collect();
    let payload = "*".repeat(65_536);
    let parts: Vec<&[u8]> = payload.as_bytes().chunks(1300).collect();
    rows.push(Row::new("10.1.1").passes(&fragments(TEXT, &parts), vec![text(&payload)]));
    rows
}

fn framing() -> Vec<Row> {
    // The last one arrives in parts of 997 bytes.
    let lengths = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536];
    let row = |(index, length): (usize, usize)| {
        let (number, texts, bytes) = (index + 1, "*".repeat(length), vec![0xfe; length]);
        [
            Row::new(format!("1.1.{number}")).passes(&[Frame::whole(TEXT, &texts)], vec![text(&texts)]),
            Row::new(format!("1.2.{number}"))
                .passes(&[Frame::whole(BINARY, &bytes)], vec![Event::Binary(bytes.into())]),
        ]
    };
    lengths.into_iter().enumerate().flat_map(row).collect()
}

fn pings_and_pongs() -> Vec<Row> {
    let odd: &[u8] = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    let longest: &[u8] = &[0xfe; 125];
    let answered =
        [("2.1", &b""[..]), ("2.2", HELLO.as_bytes()), ("2.3", odd), ("2.4", longest), ("2.6", longest)];
    let mut rows: Vec<Row> = answered
        .into_iter()
        .map(|(number, payload)| Row::new(number).passes(&[Frame::whole(PING, payload)], vec![pong(payload)]))
        .collect();
    rows.push(Row::new("2.5").fails(&[Frame::whole(PING, [0xfe; 126])], PROTOCOL_ERROR));
    rows.push(Row::new("2.7").passes(&[Frame::whole(PONG, "")], vec![]));
    let unsolicited = Frame::whole(PONG, "unsolicited pong payload");
    rows.push(Row::new("2.8").passes(std::slice::from_ref(&unsolicited), vec![]));
    let frames = [unsolicited, Frame::whole(PING, "ping payload")];
    rows.push(Row::new("2.9").passes(&frames, vec![pong("ping payload")]));
    for number in ["2.10", "2.11"] {
        let payloads: Vec<String> = (0..10).map(|index| format!("payload-{index}")).collect();
        let frames: Vec<Frame> = payloads.iter().map(|payload| Frame::whole(PING, payload)).collect();
        rows.push(Row::new(number).passes(&frames, payloads.into_iter().map(pong).collect()));
    }
    rows
}

fn reserved_bits() -> Vec<Row> {
    let reserved = |bits: u8, opcode: u8, payload: &[u8]| Frame::new(FIN | bits << 4 | opcode, payload);
    let odd = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    let mut rows = vec![
        Row::new("3.1").fails(&[reserved(1, TEXT, HELLO.as_bytes())], PROTOCOL_ERROR),
        Row::new("3.5").fails(&[reserved(5, BINARY, odd)], PROTOCOL_ERROR),
        Row::new("3.6").fails(&[reserved(6, PING, HELLO.as_bytes())], PROTOCOL_ERROR),
        Row::new("3.7").fails(&[reserved(7, CLOSE, b"")], PROTOCOL_ERROR),
    ];
    for (number, bits) in [("3.2", 2), ("3.3", 3), ("3.4", 4)] {
        rows.push(after_a_message(number, reserved(bits, TEXT, HELLO.as_bytes())));
    }
    rows
}

/// A message is echoed, the frame after it refused, and a ping after that not answered.
fn after_a_message(number: &str, frame: Frame) -> Row {
    let frames = [Frame::whole(TEXT, HELLO), frame, Frame::whole(PING, "")];
    Row::new(number).sends(&frames, vec![text(HELLO), closed(PROTOCOL_ERROR)])
}

fn reserved_opcodes() -> Vec<Row> {
    let payload = "reserved opcode payload";
    let mut rows = Vec::new();
    for (section, first) in [("4.1", 3), ("4.2", 11)] {
        let number = |last: u8| format!("{section}.{last}");
        rows.push(Row::new(number(1)).fails(&[Frame::whole(first, "")], PROTOCOL_ERROR));
        rows.push(Row::new(number(2)).fails(&[Frame::whole(first + 1, payload)], PROTOCOL_ERROR));
        rows.push(after_a_message(&number(3), Frame::whole(first + 2, "")));
        rows.push(after_a_message(&number(4), Frame::whole(first + 3, HELLO)));
        rows.push(after_a_message(&number(5), Frame::whole(first + 4, HELLO)));
    }
    rows
}

fn fragments_in_order() -> Vec<Row> {
    let two = || fragments(TEXT, &["fragment1", "fragment2"]);
    let whole = || text("fragment1fragment2");
    let mut rows: Vec<Row> = ["5.3", "5.4", "5.5"]
        .into_iter()
        .map(|number| Row::new(number).passes(&two(), vec![whole()]))
        .collect();
    for number in ["5.6", "5.7", "5.8"] {
        let mut frames = two();
        frames.insert(1, Frame::whole(PING, "ping payload"));
        rows.push(Row::new(number).passes(&frames, vec![pong("ping payload"), whole()]));
    }
    for number in ["5.19", "5.20"] {
        let mut frames = fragments(TEXT, &["fragment1", "fragment2", "fragment3", "fragment4", "fragment5"]);
        frames.insert(2, Frame::whole(PING, "pongme 1!"));
        frames.insert(5, Frame::whole(PING, "pongme 2!"));
        let (first, second) = frames.split_at(3);
        let whole = text("fragment1fragment2fragment3fragment4fragment5");
        let row = Row::new(number).sends(first, vec![pong("pongme 1!")]);
        rows.push(row.passes(second, vec![pong("pongme 2!"), whole]));
    }
    rows
}

fn fragments_out_of_order() -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, opcode) in [("5.1", PING), ("5.2", PONG)] {
        rows.push(Row::new(number).fails(&fragments(opcode, &["fragment1", "fragment2"]), PROTOCOL_ERROR));
    }
    for (number, first) in [
        ("5.9", FIN),
        ("5.10", FIN),
        ("5.11", FIN),
        ("5.12", CONTINUATION),
        ("5.13", CONTINUATION),
        ("5.14", CONTINUATION),
    ] {
        let frames = [Frame::new(first, "non-continuation payload"), Frame::whole(TEXT, HELLO)];
        rows.push(Row::new(number).fails(&frames, PROTOCOL_ERROR));
    }
    let mut frames = fragments(TEXT, &["fragment1", "fragment2"]);
    frames.extend([Frame::new(CONTINUATION, "fragment3"), Frame::whole(TEXT, "fragment4")]);
    rows.push(Row::new("5.15").sends(&frames, vec![text("fragment1fragment2"), closed(PROTOCOL_ERROR)]));
    for (number, first) in [("5.16", CONTINUATION), ("5.17", FIN)] {
        let mut frames = vec![Frame::new(first, "fragment1")];
        frames.extend(fragments(TEXT, &["fragment2", "fragment3"]));
        rows.push(Row::new(number).fails(&[frames.clone(), frames].concat(), PROTOCOL_ERROR));
    }
    let frames = [Frame::new(TEXT, "fragment1"), Frame::whole(TEXT, "fragment2")];
    rows.push(Row::new("5.18").fails(&frames, PROTOCOL_ERROR));
    rows
}

fn text_in_parts() -> Vec<Row> {
    let hello = "Hello-µ@ßöäüàá-UTF-8!!";
    let (start, rest) = hello.as_bytes().split_at(12);
    let middle = "middle frame payload";
    let wrong = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    let greek = "κόσμε";
    let mut rows = vec![
        Row::new("6.1.1").passes(&[Frame::whole(TEXT, "")], vec![text("")]),
        Row::new("6.1.2").passes(&fragments(TEXT, &["", "", ""]), vec![text("")]),
        Row::new("6.1.3").passes(&fragments(TEXT, &["", middle, ""]), vec![text(middle)]),
        Row::new("6.2.1").passes(&[Frame::whole(TEXT, hello)], vec![text(hello)]),
        Row::new("6.2.2").passes(&fragments(TEXT, &[start, rest]), vec![text(hello)]),
        Row::new("6.2.3").passes(&bytewise(hello.as_bytes()), vec![text(hello)]),
        Row::new("6.2.4").passes(&bytewise(greek.as_bytes()), vec![text(greek)]),
        Row::new("6.3.1").fails(&[Frame::whole(TEXT, wrong)], INVALID_PAYLOAD),
        Row::new("6.3.2").fails(&bytewise(wrong), INVALID_PAYLOAD),
    ];
    // The refusal must come with the byte that is wrong: neither the frame nor the message has ended then.
    let wrong = [greek.as_bytes(), b"\xf4\x90\x80\x80edited"].concat();
    let frame = Frame::whole(TEXT, &wrong).bytes();
    let header = frame.len() - wrong.len();
    let whole = greek.len();
    for (frames, chops, cut, end) in
        [("6.4.1", "6.4.3", whole, whole + 4), ("6.4.2", "6.4.4", whole + 1, whole + 2)]
    {
        let first = Frame::new(TEXT, &wrong[..cut]);
        let second = Frame::new(CONTINUATION, &wrong[cut..end]);
        rows.push(Row::new(frames).sends(&[first], vec![]).fails(&[second], INVALID_PAYLOAD));
        let row = Row::new(chops).sends_bytes(&frame[..header + cut], vec![]);
        rows.push(row.sends_bytes(&frame[header + cut..header + end], vec![closed(INVALID_PAYLOAD)]));
    }
    rows
}

fn which_text_is_valid() -> Vec<Row> {
    let row = |(number, bytes, is_valid): &(&str, &[u8], bool)| {
        let frames = [Frame::whole(TEXT, bytes)];
        match is_valid {
            true => Row::new(*number).passes(&frames, vec![valid(bytes)]),
            false => Row::new(*number).fails(&frames, INVALID_PAYLOAD),
        }
    };
    UTF_8.iter().map(row).collect()
}

fn closing() -> Vec<Row> {
    let close = || Frame::close(NORMAL, "");
    let peace = || vec![closed(NORMAL)];
    let large = "BAsd7&jh23".chars().cycle().take(256 * 1024).collect::<String>();
    let reason = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    let mut rows = vec![
        Row::new("7.1.1").passes(&[Frame::whole(TEXT, HELLO)], vec![text(HELLO)]),
        Row::new("7.1.2").sends(&[close(), Frame::whole(CLOSE, "")], peace()),
        Row::new("7.1.3").sends(&[close(), Frame::whole(PING, "")], peace()),
        Row::new("7.1.4").sends(&[close(), Frame::whole(TEXT, HELLO)], peace()),
        Row::new("7.1.5").sends(
            &[Frame::new(TEXT, "fragment1"), close(), Frame::whole(CONTINUATION, "fragment2")],
            peace(),
        ),
        Row::new("7.1.6").sends(
            &[Frame::whole(TEXT, &large), Frame::whole(TEXT, HELLO), close(), Frame::whole(PING, "")],
            vec![text(&large), text(HELLO), closed(NORMAL)],
        ),
        Row::new("7.3.1").sends(&[Frame::whole(CLOSE, "")], vec![Event::Close(None)]),
        Row::new("7.3.2").fails(&[Frame::whole(CLOSE, "a")], PROTOCOL_ERROR),
        Row::new("7.3.3").sends(&[close()], peace()),
        Row::new("7.3.4").sends(&[Frame::close(NORMAL, "Hello World!")], peace()),
        Row::new("7.3.5").sends(&[Frame::close(NORMAL, "*".repeat(123))], peace()),
        Row::new("7.3.6").fails(&[Frame::close(NORMAL, "*".repeat(124))], PROTOCOL_ERROR),
        Row::new("7.5.1").fails(&[Frame::close(NORMAL, reason)], INVALID_PAYLOAD),
    ];
    let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    for (index, code) in valid.into_iter().enumerate() {
        let number = format!("7.7.{}", index + 1);
        rows.push(Row::new(number).sends(&[Frame::close(code, "")], vec![closed(code)]));
    }
    let wrong = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999].into_iter().enumerate();
    let wrong = wrong.map(|(index, code)| (format!("7.9.{}", index + 1), code));
    // The suite takes any end of the last two; here it is a refusal.
    for (number, code) in wrong.chain([("7.13.1".to_owned(), 5000), ("7.13.2".to_owned(), 65_535)]) {
        rows.push(Row::new(number).fails(&[Frame::close(code, "")], PROTOCOL_ERROR));
    }
    rows
}

#[test]
fn every_short_case_has_its_row() {
    let rows = rows();
    let numbers: BTreeSet<&str> = rows.iter().map(|row| row.number.as_str()).collect();
    assert_eq!(numbers.len(), rows.len(), "a number stands twice");
    let of =
        |section: &str| numbers.iter().filter(|number| number.split('.').next() == Some(section)).count();
    let counts = ["1", "2", "3", "4", "5", "6", "7", "10"].map(of);
    assert_eq!((counts, rows.len()), ([16, 11, 7, 10, 20, 145, 37, 1], 247));
}

#[test]
fn every_row_is_answered_as_the_suite_expects_however_it_is_cut() {
    for row in rows() {
        for cut in CUTS {
            row.play(cut);
        }
    }
}

/// Text that is valid or not arrives a byte in each fragment, too.
#[test]
fn which_text_is_valid_does_not_depend_on_fragments() {
    for (number, bytes, is_valid) in UTF_8 {
        let mut row = Row::new(format!("{number} in fragments"));
        row = match is_valid {
            true => row.passes(&bytewise(bytes), vec![valid(bytes)]),
            false => row.fails(&bytewise(bytes), INVALID_PAYLOAD),
        };
        CUTS.into_iter().for_each(|cut| row.play(cut));
    }
}

const VALID: bool = true;
const WRONG: bool = false;

/// Sections 6.5 to 6.23: the bytes of a text message, and whether they are text.
#[rustfmt::skip]
const UTF_8: &[(&str, &[u8], bool)] = &[
    // 6.5: text with characters of each length
    ("6.5.1", b"hello$world", VALID),
    ("6.5.2", b"hello\xc2\xa2world", VALID),
    ("6.5.3", b"hello\xe2\x82\xacworld", VALID),
    ("6.5.4", b"hello\xf0\xa4\xad\xa2world", VALID),
    ("6.5.5", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", VALID),
    // 6.6: the beginnings of a text
    ("6.6.1", b"\xce", WRONG),
    ("6.6.2", b"\xce\xba", VALID),
    ("6.6.3", b"\xce\xba\xe1", WRONG),
    ("6.6.4", b"\xce\xba\xe1\xbd", WRONG),
    ("6.6.5", b"\xce\xba\xe1\xbd\xb9", VALID),
    ("6.6.6", b"\xce\xba\xe1\xbd\xb9\xcf", WRONG),
    ("6.6.7", b"\xce\xba\xe1\xbd\xb9\xcf\x83", VALID),
    ("6.6.8", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce", WRONG),
    ("6.6.9", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc", VALID),
    ("6.6.10", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce", WRONG),
    ("6.6.11", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", VALID),
    // 6.7: the first character of each length
    ("6.7.1", b"\x00", VALID),
    ("6.7.2", b"\xc2\x80", VALID),
    ("6.7.3", b"\xe0\xa0\x80", VALID),
    ("6.7.4", b"\xf0\x90\x80\x80", VALID),
    // 6.8: five and six bytes
    ("6.8.1", b"\xf8\x88\x80\x80\x80", WRONG),
    ("6.8.2", b"\xfc\x84\x80\x80\x80\x80", WRONG),
    // 6.9: the last character of each length
    ("6.9.1", b"\x7f", VALID),
    ("6.9.2", b"\xdf\xbf", VALID),
    ("6.9.3", b"\xef\xbf\xbf", VALID),
    ("6.9.4", b"\xf4\x8f\xbf\xbf", VALID),
    // 6.10: beyond the last
    ("6.10.1", b"\xf7\xbf\xbf\xbf", WRONG),
    ("6.10.2", b"\xfb\xbf\xbf\xbf\xbf", WRONG),
    ("6.10.3", b"\xfd\xbf\xbf\xbf\xbf\xbf", WRONG),
    // 6.11: next to the surrogates, and beyond the last
    ("6.11.1", b"\xed\x9f\xbf", VALID),
    ("6.11.2", b"\xee\x80\x80", VALID),
    ("6.11.3", b"\xef\xbf\xbd", VALID),
    ("6.11.4", b"\xf4\x8f\xbf\xbf", VALID),
    ("6.11.5", b"\xf4\x90\x80\x80", WRONG),
    // 6.12: continuation bytes alone
    ("6.12.1", b"\x80", WRONG),
    ("6.12.2", b"\xbf", WRONG),
    ("6.12.3", b"\x80\xbf", WRONG),
    ("6.12.4", b"\x80\xbf\x80", WRONG),
    ("6.12.5", b"\x80\xbf\x80\xbf", WRONG),
    ("6.12.6", b"\x80\xbf\x80\xbf\x80", WRONG),
    ("6.12.7", b"\x80\xbf\x80\xbf\x80\xbf", WRONG),
    ("6.12.8", b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\
      \x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\
      \xab\xac\xad\xae\xaf\xb0\xb1\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xbb\xbc\xbd\xbe", WRONG),
    // 6.13: first bytes alone
    ("6.13.1", b"\xc0 \xc1 \xc2 \xc3 \xc4 \xc5 \xc6 \xc7 \xc8 \xc9 \xca \xcb \xcc \xcd \xce \xcf \
      \xd0 \xd1 \xd2 \xd3 \xd4 \xd5 \xd6 \xd7 \xd8 \xd9 \xda \xdb \xdc \xdd \xde ", WRONG),
    ("6.13.2", b"\xe0 \xe1 \xe2 \xe3 \xe4 \xe5 \xe6 \xe7 \xe8 \xe9 \xea \xeb \xec \xed \xee ", WRONG),
    ("6.13.3", b"\xf0 \xf1 \xf2 \xf3 \xf4 \xf5 \xf6 ", WRONG),
    ("6.13.4", b"\xf8 \xf9 \xfa ", WRONG),
    ("6.13.5", b"\xfc ", WRONG),
    // 6.14: the last byte missing
    ("6.14.1", b"\xc0", WRONG),
    ("6.14.2", b"\xe0\x80", WRONG),
    ("6.14.3", b"\xf0\x80\x80", WRONG),
    ("6.14.4", b"\xf8\x80\x80\x80", WRONG),
    ("6.14.5", b"\xfc\x80\x80\x80\x80", WRONG),
    ("6.14.6", b"\xdf", WRONG),
    ("6.14.7", b"\xef\xbf", WRONG),
    ("6.14.8", b"\xf7\xbf\xbf", WRONG),
    ("6.14.9", b"\xfb\xbf\xbf\xbf", WRONG),
    ("6.14.10", b"\xfd\xbf\xbf\xbf\xbf", WRONG),
    // 6.15: all of these
    ("6.15.1", b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\
      \xbf\xfb\xbf\xbf\xbf\xfd\xbf\xbf\xbf\xbf", WRONG),
    // 6.16: bytes that never occur
    ("6.16.1", b"\xfe", WRONG),
    ("6.16.2", b"\xff", WRONG),
    ("6.16.3", b"\xfe\xfe\xff\xff", WRONG),
    // 6.17: a slash, overlong
    ("6.17.1", b"\xc0\xaf", WRONG),
    ("6.17.2", b"\xe0\x80\xaf", WRONG),
    ("6.17.3", b"\xf0\x80\x80\xaf", WRONG),
    ("6.17.4", b"\xf8\x80\x80\x80\xaf", WRONG),
    ("6.17.5", b"\xfc\x80\x80\x80\x80\xaf", WRONG),
    // 6.18: the longest overlong ones
    ("6.18.1", b"\xc1\xbf", WRONG),
    ("6.18.2", b"\xe0\x9f\xbf", WRONG),
    ("6.18.3", b"\xf0\x8f\xbf\xbf", WRONG),
    ("6.18.4", b"\xf8\x87\xbf\xbf\xbf", WRONG),
    ("6.18.5", b"\xfc\x83\xbf\xbf\xbf\xbf", WRONG),
    // 6.19: an overlong zero
    ("6.19.1", b"\xc0\x80", WRONG),
    ("6.19.2", b"\xe0\x80\x80", WRONG),
    ("6.19.3", b"\xf0\x80\x80\x80", WRONG),
    ("6.19.4", b"\xf8\x80\x80\x80\x80", WRONG),
    ("6.19.5", b"\xfc\x80\x80\x80\x80\x80", WRONG),
    // 6.20: surrogates
    ("6.20.1", b"\xed\xa0\x80", WRONG),
    ("6.20.2", b"\xed\xad\xbf", WRONG),
    ("6.20.3", b"\xed\xae\x80", WRONG),
    ("6.20.4", b"\xed\xaf\xbf", WRONG),
    ("6.20.5", b"\xed\xb0\x80", WRONG),
    ("6.20.6", b"\xed\xbe\x80", WRONG),
    ("6.20.7", b"\xed\xbf\xbf", WRONG),
    // 6.21: surrogates in pairs
    ("6.21.1", b"\xed\xa0\x80\xed\xb0\x80", WRONG),
    ("6.21.2", b"\xed\xa0\x80\xed\xbf\xbf", WRONG),
    ("6.21.3", b"\xed\xad\xbf\xed\xb0\x80", WRONG),
    ("6.21.4", b"\xed\xad\xbf\xed\xbf\xbf", WRONG),
    ("6.21.5", b"\xed\xae\x80\xed\xb0\x80", WRONG),
    ("6.21.6", b"\xed\xae\x80\xed\xbf\xbf", WRONG),
    ("6.21.7", b"\xed\xaf\xbf\xed\xb0\x80", WRONG),
    ("6.21.8", b"\xed\xaf\xbf\xed\xbf\xbf", WRONG),
    // 6.22: no characters, but valid
    ("6.22.1", b"\xef\xbf\xbe", VALID),
    ("6.22.2", b"\xef\xbf\xbf", VALID),
    ("6.22.3", b"\xf0\x9f\xbf\xbe", VALID),
    ("6.22.4", b"\xf0\x9f\xbf\xbf", VALID),
    ("6.22.5", b"\xf0\xaf\xbf\xbe", VALID),
    ("6.22.6", b"\xf0\xaf\xbf\xbf", VALID),
    ("6.22.7", b"\xf0\xbf\xbf\xbe", VALID),
    ("6.22.8", b"\xf0\xbf\xbf\xbf", VALID),
    ("6.22.9", b"\xf1\x8f\xbf\xbe", VALID),
    ("6.22.10", b"\xf1\x8f\xbf\xbf", VALID),
    ("6.22.11", b"\xf1\x9f\xbf\xbe", VALID),
    ("6.22.12", b"\xf1\x9f\xbf\xbf", VALID),
    ("6.22.13", b"\xf1\xaf\xbf\xbe", VALID),
    ("6.22.14", b"\xf1\xaf\xbf\xbf", VALID),
    ("6.22.15", b"\xf1\xbf\xbf\xbe", VALID),
    ("6.22.16", b"\xf1\xbf\xbf\xbf", VALID),
    ("6.22.17", b"\xf2\x8f\xbf\xbe", VALID),
    ("6.22.18", b"\xf2\x8f\xbf\xbf", VALID),
    ("6.22.19", b"\xf2\x9f\xbf\xbe", VALID),
    ("6.22.20", b"\xf2\x9f\xbf\xbf", VALID),
    ("6.22.21", b"\xf2\xaf\xbf\xbe", VALID),
    ("6.22.22", b"\xf2\xaf\xbf\xbf", VALID),
    ("6.22.23", b"\xf2\xbf\xbf\xbe", VALID),
    ("6.22.24", b"\xf2\xbf\xbf\xbf", VALID),
    ("6.22.25", b"\xf3\x8f\xbf\xbe", VALID),
    ("6.22.26", b"\xf3\x8f\xbf\xbf", VALID),
    ("6.22.27", b"\xf3\x9f\xbf\xbe", VALID),
    ("6.22.28", b"\xf3\x9f\xbf\xbf", VALID),
    ("6.22.29", b"\xf3\xaf\xbf\xbe", VALID),
    ("6.22.30", b"\xf3\xaf\xbf\xbf", VALID),
    ("6.22.31", b"\xf3\xbf\xbf\xbe", VALID),
    ("6.22.32", b"\xf3\xbf\xbf\xbf", VALID),
    ("6.22.33", b"\xf4\x8f\xbf\xbe", VALID),
    ("6.22.34", b"\xf4\x8f\xbf\xbf", VALID),
    // 6.23: specials
    ("6.23.1", b"\xef\xbf\xb9", VALID),
    ("6.23.2", b"\xef\xbf\xba", VALID),
    ("6.23.3", b"\xef\xbf\xbb", VALID),
    ("6.23.4", b"\xef\xbf\xbc", VALID),
    ("6.23.5", b"\xef\xbf\xbd", VALID),
    ("6.23.6", b"\xef\xbf\xbe", VALID),
    ("6.23.7", b"\xef\xbf\xbf", VALID),
];
