//! Compressed messages, one by one: the examples of RFC 7692, its rules, and peers that mean harm.

mod common;
#[path = "common/reference.rs"]
mod reference;

use common::{BINARY, CONTINUATION, Driver, FIN, Frame, Outcome, PING, RSV1, TEXT, agreed, stream};
use flate2::{Compress, Compression as Level, FlushCompress};
use moorline_ws::{
    deflate::{Compression, Deflater, MAX_FINAL_BLOCKS, Window, WindowBits, max_compressed_bytes},
    event::Event,
    frame::{self, OpCode, Role},
    violation::Violation,
};

const LIMIT: usize = 64 * 1024;
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// Every message is compressed that becomes shorter.
const ALL: Compression = Compression { threshold_bytes: 0, level: 6 };

/// Whole frames, at once, byte by byte and in parts of 997 bytes, which must come to the same.
fn decode(frames: &[Frame], takeover: bool, limit: usize) -> Outcome {
    let bytes = stream(frames);
    let outcomes: Vec<Outcome> = [bytes.len().max(1), 1, 997]
        .into_iter()
        .map(|step| {
            let mut driver = Driver::with_deflate(Role::Server, limit, &agreed(takeover, 15));
            bytes.chunks(step).for_each(|part| driver.feed(part));
            driver.outcome
        })
        .collect();
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
    outcomes.into_iter().next().expect("there are three")
}

fn compressed(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(FIN | RSV1 | opcode, payload)
}

fn violation(payload: impl AsRef<[u8]>) -> Option<Violation> {
    decode(&[compressed(BINARY, payload)], false, LIMIT).violation
}

fn text(text: impl Into<String>) -> Event<'static> {
    Event::Text(text.into().into())
}

fn events(frames: &[Frame], takeover: bool) -> Vec<Event<'static>> {
    let outcome = decode(frames, takeover, LIMIT);
    assert_eq!(outcome.violation, None);
    outcome.events
}

/// A deflate stream of the library's making, ended as `flush` says.
fn deflate(payload: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 1000);
    Compress::new(Level::best(), false).compress_vec(payload, &mut out, flush).expect("there is room");
    out
}

#[test]
fn section_7_2_3_of_the_rfc() {
    let hello = || text("Hello");
    // 7.2.3.1: one block, in one frame and in two.
    assert_eq!(events(&[compressed(TEXT, HELLO)], false), [hello()]);
    let fragments = [Frame::new(RSV1 | TEXT, &HELLO[..3]), Frame::new(FIN | CONTINUATION, &HELLO[3..])];
    assert_eq!(events(&fragments, false), [hello()]);
    // 7.2.3.2: the second message refers to the first one.
    let second = compressed(TEXT, [0xf2, 0x00, 0x11, 0x00, 0x00]);
    assert_eq!(events(&[compressed(TEXT, HELLO), second.clone()], true), [hello(), hello()]);
    let alone = decode(&[compressed(TEXT, HELLO), second], false, LIMIT);
    assert_eq!((alone.events, alone.violation), (vec![hello()], Some(Violation::InvalidDeflate)));
    // 7.2.3.3: a block without compression.
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(events(&[compressed(TEXT, stored)], false), [hello()]);
    // 7.2.3.4: a final block.
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(events(&[compressed(TEXT, last)], false), [hello()]);
    // 7.2.3.5: two blocks.
    let two = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(events(&[compressed(TEXT, two)], false), [hello()]);
    // 7.2.3.6: an empty message.
    assert_eq!(events(&[compressed(TEXT, [0x00])], false), [text("")]);
}

