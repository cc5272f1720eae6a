//! The reading side of a connection: a small task that hands decoded frames to the session's shard.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use moorline_proto::close::CloseCode;
use moorline_proto::codec;
use moorline_proto::frame::{ClientFrame, Inbound};
use moorline_proto::shard::{Input, Peer};
use moorline_ws::decoder::{Decoder, Limits};
use moorline_ws::event::Event;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

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
    fn into_input(self, peer: Peer) -> Input {
        match self {
            Self::Frame(inbound, _) => Input::Frame(peer, *inbound),
            Self::Ping(payload) => Input::TransportPing(peer, payload),
            Self::Alive => Input::Alive(peer),
            Self::End(why) => Input::Lost(peer, why),
        }
    }
}

/// One word while there is nothing, instead of four: most connections are idle.
type Queue = Option<Box<VecDeque<Received>>>;

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
            decode(&mut self.decoder, &mut Vec::from(early), &mut self.received);
        }
    }

    pub(crate) fn next_received(&mut self) -> Option<Received> {
        let received = self.received.as_mut()?.pop_front();
        if received.is_none() {
            self.received = None;
        }
        received
    }

    /// How much was received and not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.received.as_ref().map_or(0, |received| received.len())
    }

    /// Waits for bytes and decodes them. False at the end of the connection.
    pub(crate) async fn read(&mut self) -> bool {
        poll_fn(|context| self.poll_read(context)).await
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Self { reader, decoder, received } = self;
        let read = ready!(reader.poll_read(context, &mut |bytes| decode(decoder, bytes, received)));
        Poll::Ready(matches!(read, Ok(count) if count > 0))
    }

    /// Notes that nothing more comes.
    fn end(&mut self) {
        self.received.get_or_insert_default().push_back(Received::End(None));
    }

    /// From now on messages may have so many bytes.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.decoder.set_limits(limits);
    }

    /// Reads and drops what still comes, for a moment.
    pub(crate) async fn linger(mut self) {
        let gone = async {
            while self.read().await {
                self.received = None;
            }
        };
        // Whether it went or not, the socket is closed now.
        let _went = tokio::time::timeout(LINGER, gone).await;
    }
}

/// Decodes what was read.
fn decode(decoder: &mut Decoder, bytes: &mut [u8], received: &mut Queue) {
    let received = received.get_or_insert_default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match decoder.decode(rest) {
            Ok(decoded) => {
                let used = decoded.used;
                received.extend(decoded.event.map(receive));
                rest = &mut rest[used..];
            }
            Err(violation) => {
                tracing::debug!(%violation, "a peer broke the WebSocket protocol");
                received.push_back(Received::End(Some((violation.close_code(), "protocol violation"))));
                return;
            }
        }
    }
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
        loop {
            let flow = match &mut self.wait {
                Some(wait) => {
                    let flow = ready!(wait.as_mut().poll(context));
                    self.wait = None;
                    flow
                }
                None => match self.next_message() {
                    Some((message, then)) => self.hand_over(message, then),
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

    fn next_message(&mut self) -> Option<(Message, Then)> {
        let mut received = self.link.next_received()?;
        count(&mut received, self.throttle.as_mut());
        let end = match &received {
            Received::End(why) => Some(Then::End(Told(why.is_some()))),
            _ => None,
        };
        let input = Box::new(received.into_input(self.peer));
        self.credit -= 1;
        if end.is_some() || self.credit > 0 {
            return Some((Message::Input(input), end.unwrap_or(Then::Next)));
        }
        self.credit = CREDIT;
        let (handled, wait) = oneshot::channel();
        Some((Message::LastOfCredit(input, handled), Then::Handled(wait)))
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
    use super::*;

    /// The runtime adds 128 bytes to what a task reads with, and rounds up to a multiple of 128: no more than this fits into 256.
    #[test]
    fn r37_an_idle_connections_task_is_small() {
        assert!(size_of::<Reading>() <= 120, "{} bytes", size_of::<Reading>());
    }
}
