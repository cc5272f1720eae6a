//! A WebSocket to the server (RFC 6455) over TCP that can be bound, kept small and left hanging.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use moorline_ws::decoder::{Decoder, Limits};
use moorline_ws::event::Event;
use moorline_ws::frame::{self, OpCode, Role};
use moorline_ws::handshake::accept_key;
use moorline_ws::violation::Violation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const PROTOCOL: &str = "moorline.v1.json";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Peers do not have to guess this one: nothing between us and the server caches.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that takes nothing for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_MAX_BYTES: usize = 16 * 1024;
const MESSAGE_MAX_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 4 * 1024;

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) server: SocketAddrV4,
    /// The address to come from, where one has not ports enough.
    pub(crate) source: Option<Ipv4Addr>,
    /// The size of the kernel's receive buffer in bytes; none for its own choice.
    pub(crate) receive_bytes: Option<u32>,
}

impl Place {
    pub(crate) const fn at(server: SocketAddrV4) -> Self {
        Self { server, source: None, receive_bytes: None }
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Socket {
    io: TcpStream,
    decoder: Decoder,
    /// What was received and not decoded yet: all from `done` on.
    input: Vec<u8>,
    done: usize,
}

/// What was received.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(String),
    Ping(Vec<u8>),
    /// The server closes, with this code where it gave one.
    Closed(Option<u16>),
}

/// Why a connection could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("the connection is gone")]
    Io(#[from] io::Error),
    #[error("the server does not answer")]
    Silent,
    #[error("the server answers the handshake by {0}")]
    Refused(String),
    #[error(transparent)]
    Violation(#[from] Violation),
}

impl Socket {
    /// Opens a WebSocket at `path`, which has the query.
    pub(crate) async fn open(place: &Place, path: &str) -> Result<Self, SocketError> {
        tokio::time::timeout(OPEN_TIMEOUT, Self::shake_hands(place, path))
            .await
            .map_err(|_| SocketError::Silent)?
    }

    async fn shake_hands(place: &Place, path: &str) -> Result<Self, SocketError> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = place.source {
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        if let Some(bytes) = place.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut io = socket.connect(place.server.into()).await?;
        io.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n",
            place.server
        );
        io.write_all(request.as_bytes()).await?;
        let mut input = Vec::with_capacity(READ_BYTES);
        let end = loop {
            if let Some(at) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if io.read_buf(&mut input).await? == 0 || input.len() > HEAD_MAX_BYTES {
                return Err(SocketError::Refused("an end of the connection".to_owned()));
            }
        };
        let head = String::from_utf8_lossy(&input[..end]);
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(&accept_key(KEY)) {
            return Err(SocketError::Refused(head.lines().next().unwrap_or_default().to_owned()));
        }
        let decoder = Decoder::new(Role::Client, Limits { max_message_bytes: MESSAGE_MAX_BYTES });
        Ok(Self { io, decoder, input, done: end })
    }

    /// The address that it comes from.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.io.local_addr().ok()
    }

    /// The next thing that is received. Cancel-safe: what was received is kept.
    pub(crate) async fn receive(&mut self) -> Result<Incoming, SocketError> {
        loop {
            if let Some(incoming) = self.decode()? {
                return Ok(incoming);
            }
            if self.io.read_buf(&mut self.input).await? == 0 {
                return Ok(Incoming::Closed(None));
            }
        }
    }

    /// What the bytes at hand complete.
    fn decode(&mut self) -> Result<Option<Incoming>, SocketError> {
        while self.done < self.input.len() {
            let decoded = self.decoder.decode(&mut self.input[self.done..])?;
            self.done += decoded.used;
            match decoded.event {
                Some(Event::Text(text)) => return Ok(Some(Incoming::Text(text.into_owned()))),
                Some(Event::Ping(payload)) => return Ok(Some(Incoming::Ping(payload.into_owned()))),
                Some(Event::Close(close)) => {
                    return Ok(Some(Incoming::Closed(close.map(|close| close.code))));
                }
                Some(Event::Binary(_) | Event::Pong(_)) | None => {}
            }
        }
        self.input.clear();
        self.done = 0;
        Ok(None)
    }

    pub(crate) async fn text(&mut self, text: &str) -> Result<(), SocketError> {
        self.write(OpCode::Text, text.as_bytes()).await
    }

    pub(crate) async fn pong(&mut self, payload: &[u8]) -> Result<(), SocketError> {
        self.write(OpCode::Pong, payload).await
    }

    /// Says goodbye, where that still gets through.
    pub(crate) async fn close(&mut self, code: u16) {
        // Whoever does not take it sees the connection end.
        let _late = self.write(OpCode::Close, &code.to_be_bytes()).await;
    }

    async fn write(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), SocketError> {
        let mut frame = Vec::new();
        frame::put_masked(&mut frame, opcode, payload, MASK);
        let written = tokio::time::timeout(SEND_TIMEOUT, self.io.write_all(&frame)).await;
        Ok(written.map_err(|_| SocketError::Silent)??)
    }
}
