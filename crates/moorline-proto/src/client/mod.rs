//! The reference client: what every client library does between an application and its WebSocket, without I/O.
//!
//! # For drivers
//! A [`Client`] does nothing by itself. Its driver calls, from one place:
//! 1. [`Client::handle`] with whatever happened, or [`Client::handle_timeout`] when [`Client::poll_timeout`] has come;
//! 2. [`Client::poll_output`] until it returns none, performing each [`Output`] in order.
//!
//! There is at most one connection at a time. After [`Output::Connect`] the driver reports [`Input::Opened`] once the
//! WebSocket is open with the subprotocol `moorline.v1.json`, or [`Input::Closed`] where that failed, and then what the
//! connection brings. After [`Output::Close`] it reports nothing more of that connection.
//!
//! # What it promises
//! - The application gets each record of its rooms **once and in the room's order**, or an [`Event::Reset`] that covers it:
//!   positions are kept, named in `hello`, and what is not beyond them is dropped.
//! - Of the text of a stream it gets each part once and in order, from its beginning or, where it asks for a replay or the room was
//!   reset, anew from its beginning: an [`Event::Message`] of the type `chunk` holds only what is new.
//! - A publish, join, leave or replay that was not answered is sent again after a reconnect, all in their order; publishes
//!   with the same id, so that they happen once (within the server's five minutes).
//! - What was given to the application is acknowledged with each answer to a ping.
//!
//! # What it does not promise
//! - Nothing is kept across the end of the process: an application that wants to go on later keeps the session, the token
//!   and its positions itself.
//! - It does not join rooms again after its session has expired: [`Event::Established`] says `resumed: false`, each
//!   room that it stood in is reset with the reason `expired`, and what to do about that is the application's to say.
//! - An [`Event::Message`] counts as processed when it is polled. An application that fails later asks with
//!   [`Input::Replay`].
//! - Ephemeral messages come at most once, and not at all while it is away.

mod backoff;
mod joining;
mod places;
mod texts;
mod types;
mod wire;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use self::backoff::Backoff;
use self::joining::{Answered, Joining};
use self::places::Places;
use self::texts::Verdict;
pub use self::types::{ClientConfig, Event, Input, Output, Publication};
use self::wire::{Chunk, Established, Received};
use crate::close::{CloseCode, Reconnect, reconnect_after};
use crate::error::ErrorCode;
use crate::id::{RoomName, SessionId};
use crate::position::{Epoch, Offset, Position};
use crate::resume::{ResetReason, Since};
use crate::time::Instant;

/// What the application asked for, and the server has not answered.
#[derive(Debug)]
struct Request {
    reference: u64,
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    Publish(Publication),
    Join {
        room: RoomName,
        since: Since,
        /// Whether the application was in the room when it asked, so that it may want again what it had.
        again: bool,
    },
    Leave(RoomName),
    Replay {
        room: RoomName,
        after: Offset,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until then there is no connection.
    Waiting(Instant),
    Connecting,
    /// The WebSocket is open, `hello` was sent.
    Greeting,
    Established,
    Ended,
}

/// The machine. See the [module](self) for its driver's contract.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    state: State,
    /// The session and what resumes it.
    identity: Option<(SessionId, String)>,
    places: Places,
    requests: VecDeque<Request>,
    joining: Joining,
    references: u64,
    backoff: Backoff,
    /// What `closing` said.
    told_to_return: Option<Duration>,
    /// When something was received last, or the connection began.
    heard_at: Instant,
    /// How long the server may be silent.
    patience: Duration,
    outputs: VecDeque<Output>,
}

impl Client {
    /// Requests that wait for an answer; more are refused with `overloaded`. As many as the server takes by default.
    pub const REQUESTS_MAX: usize = 1_024;
    /// How long opening and greeting may take. The server waits as long for `hello`.
    const GREETING: Duration = Duration::from_secs(10);

    /// A client that connects at once.
    #[must_use]
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let mut client = Self {
            backoff: Backoff::new(config.seed),
            config,
            state: State::Waiting(now),
            identity: None,
            places: Places::default(),
            requests: VecDeque::new(),
            joining: Joining::default(),
            references: 0,
            told_to_return: None,
            heard_at: now,
            patience: Self::GREETING,
            outputs: VecDeque::new(),
        };
        client.connect(now);
        client
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.state == State::Ended {
            return;
        }
        match input {
            Input::Opened => self.opened(now),
            Input::TextReceived(text) => self.received(now, text),
            Input::Closed(code) => self.closed(now, code),
            Input::Publish(publication) => self.ask(Ask::Publish(publication)),
            Input::Join { room, since } => {
                let again = self.places.get(&room).is_some();
                self.ask(Ask::Join { room, since, again });
            }
            Input::Leave { room } => self.ask(Ask::Leave(room)),
            Input::Replay { room, after } => self.ask(Ask::Replay { room, after }),
            Input::Authenticate { token } if self.state == State::Established => {
                self.outputs.push_back(Output::SendText(wire::authenticate(&token)));
            }
            Input::Authenticate { .. } => {}
            Input::Shutdown => self.shutdown(),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        match self.state {
            State::Waiting(_) => self.connect(now),
            State::Connecting | State::Greeting | State::Established => {
                self.outputs.push_back(Output::Close(None));
                self.closed(now, None);
            }
            State::Ended => {}
        }
    }

