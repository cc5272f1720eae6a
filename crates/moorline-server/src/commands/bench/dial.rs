//! Opening a connection, up to `connection_established`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::frame::{Frame, Kind, kind};
use super::plan::Plan;
use super::room::Room;
use super::run::Run;
use crate::client::follow::hint;
use crate::client::socket::{Incoming, Socket, SocketError};
use crate::client::{ClientError, Grant, Server, ServerArgs, TokenError, TokenSource};
use crate::exit::UsageError;

const HELLO: &str = r#"{"type":"hello"}"#;
/// For all that comes before `connection_established`, once the WebSocket is open.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest that a server which asks for it is left alone at a time.
const LEAVE_ALONE_MAX: Duration = Duration::from_secs(30);
/// How long one that does not say how long is.
const LEAVE_ALONE: Duration = Duration::from_secs(1);

/// The longest that a refused connection waits by our own choice: the limit has room again before all have had their turn.
const TURN_MAX: Duration = Duration::from_secs(5);
/// How long a limit is waited for in which it lets nobody in: it is then none that passes.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Doublings of a wait.
const DOUBLINGS_MAX: u32 = 6;

/// What connections come from.
struct Source {
    server: Server,
    /// Connections that were refused and wait.
    refused: AtomicU32,
}

/// How long one of several that were refused waits, where the server says so to each of them: in turn, since a limit that has
/// room for one at a time has none for all, and longer with each time that it was refused.
fn turn(wait: Duration, refused: u32, times: u32) -> Duration {
    let factor = refused.saturating_mul(1 << times.min(DOUBLINGS_MAX));
    wait.saturating_mul(factor).min(TURN_MAX).max(wait)
}

/// Opens connections.
pub(super) struct Dialer {
    pub(super) run: Arc<Run>,
    /// One for each source address. What asks for tokens is another one, so that no WebSocket finds a connection open.
    sources: Vec<Source>,
    pub(super) control: Arc<Server>,
    pub(super) tokens: TokenSource,
}

/// A connection that is established.
pub(super) struct Dialed {
    pub(super) socket: Socket,
    pub(super) index: u64,
    pub(super) room: Arc<Room>,
    pub(super) session: String,
    /// Where it joined its room.
    pub(super) position: u64,
    pub(super) took: Duration,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{code}: {message}{}", advice(code))]
    Rejected { code: String, message: String },
    #[error("the server closed the connection: {}{}", shown(*code, reason), if *one_user { ONE_USER } else { "" })]
    Closed {
        code: Option<u16>,
        reason: String,
        /// How long to stay away.
        wait: Option<Duration>,
        /// All connections show the same token.
        one_user: bool,
    },
    #[error("the connection broke before it was established")]
    Broken(#[from] SocketError),
    #[error("no `connection_established` within {} s", ESTABLISH_TIMEOUT.as_secs())]
    Silent,
    #[error("the server does not speak Moorline's protocol")]
    Stranger,
}

const ONE_USER: &str = "; with one token all connections are one user, who has few (session.per_user_max): an API key with the \
     scope `tokens` (MOORLINE_KEY or --key-file) gets each a user of its own";

fn advice(code: &str) -> &'static str {
    if code == "forbidden" {
        return "; the token has to allow the rooms of the benchmark: --prefix says how their names begin";
    }
    hint(code)
}

fn shown(code: Option<u16>, reason: &str) -> String {
    match code {
        Some(code) if reason.is_empty() => format!("close code {code}"),
        Some(code) => format!("close code {code}, {reason}"),
        None => "without a word".to_owned(),
    }
}

impl DialError {
    /// How long to stay away, where the server limits how many may come, and in what words.
    pub(super) fn limit(&self) -> Option<(Duration, String)> {
        let (wait, why) = match self {
            Self::Client(error) | Self::Token(TokenError::Refused(error)) => {
                let (code, why) = error.said()?;
                if kind(&code) != Kind::Limit {
                    return None;
                }
                (error.retry_in_ms().map(Duration::from_millis), why)
            }
            Self::Rejected { code, message } if kind(code) == Kind::Limit => {
                (None, format!("{code}: {message}"))
            }
            Self::Closed { code: code @ Some(1013), reason, wait, .. } => (*wait, shown(*code, reason)),
            _ => return None,
        };
        Some((wait.unwrap_or(LEAVE_ALONE).min(LEAVE_ALONE_MAX), why))
    }

    /// With its causes, for people.
    pub(super) fn told(self) -> String {
        format!("{:#}", anyhow::Error::new(self))
    }
}

/// Which of so many is a connection's.
fn place(index: u64, all: usize) -> usize {
    usize::try_from(index % all as u64).unwrap_or_default()
}

