//! WebSocket frames as this benchmark needs them: building unmasked text, scanning what arrives, reading just enough
//! of a message to know what it is.

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;

/// No frame of a benchmark is larger; a longer length means that the scanner lost its place.
const FRAME_MAX_BYTES: usize = 1 << 20;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// Appends a whole unmasked text frame.
pub(crate) fn push_text(out: &mut Vec<u8>, payload: &[u8]) {
    push_head(out, TEXT, (payload.len(), 0));
    out.extend_from_slice(payload);
}

/// Appends a client's text frame. Its mask is zero, which is legal and saves the work.
pub(crate) fn push_said(out: &mut Vec<u8>, payload: &[u8]) {
    push_head(out, TEXT, (payload.len(), 0x80));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The same, binary.
pub(crate) fn push_binary_said(out: &mut Vec<u8>, payload: &[u8]) {
    push_head(out, BINARY, (payload.len(), 0x80));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn push_head(out: &mut Vec<u8>, opcode: u8, (length, masked): (usize, u8)) {
    out.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => out.push(masked | length),
        (_, Ok(length)) => {
            out.push(masked | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// A client's pong. Its mask is zero, which is legal and saves the work.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(125)];
    let mut out = vec![0x80 | PONG, 0x80 | payload.len().to_le_bytes()[0], 0, 0, 0, 0];
    out.extend_from_slice(payload);
    out
}

/// Cuts a byte stream into frames. Holds bytes only between the parts of a frame that came split.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    partial: Vec<u8>,
}

impl Scanner {
    /// Calls `each` with opcode and payload of every frame that is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], each: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
        if self.partial.is_empty() {
            let used = scan(bytes, each)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            self.partial.extend_from_slice(bytes);
            let used = scan(&self.partial, each)?;
            self.partial.drain(..used);
        }
        Ok(())
    }
}

/// Bytes used by whole frames at the beginning of `bytes`.
fn scan(bytes: &[u8], mut each: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<usize> {
    let mut used = 0;
    while let Some((opcode, start, length)) = header(&bytes[used..])? {
        let Some(payload) = bytes[used + start..].get(..length) else { break };
        each(opcode, payload)?;
        used += start + length;
    }
    Ok(used)
}

/// Opcode, header length and payload length, once the header is there.
fn header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    ensure!(first & 0xF0 == 0x80, "a fragmented or extended frame (first byte {first:#04x})");
    ensure!(second & 0x80 == 0, "a server's frame is masked");
    let (start, length) = match (second & 0x7F, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (10, usize::try_from(length).context("a frame longer than memory")?)
        }
        (126 | 127, _) => return Ok(None),
        (length, _) => (2, usize::from(length)),
    };
    ensure!(length <= FRAME_MAX_BYTES, "a frame of {length} bytes");
    Ok(Some((first & 0x0F, start, length)))
}

/// What a text frame means to the benchmark.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// One of the messages that are counted, with its `message_id`.
    Delivery(u64),
    /// `connection_established`.
    Greeting,
    /// Liveness and progress: neither counted nor answered.
    Aside,
}

/// Reads type and number of a message without parsing it: its data contains no quotation marks.
pub(crate) fn classify(payload: &[u8]) -> Result<Text> {
    match after(payload, b"\"type\":\"").map(|rest| rest.split(|byte| *byte == b'"').next().unwrap_or(rest)) {
        Some(b"m") => {
            let digits = after(payload, b"\"message_id\":").context("a message without message_id")?;
            Ok(Text::Delivery(number(digits).with_context(|| format!("message_id in {}", shown(payload)))?))
        }
        Some(b"connection_established") => Ok(Text::Greeting),
        Some(b"ping" | b"pong" | b"position") => Ok(Text::Aside),
        _ => bail!("the server sent {}", shown(payload)),
    }
}

fn after<'a>(payload: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    memmem::find(payload, key).map(|at| &payload[at + key.len()..])
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

/// The beginning of something unexpected, for an error message.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(scanner: &mut Scanner, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        scanner
            .feed(bytes, |opcode, payload| {
                frames.push((opcode, payload.to_vec()));
                Ok(())
            })
            .unwrap();
        frames
    }

    #[test]
    fn frames_are_found_however_the_reads_are_split() {
        let payloads: Vec<Vec<u8>> =
            [0, 1, 125, 126, 200, 65_535, 65_536].iter().map(|length| vec![b'x'; *length]).collect();
        let mut wire = Vec::new();
        payloads.iter().for_each(|payload| push_text(&mut wire, payload));
        for step in [1, 2, 3, 7, 127, 1_000, 65_536, wire.len()] {
            let mut scanner = Scanner::default();
            let frames: Vec<_> = wire
                .chunks(step)
                .flat_map(|chunk| collect(&mut scanner, chunk))
                .map(|frame| frame.1)
                .collect();
            assert!(frames == payloads, "in steps of {step}");
            assert!(scanner.partial.is_empty());
        }
    }

    #[test]
    fn what_no_server_may_send_is_an_error() {
        let nothing = |_: u8, _: &[u8]| Ok(());
        assert!(Scanner::default().feed(&[0x01, 0], nothing).is_err(), "fragmented");
        assert!(Scanner::default().feed(&[0xC1, 0], nothing).is_err(), "compressed");
        assert!(Scanner::default().feed(&[0x81, 0x80], nothing).is_err(), "masked");
        assert!(Scanner::default().feed(&[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0], nothing).is_err(), "too long");
    }

    #[test]
    fn texts_are_told_apart() {
        let message = br#"{"type":"m","data":"xxx","room":"bench","message_id":42,"timestamp":"t"}"#;
        assert_eq!(classify(message).unwrap(), Text::Delivery(42));
        let greeting = br#"{"type":"connection_established","rooms":{"bench":{"epoch":"e","message_id":7}}}"#;
        assert_eq!(classify(greeting).unwrap(), Text::Greeting);
        assert_eq!(classify(br#"{"type":"ping"}"#).unwrap(), Text::Aside);
        assert_eq!(classify(br#"{"type":"position","room":"bench","message_id":9}"#).unwrap(), Text::Aside);
        for refused in
            [&br#"{"type":"reset","room":"bench"}"#[..], br#"{"type":"error"}"#, b"{}", br#"{"type":"m"}"#]
        {
            assert!(classify(refused).is_err());
        }
    }

    #[test]
    fn what_a_client_says_is_masked_with_nothing() {
        let mut out = Vec::new();
        push_said(&mut out, b"ab");
        assert_eq!(out, [0x81, 0x82, 0, 0, 0, 0, b'a', b'b']);
        out.clear();
        push_said(&mut out, &[b'x'; 300]);
        assert_eq!(out[..8], [0x81, 0xFE, 1, 44, 0, 0, 0, 0]);
        assert_eq!(out.len(), 308);
    }

    #[test]
    fn a_pong_repeats_the_ping() {
        assert_eq!(pong(b"ab"), [0x8A, 0x82, 0, 0, 0, 0, b'a', b'b']);
    }
}
