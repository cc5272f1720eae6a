//! The header of a received frame, judged byte by byte as it comes.

use crate::{
    frame::{MAX_CONTROL_PAYLOAD, OpCode, Role},
    violation::Violation,
};

/// The most bytes a header takes: two, eight of length, four of mask.
pub(crate) const MAX_LEN: usize = 14;

/// What the rules for the next frame depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) role: Role,
    /// The bytes of the fragmented message so far, if one was begun.
    pub(crate) begun: Option<usize>,
    /// The bound on a whole message.
    pub(crate) limit: usize,
}

/// A header that keeps all rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) opcode: OpCode,
    pub(crate) fin: bool,
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
        let payload_len = check_length(payload_len, opcode, rules)?;
        let fin = first & 0x80 != 0;
        if rules.role == Role::Client {
            return Ok(Some(Self { opcode, fin, mask: [0; 4], len: after_length, payload_len }));
        }
        let Some(&mask) = bytes[after_length..].first_chunk() else { return Ok(None) };
        Ok(Some(Self { opcode, fin, mask, len: after_length + 4, payload_len }))
    }
}

fn check_first(first: u8, rules: &Rules) -> Result<OpCode, Violation> {
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBits);
    }
    let bits = first & 0x0f;
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
fn check_length(payload_len: u64, opcode: OpCode, rules: &Rules) -> Result<usize, Violation> {
    let too_big = Violation::TooBig { limit: rules.limit };
    let len = usize::try_from(payload_len).map_err(|_| too_big)?;
    let room = rules.limit - rules.begun.unwrap_or(0);
    if len > room && !opcode.is_control() { Err(too_big) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Rules = Rules { role: Role::Server, begun: None, limit: 1 << 20 };

    #[test]
    fn each_broken_rule_is_named_at_the_byte_that_breaks_it() {
        let begun = Rules { begun: Some(7), ..SERVER };
        let client = Rules { role: Role::Client, ..SERVER };
        let table: &[(&[u8], Rules, Violation)] = &[
            (&[0xc1], SERVER, Violation::ReservedBits),
            (&[0xa1], SERVER, Violation::ReservedBits),
            (&[0x91], SERVER, Violation::ReservedBits),
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
        let full = Rules { begun: Some(10), limit: 10, ..SERVER };
        assert!(Header::parse(&[0x89, 0x84, 0, 0, 0, 0], &full).unwrap().is_some());
        assert!(Header::parse(&[0x80, 0x80, 0, 0, 0, 0], &full).unwrap().is_some());
    }
}