impl Dialer {
    /// # Errors
    /// Names the argument or variable, and what it may be.
    pub(super) fn new(run: &Arc<Run>, place: &ServerArgs, tokens: TokenSource) -> Result<Self, UsageError> {
        let control = Arc::new(Server::new(place)?);
        let from = &run.plan.from;
        let servers = if from.is_empty() {
            vec![Server::new(place)?]
        } else {
            from.iter().map(|from| Server::reached_from(place, Some(*from))).collect::<Result<Vec<_>, _>>()?
        };
        let source = |server| Source { server, refused: AtomicU32::new(0) };
        let sources = servers.into_iter().map(source).collect();
        Ok(Self { run: Arc::clone(run), sources, control, tokens })
    }

    /// Opens a connection; a server that limits how many may come is asked again when it says.
    ///
    /// # Errors
    /// Why there can be none.
    pub(super) async fn dial(&self, index: u64) -> Result<Dialed, DialError> {
        let mut times = 0;
        let mut hope = (self.run.opened.load(SeqCst), Instant::now());
        let source = &self.sources[place(index, self.sources.len())];
        loop {
            match self.dial_once(index, source).await {
                Err(error) => match error.limit() {
                    Some((wait, why)) => {
                        self.run.limits.count(why);
                        let opened = self.run.opened.load(SeqCst);
                        if opened != hope.0 {
                            hope = (opened, Instant::now());
                        } else if hope.1.elapsed() > GIVE_UP {
                            return Err(error);
                        }
                        let refused = source.refused.fetch_add(1, SeqCst) + 1;
                        tokio::time::sleep(turn(wait, refused, times)).await;
                        source.refused.fetch_sub(1, SeqCst);
                        times += 1;
                    }
                    None => return Err(error),
                },
                dialed => return dialed,
            }
        }
    }

    async fn dial_once(&self, index: u64, source: &Source) -> Result<Dialed, DialError> {
        let plan = &self.run.plan;
        let room = &self.run.rooms[place(index, self.run.rooms.len())];
        let user = plan.user(index);
        let token = self.token(plan, &user, room).await?;
        // Who has a token is the user that it names.
        let user = token.is_none().then_some(user.as_str());
        let began = Instant::now();
        let mut socket = Socket::open(&source.server, Some(&room.name), user, token.as_ref()).await?;
        let established = tokio::time::timeout(ESTABLISH_TIMEOUT, self.establish(&mut socket, room)).await;
        let (session, position) = established.map_err(|_| DialError::Silent)??;
        Ok(Dialed { socket, index, room: Arc::clone(room), session, position, took: began.elapsed() })
    }

    async fn token(&self, plan: &Plan, user: &str, room: &Room) -> Result<Option<SecretString>, TokenError> {
        let lifetime = plan.token_lifetime();
        let grant = Grant { user, room: &room.name, publishes: true, lifetime };
        self.tokens.token(&self.control, grant).await
    }

    /// The session, and where it stands in the room.
    async fn establish(&self, socket: &mut Socket, room: &Room) -> Result<(String, u64), DialError> {
        socket.text(HELLO).await?;
        let mut wait = None;
        loop {
            let text = match socket.receive().await? {
                Incoming::Text(text) => text,
                Incoming::Ping(payload) => {
                    socket.pong(&payload).await?;
                    continue;
                }
                Incoming::Closed(close) => return Err(self.closed(close, wait)),
            };
            let frame: Frame<'_> = serde_json::from_str(&text).map_err(|_| DialError::Stranger)?;
            match &*frame.kind {
                "connection_established" => {
                    let place = frame.rooms.as_ref().and_then(|rooms| rooms.get(&room.name));
                    let (Some(session), Some(place)) = (frame.session, place) else {
                        return Err(DialError::Stranger);
                    };
                    return Ok((session.into_owned(), place.message_id));
                }
                "error" => {
                    let text = |part: Option<_>| part.map(std::borrow::Cow::into_owned).unwrap_or_default();
                    return Err(DialError::Rejected { code: text(frame.code), message: text(frame.message) });
                }
                "closing" => wait = frame.reconnect_in_ms.map(Duration::from_millis),
                _ => {}
            }
        }
    }

    fn closed(&self, close: Option<(u16, String)>, wait: Option<Duration>) -> DialError {
        let one_user = matches!(self.tokens, TokenSource::File(_) | TokenSource::Given(_));
        let (code, reason) = close.map_or((None, String::new()), |(code, reason)| (Some(code), reason));
        DialError::Closed { code, reason, wait, one_user }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_refused_comes_back_in_turn_and_later_each_time() {
        let ms = Duration::from_millis;
        assert_eq!(turn(ms(50), 1, 0), ms(50));
        assert_eq!(turn(ms(50), 32, 0), ms(1_600));
        assert_eq!(turn(ms(50), 2, 3), ms(800));
        assert_eq!(turn(ms(50), 4_096, u32::MAX), TURN_MAX);
        // Never earlier than the server says.
        assert_eq!(turn(ms(20_000), 3, 1), ms(20_000));
    }
}
