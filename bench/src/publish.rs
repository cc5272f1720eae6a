//! Asking a server to publish: the floor by a line on its input, Moorline by HTTP over one kept connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::process::ChildStdin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;

use crate::frame::shown;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_MAX_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) enum Publisher {
    Floor(ChildStdin),
    Http(Http),
}

impl Publisher {
    /// Publishes `count` messages at once, without waiting for an answer.
    pub(crate) fn send(&mut self, count: u32) -> Result<()> {
        match self {
            Self::Floor(control) => writeln!(control, "publish {count}").context("asking the floor"),
            Self::Http(http) => http.send(count),
        }
    }

    /// Waits for the answer, if there is one.
    pub(crate) fn confirm(&mut self) -> Result<()> {
        match self {
            Self::Floor(_) => Ok(()),
            Self::Http(http) => http.confirm().map(drop),
        }
    }

    /// How many sessions are absent.
    pub(crate) fn absent(&mut self) -> Result<u64> {
        match self {
            Self::Floor(_) => bail!("the floor knows no sessions"),
            Self::Http(http) => http.absent(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Http {
    stream: TcpStream,
    address: SocketAddrV4,
    publish: String,
    answer: Vec<u8>,
}

impl Http {
    pub(crate) fn connect(address: SocketAddrV4, payload_bytes: u32) -> Result<Self> {
        let stream =
            TcpStream::connect_timeout(&address.into(), ANSWER_LIMIT).context("connecting to publish")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let data = "x".repeat(usize::try_from(payload_bytes)?);
        let publish = format!(r#"{{"to":{{"room":"bench"}},"message":{{"type":"m","data":"{data}"}}}}"#);
        Ok(Self { stream, address, publish, answer: Vec::new() })
    }

    fn send(&mut self, count: u32) -> Result<()> {
        let (path, body) = match count {
            1 => ("/v1/publish", self.publish.clone()),
            _ => {
                let publishes = vec![self.publish.as_str(); usize::try_from(count)?].join(",");
                ("/v1/batch", format!(r#"{{"publishes":[{publishes}]}}"#))
            }
        };
        self.post(path, &body)
    }

    /// Sends a request, without waiting for its answer.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Result<()> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).with_context(|| format!("sending POST {path}"))
    }

    fn absent(&mut self) -> Result<u64> {
        let request = format!("GET /v1/stats HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.write_all(request.as_bytes()).context("sending GET /v1/stats")?;
        let stats: serde_json::Value =
            serde_json::from_slice(&self.confirm()?).context("reading /v1/stats")?;
        stats["absent"].as_u64().context("/v1/stats without `absent`")
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
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let wire = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\n{}HTTP/1.1";
        for end in 0..wire.len() {
            let parsed = parse(&wire[..end]).unwrap();
            let whole = wire.len() - "HTTP/1.1".len();
            assert_eq!(parsed, (end >= whole).then_some((200, &b"{}"[..], whole)), "after {end} bytes");
        }
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    /// A server for one connection: gives the answers in turn and hands back what it was sent.
    fn serve(answers: &'static [&'static str]) -> (SocketAddrV4, thread::JoinHandle<Vec<String>>) {
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
    fn publishes_keep_one_connection_and_failures_are_told() {
        let (address, server) = serve(&[
            "HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"room\":\"bench\"}\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"results\":[]}",
            "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nslow",
        ]);
        let mut http = Http::connect(address, 3).unwrap();
        for count in [1, 2] {
            http.send(count).unwrap();
            http.confirm().unwrap();
        }
        http.send(1).unwrap();
        assert!(http.confirm().unwrap_err().to_string().contains("429 slow"));

        let requests = server.join().unwrap();
        let one = r#"{"to":{"room":"bench"},"message":{"type":"m","data":"xxx"}}"#;
        assert!(
            requests[0].starts_with("POST /v1/publish ") && requests[0].ends_with(&format!("\r\n\r\n{one}"))
        );
        let two = format!(r#"{{"publishes":[{one},{one}]}}"#);
        assert!(requests[1].starts_with("POST /v1/batch ") && requests[1].ends_with(&two));
        assert!(requests[1].contains(&format!("Content-Length: {}\r\n", two.len())));
    }
}