    /// When [`Client::handle_timeout`] wants to be called, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(until) => Some(until),
            State::Connecting | State::Greeting | State::Established => Some(self.heard_at + self.patience),
            State::Ended => None,
        }
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The session, once there is one.
    #[must_use]
    pub fn session(&self) -> Option<&SessionId> {
        self.identity.as_ref().map(|(session, _)| session)
    }

    /// How far the application has come in a room, and in which history where that is known.
    #[must_use]
    pub fn position(&self, room: &RoomName) -> Option<(Option<Epoch>, Offset)> {
        self.places.get(room)
    }

    /// Whether there is a session that is connected.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// How many requests wait for their answers.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.requests.len()
    }

    fn connect(&mut self, now: Instant) {
        self.state = State::Connecting;
        self.heard_at = now;
        self.patience = Self::GREETING;
        self.outputs.push_back(Output::Connect);
    }

    fn opened(&mut self, now: Instant) {
        if self.state != State::Connecting {
            return;
        }
        self.state = State::Greeting;
        self.heard_at = now;
        self.places.begin();
        self.joining.clear();
        let hello = wire::hello(&self.config, self.identity.as_ref(), self.places.named());
        self.outputs.push_back(Output::SendText(hello));
    }

    fn closed(&mut self, now: Instant, code: Option<u16>) {
        if matches!(self.state, State::Waiting(_)) {
            return;
        }
        let told = self.told_to_return.take();
        let delay = match code.map_or(Reconnect::Yes, reconnect_after) {
            Reconnect::Never => None,
            Reconnect::After => Some(told.unwrap_or_else(|| self.backoff.next())),
            Reconnect::Yes => Some(self.backoff.next()),
        };
        let retry_at = delay.map(|delay| now + delay);
        self.state = retry_at.map_or(State::Ended, State::Waiting);
        self.event(Event::Disconnected { retry_at });
    }

    fn shutdown(&mut self) {
        if !matches!(self.state, State::Waiting(_)) {
            self.outputs.push_back(Output::Close(Some(CloseCode::Normal)));
        }
        self.state = State::Ended;
        self.event(Event::Disconnected { retry_at: None });
    }

    fn ask(&mut self, ask: Ask) {
        if self.requests.len() >= Self::REQUESTS_MAX {
            let why = format!("{} requests wait for their answers already", Self::REQUESTS_MAX);
            return self.rejected(&ask, ErrorCode::Overloaded.as_str().to_owned(), why);
        }
        self.references += 1;
        let request = Request { reference: self.references, ask };
        if self.state == State::Established {
            self.outputs.push_back(Output::SendText(request.text()));
        }
        self.requests.push_back(request);
    }

    fn received(&mut self, now: Instant, text: String) {
        if !matches!(self.state, State::Greeting | State::Established) {
            return;
        }
        self.heard_at = now;
        let received = wire::read(&text);
        if !matches!(received, Received::Established(_) | Received::Reset { .. } | Received::Left { .. }) {
            self.places.settle();
        }
        match received {
            Received::Established(established) => self.established(&established),
            Received::Message { room, message_id } => {
                if message_id.is_none_or(|offset| self.places.accept(&room, offset)) {
                    self.event(Event::Message { room, message_id, text });
                }
            }
            Received::Chunk { room, message_id, chunk } => self.chunk(now, (room, message_id), &chunk, text),
            Received::StreamEnded { room, message_id, stream } => {
                if self.places.accept(&room, message_id) {
                    self.places.end_stream(&room, &stream);
                    self.event(Event::Message { room, message_id: Some(message_id), text });
                }
            }
            Received::Reply { reference, outcome, position } => self.answered(reference, outcome, position),
            Received::Error { code, message } => self.event(Event::Rejected { id: None, code, message }),
            Received::Ping => {
                let untold = self.places.untold();
                self.outputs.extend(wire::pong(untold).into_iter().map(Output::SendText));
            }
            Received::Joined { room, position } => self.joined(room, position),
            Received::Left { room } => self.left(room),
            Received::Reset { room, reason, from, to } => self.reset(room, reason, from, to),
            Received::Position { room, position } => self.places.advance(&room, position),
            Received::Closing { reconnect_in_ms } => {
                self.told_to_return = Some(Duration::from_millis(reconnect_in_ms));
            }
            Received::TokenExpiring { expires_in_ms } => {
                self.event(Event::TokenExpiring { expires_in: Duration::from_millis(expires_in_ms) });
            }
            Received::Pong | Received::Unknown => {}
        }
    }

    /// A part of a stream's text. Where one before it is missing, or the server has more open streams than there can be, it is of no use to go
    /// on: on the next connection the texts come anew.
    fn chunk(&mut self, now: Instant, (room, message_id): (RoomName, Offset), chunk: &Chunk, text: String) {
        let text = match self.places.judge(&room, message_id, chunk) {
            Verdict::New => Some(text),
            Verdict::Beyond(length) => chunk.beyond(&text, length),
            Verdict::Known => None,
            Verdict::Fault => {
                self.outputs.push_back(Output::Close(None));
                return self.closed(now, None);
            }
        };
        if let Some(text) = text {
            self.event(Event::Message { room, message_id: Some(message_id), text });
        }
    }

    fn established(&mut self, established: &Established) {
        let (State::Greeting, Some(session)) = (self.state, established.session()) else { return };
        self.state = State::Established;
        self.backoff.reset();
        self.patience = Duration::from_millis(established.heartbeat_ms).saturating_mul(2);
        if !established.resumed {
            self.places.clear();
        }
        let mut rooms = BTreeSet::new();
        for (room, position, replayed) in established.rooms() {
            self.places.established(&room, position, replayed);
            rooms.insert(room);
        }
        self.identity = Some((session.clone(), established.resume_token.clone()));
        self.event(Event::Established { session, resumed: established.resumed });
        // Memberships that ended while nobody listened.
        for room in self.places.named_rooms_beside(&rooms) {
            self.left(room);
        }
        self.outputs.extend(self.requests.iter().map(|request| Output::SendText(request.text())));
    }

    fn joined(&mut self, room: RoomName, position: Position) {
        if !self.places.has_room_for(&room) {
            // No server has a session in so many: this one is not to be believed.
            return;
        }
        let (since, again) = self.joining.take(&room, position).unwrap_or((Since::Now, true));
        let position = self.places.joined(&room, position, since, again);
        self.event(Event::Joined { room, position });
    }

    fn left(&mut self, room: RoomName) {
        if self.places.forget(&room) {
            self.event(Event::Left { room });
        }
    }

    /// Only what the application does not have is lost to it. A room that the session is no longer a member of is not
    /// kept: only its end is told.
    fn reset(&mut self, room: RoomName, reason: ResetReason, from: Option<Offset>, to: Position) {
        let known = self.places.get(&room);
        let has = known.filter(|(epoch, _)| *epoch == Some(to.epoch)).map(|(_, offset)| offset);
        if from.is_some() && has.is_some_and(|has| has >= to.offset) {
            return;
        }
        let from = from.map(|from| has.map_or(from, |has| has.max(from)));
        if reason != ResetReason::Expired || room.is_own() || known.is_some() {
            self.places.put(&room, to);
        }
        self.event(Event::Reset { room, reason, from, to });
    }

    fn answered(
        &mut self,
        reference: u64,
        outcome: Result<(), (String, String)>,
        position: Option<Position>,
    ) {
        let Some(index) = self.requests.iter().position(|request| request.reference == reference) else {
            return;
        };
        let Some(Request { ask, .. }) = self.requests.remove(index) else { return };
        match (outcome, ask) {
            (Ok(()), Ask::Publish(Publication { id, .. })) => self.event(Event::Published { id, position }),
            (Ok(()), Ask::Replay { room, .. }) => {
                if let Some(position) = position {
                    self.places.put(&room, position);
                }
            }
            (Ok(()), Ask::Join { room, since, again }) => {
                let is_known = self.places.get(&room).is_some();
                if let Some(position) = position {
                    self.joining.answered(Answered { room, position, since, again }, is_known);
                }
            }
            (Ok(()), Ask::Leave(_)) => {}
            // Left before: `left` says where, behind the messages that this answer overtook, or the rooms of
            // `connection_established` said so.
            (Err((code, _)), Ask::Leave(_)) if code == ErrorCode::NotAMember.as_str() => {}
            (Err((code, message)), ask) => self.rejected(&ask, code, message),
        }
    }

    fn rejected(&mut self, ask: &Ask, code: String, message: String) {
        let id = match ask {
            Ask::Publish(publication) => Some(publication.id.clone()),
            Ask::Join { .. } | Ask::Leave(_) | Ask::Replay { .. } => None,
        };
        self.event(Event::Rejected { id, code, message });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

impl Request {
    fn text(&self) -> String {
        match &self.ask {
            Ask::Publish(publication) => wire::publish(self.reference, publication),
            Ask::Join { room, since, .. } => wire::join(self.reference, room, *since),
            Ask::Leave(room) => wire::leave(self.reference, room),
            Ask::Replay { room, after } => wire::replay(self.reference, room, *after),
        }
    }
}

#[cfg(test)]
mod tests;