#[test]
fn the_bit_stands_on_the_first_frame_of_a_data_message_alone() {
    let begin = Frame::new(RSV1 | TEXT, &HELLO[..3]);
    let refused: &[&[Frame]] = &[
        &[begin.clone(), Frame::new(FIN | RSV1 | CONTINUATION, &HELLO[3..])],
        &[Frame::new(TEXT, "a"), Frame::new(FIN | RSV1 | CONTINUATION, "b")],
        &[compressed(PING, "")],
        &[begin.clone(), compressed(PING, "")],
        &[compressed(common::CLOSE, "")],
        &[compressed(common::PONG, HELLO)],
        &[Frame::new(FIN | RSV1 | 0x20 | TEXT, HELLO)],
        &[Frame::new(FIN | RSV1 | 0x10 | TEXT, HELLO)],
    ];
    for frames in refused {
        assert_eq!(decode(frames, false, LIMIT).violation, Some(Violation::ReservedBits), "{frames:?}");
    }
    let off = common::decode(&compressed(TEXT, HELLO).bytes(), LIMIT);
    assert_eq!(off.violation, Some(Violation::ReservedBits));
    assert_eq!(Violation::ReservedBits.close_code(), 1002);

    let frames = [
        Frame::whole(TEXT, "as it is"),
        begin,
        Frame::whole(PING, "between"),
        Frame::new(CONTINUATION, ""),
        Frame::new(FIN | CONTINUATION, &HELLO[3..]),
        compressed(BINARY, HELLO),
        Frame::new(TEXT, "in "),
        Frame::new(FIN | CONTINUATION, "parts"),
    ];
    let expected = [
        text("as it is"),
        Event::Ping(b"between".as_slice().into()),
        text("Hello"),
        Event::Binary(b"Hello".as_slice().into()),
        text("in parts"),
    ];
    assert_eq!(events(&frames, false), expected);
    assert_eq!(events(&frames, true), expected);
}

#[test]
fn garbage_is_1007() {
    let table: &[&[u8]] = &[
        b"\xff",
        b"\x07",
        b"Hello, I am not compressed",
        // A block without compression whose length is not its complement.
        &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48],
        // A distance beyond the start, in a fixed block.
        &[0xf2, 0x00, 0x11, 0x00, 0x00],
        // Cut off: in a header, in the length of a block, in a block, before its end.
        &HELLO[..1],
        &HELLO[..4],
        &HELLO[..6],
        &[0x00, 0x05],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65],
        // Four bytes and nine bytes are missing: the very lengths of what is put after a message.
        &[0x00, 0x04, 0x00, 0xfb, 0xff],
        &[0x00, 0x09, 0x00, 0xf6, 0xff],
        // A wrong block behind what is right, and behind a final block.
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xff],
    ];
    for payload in table {
        assert_eq!(violation(payload), Some(Violation::InvalidDeflate), "{payload:x?}");
    }
    assert_eq!(Violation::InvalidDeflate.close_code(), 1007);
}

#[test]
fn the_end_of_the_last_block_may_have_been_left_on() {
    // Some senders do not take the four bytes off; that is one empty block more.
    let whole = deflate(b"Hello", FlushCompress::Sync);
    assert_eq!(events(&[compressed(TEXT, [&whole[..], &[0]].concat())], false), [text("Hello")]);
    // Nor do all put a block behind a final one, or a byte into an empty message.
    let last = deflate(b"Hello", FlushCompress::Finish);
    assert_eq!(events(&[compressed(TEXT, &last)], false), [text("Hello")]);
    assert_eq!(events(&[compressed(TEXT, "")], false), [text("")]);
    let parts = [Frame::new(RSV1 | TEXT, ""), Frame::new(CONTINUATION, ""), Frame::whole(CONTINUATION, "")];
    assert_eq!(events(&parts, true), [text("")]);
}

#[test]
fn blocks_go_on_after_a_final_one_and_may_refer_to_what_was_before() {
    let last = deflate(b"Hello", FlushCompress::Finish);
    // The second message of 7.2.3.2, here in the same message, after a final block.
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(events(&[compressed(TEXT, [&last[..], &again].concat())], false), [text("HelloHello")]);
    // And across messages: the first ends by a final block, the second begins by one.
    let frames = [compressed(TEXT, &last), compressed(TEXT, [&[0x03, 0x00][..], &again].concat())];
    assert_eq!(events(&frames, true), [text("Hello"), text("Hello")]);
}

