//! The reading side of a connection: a small task that hands decoded frames to the session's shard.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use moorline_proto::close::CloseCode;
use moorline_proto::codec;
use moorline_proto::frame::{ClientFrame, Inbound};
use moorline_proto::shard::{Input, Peer};
use moorline_ws::decoder::{Decoder, Limits};
use moorline_ws::event::Event;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::compression::with_inflater;
use crate::shard::Message;
use crate::telemetry;
use crate::throttle::Throttle;
use crate::transport::Reader;

/// How long a peer that was told to go may take to go: what it still sends must be read, else the network drops what it
/// was told.
const LINGER: Duration = Duration::from_secs(2);

/// How many inputs of one connection wait in its shard's inbox at most, so that what others send is not behind all that a
/// single client can.
const CREDIT: u8 = 32;

/// How much of one read is decoded before what came of it is taken, where messages may be compressed: 16 KiB may become 16 MiB. It ends
/// with the message that reaches this; as much as a read has where nothing is compressed.
const INFLATED_BYTES: usize = 16 * 1024;

/// How much of a connection is inflated and parsed before other tasks of the thread get their turn: a read, or one message.
const TURN_BYTES: usize = 16 * 1024;

/// Something that a connection received.
#[derive(Debug)]
pub(crate) enum Received {
    /// With its size.
    Frame(Box<Inbound>, usize),
    Ping(Box<[u8]>),
    /// A sign of life that asks for nothing.
    Alive,
    /// The end, and the close frame to send for it, where one is due.
    End(Option<(u16, &'static str)>),
}

impl Received {
    /// How large a frame is, inflated.
    const fn bytes(&self) -> usize {
        match self {
            Self::Frame(_, bytes) => *bytes,
            Self::Ping(_) | Self::Alive | Self::End(_) => 0,
        }
    }

    fn into_input(self, peer: Peer) -> Input {
        match self {
            Self::Frame(inbound, _) => Input::Frame(peer, *inbound),
            Self::Ping(payload) => Input::TransportPing(peer, payload),
            Self::Alive => Input::Alive(peer),
            Self::End(why) => Input::Lost(peer, why),
        }
    }
}

/// What was received and not taken yet.
#[derive(Debug, Default)]
struct Arrived {
    decoded: VecDeque<Received>,
    /// What of a read is decoded once all of the above is taken.
    rest: BytesMut,
}

impl Arrived {
    /// Takes what was read: decodes it, and keeps what is not decoded yet.
    fn take(&mut self, decoder: &mut Decoder, bytes: &mut [u8]) {
        let used = decode(decoder, bytes, &mut self.decoded);
        if used < bytes.len() {
            self.rest = BytesMut::from(&bytes[used..]);
        }
    }

    fn next(&mut self, decoder: &mut Decoder) -> Option<Received> {
        while self.decoded.is_empty() && !self.rest.is_empty() {
            let used = decode(decoder, &mut self.rest, &mut self.decoded);
            self.rest.advance(used);
        }
        self.decoded.pop_front()
    }

    /// How large the frames are that are decoded.
    fn bytes(&self) -> usize {
        self.decoded.iter().map(Received::bytes).sum()
    }
}

/// One word while there is nothing, instead of eight: most connections are idle.
type Queue = Option<Box<Arrived>>;

/// A socket's reading end with its decoder. Holds no buffer while nothing is half-read.
pub(crate) struct Link {
    reader: Reader,
    decoder: Decoder,
    /// None while there is nothing, so that an idle connection holds a word.
    received: Queue,
}

impl Link {
    pub(crate) fn new(reader: Reader, decoder: Decoder) -> Self {
        Self { reader, decoder, received: None }
    }

    /// What the client sent behind its handshake.
    pub(crate) fn take_early(&mut self, early: Bytes) {
        if !early.is_empty() {
            self.received.get_or_insert_default().take(&mut self.decoder, &mut Vec::from(early));
        }
    }

    pub(crate) fn next_received(&mut self) -> Option<Received> {
        let received = self.received.as_mut()?.next(&mut self.decoder);
        if received.is_none() {
            self.received = None;
        }
        received
    }

    /// Whether more may be read before all that was received is taken: while that is fewer frames, and fewer bytes of them.
    pub(crate) fn has_room(&self, frames_max: usize, bytes_max: usize) -> bool {
        self.received.as_ref().is_none_or(|arrived| {
            arrived.rest.is_empty() && arrived.decoded.len() < frames_max && arrived.bytes() < bytes_max
        })
    }

    /// Waits for bytes and decodes them. False at the end of the connection. Not to be called while there is no
    /// [room](Self::has_room) for them, unless all that was received is taken.
    pub(crate) async fn read(&mut self) -> bool {
        poll_fn(|context| self.poll_read(context)).await
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Self { reader, decoder, received } = self;
        let mut take = |bytes: &mut [u8]| received.get_or_insert_default().take(decoder, bytes);
        let read = ready!(reader.poll_read(context, &mut take));
        Poll::Ready(matches!(read, Ok(count) if count > 0))
    }

    /// Notes that nothing more comes.
    fn end(&mut self) {
        self.received.get_or_insert_default().decoded.push_back(Received::End(None));
    }

    /// From now on messages may have so many bytes.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.decoder.set_limits(limits);
    }

    /// Reads and drops what still comes, for a moment.
    pub(crate) async fn linger(self) {
        let Self { mut reader, .. } = self;
        let gone = async {
            while matches!(poll_fn(|context| reader.poll_read(context, &mut |_| {})).await, Ok(1..)) {}
        };
        // Whether it went or not, the socket is closed now.
        let _went = tokio::time::timeout(LINGER, gone).await;
    }
}

/// Decodes what was read, and where that may become far more by inflating, only so much at a time. Returns how many bytes are done
/// with.
fn decode(decoder: &mut Decoder, bytes: &mut [u8], decoded: &mut VecDeque<Received>) -> usize {
    let most = if decoder.may_inflate() { INFLATED_BYTES } else { usize::MAX };
    let (mut used, mut became) = (0, 0);
    with_inflater(|inflater| {
        while used < bytes.len() && became < most {
            match decoder.decode_with(&mut bytes[used..], inflater) {
                Ok(step) => {
                    used += step.used;
                    let Some(received) = step.event.map(receive) else { continue };
                    became += received.bytes();
                    let is_end = matches!(received, Received::End(_));
                    decoded.push_back(received);
                    if is_end {
                        return bytes.len();
                    }
                }
                Err(violation) => {
                    tracing::debug!(%violation, "a peer broke the WebSocket protocol");
                    let why = (violation.close_code(), "protocol violation");
                    decoded.push_back(Received::End(Some(why)));
                    return bytes.len();
                }
            }
        }
        used
    })
}

fn receive(event: Event<'_>) -> Received {
    match event {
        Event::Text(text) => Received::Frame(Box::new(codec::decode(&text)), text.len()),
        Event::Binary(_) => Received::End(Some((CloseCode::Unsupported.number(), "text frames only"))),
        Event::Ping(payload) => Received::Ping(Cow::into_owned(payload).into()),
        Event::Pong(_) => Received::Alive,
        Event::Close(close) => {
            let code = close.map_or(CloseCode::Normal.number(), |close| close.code);
            Received::End(Some((code, "")))
        }
    }
}

/// Counts what clients send. A frame that crosses a limit becomes its refusal, which is answered as any other, and a ping is
/// not answered; whoever goes on all the same is closed.
fn count(received: &mut Received, throttle: Option<&mut Throttle>) {
    let refused = match (&*received, throttle) {
        (_, None) | (Received::Alive | Received::End(_), _) => None,
        (Received::Frame(inbound, bytes), Some(throttle)) => {
            let weight = inbound.frame.as_ref().map_or(1, ClientFrame::weight);
            throttle.count(*bytes, weight).err().map(|rejection| (rejection, throttle.is_hopeless()))
        }
        (Received::Ping(payload), Some(throttle)) => {
            throttle.count(payload.len(), 1).err().map(|rejection| (rejection, throttle.is_hopeless()))
        }
    };
    if let Received::Frame(inbound, _) = received {
        let kind = inbound.frame.as_ref().map_or("invalid", ClientFrame::kind);
        if let Some((rejection, _)) = &refused {
            inbound.frame = Err(rejection.clone());
        }
        telemetry::frame(kind, inbound.frame.as_ref().err());
    }
    match (&*received, refused) {
        (_, Some((_, true))) => *received = Received::End(Some((CloseCode::Policy.number(), "rate limit"))),
        // It is a sign of life all the same.
        (Received::Ping(_), Some(_)) => *received = Received::Alive,
        _ => {}
    }
}

/// What reads for a session until the connection ends. An idle connection's task holds this and little more, so it is polled by hand: an
/// asynchronous function would hold what each of its waits needs.
pub(crate) struct Reading {
    link: Link,
    peer: Peer,
    inbox: mpsc::Sender<Message>,
    throttle: Option<Throttle>,
    credit: u8,
    /// The shard has to do something first: rare enough that it may be an allocation.
    wait: Option<BoxFuture<'static, Flow>>,
}

/// Whether there may be more, and at the end whether the peer was told to go.
type Flow = ControlFlow<Told>;

/// Whether a peer was told to go: then it is given time to.
pub(crate) struct Told(pub(crate) bool);

/// What comes behind a message.
enum Then {
    Next,
    /// The shard is to handle it first.
    Handled(oneshot::Receiver<()>),
    End(Told),
}

impl Reading {
    pub(crate) fn new(
        link: Link,
        peer: Peer,
        inbox: mpsc::Sender<Message>,
        throttle: Option<Throttle>,
    ) -> Self {
        Self { link, peer, inbox, throttle, credit: CREDIT, wait: None }
    }

