//! A client made of the framing alone.

use std::collections::VecDeque;
use std::time::Duration;

use moorline_ws::decoder::{Decoder, Limits};
use moorline_ws::event::Event as Received;
use moorline_ws::frame::{OpCode, Role, put_masked};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How long anything may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection.
pub struct Client {
    pub io: Box<dyn Io>,
    decoder: Decoder,
    received: VecDeque<Got>,
}

#[derive(Debug, PartialEq)]
pub enum Got {
    Text(String),
    Ping,
    Closed(u16),
    End,
}

impl Client {
    pub async fn connect(mut io: Box<dyn Io>, path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let head = exchange(&mut io, &request).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        // A chunk of a stream may have 64 KiB of text, and each byte of it may be escaped.
        let limits = Limits { max_message_bytes: 1024 * 1024 };
        Self { io, decoder: Decoder::new(Role::Client, limits), received: VecDeque::new() }
    }

    pub async fn send(&mut self, frame: Value) {
        let mut bytes = Vec::new();
        put_masked(&mut bytes, OpCode::Text, frame.to_string().as_bytes(), [1, 2, 3, 4]);
        self.io.write_all(&bytes).await.unwrap();
    }

    pub async fn next(&mut self) -> Got {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(got) = self.received.pop_front() {
                    return got;
                }
                let mut buffer = [0; 4096];
                let count = self.io.read(&mut buffer).await.unwrap_or(0);
                if count == 0 {
                    return Got::End;
                }
                self.decode(&mut buffer[..count]);
            }
        })
        .await
        .expect("something to be received")
    }

    fn decode(&mut self, mut rest: &mut [u8]) {
        while !rest.is_empty() {
            let decoded = self.decoder.decode(rest).unwrap();
            let used = decoded.used;
            self.received.extend(decoded.event.and_then(|event| match event {
                Received::Text(text) => Some(Got::Text(text.into_owned())),
                Received::Ping(_) => Some(Got::Ping),
                Received::Close(close) => Some(Got::Closed(close.map_or(1005, |close| close.code))),
                Received::Binary(_) | Received::Pong(_) => None,
            }));
            rest = &mut rest[used..];
        }
    }

    /// The next JSON frame that is no ping.
    pub async fn frame(&mut self) -> Value {
        loop {
            match self.next().await {
                Got::Text(text) => {
                    let value: Value = serde_json::from_str(&text).unwrap();
                    if value["type"] != "ping" {
                        return value;
                    }
                }
                Got::Ping => {}
                other => panic!("{other:?} instead of a frame"),
            }
        }
    }
}

/// Sends a request, and reads the head of its answer.
pub async fn exchange(io: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    io.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    String::from_utf8_lossy(&head).into_owned()
}