#[test]
fn final_blocks_are_counted() {
    let blocks = |count| [[0x03, 0x00].repeat(count), vec![0]].concat();
    let most = usize::try_from(MAX_FINAL_BLOCKS).unwrap();
    assert_eq!(violation(blocks(most)), None);
    assert_eq!(violation(blocks(most + 1)), Some(Violation::InvalidDeflate));
    assert_eq!(violation([0x03, 0x00].repeat(LIMIT / 2)), Some(Violation::InvalidDeflate));
}

#[test]
fn a_bomb_costs_the_bound_and_is_1009() {
    let mut bomb = deflate(&vec![0; 60 << 20], FlushCompress::Sync);
    bomb.truncate(bomb.len() - 4);
    assert!(bomb.len() < LIMIT, "{}", bomb.len());
    assert_eq!(violation(&bomb), Some(Violation::TooBig { limit: LIMIT }));
    assert_eq!(Violation::TooBig { limit: LIMIT }.close_code(), 1009);
    for limit in [0, 1, 63, 64, 65, 4095, LIMIT] {
        for (len, expected) in [(limit, None), (limit + 1, Some(Violation::TooBig { limit }))] {
            let mut payload = deflate(&vec![b'a'; len], FlushCompress::Sync);
            payload.truncate(payload.len() - 4);
            // A small limit refuses a longer payload unread, which is the same to the peer.
            let outcome = decode(&[compressed(TEXT, payload)], true, limit);
            assert_eq!(outcome.violation, expected, "{len} bytes, limit {limit}");
        }
    }
}

#[test]
fn what_cannot_be_compressed_is_taken_up_to_the_limit() {
    let noise: Vec<u8> = (0u32..)
        .map(|i| i.wrapping_mul(2_654_435_761) ^ i.wrapping_mul(i))
        .map(|i| i.to_le_bytes()[3])
        .take(LIMIT)
        .collect();
    let mut stored = Vec::with_capacity(2 * LIMIT);
    Compress::new(Level::none(), false).compress_vec(&noise, &mut stored, FlushCompress::Sync).unwrap();
    stored.truncate(stored.len() - 4);
    assert!(stored.len() > LIMIT);
    assert_eq!(events(&[compressed(BINARY, stored)], false), [Event::Binary(noise.into())]);
}

#[test]
fn empty_blocks_without_end_are_refused_as_too_big() {
    let empty = [0x00, 0x00, 0x00, 0xff, 0xff];
    let mut driver = Driver::with_deflate(Role::Server, LIMIT, &agreed(false, 15));
    driver.feed(&Frame::new(RSV1 | BINARY, []).bytes());
    let fragment = Frame::new(CONTINUATION, empty.repeat(200)).bytes();
    let mut came = 0;
    while driver.outcome.violation.is_none() && came < 2 * LIMIT {
        driver.feed(&fragment);
        came += 1000;
    }
    assert_eq!(driver.outcome.violation, Some(Violation::TooBig { limit: LIMIT }));
    assert!(came <= max_compressed_bytes(LIMIT) + 1000);
}

#[test]
fn text_is_checked_after_inflating() {
    let euro = deflate("€".repeat(500).as_bytes(), FlushCompress::Finish);
    assert_eq!(events(&[compressed(TEXT, euro)], false), [text("€".repeat(500))]);
    for wrong in [&b"\xe2\x82"[..], b"a\xff", b"\xed\xa0\x80"] {
        let payload = deflate(wrong, FlushCompress::Finish);
        let outcome = decode(&[compressed(TEXT, &payload)], false, LIMIT);
        assert_eq!(outcome.violation, Some(Violation::InvalidUtf8), "{wrong:x?}");
        assert_eq!(events(&[compressed(BINARY, &payload)], false), [Event::Binary(wrong.into())]);
    }
}