    /// Hands over what comes, to the end.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Told> {
        let mut bytes = 0;
        loop {
            if bytes >= TURN_BYTES {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let flow = match &mut self.wait {
                Some(wait) => {
                    let flow = ready!(wait.as_mut().poll(context));
                    self.wait = None;
                    flow
                }
                None => match self.next_message() {
                    Some((message, then, size)) => {
                        bytes += size;
                        self.hand_over(message, then)
                    }
                    None => {
                        if !ready!(self.link.poll_read(context)) {
                            self.link.end();
                        }
                        continue;
                    }
                },
            };
            if let ControlFlow::Break(told) = flow {
                return Poll::Ready(told);
            }
        }
    }

    /// Puts a message into the shard's inbox. Where that is full, this client waits, and no other.
    fn hand_over(&mut self, message: Message, then: Then) -> Flow {
        match (self.inbox.try_send(message), then) {
            (Err(TrySendError::Closed(_)), _) => return ControlFlow::Break(Told(false)),
            (Err(TrySendError::Full(message)), then) => {
                let inbox = self.inbox.clone();
                self.wait = Some(Box::pin(async move {
                    match inbox.send(message).await {
                        Ok(()) => then.come().await,
                        Err(_) => ControlFlow::Break(Told(false)),
                    }
                }));
            }
            (Ok(()), Then::Handled(wait)) => self.wait = Some(Box::pin(Then::Handled(wait).come())),
            (Ok(()), Then::End(told)) => return ControlFlow::Break(told),
            (Ok(()), Then::Next) => {}
        }
        ControlFlow::Continue(())
    }

