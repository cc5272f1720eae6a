//! From a fresh socket to a session: what the client asks for, and which shard it belongs to.

use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::ControlFlow;

use bytes::Bytes;
use moorline_proto::close::CloseCode;
use moorline_proto::error::Rejection;
use moorline_proto::frame::{ClientFrame, Hello, Inbound, Ref, ServerFrame};
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::identity::{Identity, Token};
use moorline_proto::position::Offset;
use moorline_proto::shard::{Claim, Input, Refusal};
use moorline_proto::token::ResumeToken;
use moorline_proto::{codec, metadata};
use moorline_ws::decoder::{Decoder, Limits};
use moorline_ws::deflate::Agreed;
use moorline_ws::frame::Role;

use crate::admission::Admission;
use crate::authenticate::AuthenticateError;
use crate::authorize::{Action, AuthorizeRequest};
use crate::compression;
use crate::connection::{Link, Reading, Received, Told};
use crate::node::Node;
use crate::telemetry;
use crate::throttle::Throttle;
use crate::transport::{Reader, Writer};

/// What a request says about the connection that it becomes: who it is, and where it belongs. The caller has checked all
/// of it but the token; see also `Origin`, which browsers send and which the caller checks too.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// The room of the URL, which its sessions are members of.
    pub room: Option<RoomName>,
    /// Whom the caller knows the connection to speak for. Where that is nobody, the node's authenticator decides by a token;
    /// where there is no authenticator either, the connection is anonymous and may do everything.
    pub identity: Option<Identity>,
    /// A token that came with the request, for the node's authenticator. One in `hello` wins over it, and both over
    /// `identity`.
    pub token: Option<Token>,
    /// Where it comes from, for the limits per address. None counts against none.
    pub address: Option<IpAddr>,
    /// The session it asks for.
    pub session: Option<SessionId>,
    /// Whether it may have that id where it is free, whatever its grants say. Default no: an id is not a secret.
    pub may_choose_session: bool,
    /// What proves that the session is its own.
    pub resume_token: Option<ResumeToken>,
    /// Up to where it has read the URL's room.
    pub last_message_id: Option<Offset>,
    /// Its sessions are members of the URL's room alone, so that a client that acknowledges every number it sees never
    /// mixes two rooms' numbers. Default no.
    pub single_room: bool,
}

/// How many frames a client may send before it is established, beside the bytes below; the rest waits in its socket.
const EARLY_MAX: usize = 64;

/// The largest message before a connection is established: a token and some hundred positions; and how much of what else it sends is
/// decoded then. Strangers are given no more.
const HELLO_MAX_BYTES: usize = 64 * 1024;

/// How a connection begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    /// The client speaks first.
    Hello,
    /// The URL has said everything.
    Bare,
}

/// A connection that has just become one.
pub(crate) struct Incoming {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// What the client sent behind its handshake.
    pub(crate) early: Bytes,
    pub(crate) opening: Opening,
    /// How its messages are compressed.
    pub(crate) deflate: Option<Agreed>,
    /// Given back once it is established, or gone.
    pub(crate) admission: Admission,
}

impl Node {
    /// Serves a connection to its end, or hands it to a task that does.
    pub(crate) async fn open(self, incoming: Incoming, mut endpoint: Endpoint) {
        let Incoming { reader, writer, early, opening, deflate, admission } = incoming;
        let max_message_bytes = self.config().message_max_bytes.min(HELLO_MAX_BYTES);
        let limits = Limits { max_message_bytes };
        let mut decoder = Decoder::new(Role::Server, limits);
        if let Some(agreed) = &deflate {
            decoder.set_deflate(agreed);
        }
        let mut link = Link::new(reader, decoder);
        link.take_early(early);
        let hello = match opening {
            Opening::Bare => Ok((Hello::default(), None)),
            Opening::Hello => {
                tokio::select! {
                    biased;
                    () = self.drains() => Err(self.going_away()),
                    hello = hello(&mut link, &writer) => hello,
                    () = tokio::time::sleep(self.config().hello_timeout) => Err(not_polite()),
                }
            }
        };
        let claim = match hello {
            Ok((hello, reference)) => self.claim(&mut endpoint, hello, reference).await,
            Err(refusal) => Err(refusal),
        };
        match claim {
            Ok(claim) => {
                let coding = deflate.as_ref().and_then(compression::coding);
                let claim = Claim { coding, ..claim };
                self.establish(link, writer, claim, endpoint.address).await;
            }
            Err(refusal) => {
                self.refused(&refusal, endpoint.address);
                refuse(&writer, &refusal, link).await;
            }
        }
        drop(admission);
    }

