//! One kept HTTP connection: requests without waiting, answers in their order.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;

use crate::frame::shown;

/// The slowest peer takes half of it to answer once 100 messages have gone to 10,000 sockets.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Servers end a connection that is idle for some seconds: 5 of them, where it is least.
const IDLE_LIMIT: Duration = Duration::from_secs(1);
const ANSWER_MAX_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Http {
    stream: TcpStream,
    address: SocketAddrV4,
    answer: Vec<u8>,
    /// When the last answer came.
    used: Instant,
}

impl Http {
    pub(crate) fn connect(address: SocketAddrV4) -> Result<Self> {
        let stream =
            TcpStream::connect_timeout(&address.into(), ANSWER_LIMIT).context("connecting to publish")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream, address, answer: Vec::new(), used: Instant::now() })
    }

    /// Connects anew if the server may have ended the connection by now. No answer is due.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        if self.used.elapsed() > IDLE_LIMIT {
            *self = Self::connect(self.address)?;
        }
        Ok(())
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
    }

    pub(crate) fn write(&mut self, requests: &str) -> Result<()> {
        self.stream.write_all(requests.as_bytes()).context("sending a request")
    }

    /// Sends a request, without waiting for its answer.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Result<()> {
        let request = self.request("POST", path, body);
        self.write(&request)
    }

    /// Reads one answer's body and requires success, also of each publication in a batch.
    pub(crate) fn confirm(&mut self) -> Result<Vec<u8>> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((status, body, length)) = parse(&self.answer)? {
                let failed = memmem::find(body, br#""error""#).is_some();
                ensure!(
                    (200..300).contains(&status) && !failed,
                    "the server answered {status} {}",
                    shown(body)
                );
                let body = body.to_vec();
                self.answer.drain(..length);
                self.used = Instant::now();
                return Ok(body);
            }
            ensure!(self.answer.len() < ANSWER_MAX_BYTES, "an endless answer to a publish");
            match self.stream.read(&mut chunk).context("waiting for the answer to a publish")? {
                0 => bail!("the server ended the connection after {:?}", shown(&self.answer)),
                length => self.answer.extend_from_slice(&chunk[..length]),
            }
        }
    }
}

/// Status, body and whole length of an answer, once it is complete.
fn parse(bytes: &[u8]) -> Result<Option<(u16, &[u8], usize)>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("an answer's head is not text")?;
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).context("an answer without a status")?;
    let status = status.parse().with_context(|| format!("status {status:?}"))?;
    if status == 204 {
        return Ok(Some((status, &[], end + 4)));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .with_context(|| format!("an answer without Content-Length: {head}"))?
        .1;
    let length: usize = length.trim().parse().with_context(|| format!("Content-Length {length:?}"))?;
    ensure!(length <= ANSWER_MAX_BYTES, "an answer of {length} bytes");
    Ok(bytes[end + 4..].get(..length).map(|body| (status, body, end + 4 + length)))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server for one connection: gives the answers in turn and hands back what it was sent.
    pub(crate) fn serve(answers: &'static [&'static str]) -> (SocketAddrV4, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!() };
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut chunk = [0; 64 * 1024];
            let mut requests = Vec::new();
            for answer in answers {
                let length = stream.read(&mut chunk).unwrap();
                requests.push(String::from_utf8(chunk[..length].to_vec()).unwrap());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            requests
        });
        (address, server)
    }

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let wire = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\n{}HTTP/1.1";
        for end in 0..wire.len() {
            let parsed = parse(&wire[..end]).unwrap();
            let whole = wire.len() - "HTTP/1.1".len();
            assert_eq!(parsed, (end >= whole).then_some((200, &b"{}"[..], whole)), "after {end} bytes");
        }
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n").unwrap(), Some((204, &[][..], 33)));
    }
}
