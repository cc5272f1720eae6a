//! Asking a server to publish: the floor by a line on its input, others over HTTP or as is natural for them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::process::ChildStdin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::http::Http;

const NATS_LIMIT: Duration = Duration::from_secs(10);
const NATS_ANSWER_MAX_BYTES: usize = 64 * 1024;

/// The messages that a server sends which has no numbers of its own.
#[derive(Debug)]
pub(crate) struct Texts {
    data: String,
    last_id: u64,
}

impl Texts {
    pub(crate) fn new(payload_bytes: u32) -> Result<Self> {
        Ok(Self { data: data(payload_bytes)?, last_id: 0 })
    }

    pub(crate) fn next(&mut self) -> String {
        self.last_id += 1;
        format!(
            r#"{{"type":"m","data":"{}","room":"bench","message_id":{},"timestamp":"2026-01-01T00:00:00.000Z"}}"#,
            self.data, self.last_id
        )
    }
}

pub(crate) fn data(payload_bytes: u32) -> Result<String> {
    Ok("x".repeat(usize::try_from(payload_bytes)?))
}

/// How publications reach a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// One `POST /publish`, a message on each line.
    Lines,
    /// A `POST /publish` for each message, without waiting between them.
    Posts,
    /// `PUB` of the NATS protocol, on the second port.
    Nats,
}

#[derive(Debug)]
pub(crate) enum Publisher {
    Floor(ChildStdin),
    /// `POST /v1/publish` and `/v1/batch`.
    Moorline(Moorline),
    Lines(Http, Texts),
    /// And how many answers are due.
    Posts(Http, Texts, u32),
    Nats(TcpStream, Texts),
}

impl Publisher {
    pub(crate) fn connect(way: Way, address: SocketAddrV4, payload_bytes: u32) -> Result<Self> {
        let texts = Texts::new(payload_bytes)?;
        Ok(match way {
            Way::Lines => Self::Lines(Http::connect(address)?, texts),
            Way::Posts => Self::Posts(Http::connect(address)?, texts, 0),
            Way::Nats => Self::Nats(connect_to_nats(address)?, texts),
        })
    }

