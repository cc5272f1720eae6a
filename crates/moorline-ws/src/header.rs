//! The header of a received frame, judged byte by byte as it comes.

use crate::{
    deflate::max_compressed_bytes,
    frame::{MAX_CONTROL_PAYLOAD, OpCode, Role},
    violation::Violation,
};

/// The most bytes a header takes: two, eight of length, four of mask.
pub(crate) const MAX_LEN: usize = 14;

const RESERVED: u8 = 0x70;
/// The first reserved bit, by which a message is compressed (RFC 7692 §6).
const RSV1: u8 = 0x40;

/// What the rules for the next frame depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) role: Role,
    /// The fragmented message, if one was begun.
    pub(crate) begun: Option<Begun>,
    /// The bound on a whole message, before compression.
    pub(crate) limit: usize,
    /// Whether messages may be compressed.
    pub(crate) deflate: bool,
}

/// What came of a fragmented message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) len: usize,
    pub(crate) compressed: bool,
}

/// A header that keeps all rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) opcode: OpCode,
    pub(crate) fin: bool,
    /// Whether it begins a compressed message.
    pub(crate) compressed: bool,
    /// All zeroes where the frame is not masked, which leaves the payload as it is.
    pub(crate) mask: [u8; 4],
    /// How many bytes the header itself took.
    pub(crate) len: usize,
    pub(crate) payload_len: usize,
}

impl Header {
    /// Reads a header from the front of `bytes`; `None` while it is incomplete. A rule is broken as soon as
    /// the byte that breaks it is there, so the verdict does not depend on how the bytes were split.
    pub(crate) fn parse(bytes: &[u8], rules: &Rules) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let opcode = check_first(first, rules)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        check_second(second, opcode, rules)?;
        let Some((payload_len, after_length)) = length(bytes, second)? else { return Ok(None) };
        let (fin, compressed) = (first & 0x80 != 0, first & RSV1 != 0);
        let is_compressed = compressed || rules.begun.is_some_and(|begun| begun.compressed);
        let payload_len = check_length(payload_len, opcode, is_compressed, rules)?;
        if rules.role == Role::Client {
            return Ok(Some(Self { opcode, fin, compressed, mask: [0; 4], len: after_length, payload_len }));
        }
        let Some(&mask) = bytes[after_length..].first_chunk() else { return Ok(None) };
        Ok(Some(Self { opcode, fin, compressed, mask, len: after_length + 4, payload_len }))
    }
}

fn check_first(first: u8, rules: &Rules) -> Result<OpCode, Violation> {
    let bits = first & 0x0f;
    let begins_message = bits == OpCode::Text as u8 || bits == OpCode::Binary as u8;
    let meant = if rules.deflate && begins_message { RSV1 } else { 0 };
    if first & RESERVED & !meant != 0 {
        return Err(Violation::ReservedBits);
    }
    let opcode = OpCode::from_bits(bits).ok_or(Violation::UnknownOpcode(bits))?;
    match opcode {
        _ if opcode.is_control() && first & 0x80 == 0 => Err(Violation::FragmentedControl),
        OpCode::Continuation if rules.begun.is_none() => Err(Violation::UnexpectedContinuation),
        OpCode::Text | OpCode::Binary if rules.begun.is_some() => Err(Violation::InterruptedMessage),
        _ => Ok(opcode),
    }
}

fn check_second(second: u8, opcode: OpCode, rules: &Rules) -> Result<(), Violation> {
    match (rules.role, second & 0x80 != 0) {
        (Role::Server, false) => return Err(Violation::Unmasked),
        (Role::Client, true) => return Err(Violation::Masked),
        _ => {}
    }
    if opcode.is_control() && usize::from(second & 0x7f) > MAX_CONTROL_PAYLOAD {
        return Err(Violation::LongControl);
    }
    Ok(())
}

/// The declared length and where it ends in the header.
fn length(bytes: &[u8], second: u8) -> Result<Option<(u64, usize)>, Violation> {
    let rest = &bytes[2..];
    let (length, least, end) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(&length) => (u64::from(u16::from_be_bytes(length)), 126, 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(&length) => (u64::from_be_bytes(length), 0x1_0000, 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 2),
    };
    match length {
        _ if length < least => Err(Violation::NonMinimalLength),
        _ if length >> 63 != 0 => Err(Violation::LengthOverflow),
        _ => Ok(Some((length, end))),
    }
}