    /// What is to be handed over, with its size.
    fn next_message(&mut self) -> Option<(Message, Then, usize)> {
        let mut received = self.link.next_received()?;
        count(&mut received, self.throttle.as_mut());
        let end = match &received {
            Received::End(why) => Some(Then::End(Told(why.is_some()))),
            _ => None,
        };
        let size = received.bytes();
        let input = Box::new(received.into_input(self.peer));
        self.credit -= 1;
        if end.is_some() || self.credit > 0 {
            return Some((Message::Input(input), end.unwrap_or(Then::Next), size));
        }
        self.credit = CREDIT;
        let (handled, wait) = oneshot::channel();
        Some((Message::LastOfCredit(input, handled), Then::Handled(wait), size))
    }

    pub(crate) fn into_link(self) -> Link {
        self.link
    }
}

impl Then {
    async fn come(self) -> Flow {
        match self {
            Self::Next => ControlFlow::Continue(()),
            Self::Handled(wait) => match wait.await {
                Ok(()) => ControlFlow::Continue(()),
                // The shard has stopped.
                Err(_) => ControlFlow::Break(Told(false)),
            },
            Self::End(told) => ControlFlow::Break(told),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use moorline_proto::shard::{ConnectionId, SessionKey};
    use moorline_ws::deflate::{Compression, Deflater, Parameters, Settings, WindowBits, negotiate};
    use moorline_ws::frame::{OpCode, Role, put_masked_compressed};

    use super::*;
    use crate::transport::RawReader;

    const LARGE: usize = 60_000;

    /// A decoder of a server that has agreed on compression.
    fn decoder() -> Decoder {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::SEC_WEBSOCKET_EXTENSIONS, Parameters::OFFER.header_value());
        let mut decoder = Decoder::new(Role::Server, Limits { max_message_bytes: 64 * 1024 });
        decoder.set_deflate(&negotiate(&headers, &Settings::default()).unwrap().unwrap().agreed);
        decoder
    }

    /// A client's frame with a compressed text, mostly blanks.
    fn frame(number: usize) -> Vec<u8> {
        let text = format!(r#"{{"type":"ping","ref":{number}{}}}"#, " ".repeat(LARGE));
        let mut deflater = Deflater::new(Compression::DEFAULT);
        let mut frame = Vec::new();
        let compressed = deflater.compress(text.as_bytes(), WindowBits::MAX).unwrap();
        put_masked_compressed(&mut frame, OpCode::Text, compressed, [1, 2, 3, 4]);
        frame
    }

    #[test]
    fn r34_what_is_inflated_of_one_read_is_bounded_and_none_of_it_lost() {
        let mut read: Vec<u8> = (0..40).flat_map(frame).collect();
        read.extend([0x81, 0x80, 0, 0, 0, 0, 0xc1]);
        let (mut decoder, mut arrived) = (decoder(), Arrived::default());
        // An empty message, and the front of a frame that breaks the rules.
        arrived.take(&mut decoder, &mut read);
        let mut numbers = Vec::new();
        loop {
            assert!(arrived.decoded.len() <= 1 && arrived.bytes() < INFLATED_BYTES + LARGE + 100);
            match arrived.next(&mut decoder) {
                Some(Received::Frame(inbound, bytes)) if bytes > LARGE => {
                    numbers.push(inbound.reference.unwrap().0.get().to_owned())
                }
                Some(Received::Frame(inbound, 0)) => assert!(inbound.frame.is_err()),
                other => {
                    assert!(other.is_none(), "{other:?}");
                    break;
                }
            }
        }
        assert_eq!(numbers, (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
        // What came of the next frame is with the decoder, which is in the midst of it.
        arrived.take(&mut decoder, &mut [0x05, b'u', b'n']);
        assert!(matches!(arrived.next(&mut decoder), Some(Received::End(Some((1002, _))))));
        assert!(arrived.next(&mut decoder).is_none());
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn r34_who_sends_what_inflates_lets_others_have_their_turn() {
        const FRAMES: usize = 10;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let mut link = Link::new(Reader::Raw(RawReader(Arc::new(server))), decoder());
        link.take_early((0..FRAMES).flat_map(frame).collect());
        let (inbox, messages) = mpsc::channel(2 * FRAMES);
        let peer = Peer { session: SessionKey(0), connection: ConnectionId(1) };
        let mut reading = Reading::new(link, peer, inbox, None);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        for turn in 1..=FRAMES {
            assert!(reading.poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!((messages.len(), woken.0.load(Ordering::Relaxed)), (turn, turn), "one in each turn");
        }
        assert!(reading.poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), FRAMES, "it waits for the peer");
    }

    #[test]
    fn r34_a_rule_that_is_broken_within_a_read_ends_it_behind_what_was_before() {
        let mut read =
            [frame(1), frame(2), vec![0xc1, 0x84, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], frame(3)].concat();
        let (mut decoder, mut arrived) = (decoder(), Arrived::default());
        arrived.take(&mut decoder, &mut read);
        assert!(matches!(arrived.next(&mut decoder), Some(Received::Frame(..))));
        assert!(matches!(arrived.next(&mut decoder), Some(Received::Frame(..))));
        assert!(matches!(arrived.next(&mut decoder), Some(Received::End(Some((1007, _))))));
        assert!(arrived.next(&mut decoder).is_none(), "what follows is nobody's");
    }

    /// The runtime adds 128 bytes to what a task reads with, and rounds up to a multiple of 128: no more than this fits into 256.
    #[test]
    fn r37_an_idle_connections_task_is_small() {
        assert!(size_of::<Reading>() <= 120, "{} bytes", size_of::<Reading>());
    }
}
