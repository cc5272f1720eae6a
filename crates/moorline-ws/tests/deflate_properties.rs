//! What holds for any messages, any cuts and any bytes.

mod common;
#[path = "common/generate.rs"]
#[allow(dead_code, reason = "no streams of a client are drawn here")]
mod generate;
#[path = "common/reference.rs"]
mod reference;

use common::{CONTINUATION, Driver, FIN, Frame, RSV1, TEXT, agreed, stream};
use moorline_ws::{
    deflate::{Agreed, Compression, Deflater, Direction, Window, WindowBits},
    event::Event,
    frame::{self, OpCode, Role},
    violation::Violation,
};
use proptest::{collection::vec, prelude::*, sample::Index};

const LIMIT: usize = 20_000;

fn agreement() -> impl Strategy<Value = Agreed> {
    let direction = (any::<bool>(), 8u8..=15).prop_map(|(context_takeover, bits)| Direction {
        context_takeover,
        max_window_bits: WindowBits::new(bits).expect("8 to 15"),
    });
    (direction.clone(), direction).prop_map(|(server, client)| Agreed { server, client })
}

/// Payloads from nothing to much, most of which can be compressed.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let words = vec("[a-e]{1,9}|[é€𝄞]{1,3}", 0..400).prop_map(|words| words.concat().into_bytes());
    let runs = vec((any::<u8>(), 0usize..900), 0..20)
        .prop_map(|runs| runs.into_iter().flat_map(|(byte, len)| vec![byte; len]).collect());
    prop_oneof![4 => words, 2 => runs, 1 => vec(any::<u8>(), 0..2000), 1 => Just(Vec::new())]
}

fn compression() -> impl Strategy<Value = Compression> {
    (prop_oneof![Just(0), 0usize..1000], 0u8..12)
        .prop_map(|(threshold_bytes, level)| Compression { threshold_bytes, level })
}

/// One end of a connection, as it sends.
struct Sender {
    role: Role,
    deflater: Deflater,
    window: Window,
    takeover: bool,
}

impl Sender {
    fn new(role: Role, agreed: &Agreed, compression: Compression) -> Self {
        let Direction { context_takeover, max_window_bits } = agreed.sending(role);
        let (deflater, window) = (Deflater::new(compression), Window::new(max_window_bits));
        Self { role, deflater, window, takeover: context_takeover }
    }

    fn put(&mut self, out: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
        let bits = self.window.bits();
        if self.role == Role::Server {
            let frame = match self.takeover {
                true => self.deflater.frame_in(&mut self.window, OpCode::Binary, payload),
                false => self.deflater.frame(OpCode::Binary, payload, bits),
            };
            let Some(frame) = frame else {
                frame::put_header(out, OpCode::Binary, payload.len());
                return out.extend_from_slice(payload);
            };
            return out.extend_from_slice(&frame);
        }
        let compressed = match self.takeover {
            true => self.deflater.compress_in(&mut self.window, payload),
            false => self.deflater.compress(payload, bits),
        };
        match compressed {
            Some(compressed) => frame::put_masked_compressed(out, OpCode::Binary, compressed, mask),
            None => frame::put_masked(out, OpCode::Binary, payload, mask),
        }
    }
}

/// The payload of a compressed message, and what it is.
fn message() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let words = vec("[a-e]{1,9}|[é€𝄞]{1,3}", 3..60).prop_map(|words| words.concat().repeat(2).into_bytes());
    words.prop_map(|payload| {
        let mut deflater = Deflater::new(Compression { threshold_bytes: 0, level: 6 });
        let compressed = deflater.compress(&payload, WindowBits::MAX).expect("it comes twice").to_vec();
        (payload, compressed)
    })
}

fn fragments(payload: &[u8], cuts: &[Index]) -> Vec<Frame> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(payload.len());
    let mut start = 0;
    let mut frames: Vec<Frame> = Vec::new();
    for cut in cuts {
        let first = if frames.is_empty() { RSV1 | TEXT } else { CONTINUATION };
        frames.push(Frame::new(first, &payload[start..cut]));
        start = cut;
    }
    frames.last_mut().expect("there is one").first |= FIN;
    frames
}

fn feed(bytes: &[u8], step: usize, agreed: &Agreed) -> Driver {
    let mut driver = Driver::with_deflate(Role::Server, LIMIT, agreed);
    bytes.chunks(step).for_each(|part| driver.feed(part));
    driver
}