#[test]
fn nothing_is_left_of_one_message_for_another() {
    // Two connections on one thread: the second one refers to what the first one was sent.
    let secret = compressed(TEXT, HELLO).bytes();
    let probe = compressed(TEXT, [0xf2, 0x00, 0x11, 0x00, 0x00]).bytes();
    for takeover in [false, true] {
        let mut inflater = moorline_ws::deflate::Inflater::new();
        for (stream, expected) in [(&secret, None), (&probe, Some(Violation::InvalidDeflate))] {
            let mut driver = Driver::with_deflate(Role::Server, LIMIT, &agreed(takeover, 15));
            let mut received = stream.clone();
            let result = driver.decoder.decode_with(&mut received, &mut inflater);
            assert_eq!(result.err(), expected);
        }
    }
    // The same for what is sent: a second message is as if it were the first.
    let mut used = Deflater::new(ALL);
    let secret = "the secret of another connection ".repeat(10);
    used.frame(OpCode::Text, secret.as_bytes(), WindowBits::MAX).unwrap();
    let second = used.frame(OpCode::Text, secret.as_bytes(), WindowBits::MAX);
    assert_eq!(second, Deflater::new(ALL).frame(OpCode::Text, secret.as_bytes(), WindowBits::MAX));
}

#[test]
fn an_idle_connection_holds_a_window_if_it_takes_over_and_nothing_else() {
    let message = deflate(&vec![7; 5000], FlushCompress::Finish);
    let frame = compressed(BINARY, &message);
    let mut driver = Driver::with_deflate(Role::Server, LIMIT, &agreed(false, 15));
    driver.feed(&frame.bytes());
    assert!(driver.decoder.is_idle());
    assert!(driver.most_held == 0, "a whole frame is inflated where it lies");
    for (bits, kept) in [(15, 5000), (10, 1024), (8, 256)] {
        let mut driver = Driver::with_deflate(Role::Server, LIMIT, &agreed(true, bits));
        driver.feed(&Frame::whole(BINARY, [7; 5000]).bytes());
        assert!(driver.decoder.is_idle(), "what was not compressed is not in the window");
        driver.feed(&frame.bytes());
        let held = driver.decoder.held_bytes();
        assert!((kept..=kept + Driver::OVERHEAD).contains(&held), "{held}");
        driver.feed(&Frame::whole(BINARY, [7; 5000]).bytes());
        assert_eq!(driver.decoder.held_bytes(), held);
        driver.feed(&[0xff]);
        assert_eq!(driver.decoder.held_bytes(), 0, "an end frees it");
    }
}

#[test]
fn what_is_short_or_does_not_become_shorter_is_sent_as_it_is() {
    let mut deflater = Deflater::new(Compression::DEFAULT);
    assert_eq!(deflater.frame(OpCode::Text, &[b'a'; 1023], WindowBits::MAX), None);
    assert!(deflater.frame(OpCode::Text, &[b'a'; 1024], WindowBits::MAX).is_some());
    for opcode in [OpCode::Continuation, OpCode::Ping, OpCode::Pong, OpCode::Close] {
        assert_eq!(deflater.frame(opcode, &[b'a'; 1024], WindowBits::MAX), None);
        assert_eq!(deflater.frame_in(&mut Window::new(WindowBits::MAX), opcode, &[b'a'; 1024]), None);
    }
    let mut all = Deflater::new(ALL);
    let noise: Vec<u8> = (0..=255).collect();
    // However much room there is from an earlier message.
    assert!(all.compress(&[b'a'; 10_000], WindowBits::MAX).is_some());
    let mut window = Window::new(WindowBits::MAX);
    for payload in [&b""[..], b"a", b"abc", &noise] {
        assert_eq!(all.compress(payload, WindowBits::MAX), None);
        assert_eq!(all.compress_in(&mut window, payload), None);
    }
    assert_eq!(window.held_bytes(), 0, "what is sent as it is, is not in the window");
    let frame = all.frame(OpCode::Text, &[b'a'; 70_000], WindowBits::MAX).unwrap();
    assert_eq!((frame[0], usize::from(frame[1]), frame.len()), (0xc1, frame.len() - 2, frame.len()));
}

