//! How a server talks with a client of the crowd: the upgrade, what comes before it is established, and what is a delivery.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;

use crate::frame::{self, Text, shown};

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const NATS_OPENING: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\"}\r\nSUB bench 1\r\nPING\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Manners {
    /// With `connection_established`.
    Greets,
    /// The same; clients name their sessions, and resume them when they come back.
    Resumes,
    /// With nothing: every text frame is a message. The floor, and bare WebSocket servers.
    Silent,
    /// Socket.IO 5 over Engine.IO 4, WebSocket alone.
    SocketIo,
    /// The protocol of NATS in binary frames.
    Nats,
}

impl Manners {
    /// As the command line names it.
    pub(crate) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The upgrade's request. A client that comes back names the last message that it has.
    pub(crate) fn request(self, server: SocketAddrV4, index: usize, last_id: Option<u64>) -> String {
        let target = match self {
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket".to_owned(),
            Self::Nats => "/".to_owned(),
            Self::Greets | Self::Resumes | Self::Silent => {
                let session =
                    if self == Self::Resumes { format!("&session=s{index}") } else { String::new() };
                let last = last_id.map(|id| format!("&last_message_id={id}")).unwrap_or_default();
                format!("/ws/bench?user=u{index}{session}{last}")
            }
        };
        format!(
            "GET {target} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        )
    }

    /// What a member says to have `count` messages published.
    pub(crate) fn publication(self, count: u32, data: &str) -> Result<Vec<u8>> {
        let mut said = Vec::new();
        match self {
            Self::Silent => frame::push_said(&mut said, format!("publish {count}").as_bytes()),
            Self::Greets | Self::Resumes => {
                let text = format!(
                    r#"{{"type":"publish","to":{{"room":"bench"}},"message":{{"type":"m","data":"{data}"}}}}"#
                );
                (0..count).for_each(|_| frame::push_said(&mut said, text.as_bytes()));
            }
            Self::SocketIo | Self::Nats => bail!("members of this server do not publish here"),
        }
        Ok(said)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The upgrade is not answered yet.
    Upgrading,
    Greeting,
    Open,
}

/// Where one client is in its talk with the server.
#[derive(Debug)]
pub(crate) struct Talk {
    manners: Manners,
    phase: Phase,
    pub(crate) last_id: u64,
    /// Its session is there already.
    resumes: bool,
    /// The beginning of a NATS message whose end is in the next frame.
    partial: Vec<u8>,
}

impl Talk {
    pub(crate) fn new(manners: Manners, last_id: Option<u64>) -> Self {
        Self {
            manners,
            phase: Phase::Upgrading,
            last_id: last_id.unwrap_or(0),
            resumes: last_id.is_some(),
            partial: Vec::new(),
        }
    }

    pub(crate) fn is_upgrading(&self) -> bool {
        self.phase == Phase::Upgrading
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// The upgrade was granted.
    pub(crate) fn upgraded(&mut self) {
        self.phase = if self.manners == Manners::Silent { Phase::Open } else { Phase::Greeting };
    }

    /// A frame came. Calls `each` with the number of every message, and appends to `answer` what is to be said.
    pub(crate) fn hear(
        &mut self,
        (opcode, payload): (u8, &[u8]),
        answer: &mut Vec<u8>,
        each: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        match opcode {
            frame::PING => answer.extend_from_slice(&frame::pong(payload)),
            frame::PONG => {}
            frame::CLOSE => bail!("the server closed: {}", closing(payload)),
            frame::TEXT if self.manners == Manners::SocketIo => self.socket_io(payload, answer, each)?,
            frame::TEXT => self.text(payload, each)?,
            frame::BINARY if self.manners == Manners::Nats => self.nats(payload, answer, each)?,
            _ => bail!("a frame with opcode {opcode}"),
        }
        Ok(())
    }

    fn text(&mut self, payload: &[u8], each: &mut impl FnMut(u64) -> Result<()>) -> Result<()> {
        match frame::classify(payload)? {
            Text::Delivery(id) => self.delivery(id, each),
            Text::Greeting => {
                ensure!(self.phase == Phase::Greeting, "an unexpected greeting");
                let resumed = memmem::find(payload, br#""resumed":true"#).is_some();
                ensure!(resumed == self.resumes, "resumed: {resumed}, in {}", shown(payload));
                self.phase = Phase::Open;
                Ok(())
            }
            Text::Aside => Ok(()),
        }
    }

    fn delivery(&mut self, id: u64, each: &mut impl FnMut(u64) -> Result<()>) -> Result<()> {
        ensure!(self.phase == Phase::Open, "a message came before the greeting");
        ensure!(id > self.last_id, "message {id} came after message {}", self.last_id);
        self.last_id = id;
        each(id)
    }

    fn socket_io(
        &mut self,
        payload: &[u8],
        answer: &mut Vec<u8>,
        each: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        match payload {
            [b'0', ..] => frame::push_said(answer, b"40"),
            [b'2'] => frame::push_said(answer, b"3"),
            [b'4', b'0', ..] => self.phase = Phase::Open,
            [b'4', b'2', event @ ..] => return self.text(event, each),
            _ => bail!("the server sent {}", shown(payload)),
        }
        Ok(())
    }

    fn nats(
        &mut self,
        payload: &[u8],
        answer: &mut Vec<u8>,
        each: &mut impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(payload);
        let mut rest = &bytes[..];
        while let Some((line, after)) = cut_line(rest) {
            rest = after;
            match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
                b"MSG" => {
                    let Some((message, after)) = nats_message(line, after)? else {
                        rest = &bytes[bytes.len() - after.len() - line.len() - 2..];
                        break;
                    };
                    rest = after;
                    self.text(message, each)?;
                }
                b"INFO" if self.phase == Phase::Greeting => frame::push_binary_said(answer, NATS_OPENING),
                b"INFO" | b"+OK" => {}
                b"PING" => frame::push_binary_said(answer, b"PONG\r\n"),
                b"PONG" => self.phase = Phase::Open,
                _ => bail!("the server sent {}", shown(line)),
            }
        }
        self.partial = rest.to_vec();
        Ok(())
    }
}

fn cut_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memmem::find(bytes, b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// The message that the line announces and what follows it, once it is whole.
fn nats_message<'a>(line: &[u8], after: &'a [u8]) -> Result<Option<(&'a [u8], &'a [u8])>> {
    let length = line.rsplit(|byte| *byte == b' ').next().and_then(|digits| std::str::from_utf8(digits).ok());
    let length: usize = length.and_then(|digits| digits.parse().ok()).with_context(|| shown(line))?;
    Ok(after.get(length + 2..).map(|rest| (&after[..length], rest)))
}

pub(crate) fn closing(payload: &[u8]) -> String {
    match payload {
        [a, b, reason @ ..] => format!("{} {}", u16::from_be_bytes([*a, *b]), shown(reason)),
        _ => "without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(talk: &mut Talk, opcode: u8, payload: &[u8]) -> Result<(Vec<u64>, Vec<u8>)> {
        let (mut ids, mut answer) = (Vec::new(), Vec::new());
        talk.hear((opcode, payload), &mut answer, &mut |id| {
            ids.push(id);
            Ok(())
        })?;
        Ok((ids, answer))
    }

    fn message(id: u64) -> Vec<u8> {
        format!(r#"{{"type":"m","data":"x","room":"bench","message_id":{id},"timestamp":"t"}}"#).into_bytes()
    }

    #[test]
    fn what_comes_twice_or_out_of_order_is_an_error() {
        let mut talk = Talk::new(Manners::Silent, None);
        talk.upgraded();
        assert_eq!(hear(&mut talk, frame::TEXT, &message(1)).unwrap().0, [1]);
        assert_eq!(hear(&mut talk, frame::TEXT, &message(3)).unwrap().0, [3]);
        for late in [3, 2] {
            let error = hear(&mut talk, frame::TEXT, &message(late)).unwrap_err().to_string();
            assert_eq!(error, format!("message {late} came after message 3"));
        }
    }

    #[test]
    fn who_resumes_must_be_told_so() {
        let mut talk = Talk::new(Manners::Resumes, Some(7));
        talk.upgraded();
        assert!(hear(&mut talk, frame::TEXT, &message(8)).is_err(), "before the greeting");
        assert!(
            hear(&mut talk, frame::TEXT, br#"{"type":"connection_established","resumed":false}"#).is_err()
        );
        hear(&mut talk, frame::TEXT, br#"{"type":"connection_established","resumed":true}"#).unwrap();
        assert_eq!(hear(&mut talk, frame::TEXT, &message(8)).unwrap().0, [8]);
    }

    #[test]
    fn a_socket_io_client_connects_answers_pings_and_counts_events() {
        let mut talk = Talk::new(Manners::SocketIo, None);
        talk.upgraded();
        let said = |text: &[u8]| {
            let mut out = Vec::new();
            frame::push_said(&mut out, text);
            out
        };
        assert_eq!(hear(&mut talk, frame::TEXT, br#"0{"sid":"a"}"#).unwrap().1, said(b"40"));
        assert!(!talk.is_open());
        hear(&mut talk, frame::TEXT, br#"40{"sid":"b"}"#).unwrap();
        assert!(talk.is_open());
        assert_eq!(hear(&mut talk, frame::TEXT, b"2").unwrap().1, said(b"3"));
        let event = [b"42[\"m\",", &message(5)[..], b"]"].concat();
        assert_eq!(hear(&mut talk, frame::TEXT, &event).unwrap().0, [5]);
        assert!(hear(&mut talk, frame::TEXT, b"41").is_err(), "disconnected");
    }

    #[test]
    fn nats_messages_are_found_however_frames_split_them() {
        let mut wire = b"INFO {}\r\nPONG\r\n".to_vec();
        for id in 1..=3 {
            let text = message(id);
            wire.extend_from_slice(format!("MSG bench 1 {}\r\n", text.len()).as_bytes());
            wire.extend_from_slice(&text);
            wire.extend_from_slice(b"\r\n");
        }
        for step in 1..=wire.len() {
            let mut talk = Talk::new(Manners::Nats, None);
            talk.upgraded();
            let (mut ids, mut answers) = (Vec::new(), Vec::new());
            for part in wire.chunks(step) {
                let (more, answer) = hear(&mut talk, frame::BINARY, part).unwrap();
                ids.extend(more);
                answers.extend(answer);
            }
            assert_eq!(ids, [1, 2, 3], "in steps of {step}");
            assert!(talk.is_open() && answers.ends_with(NATS_OPENING));
        }
        let mut talk = Talk::new(Manners::Nats, None);
        assert!(hear(&mut talk, frame::BINARY, b"-ERR 'no'\r\n").is_err());
    }
}
