//! Streams of a client for property tests: valid sessions, most of them then damaged in one place.

#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function")]

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::FileFailurePersistence};

use crate::common::{self, BINARY, CONTINUATION, FIN, Frame, Length, PING, PONG, TEXT};

/// The limit under which the streams are decoded: small, so that some messages exceed it.
pub(crate) const LIMIT: usize = 400;

/// A failure's seed is printed and kept beside the test, to be tried first next time.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(persistence)), ..Default::default() }
}

/// What is done to one frame, or to the bytes, of a valid stream.
#[derive(Debug, Clone)]
enum Damage {
    None,
    Reserved(u8),
    Opcode(u8),
    FlipFin,
    Unmask,
    Length(Length),
    Payload(Vec<u8>),
    FlipByte(Index, u8),
    Truncate(Index),
    Drop,
    Repeat,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<char>(), 0..30).prop_map(|chars| String::from_iter(chars).into_bytes()),
        2 => vec("[a-zé€𝄞]", 0..60).prop_map(|chars| chars.concat().into_bytes()),
        1 => vec(any::<u8>(), 0..8),
    ]
}

fn control() -> impl Strategy<Value = Frame> {
    let payload = prop_oneof![4 => vec(any::<u8>(), 0..8), 1 => vec(any::<u8>(), 120..=125)];
    (prop_oneof![Just(PING), Just(PONG)], payload).prop_map(|(opcode, p)| Frame::whole(opcode, p))
}

/// A message in one to five fragments, with control frames between some of them.
fn message() -> impl Strategy<Value = Vec<Frame>> {
    let binary = prop_oneof![6 => vec(any::<u8>(), 0..40), 2 => vec(any::<u8>(), 100..300),
        1 => vec(any::<u8>(), LIMIT - 2..LIMIT + 3)];
    let body = prop_oneof![text().prop_map(|p| (TEXT, p)), binary.prop_map(|p| (BINARY, p))];
    let cuts = prop_oneof![2 => Just(Vec::new()), 2 => vec(any::<Index>(), 1..5)];
    (body, cuts, vec(prop::option::of(control()), 4)).prop_map(|((opcode, payload), cuts, controls)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        cuts.sort_unstable();
        let mut frames = vec![Frame::new(opcode, [])];
        let mut start = 0;
        for (cut, between) in cuts.into_iter().zip(controls) {
            frames.last_mut().unwrap().payload = payload[start..cut].to_vec();
            frames.extend(between);
            frames.push(Frame::new(CONTINUATION, []));
            start = cut;
        }
        let last = frames.last_mut().unwrap();
        last.payload = payload[start..].to_vec();
        last.first |= FIN;
        frames
    })
}

fn close() -> impl Strategy<Value = Frame> {
    let code = prop_oneof![Just(1000), Just(4000), Just(1005), Just(5000), 990u16..1020, any::<u16>()];
    let reason = prop_oneof![4 => Just(Vec::new()), 4 => Just("bis später".into()),
        1 => vec(any::<u8>(), 0..4), 1 => Just(vec![b'x'; 123])];
    prop_oneof![
        6 => (code, reason).prop_map(|(code, reason)| Frame::close(code, reason)),
        1 => Just(Frame::whole(common::CLOSE, [])),
        1 => Just(Frame::whole(common::CLOSE, [3])),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let length = prop_oneof![
        Just(Length::Wide16),
        Just(Length::Wide64),
        any::<u64>().prop_map(Length::Declared),
        Just(Length::Declared(1 << 62)),
    ];
    prop_oneof![
        4 => Just(Damage::None),
        1 => (1u8..8).prop_map(|bits| Damage::Reserved(bits << 4)),
        1 => (0u8..16).prop_map(Damage::Opcode),
        1 => Just(Damage::FlipFin),
        1 => Just(Damage::Unmask),
        1 => length.prop_map(Damage::Length),
        1 => vec(any::<u8>(), 0..200).prop_map(Damage::Payload),
        2 => (any::<Index>(), 1u8..).prop_map(|(at, bits)| Damage::FlipByte(at, bits)),
        1 => any::<Index>().prop_map(Damage::Truncate),
        1 => Just(Damage::Drop),
        1 => Just(Damage::Repeat),
    ]
}

fn damaged(mut frames: Vec<Frame>, at: Index, damage: &Damage) -> Vec<u8> {
    let at = at.index(frames.len());
    let frame = &mut frames[at];
    match damage {
        Damage::Reserved(bits) => frame.first |= bits,
        Damage::Opcode(opcode) => frame.first = frame.first & 0xf0 | opcode,
        Damage::FlipFin => frame.first ^= FIN,
        Damage::Unmask => frame.mask = None,
        Damage::Length(length) => frame.length = *length,
        Damage::Payload(payload) => frame.payload.clone_from(payload),
        Damage::Drop => drop(frames.remove(at)),
        Damage::Repeat => frames.insert(at, frames[at].clone()),
        Damage::None | Damage::FlipByte(..) | Damage::Truncate(_) => {}
    }
    let mut bytes = common::stream(&frames);
    match damage {
        Damage::FlipByte(at, bits) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Damage::Truncate(at) => bytes.truncate(at.index(bytes.len() + 1)),
        _ => {}
    }
    bytes
}

/// The bytes a client sends: some messages and control frames, at times a close frame and more after it.
pub(crate) fn client_stream() -> impl Strategy<Value = Vec<u8>> {
    let item = prop_oneof![3 => message(), 1 => control().prop_map(|frame| vec![frame])];
    let items = (vec(item.clone(), 1..5), prop::option::of((close(), vec(item, 0..2))));
    (items, any::<Index>(), damage(), vec(any::<[u8; 4]>(), 1..4)).prop_map(
        |((items, end), at, damage, masks)| {
            let mut frames = items.concat();
            if let Some((close, after)) = end {
                frames.push(close);
                frames.extend(after.concat());
            }
            for (frame, mask) in frames.iter_mut().zip(masks.into_iter().cycle()) {
                frame.mask = Some(mask);
            }
            damaged(frames, at, &damage)
        },
    )
}
