//! Follows a room: drives the protocol's reference client over a WebSocket.

use std::time::Duration;

use moorline::{CloseCode, Offset, Position, RoomName};
use moorline_proto::client::{Client, ClientConfig, Event, Input, Output};
use moorline_proto::error::ErrorCode;
use moorline_proto::identity::Token;
use moorline_proto::resume::{ResetReason, Since};
use moorline_proto::time::Instant;
use secrecy::{ExposeSecret as _, SecretString};

use super::socket::{Incoming, Socket, SocketError};
use super::token::{Grant, TokenError, TokenSource};
use super::told::Told;
use super::{ClientError, Server};

/// The longest that a server which is too busy for us is left alone, before our own delay.
const LEAVE_ALONE_MAX: Duration = Duration::from_secs(30);
/// How long the end may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// From where the room is read at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Only what comes.
    Now,
    /// All that is kept.
    Oldest,
    /// What lies after this message.
    After(Offset),
}

/// Whom to follow, as whom.
pub(crate) struct Subject {
    pub(crate) room: RoomName,
    pub(crate) user: String,
    pub(crate) start: Start,
}

impl Subject {
    /// What its token has to allow.
    fn grant(&self) -> Grant<'_> {
        Grant { user: &self.user, room: self.room.as_str(), publishes: false, lifetime: None }
    }
}

/// What there is to tell.
pub(crate) enum Seen {
    /// A message, once: its envelope.
    Message(String),
    /// Something will not come.
    Reset { reason: ResetReason, from: Option<Offset>, to: Offset },
    /// There is a connection; `resumed`: of the session that there was.
    Connected { resumed: bool },
    /// There is none. Another one is tried after this.
    Lost { why: String, retry_in: Duration },
    /// The token ends, and there is no fresh one. Says why.
    NoFreshToken(String),
}

/// Why it cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{code}: {message}{}", hint(code))]
    Rejected { code: String, message: String },
    #[error("the server closed the connection for good: {0}")]
    Closed(String),
    #[error(
        "the session is no member of the room any more: it was removed, or the token no longer allows it"
    )]
    Left,
    #[error("the server does not speak WebSocket as RFC 6455 wants it")]
    Broken(#[source] SocketError),
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
}

/// What to do about a refusal with this code, with a semicolon before it; nothing where that is not known.
pub(crate) fn hint(code: &str) -> &'static str {
    if code == ErrorCode::NotAuthenticated.as_str() {
        "; give a token (--token-file FILE or the variable MOORLINE_TOKEN), or an API key with the scope `tokens` (MOORLINE_KEY)"
    } else if code == ErrorCode::NoAuthenticator.as_str() {
        "; a server for development checks no tokens: leave --token-file out, and unset MOORLINE_TOKEN"
    } else {
        ""
    }
}

/// How far the reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// What comes is to be told.
    Reading,
    /// Joined to learn the room's epoch, without which a message's id is no position.
    Learning(Offset),
    /// Joining again from there. What comes before that is answered would come twice.
    Rewinding(Position),
}