/// Refuses what would make the message too big, before a byte of it is kept.
fn check_length(
    payload_len: u64,
    opcode: OpCode,
    is_compressed: bool,
    rules: &Rules,
) -> Result<usize, Violation> {
    let too_big = Violation::TooBig { limit: rules.limit };
    let len = usize::try_from(payload_len).map_err(|_| too_big)?;
    let most = if is_compressed { max_compressed_bytes(rules.limit) } else { rules.limit };
    let room = most.saturating_sub(rules.begun.map_or(0, |begun| begun.len));
    if len > room && !opcode.is_control() { Err(too_big) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Rules = Rules { role: Role::Server, begun: None, limit: 1 << 20, deflate: false };
    const DEFLATE: Rules = Rules { deflate: true, ..SERVER };

    fn begun(len: usize, compressed: bool) -> Option<Begun> {
        Some(Begun { len, compressed })
    }

    #[test]
    fn each_broken_rule_is_named_at_the_byte_that_breaks_it() {
        let compressed = Rules { begun: begun(7, true), ..DEFLATE };
        let begun = Rules { begun: begun(7, false), ..SERVER };
        let client = Rules { role: Role::Client, ..SERVER };
        let table: &[(&[u8], Rules, Violation)] = &[
            (&[0xc1], SERVER, Violation::ReservedBits),
            (&[0xa1], SERVER, Violation::ReservedBits),
            (&[0x91], SERVER, Violation::ReservedBits),
            (&[0xa1], DEFLATE, Violation::ReservedBits),
            (&[0x91], DEFLATE, Violation::ReservedBits),
            (&[0xe1], DEFLATE, Violation::ReservedBits),
            (&[0xc0], DEFLATE, Violation::ReservedBits),
            (&[0xc0], compressed, Violation::ReservedBits),
            (&[0xc3], DEFLATE, Violation::ReservedBits),
            (&[0xc8], DEFLATE, Violation::ReservedBits),
            (&[0xc9], DEFLATE, Violation::ReservedBits),
            (&[0xca], DEFLATE, Violation::ReservedBits),
            (&[0xc1], compressed, Violation::InterruptedMessage),
            (&[0xc1, 0xff, 0, 0, 0, 0, 0, 0x12, 0x40, 0x41], DEFLATE, Violation::TooBig { limit: 1 << 20 }),
            (
                &[0x80, 0xff, 0, 0, 0, 0, 0, 0x12, 0x40, 0x3a],
                compressed,
                Violation::TooBig { limit: 1 << 20 },
            ),
            (&[0x83], SERVER, Violation::UnknownOpcode(3)),
            (&[0x8b], SERVER, Violation::UnknownOpcode(11)),
            (&[0x09], SERVER, Violation::FragmentedControl),
            (&[0x80], SERVER, Violation::UnexpectedContinuation),
            (&[0x81], begun, Violation::InterruptedMessage),
            (&[0x81, 0x05], SERVER, Violation::Unmasked),
            (&[0x81, 0x85], client, Violation::Masked),
            (&[0x89, 0xfe], SERVER, Violation::LongControl),
            (&[0x88, 0xff], SERVER, Violation::LongControl),
            (&[0x81, 0xfe, 0, 125], SERVER, Violation::NonMinimalLength),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], SERVER, Violation::NonMinimalLength),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], SERVER, Violation::LengthOverflow),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1], SERVER, Violation::TooBig { limit: 1 << 20 }),
            (&[0x80, 0xff, 0, 0, 0, 0, 0, 0x0f, 0xff, 0xfa], begun, Violation::TooBig { limit: 1 << 20 }),
            (&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0], SERVER, Violation::TooBig { limit: 1 << 20 }),
        ];
        for (bytes, rules, violation) in table {
            assert_eq!(Header::parse(bytes, rules).unwrap_err(), *violation, "{bytes:x?}");
            let earlier = Header::parse(&bytes[..bytes.len() - 1], rules);
            assert!(matches!(earlier, Ok(None)), "{bytes:x?}");
        }
    }

    #[test]
    fn a_header_is_none_until_its_last_byte() {
        let headers: [(&[u8], usize); 3] = [
            (&[0x81, 0xfd, 1, 2, 3, 4], 125),
            (&[0x81, 0xfe, 0, 126, 1, 2, 3, 4], 126),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65_536),
        ];
        for (bytes, payload_len) in headers {
            for end in 0..bytes.len() {
                assert!(Header::parse(&bytes[..end], &SERVER).unwrap().is_none(), "{bytes:x?} up to {end}");
            }
            let header = Header::parse(bytes, &SERVER).unwrap().unwrap();
            assert_eq!(
                (header.len, header.payload_len, header.mask),
                (bytes.len(), payload_len, [1, 2, 3, 4])
            );
        }
    }

    #[test]
    fn control_frames_do_not_count_against_the_message() {
        let full = Rules { begun: begun(10, false), limit: 10, ..SERVER };
        assert!(Header::parse(&[0x89, 0x84, 0, 0, 0, 0], &full).unwrap().is_some());
        assert!(Header::parse(&[0x80, 0x80, 0, 0, 0, 0], &full).unwrap().is_some());
    }

    #[test]
    fn a_compressed_message_may_be_longer_than_what_it_becomes() {
        let rules = Rules { limit: 64, ..DEFLATE };
        let header = |first, len: u8| Header::parse(&[first, 0x80 | len, 0, 0, 0, 0], &rules);
        assert_eq!(header(0xc1, 125).unwrap().map(|header| header.compressed), Some(true));
        assert_eq!(header(0x81, 65).unwrap_err(), Violation::TooBig { limit: 64 });
        let rest = Rules { begun: begun(100, true), ..rules };
        assert!(Header::parse(&[0x80, 0x80 | 37, 0, 0, 0, 0], &rest).unwrap().is_some());
        assert!(Header::parse(&[0x80, 0x80 | 38, 0, 0, 0, 0], &rest).is_err());
    }

    #[test]
    fn what_came_may_be_more_than_a_limit_that_was_lowered() {
        let lowered = Rules { begun: begun(10, false), limit: 5, ..SERVER };
        assert!(Header::parse(&[0x80, 0x80, 0, 0, 0, 0], &lowered).unwrap().is_some());
        assert_eq!(Header::parse(&[0x80, 0x81], &lowered).unwrap_err(), Violation::TooBig { limit: 5 });
    }
}
