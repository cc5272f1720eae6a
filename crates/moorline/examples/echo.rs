//! An echo server on `moorline-ws` alone, without rooms, sessions or rates: how that crate is driven over tokio, and what
//! `cargo xtask autobahn` tests. `cargo run --release -p moorline --example echo -- --listen 127.0.0.1:9001`, then
//! connect to `ws://127.0.0.1:9001`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use http::{Request, Response, header::SEC_WEBSOCKET_EXTENSIONS};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use moorline_ws::close::{self, Close};
use moorline_ws::decoder::{Decoder, Limits};
use moorline_ws::deflate::{self, Agreed, Compression, Deflater, Inflater, Window, WindowBits};
use moorline_ws::event::Event;
use moorline_ws::frame::{self, OpCode, Role};
use moorline_ws::handshake::{self, HandshakeError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest message that is echoed; a larger one is refused with 1009.
const LIMITS: Limits = Limits { max_message_bytes: 16 * 1024 * 1024 };
/// Each holds at most a message and its echo; more clients wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// How much one read takes, and how much is gathered of echoes before it is written.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a client may take for its request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer may take to close, once both have said that they do.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the next connection waits where one could not be accepted, for want of files most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Everything that the client offers is taken, context takeover too.
const DEFLATE: deflate::Settings = deflate::Settings {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: WindowBits::MAX,
    client_max_window_bits: WindowBits::MAX,
};
/// However short a message is.
const COMPRESSION: Compression = Compression { threshold_bytes: 0, ..Compression::DEFAULT };

thread_local! {
    /// What messages are inflated and deflated with keeps nothing of them, so all connections of a thread share it.
    static CODEC: RefCell<(Inflater, Deflater)> = const { RefCell::new((Inflater::new(), Deflater::new(COMPRESSION))) };
}

/// Sends every WebSocket message back to where it came from.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { listen } = Arguments::parse();
    match TcpListener::bind(listen).await.and_then(|listener| Ok((listener.local_addr()?, listener))) {
        Ok((address, listener)) => {
            println!("listening on ws://{address}");
            accept(&listener).await
        }
        Err(error) => {
            eprintln!("error: cannot listen on {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn accept(listener: &TcpListener) -> ! {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok((socket, peer)) => {
                // Short frames must not wait for an acknowledgement; where they do, they are only later.
                let _slower = socket.set_nodelay(true);
                tokio::spawn(serve_http(socket, peer, slot));
            }
            Err(error) => {
                eprintln!("a connection was not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Hyper reads the request; whether it is one for a WebSocket, and the answer to it, is for `moorline_ws::handshake`.
async fn serve_http<S>(socket: S, peer: SocketAddr, slot: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let slot = Arc::new(slot);
    let service = service_fn(|mut request| {
        let response = upgrade(&mut request, peer, &slot).unwrap_or_else(|error| error.response());
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT);
    if let Err(error) = server.serve_connection(TokioIo::new(socket), service).with_upgrades().await {
        eprintln!("{peer}: no request: {error}");
    }
}

fn upgrade(
    request: &mut Request<Incoming>,
    peer: SocketAddr,
    slot: &Arc<OwnedSemaphorePermit>,
) -> Result<Response<String>, HandshakeError> {
    let accepted = handshake::check(request)?;
    let mut response = accepted.response(None).map(|()| String::new());
    let agreed = deflate::negotiate(request.headers(), &DEFLATE)?.map(|negotiated| {
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, negotiated.answer);
        negotiated.agreed
    });
    let (upgraded, slot) = (hyper::upgrade::on(request), Arc::clone(slot));
    tokio::spawn(async move {
        let ended = match upgraded.await {
            Ok(socket) => echo(TokioIo::new(socket), agreed.as_ref()).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = ended {
            eprintln!("{peer}: {error}");
        }
        drop(slot);
    });
    Ok(response)
}

/// The driver of a connection: what `moorline_ws` asks of one is in its documentation, "The driver's contract".
///
/// Nothing is read while an echo waits to be written, so a peer that does not read is not read from either, and what is
/// held for it does not grow.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, agreed: Option<&Agreed>) -> io::Result<()> {
    let mut connection = Connection::new(agreed);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut out = Vec::new();
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer left without a close frame"));
        }
        let mut input = &mut buffer[..count];
        while !input.is_empty() {
            let used = connection.take(input, &mut out);
            input = &mut input[used..];
            // What came of one read may be a hundred times as long, once it is inflated.
            if input.is_empty() || out.len() >= BUFFER_BYTES {
                socket.write_all(&out).await?;
                out.clear();
                out.shrink_to(BUFFER_BYTES);
            }
        }
        if connection.is_over {
            return end(socket).await;
        }
    }
}

/// The server closes first (RFC 6455 §7.1.1), and reads to the end: a socket that is closed with something unread is
/// reset, and the peer might never see the close frame.
async fn end<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) -> io::Result<()> {
    socket.shutdown().await?;
    let mut rest = tokio::io::sink();
    match tokio::time::timeout(CLOSE_TIMEOUT, tokio::io::copy(&mut socket, &mut rest)).await {
        Ok(copied) => copied.map(drop),
        Err(_elapsed) => Ok(()),
    }
}

/// What a connection is between two reads.
struct Connection {
    decoder: Decoder,
    sending: Sending,
    /// Both have said that they close, or the peer broke the protocol.
    is_over: bool,
}

/// How messages leave.
enum Sending {
    AsTheyAre,
    EachByItself(WindowBits),
    /// Compressed with what was sent before.
    Takeover(Window),
}

impl Connection {
    fn new(agreed: Option<&Agreed>) -> Self {
        let mut decoder = Decoder::new(Role::Server, LIMITS);
        let sending = match agreed {
            None => Sending::AsTheyAre,
            Some(agreed) => {
                decoder.set_deflate(agreed);
                let window = || Window::new(agreed.sending(Role::Server).max_window_bits);
                agreed
                    .shared_window(Role::Server)
                    .map_or_else(|| Sending::Takeover(window()), Sending::EachByItself)
            }
        };
        Self { decoder, sending, is_over: false }
    }

    /// Takes at most one message from the front of what was received, and appends the answer to it; returns how much
    /// that was. Once the connection is over, the rest goes unread.
    fn take(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> usize {
        let len = input.len();
        match CODEC.with_borrow_mut(|(inflater, _)| self.decoder.decode_with(input, inflater)) {
            Ok(decoded) => {
                match decoded.event {
                    Some(Event::Text(text)) => self.sending.put(out, OpCode::Text, text.as_bytes()),
                    Some(Event::Binary(bytes)) => self.sending.put(out, OpCode::Binary, &bytes),
                    Some(Event::Ping(payload)) => frame::put_pong(out, &payload),
                    Some(Event::Close(said)) => self.close(out, said.as_ref()),
                    Some(Event::Pong(_)) | None => {}
                }
                decoded.used
            }
            Err(violation) => {
                frame::put_close(out, violation.close_code(), &violation.to_string());
                self.is_over = true;
                len
            }
        }
    }

    fn close(&mut self, out: &mut Vec<u8>, said: Option<&Close<'_>>) {
        out.extend_from_slice(&close::reply(said));
        self.is_over = true;
    }
}

impl Sending {
    /// Appends a message, compressed where that was agreed and makes it shorter.
    fn put(&mut self, out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
        let compressed = CODEC.with_borrow_mut(|(_, deflater)| match self {
            Self::AsTheyAre => None,
            Self::EachByItself(bits) => deflater.frame(opcode, payload, *bits),
            Self::Takeover(window) => deflater.frame_in(window, opcode, payload),
        });
        if let Some(frame) = compressed {
            out.extend_from_slice(&frame);
        } else {
            frame::put_header(out, opcode, payload.len());
            out.extend_from_slice(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use moorline_ws::deflate::Parameters;
    use tokio::io::DuplexStream;

    use super::*;

    const PEER: &str = "127.0.0.1:1";
    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// What a client sees of the server, which writes no more than `room` bytes ahead of it.
    fn connect(room: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(room);
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        tokio::spawn(serve_http(theirs, PEER.parse().unwrap(), slot));
        ours
    }

    /// Sends a request and reads the head of the answer.
    async fn ask(socket: &mut DuplexStream, request: &str) -> String {
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn open(room: usize, extensions: &str) -> (DuplexStream, String) {
        let mut socket = connect(room);
        let head = ask(&mut socket, &format!("{REQUEST}{extensions}\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (socket, head)
    }

    fn masked(frames: &[(OpCode, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        frames.iter().for_each(|(opcode, payload)| frame::put_masked(&mut out, *opcode, payload, MASK));
        out
    }

    /// Sends all this, and reads to the end.
    async fn play(mut socket: DuplexStream, sent: &[u8]) -> Vec<u8> {
        socket.write_all(sent).await.unwrap();
        let mut received = Vec::new();
        socket.read_to_end(&mut received).await.unwrap();
        received
    }

    #[tokio::test]
    async fn messages_come_back_pings_are_answered_and_a_close_is_answered_by_the_end() {
        let (socket, head) = open(1024, "").await;
        assert!(!head.contains("extensions"), "{head}");
        let close = close::payload(4000, "done");
        let sent = [
            (OpCode::Text, &b"one"[..]),
            (OpCode::Ping, b"two"),
            (OpCode::Pong, b""),
            (OpCode::Binary, b"\xff"),
        ];
        let received = play(socket, &[masked(&sent), masked(&[(OpCode::Close, &close)])].concat()).await;
        assert_eq!(received, b"\x81\x03one\x8a\x03two\x82\x01\xff\x88\x02\x0f\xa0");
    }

    #[tokio::test]
    async fn what_breaks_the_protocol_is_answered_by_its_close_code_and_the_end() {
        for (sent, code) in [(&b"\x81\x03one"[..], 1002), (&masked(&[(OpCode::Text, b"\xff")]), 1007)] {
            let received = play(open(1024, "").await.0, sent).await;
            assert_eq!((received[0], u16::from_be_bytes([received[2], received[3]])), (0x88, code));
        }
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_upgraded_is_refused_by_its_status() {
        let version_8 = REQUEST.replace("Version: 13", "Version: 8");
        let broken = format!("{REQUEST}Sec-WebSocket-Extensions: ;\r\n");
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: here\r\n", "426"),
            (version_8.as_str(), "426"),
            (broken.as_str(), "400"),
            ("POST / HTTP/1.1\r\nHost: here\r\n", "405"),
            ("GET / HTTP/1.1\r\nHost\r\n", "400"),
        ] {
            let head = ask(&mut connect(1024), &format!("{request}\r\n")).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
        }
    }

    #[tokio::test]
    async fn compression_with_context_takeover_makes_what_was_said_before_short() {
        let offer = Parameters::default();
        let (mut socket, head) = open(1024, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
        assert!(head.contains("sec-websocket-extensions: permessage-deflate\r\n"), "{head}");
        let mut headers = http::HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer.header_value());
        let agreed = offer.check(&headers).unwrap().unwrap();
        let mut decoder = Decoder::new(Role::Client, LIMITS);
        decoder.set_deflate(&agreed);
        let text: String = (0..200).map(|number| format!("{number} ")).collect();
        let mut lengths = Vec::new();
        for _ in 0..2 {
            socket.write_all(&masked(&[(OpCode::Text, text.as_bytes())])).await.unwrap();
            let mut length = 0;
            let echoed = loop {
                length += 1;
                if let Some(event) = decoder.decode(&mut [socket.read_u8().await.unwrap()]).unwrap().event {
                    break event.into_owned();
                }
            };
            assert_eq!(echoed, Event::Text(text.as_str().into()));
            lengths.push(length);
        }
        assert!(lengths[0] < text.len() && lengths[1] < 20, "{lengths:?} of {}", text.len());
    }

    #[tokio::test]
    async fn the_largest_message_comes_back_through_a_narrow_socket() {
        let largest = vec![b'*'; LIMITS.max_message_bytes];
        let (socket, _) = open(4096, "").await;
        let sent = masked(&[(OpCode::Text, &largest), (OpCode::Close, b"")]);
        let received = play(socket, &sent).await;
        assert_eq!(received.len(), frame::header_len(largest.len()) + largest.len() + 2);
        assert!(received[10..].starts_with(&largest) && received.ends_with(b"\x88\0"));
    }

    #[tokio::test]
    async fn a_larger_message_is_refused_when_it_is_declared() {
        let mut declared = vec![0x82, 0xff];
        declared.extend((LIMITS.max_message_bytes as u64 + 1).to_be_bytes());
        declared.extend(MASK);
        let received = play(open(1024, "").await.0, &declared).await;
        assert_eq!(received[2..4], 1009_u16.to_be_bytes());
    }
}
