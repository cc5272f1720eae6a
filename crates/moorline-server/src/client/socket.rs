//! A WebSocket to the server (RFC 6455), with the subprotocol `moorline.v1.json`.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moorline_ws::decoder::{Decoder, Limits};
use moorline_ws::event::Event;
use moorline_ws::frame::{self, OpCode, Role};
use moorline_ws::handshake::accept_key;
use moorline_ws::violation::Violation;
use reqwest::header::{
    AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{Response, StatusCode, Upgraded};
use secrecy::SecretString;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use super::error::Credential;
use super::{ClientError, Server, bearer};

const PROTOCOL: &str = "moorline.v1.json";
/// For the whole handshake.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that takes nothing for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest message that is taken, in bytes: more than servers let anyone publish, and its envelope.
const MESSAGE_MAX: usize = 17 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// An open connection.
pub(crate) struct Socket {
    io: Upgraded,
    decoder: Decoder,
    /// What was received and not decoded yet: all from `done` on.
    input: Vec<u8>,
    done: usize,
}

/// What was received.
pub(crate) enum Incoming {
    Text(String),
    /// To be answered by [`Socket::pong`].
    Ping(Vec<u8>),
    /// The server closes, with this code and reason where it gave any.
    Closed(Option<(u16, String)>),
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("the connection is gone")]
    Io(#[from] io::Error),
    #[error("the server takes nothing")]
    Stalled,
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error(transparent)]
    Random(#[from] getrandom::Error),
}

impl Socket {
    /// Opens `/ws`, or `/ws/{room}`. A token goes into a header, never into the URL.
    pub(crate) async fn open(
        server: &Server,
        room: Option<&str>,
        user: Option<&str>,
        token: Option<&SecretString>,
    ) -> Result<Self, ClientError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(ClientError::Random)?;
        let key = STANDARD.encode(nonce);
        let mut url = match room {
            Some(room) => server.url(&["ws", room])?,
            None => server.url(&["ws"])?,
        };
        if let Some(user) = user {
            url.query_pairs_mut().append_pair("user", user);
        }
        let mut request = server
            .http
            .get(url)
            .timeout(OPEN_TIMEOUT)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key)
            .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, bearer(token)?);
        }
        let response = request.send().await.map_err(|error| server.unreachable(error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let shown = if token.is_some() { Credential::Token } else { Credential::NoToken };
            server.answer(response, shown).await?;
            return Err(server.stranger("it does not open a WebSocket at /ws"));
        }
        check(&response, &key).map_err(|why| server.stranger(why))?;
        let io = response.upgrade().await.map_err(|error| server.unreachable(error))?;
        let decoder = Decoder::new(Role::Client, Limits { max_message_bytes: MESSAGE_MAX });
        Ok(Self { io, decoder, input: Vec::new(), done: 0 })
    }

    /// The next thing that is received. Cancel-safe: what was received is kept.
    pub(crate) async fn receive(&mut self) -> Result<Incoming, SocketError> {
        loop {
            if let Some(incoming) = self.decode()? {
                return Ok(incoming);
            }
            if self.read().await? == 0 {
                return Ok(Incoming::Closed(None));
            }
        }
    }

    /// Reads by way of the stack, so that a connection that waits holds no buffer: a benchmark has very many of them.
    async fn read(&mut self) -> io::Result<usize> {
        let (stream, input) = (&mut self.io, &mut self.input);
        poll_fn(|context| {
            let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
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
                    let close = close.map(|close| (close.code, close.reason.into_owned()));
                    return Ok(Some(Incoming::Closed(close)));
                }
                // The protocol has no binary messages.
                Some(Event::Binary(_) | Event::Pong(_)) | None => {}
            }
        }
        self.input = Vec::new();
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
        let mut mask = [0; 4];
        getrandom::fill(&mut mask)?;
        let mut frame = Vec::new();
        frame::put_masked(&mut frame, opcode, payload, mask);
        let written = async {
            self.io.write_all(&frame).await?;
            self.io.flush().await
        };
        Ok(tokio::time::timeout(SEND_TIMEOUT, written).await.map_err(|_| SocketError::Stalled)??)
    }
}

/// Whether the answer completes the handshake (RFC 6455 §4.1).
fn check(response: &Response, key: &str) -> Result<(), &'static str> {
    let is = |name, expected: &str| {
        response.headers().get(name).is_some_and(|value| value.as_bytes() == expected.as_bytes())
    };
    let upgrade = response.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
    if !upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("it upgrades to something else than WebSocket");
    }
    if !is(SEC_WEBSOCKET_ACCEPT, &accept_key(key)) {
        return Err("its Sec-WebSocket-Accept is wrong");
    }
    if !is(SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err("it does not speak moorline.v1.json");
    }
    Ok(())
}