/// A deflater has nothing left of a message that did not become shorter, whatever its size.
#[test]
fn what_cannot_be_compressed_leaves_nothing_behind() {
    for bits in [9, 12, 15] {
        let bits = WindowBits::new(bits).unwrap();
        let mut deflater = Deflater::new(Compression { threshold_bytes: 0, level: 2 });
        for length in (10..=18).map(|power| 1 << power) {
            let mut state = 88_172_645_463_325_252_u64;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            };
            let noise: Vec<u8> = (0..length).map(|_| next()).collect();
            for _ in 0..4 {
                assert_eq!(deflater.compress(&noise, bits), None, "{length} bytes, {bits} bits");
            }
            let hello = "hello ".repeat(200);
            let compressed = deflater.compress(hello.as_bytes(), bits).unwrap();
            assert_eq!(reference::inflate(&[], compressed).unwrap().message, hello.as_bytes());
        }
    }
}

#[test]
fn with_context_takeover_what_was_sent_before_is_referred_to() {
    let payload: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_mul(77)).chain(vec![0; 60]).collect();
    let mut deflater = Deflater::new(ALL);
    let mut window = Window::new(WindowBits::MAX);
    let mut len = || deflater.compress_in(&mut window, &payload).unwrap().len();
    let (first, second) = (len(), len());
    assert!(first > 250 && second < 20, "{first} bytes, then {second}");
    let alone = deflater.compress(&payload, WindowBits::MAX).unwrap().len();
    assert_eq!(alone, first, "and without it, not");
}

#[test]
fn no_window_is_exceeded_not_even_that_of_8_bits() {
    // Words that come again at every distance.
    let words: Vec<String> = (0u64..4000).map(|i| format!("word{:x} ", i * i * 7919 % 199)).collect();
    let payload = words.concat().into_bytes();
    let mut farthest = Vec::new();
    for bits in 8..=15 {
        for level in 1..=9 {
            let bits = WindowBits::new(bits).unwrap();
            let mut deflater = Deflater::new(Compression { level, ..ALL });
            let mut window = Window::new(bits);
            let mut before = Vec::new();
            for part in [&payload[..], &payload[700..], &payload[..3000], &payload] {
                let alone = reference::inflate(&[], deflater.compress(part, bits).unwrap()).unwrap();
                let onward =
                    reference::inflate(&before, deflater.compress_in(&mut window, part).unwrap()).unwrap();
                assert!(alone.message == part && onward.message == part, "{bits} bits, level {level}");
                assert!(
                    alone.farthest <= bits.bytes() && onward.farthest <= bits.bytes(),
                    "{bits} bits, {level}"
                );
                farthest.push(onward.farthest);
                before.extend_from_slice(part);
            }
        }
    }
    assert!(farthest.iter().any(|distance| *distance > 16_384), "the test refers far enough back");
    assert!(farthest.iter().any(|distance| (200..=256).contains(distance)));
}

#[test]
fn r34_a_frame_that_is_there_is_compressed_as_its_payload_is() {
    let mut deflater = Deflater::new(Compression { threshold_bytes: 100, level: 2 });
    for len in [100, 125, 126, 65_535, 65_536, 200_000] {
        let payload = "abc".repeat(len).into_bytes()[..len].to_vec();
        let mut out = b"before".to_vec();
        assert!(deflater.put_frame(&mut out, &frame::text(&payload), WindowBits::MAX));
        let wanted = deflater.frame(OpCode::Text, &payload, WindowBits::MAX).unwrap();
        assert_eq!(out, [b"before", &wanted[..]].concat(), "{len}");
    }
    let short = frame::text(&[b'a'; 99]);
    let ping = frame::ping(&[b'a'; 120]);
    for plain in [&short[..], &ping, &short[..1], b""] {
        let mut out = Vec::new();
        assert!(!deflater.put_frame(&mut out, plain, WindowBits::MAX) && out.is_empty(), "{plain:?}");
    }
}