/// One room, followed for as long as [`Follower::next`] is called.
pub(crate) struct Follower<'a> {
    server: &'a Server,
    tokens: &'a TokenSource,
    subject: Subject,
    machine: Client,
    socket: Option<Socket>,
    token: Option<SecretString>,
    began: std::time::Instant,
    phase: Phase,
    /// Everything up to here was told. Outlives the session: the next one reads on from there.
    stands: Option<Position>,
    /// What was told of the streams' texts. Outlives the session, as that.
    told: Told,
    /// Whether there ever was a session.
    was_established: bool,
    /// Why the last connection ended.
    why: String,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(
        server: &'a Server,
        tokens: &'a TokenSource,
        subject: Subject,
    ) -> Result<Self, FollowError> {
        let seed = getrandom::u64()?;
        Ok(Self {
            server,
            tokens,
            subject,
            machine: Client::new(ClientConfig { seed, ..ClientConfig::default() }, Instant::default()),
            socket: None,
            token: None,
            began: std::time::Instant::now(),
            phase: Phase::Reading,
            stands: None,
            told: Told::default(),
            was_established: false,
            why: String::new(),
        })
    }

    /// What happens next.
    ///
    /// # Errors
    /// Why nothing more will come. The first connection has to succeed at once; later ones are tried until they do.
    pub(crate) async fn next(&mut self) -> Result<Seen, FollowError> {
        loop {
            while let Some(output) = self.machine.poll_output() {
                if let Some(seen) = self.perform(output).await? {
                    return Ok(seen);
                }
            }
            self.wait().await?;
        }
    }

    /// Takes leave of the room and the server, so that nothing is kept for a session that does not come back.
    pub(crate) async fn leave(self) {
        // A server that does not answer sees the connection end.
        let _late = tokio::time::timeout(LEAVE_TIMEOUT, self.say_goodbye()).await;
    }

    async fn say_goodbye(mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        while self.machine.poll_output().is_some() {}
        self.tell(Input::Leave { room: self.subject.room.clone() });
        while let Some(output) = self.machine.poll_output() {
            if let Output::SendText(text) = output
                && socket.text(&text).await.is_err()
            {
                return;
            }
        }
        socket.close(CloseCode::Normal.number()).await;
        while let Ok(Incoming::Text(_) | Incoming::Ping(_)) = socket.receive().await {}
    }

    fn now(&self) -> Instant {
        Instant::since_start(self.began.elapsed())
    }

    fn tell(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(now, input);
    }

    async fn perform(&mut self, output: Output) -> Result<Option<Seen>, FollowError> {
        match output {
            Output::Connect => self.connect().await?,
            Output::SendText(text) => {
                if let Some(socket) = &mut self.socket {
                    let sent = socket.text(&text).await;
                    self.check(sent)?;
                }
            }
            Output::Close(code) => {
                self.why = "the server is silent, or does not say what it should".to_owned();
                if let (Some(mut socket), Some(code)) = (self.socket.take(), code) {
                    socket.close(code.number()).await;
                }
            }
            Output::Event(event) => return self.event(event).await,
        }
        Ok(None)
    }

    /// Waits for whatever comes first: something received, or the machine's next moment.
    async fn wait(&mut self) -> Result<(), FollowError> {
        let now = self.now();
        let timeout = self.machine.poll_timeout().map_or(Duration::MAX, |at| at.since(now));
        let Some(socket) = &mut self.socket else {
            tokio::time::sleep(timeout).await;
            let now = self.now();
            self.machine.handle_timeout(now);
            return Ok(());
        };
        let incoming = tokio::select! {
            incoming = socket.receive() => incoming,
            () = tokio::time::sleep(timeout) => {
                let now = self.now();
                self.machine.handle_timeout(now);
                return Ok(());
            }
        };
        match incoming {
            Ok(Incoming::Text(text)) => self.tell(Input::TextReceived(text)),
            Ok(Incoming::Ping(payload)) => {
                let answered = socket.pong(&payload).await;
                self.check(answered)?;
            }
            Ok(Incoming::Closed(close)) => self.closed(close).await,
            Err(error) => self.check(Err(error))?,
        }
        Ok(())
    }

    /// A connection that failed is gone; a server that breaks the rules of WebSocket would do so again.
    fn check(&mut self, done: Result<(), SocketError>) -> Result<(), FollowError> {
        match done {
            Ok(()) => Ok(()),
            Err(error @ (SocketError::Violation(_) | SocketError::Random(_))) => {
                Err(FollowError::Broken(error))
            }
            Err(error) => {
                self.socket = None;
                self.why = error.to_string();
                self.tell(Input::Closed(None));
                Ok(())
            }
        }
    }

    async fn closed(&mut self, close: Option<(u16, String)>) {
        let code = close.as_ref().map(|(code, _)| *code);
        self.why = match &close {
            Some((code, reason)) if reason.is_empty() => format!("close code {code}"),
            Some((code, reason)) => format!("close code {code}, {reason}"),
            None => "the connection is gone".to_owned(),
        };
        if let (Some(mut socket), Some(code)) = (self.socket.take(), code) {
            socket.close(code).await;
        }
        self.tell(Input::Closed(code));
    }

    async fn connect(&mut self) -> Result<(), FollowError> {
        match self.open().await {
            Ok(socket) => {
                self.socket = Some(socket);
                self.tell(Input::Opened);
            }
            Err(FollowError::Client(error)) if self.was_established && error.may_pass() => {
                if let Some(wait) = error.retry_in_ms() {
                    tokio::time::sleep(Duration::from_millis(wait).min(LEAVE_ALONE_MAX)).await;
                }
                self.why = error.to_string();
                self.tell(Input::Closed(None));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<Socket, FollowError> {
        self.token =
            self.tokens.token(self.server, self.subject.grant()).await.map_err(|error| match error {
                // To be tried again as a connection is.
                TokenError::Refused(error) if error.may_pass() => FollowError::Client(error),
                error => FollowError::Token(error),
            })?;
        // Who has a token is the user that it names.
        let user = self.token.is_none().then_some(self.subject.user.as_str());
        Ok(Socket::open(self.server, None, user, self.token.as_ref()).await?)
    }

    async fn event(&mut self, event: Event) -> Result<Option<Seen>, FollowError> {
        let is_ours = |room: &RoomName| *room == self.subject.room;
        match event {
            Event::Established { resumed, .. } => Ok(Some(self.established(resumed))),
            Event::Joined { room, position } if is_ours(&room) => {
                self.joined(position);
                Ok(None)
            }
            Event::Message { room, message_id, text } if is_ours(&room) => Ok(self.message(message_id, text)),
            Event::Reset { room, reason, from, to } if is_ours(&room) => Ok(self.reset(reason, from, to)),
            Event::Left { room } if is_ours(&room) => Err(FollowError::Left),
            Event::Rejected { code, message, .. } => self.rejected(code, message),
            Event::TokenExpiring { .. } => self.refresh().await,
            Event::Disconnected { retry_at: Some(at) } => {
                let why = std::mem::take(&mut self.why);
                Ok(Some(Seen::Lost { why, retry_in: at.since(self.now()) }))
            }
            Event::Disconnected { retry_at: None } => Err(FollowError::Closed(std::mem::take(&mut self.why))),
            // What is in the session's own rooms is not what is followed.
            Event::Message { .. }
            | Event::Reset { .. }
            | Event::Joined { .. }
            | Event::Left { .. }
            | Event::Published { .. } => Ok(None),
        }
    }

    /// A session that goes on is still in the room, unless it had not come that far. So is one whose token the server does not know, as
    /// after a copy of its store was put back; but that begins again where the server says. A new one is not.
    fn established(&mut self, resumed: bool) -> Seen {
        self.was_established = true;
        let member = self.machine.position(&self.subject.room);
        // What was not answered, the machine asks again by itself.
        if self.machine.unanswered() == 0 {
            match (member, self.phase, self.stands) {
                (Some((Some(epoch), _)), Phase::Learning(offset), _) => {
                    self.rewind(Position { epoch, offset })
                }
                (Some(_), Phase::Rewinding(position), _) => self.rewind(position),
                (Some(_), Phase::Reading, Some(stands)) if !resumed => self.rewind(stands),
                (Some(_), ..) if resumed => {}
                _ => self.join(),
            }
        }
        Seen::Connected { resumed }
    }

    fn join(&mut self) {
        self.phase = Phase::Reading;
        let since = match (self.stands, self.subject.start) {
            (Some(position), _) => Since::Position(position),
            (None, Start::Now) => Since::Now,
            (None, Start::Oldest) => Since::Start,
            (None, Start::After(offset)) => {
                self.phase = Phase::Learning(offset);
                Since::Now
            }
        };
        let room = self.subject.room.clone();
        self.tell(Input::Join { room, since });
    }

    fn rewind(&mut self, position: Position) {
        self.phase = Phase::Rewinding(position);
        let (room, since) = (self.subject.room.clone(), Since::Position(position));
        self.tell(Input::Join { room, since });
    }

    fn joined(&mut self, position: Position) {
        if let Phase::Learning(offset) = self.phase {
            self.rewind(Position { offset, ..position });
        } else {
            self.phase = Phase::Reading;
            self.stands = Some(position);
        }
    }

    fn message(&mut self, offset: Option<Offset>, text: String) -> Option<Seen> {
        if self.phase != Phase::Reading {
            return None;
        }
        if let (Some(position), Some(offset)) = (&mut self.stands, offset) {
            // A restart that was no orderly one gave the room's history another name; this number is one of that.
            if let Some((Some(epoch), _)) = self.machine.position(&self.subject.room) {
                position.epoch = epoch;
            }
            // A chunk may stand where its text began.
            position.offset = position.offset.max(offset);
        }
        self.told.rest(text).map(Seen::Message)
    }

    /// That a session has expired loses nothing: the next one joins again from where this one stood.
    fn reset(&mut self, reason: ResetReason, from: Option<Offset>, to: Position) -> Option<Seen> {
        if reason == ResetReason::Expired {
            return None;
        }
        self.stands = Some(to);
        self.told.clear();
        Some(Seen::Reset { reason, from, to: to.offset })
    }

    /// What was refused ends it, unless a later try may succeed: then with the next connection. Acknowledgements that
    /// crossed with a join from before them do not count.
    fn rejected(&mut self, code: String, message: String) -> Result<Option<Seen>, FollowError> {
        match ErrorCode::ALL.iter().find(|known| known.as_str() == code) {
            Some(ErrorCode::AckBeyond | ErrorCode::EpochMismatch) => Ok(None),
            Some(known) if known.is_worth_a_retry() => {
                self.socket = None;
                self.why = format!("{code}: {message}");
                self.tell(Input::Closed(None));
                Ok(None)
            }
            _ => Err(FollowError::Rejected { code, message }),
        }
    }

    /// Shows a fresh token, where there is one.
    async fn refresh(&mut self) -> Result<Option<Seen>, FollowError> {
        match self.tokens.fresh(self.server, self.subject.grant(), self.token.as_ref()).await {
            Ok(Some(token)) => {
                self.tell(Input::Authenticate { token: Token::presented(token.expose_secret()) });
                self.token = Some(token);
                Ok(None)
            }
            Ok(None) => Ok(Some(Seen::NoFreshToken("there is no other one".to_owned()))),
            Err(error) => Ok(Some(Seen::NoFreshToken(error.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests;