    /// Asks the session's shard, and starts the task that reads for it.
    async fn establish(&self, mut link: Link, writer: Writer, claim: Claim, address: Option<IpAddr>) {
        // Now it is known who it is.
        link.set_limits(Limits { max_message_bytes: self.config().message_max_bytes });
        let throttle = Throttle::new(self.rates(), claim.identity.user.clone(), address);
        let shard = self.shard_of(claim.asked.as_ref().unwrap_or(&claim.fresh_id)).clone();
        let connection = claim.connection;
        let Some(mut answer) = shard.establish(claim, writer).await else { return };
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return match answer {
                    Ok(peer) => self.keep_reading(Reading::new(link, peer, shard.inbox(), throttle)),
                    Err(_) => link.linger().await,
                },
                alive = link.read(), if link.has_room(EARLY_MAX, HELLO_MAX_BYTES) => if !alive {
                    // Whoever hung up is not worth a session: closing `answer` says so to what is still queued. The
                    // answer may have come this very moment.
                    answer.close();
                    return shard.input(match answer.try_recv() {
                        Ok(peer) => Input::Lost(peer, None),
                        Err(_) => Input::Abandoned(connection),
                    }).await;
                },
            }
        }
    }

    /// Reads in a task of its own, as small as that needs: the handshake's large future is freed with its task.
    fn keep_reading(&self, mut reading: Reading) {
        self.spawn(async move {
            let Told(was_told) = poll_fn(|context| reading.poll(context)).await;
            if was_told {
                tokio::spawn(reading.into_link().linger());
            }
        });
    }

    fn going_away(&self) -> Refusal {
        let spread = self.config().drain.spread.as_millis() / 2;
        let reconnect_in_ms = u64::try_from(spread).unwrap_or(u64::MAX);
        let frame = Some(ServerFrame::Closing { reconnect_in_ms, reason: "drain" });
        Refusal { frame, ..Refusal::new(CloseCode::GoingAway, "going away") }
    }

    async fn claim(
        &self,
        endpoint: &mut Endpoint,
        hello: Hello,
        reference: Option<Ref>,
    ) -> Result<Claim, Refusal> {
        let metadata = match hello.metadata.as_deref() {
            None => None,
            Some(text) => metadata::parse(text, self.config().metadata_max_bytes)
                .map_err(|rejection| Refusal::of(rejection, CloseCode::Policy, "metadata refused"))?,
        };
        let token = hello.token.or(endpoint.token.take());
        let identity = self.identify(token, endpoint.identity.take()).await?;
        if let Some(user) = &identity.user {
            self.rates().current().handshake_of(user).map_err(|rejection| come_back(&rejection))?;
        }
        // What the grants forbid, the shard refuses.
        let user = identity.user.as_ref();
        if let Some(room) = endpoint.room.as_ref().filter(|room| identity.grants.may_join(room, user)) {
            let asked = AuthorizeRequest { session: None, user, action: Action::Join, room };
            self.authorize(asked).await.map_err(not_here)?;
        }
        let asked = hello.session.or(endpoint.session.take());
        let fresh_id = self.fresh_id(asked.as_ref());
        let fresh_token = fresh_token().map_err(|error| {
            tracing::error!(%error, "the operating system gives no random numbers");
            Refusal::new(CloseCode::Internal, "no randomness")
        })?;
        Ok(Claim {
            connection: self.next_connection(),
            coding: None,
            identity,
            asked,
            may_choose: endpoint.may_choose_session,
            resume_token: hello.resume_token.or(endpoint.resume_token.take()),
            positions: hello.positions,
            last: endpoint.last_message_id,
            metadata,
            home: endpoint.room.take(),
            own_rooms: !endpoint.single_room,
            reference,
            fresh_id,
            fresh_token,
        })
    }

    /// Whom a connection speaks for.
    async fn identify(&self, token: Option<Token>, known: Option<Identity>) -> Result<Identity, Refusal> {
        match (token, known) {
            (Some(token), _) => self.authenticate(&token).await.map_err(|error| not_authenticated(&error)),
            (None, Some(identity)) => Ok(identity),
            (None, None) if self.hooks().authenticator.is_some() => {
                Err(not_authenticated(&AuthenticateError::Refused("a token is needed".to_owned())))
            }
            (None, None) => Ok(Identity::anonymous()),
        }
    }

    /// A connection got no session.
    pub(crate) fn refused(&self, refusal: &Refusal, address: Option<IpAddr>) {
        let error = match &refusal.frame {
            Some(ServerFrame::Error(rejection)) => Some(rejection),
            _ => None,
        };
        tracing::info!(
            code = refusal.code.number(),
            reason = %refusal.reason,
            error = error.map(|rejection| rejection.code.as_str()),
            why = error.map(|rejection| rejection.message.as_str()),
            address = address.map(tracing::field::display),
            "refused"
        );
        telemetry::handshake("refused");
        telemetry::closed(Some(refusal.code.number()));
    }
}