proptest! {
    #![proptest_config(generate::config(256))]

    #[test]
    fn what_is_compressed_here_is_read_here(
        payloads in vec(payload(), 1..6),
        agreed in agreement(),
        compression in compression(),
        mask in any::<[u8; 4]>(),
        step in prop_oneof![1usize..300, Just(1 << 20)],
    ) {
        for role in [Role::Server, Role::Client] {
            let mut sender = Sender::new(role, &agreed, compression);
            let mut bytes = Vec::new();
            payloads.iter().for_each(|payload| sender.put(&mut bytes, payload, mask));
            let peer = if role == Role::Server { Role::Client } else { Role::Server };
            let mut driver = Driver::with_deflate(peer, LIMIT, &agreed);
            bytes.chunks(step).for_each(|part| driver.feed(part));
            prop_assert_eq!(driver.outcome.violation, None);
            let expected: Vec<Event<'_>> = payloads.iter().map(|payload| Event::Binary(payload.into())).collect();
            prop_assert_eq!(&driver.outcome.events, &expected);
            prop_assert!(sender.window.held_bytes() <= sender.window.bits().bytes());
        }
    }

    #[test]
    fn a_stranger_reads_it_too(payloads in vec(payload(), 1..5), bits in 8u8..=15, level in 1u8..=9) {
        let bits = WindowBits::new(bits).unwrap();
        let mut deflater = Deflater::new(Compression { threshold_bytes: 0, level });
        let mut window = Window::new(bits);
        let mut before = Vec::new();
        for payload in payloads {
            if let Some(compressed) = deflater.compress_in(&mut window, &payload) {
                let inflated = reference::inflate(&before, compressed);
                let inflated = inflated.expect("it is deflate");
                prop_assert_eq!(&inflated.message, &payload);
                prop_assert!(inflated.farthest <= bits.bytes());
                before.extend_from_slice(&payload);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_as_the_stranger_reads_them(bytes in vec(any::<u8>(), 1..200), cuts in vec(any::<Index>(), 0..3)) {
        compare(&bytes, &cuts)?;
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic_and_within_the_bound(
        parts in vec(prop_oneof![vec(any::<u8>(), 0..200), message().prop_map(|(_, compressed)| compressed)], 0..8),
        takeover in any::<bool>(),
        limit in prop_oneof![0usize..300, Just(LIMIT)],
    ) {
        let mut driver = Driver::with_deflate(Role::Server, limit, &agreed(takeover, 9));
        for part in &parts {
            // The driver checks what is held at each step.
            driver.feed(&Frame::new(FIN | RSV1 | common::BINARY, part).bytes());
        }
        let largest = driver.outcome.events.iter().map(|event| match event {
            Event::Binary(bytes) => bytes.len(),
            _ => 0,
        });
        prop_assert!(largest.max().unwrap_or(0) <= limit);
    }
}

proptest! {
    // Each case is as many as there are places in it.
    #![proptest_config(generate::config(16))]

    #[test]
    fn every_cut_and_every_fragmentation_is_the_same(
        (payload, compressed) in message(),
        cuts in vec(any::<Index>(), 0..5),
        takeover in any::<bool>(),
    ) {
        let text = Event::Text(String::from_utf8(payload).unwrap().into());
        let bytes = stream(&fragments(&compressed, &cuts));
        for first in 0..=bytes.len() {
            let mut driver = Driver::with_deflate(Role::Server, LIMIT, &agreed(takeover, 15));
            driver.feed(&bytes[..first]);
            driver.feed(&bytes[first..]);
            prop_assert_eq!(driver.outcome.violation, None);
            prop_assert_eq!(&driver.outcome.events, std::slice::from_ref(&text));
        }
        prop_assert_eq!(feed(&bytes, 1, &agreed(takeover, 15)).outcome.events, [text]);
    }

    #[test]
    fn a_message_that_is_cut_off_is_never_taken_for_whole((_, compressed) in message()) {
        for end in 1..compressed.len() {
            let bytes = Frame::new(FIN | RSV1 | TEXT, &compressed[..end]).bytes();
            let outcome = feed(&bytes, bytes.len(), &agreed(false, 15)).outcome;
            prop_assert_eq!(outcome.violation, Some(Violation::InvalidDeflate), "cut at {}", end);
        }
    }

    #[test]
    fn a_flipped_bit_is_read_as_the_stranger_reads_it((_, compressed) in message(), cuts in vec(any::<Index>(), 0..3)) {
        for bit in 0..8 * compressed.len() {
            let mut flipped = compressed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            compare(&flipped, &cuts)?;
        }
    }
}

/// The decoder and the reference take the same payloads, and take them for the same. The reference wants a block
/// after a final one, which the decoder does not.
fn compare(payload: &[u8], cuts: &[Index]) -> Result<(), TestCaseError> {
    let mut frames = fragments(payload, cuts);
    frames[0].first ^= TEXT ^ common::BINARY;
    let bytes = stream(&frames);
    let outcome = feed(&bytes, bytes.len(), &agreed(false, 15)).outcome;
    match (reference::inflate(&[], payload), outcome.violation) {
        (_, Some(Violation::TooBig { .. })) => {}
        (Some(expected), violation) => {
            prop_assert_eq!(violation, None);
            prop_assert_eq!(outcome.events, [Event::Binary(expected.message.into())]);
        }
        (None, Some(violation)) => prop_assert_eq!(violation, Violation::InvalidDeflate),
        (None, None) => {
            let padded = [payload, &[0]].concat();
            let expected = reference::inflate(&[], &padded).expect("it ends by a final block");
            prop_assert_eq!(outcome.events, [Event::Binary(expected.message.into())]);
        }
    }
    Ok(())
}