    /// Makes sure of its connection, before a time in which nothing but publications is measured.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        match self {
            Self::Floor(_) | Self::Nats(..) => Ok(()),
            Self::Moorline(Moorline { http, .. }) | Self::Lines(http, _) | Self::Posts(http, ..) => {
                http.refresh()
            }
        }
    }

    /// Publishes `count` messages at once, without waiting for an answer.
    pub(crate) fn send(&mut self, count: u32) -> Result<()> {
        match self {
            Self::Floor(control) => writeln!(control, "publish {count}").context("asking the floor"),
            Self::Moorline(moorline) => moorline.send(count),
            Self::Lines(http, texts) => {
                let lines: Vec<String> = (0..count).map(|_| texts.next()).collect();
                http.post("/publish", &lines.join("\n"))
            }
            Self::Posts(http, texts, due) => {
                *due += count;
                let requests: String =
                    (0..count).map(|_| http.request("POST", "/publish", &texts.next())).collect();
                http.write(&requests)
            }
            Self::Nats(stream, texts) => {
                let mut lines = String::new();
                for _ in 0..count {
                    let text = texts.next();
                    lines += &format!("PUB bench {}\r\n{text}\r\n", text.len());
                }
                stream.write_all(lines.as_bytes()).context("publishing to NATS")
            }
        }
    }

    /// Waits for the answer, if there is one.
    pub(crate) fn confirm(&mut self) -> Result<()> {
        match self {
            Self::Floor(_) => Ok(()),
            Self::Moorline(Moorline { http, .. }) | Self::Lines(http, _) => http.confirm().map(drop),
            Self::Posts(http, _, due) => (0..std::mem::take(due)).try_for_each(|_| http.confirm().map(drop)),
            Self::Nats(stream, _) => {
                stream.write_all(b"PING\r\n").context("asking NATS")?;
                await_pong(stream)
            }
        }
    }

    /// How many sessions are absent.
    pub(crate) fn absent(&mut self) -> Result<u64> {
        match self {
            Self::Moorline(moorline) => moorline.absent(),
            _ => bail!("only Moorline knows sessions"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Moorline {
    pub(crate) http: Http,
    publish: String,
}

impl Moorline {
    pub(crate) fn connect(address: SocketAddrV4, data: &str) -> Result<Self> {
        let publish = format!(r#"{{"to":{{"room":"bench"}},"message":{{"type":"m","data":"{data}"}}}}"#);
        Ok(Self { http: Http::connect(address)?, publish })
    }

    pub(crate) fn send(&mut self, count: u32) -> Result<()> {
        let (path, body) = match count {
            1 => ("/v1/publish", self.publish.clone()),
            _ => {
                let publishes = vec![self.publish.as_str(); usize::try_from(count)?].join(",");
                ("/v1/batch", format!(r#"{{"publishes":[{publishes}]}}"#))
            }
        };
        self.http.post(path, &body)
    }

    fn absent(&mut self) -> Result<u64> {
        let request = self.http.request("GET", "/v1/stats", "");
        self.http.write(&request)?;
        let stats: serde_json::Value =
            serde_json::from_slice(&self.http.confirm()?).context("reading /v1/stats")?;
        stats["absent"].as_u64().context("/v1/stats without `absent`")
    }
}

fn connect_to_nats(address: SocketAddrV4) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address.into(), NATS_LIMIT).context("connecting to NATS")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(NATS_LIMIT))?;
    stream.set_write_timeout(Some(NATS_LIMIT))?;
    stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")?;
    await_pong(&mut stream)?;
    Ok(stream)
}

/// All that was published before it has been taken.
fn await_pong(stream: &mut TcpStream) -> Result<()> {
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    while !heard.ends_with(b"PONG\r\n") {
        let length = stream.read(&mut chunk).context("waiting for NATS")?;
        heard.extend_from_slice(&chunk[..length]);
        let failed = memchr::memmem::find(&heard, b"-ERR").is_some();
        if length == 0 || failed || heard.len() > NATS_ANSWER_MAX_BYTES {
            bail!("NATS answered {}", crate::frame::shown(&heard));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::serve;

    #[test]
    fn publishes_keep_one_connection_and_failures_are_told() {
        let (address, server) = serve(&[
            "HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"room\":\"bench\"}\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"results\":[]}",
            "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nslow",
        ]);
        let mut publisher = Publisher::Moorline(Moorline::connect(address, "xxx").unwrap());
        for count in [1, 2] {
            publisher.send(count).unwrap();
            publisher.confirm().unwrap();
        }
        publisher.send(1).unwrap();
        assert!(publisher.confirm().unwrap_err().to_string().contains("429 slow"));

        let requests = server.join().unwrap();
        let one = r#"{"to":{"room":"bench"},"message":{"type":"m","data":"xxx"}}"#;
        assert!(
            requests[0].starts_with("POST /v1/publish ") && requests[0].ends_with(&format!("\r\n\r\n{one}"))
        );
        let two = format!(r#"{{"publishes":[{one},{one}]}}"#);
        assert!(requests[1].starts_with("POST /v1/batch ") && requests[1].ends_with(&two));
        assert!(requests[1].contains(&format!("Content-Length: {}\r\n", two.len())));
    }

    #[test]
    fn messages_of_a_burst_are_lines_with_numbers_that_rise() {
        let (address, server) = serve(&["HTTP/1.1 204 No Content\r\n\r\n"]);
        let mut publisher = Publisher::connect(Way::Lines, address, 1).unwrap();
        publisher.send(3).unwrap();
        publisher.confirm().unwrap();
        let request = server.join().unwrap().remove(0);
        let body = request.split_once("\r\n\r\n").unwrap().1;
        let ids: Vec<_> = body.lines().map(|line| crate::frame::classify(line.as_bytes()).unwrap()).collect();
        assert_eq!(ids, [1, 2, 3].map(crate::frame::Text::Delivery));
    }
}