/// It is not known whom a connection speaks for; whoever cannot be checked now comes back.
fn not_authenticated(error: &AuthenticateError) -> Refusal {
    let (code, reason) = match error {
        AuthenticateError::Unavailable { .. } => (CloseCode::TryLater, "tokens cannot be checked"),
        _ => (CloseCode::Policy, "not authenticated"),
    };
    Refusal::of(error.rejection(), code, reason)
}

/// The application does not let a connection into its URL's room, or cannot say.
fn not_here(rejection: Rejection) -> Refusal {
    if rejection.code.is_worth_a_retry() {
        return Refusal::of(rejection, CloseCode::TryLater, "nobody can say whether this is allowed");
    }
    Refusal::of(rejection, CloseCode::Policy, "not allowed here")
}

fn not_polite() -> Refusal {
    Refusal::new(CloseCode::Policy, "hello expected")
}

/// Too many handshakes: `closing` says when to come back.
fn come_back(rejection: &Rejection) -> Refusal {
    let reconnect_in_ms = rejection.retry_in_ms().unwrap_or_default();
    let frame = Some(ServerFrame::Closing { reconnect_in_ms, reason: "rate limit" });
    Refusal { frame, ..Refusal::new(CloseCode::TryLater, "rate limit") }
}

/// Waits for the first frame.
async fn hello(link: &mut Link, writer: &Writer) -> Result<(Hello, Option<Ref>), Refusal> {
    loop {
        while let Some(received) = link.next_received() {
            if let ControlFlow::Break(outcome) = first(received, writer) {
                return outcome;
            }
        }
        if !link.read().await {
            return Err(Refusal::new(CloseCode::Normal, ""));
        }
    }
}

/// What the first thing received means.
fn first(received: Received, writer: &Writer) -> ControlFlow<Result<(Hello, Option<Ref>), Refusal>> {
    match received {
        Received::Frame(inbound, _) => ControlFlow::Break(first_frame(*inbound)),
        Received::Ping(payload) => {
            let mut pong = Vec::new();
            moorline_ws::frame::put_pong(&mut pong, &payload);
            // A socket that is full or broken before its first frame gets no pong; reading tells the rest.
            let _unsent = writer.try_write(&pong);
            ControlFlow::Continue(())
        }
        Received::Alive => ControlFlow::Continue(()),
        Received::End(why) => {
            let (code, reason) = why.unwrap_or((CloseCode::Normal.number(), ""));
            let code = CloseCode::from_number(code).unwrap_or(CloseCode::Normal);
            ControlFlow::Break(Err(Refusal::new(code, reason)))
        }
    }
}

fn first_frame(inbound: Inbound) -> Result<(Hello, Option<Ref>), Refusal> {
    match inbound.frame {
        Ok(ClientFrame::Hello(hello)) => Ok((*hello, inbound.reference)),
        Ok(_) => Err(not_polite()),
        Err(rejection) => Err(Refusal::of(rejection, CloseCode::Policy, "hello expected")),
    }
}

async fn refuse(writer: &Writer, refusal: &Refusal, link: Link) {
    // Nothing was sent before, so it fits unless the peer is gone.
    let _unsent = writer.try_write(&farewell(refusal));
    writer.finish();
    link.linger().await;
}

/// What a refused connection is sent.
pub(crate) fn farewell(refusal: &Refusal) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(frame) = &refusal.frame {
        crate::config::framing().text(&mut bytes, &codec::encode(frame));
    }
    moorline_ws::frame::put_close(&mut bytes, refusal.code.number(), &refusal.reason);
    bytes
}

fn fresh_token() -> Result<ResumeToken, getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    Ok(ResumeToken::from_random(bits))
}
