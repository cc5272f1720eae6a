//! From a fresh socket to a session: what the client asks for, and which shard it belongs to.

use std::ops::ControlFlow;

use bytes::Bytes;
use moorline_proto::close::CloseCode;
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::{ClientFrame, Hello, Inbound, Ref, ServerFrame};
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::identity::{Identity, Token};
use moorline_proto::position::Offset;
use moorline_proto::shard::{Claim, Input};
use moorline_proto::token::ResumeToken;
use moorline_proto::{codec, metadata};
use moorline_ws::decoder::{Decoder, Limits};
use moorline_ws::frame::Role;

use crate::connection::{self, Link, Received};
use crate::node::Node;
use crate::transport::{Reader, Writer};

/// What a URL says about the connections that come to it: who they are, and where they belong. The caller has
/// checked all of it; see also `Origin`, which browsers send and which the caller checks too.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// The room of the URL, which its sessions are members of.
    pub room: Option<RoomName>,
    /// Whom the application knows the connection to be.
    pub identity: Option<Identity>,
    /// What the request showed; what `hello` brings wins over it.
    pub token: Option<Token>,
    /// Where it comes from, for what is limited by address.
    pub address: Option<std::net::IpAddr>,
    /// The session it asks for.
    pub session: Option<SessionId>,
    /// Whether it may have that id where it is free. Default no: an id is not a secret.
    pub may_choose_session: bool,
    /// What proves that the session is its own.
    pub resume_token: Option<ResumeToken>,
    /// Up to where it has read the URL's room.
    pub last_message_id: Option<Offset>,
    /// Its sessions are members of the URL's room alone, so that a client that acknowledges every number it sees never
    /// mixes two rooms' numbers. Default no.
    pub single_room: bool,
}

/// How many frames a client may send before it is established; the rest waits in its socket.
const EARLY_MAX: usize = 64;

/// How a connection begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    /// The client speaks first.
    Hello,
    /// The URL has said everything.
    Bare,
}

/// Why a connection gets no session.
struct Refusal {
    code: CloseCode,
    reason: &'static str,
    error: Option<ServerFrame>,
}

impl Refusal {
    const fn policy(reason: &'static str) -> Self {
        Self { code: CloseCode::Policy, reason, error: None }
    }
}

impl Node {
    /// Serves a connection to its end, or hands it to a task that does.
    pub(crate) async fn open(
        self,
        reader: Reader,
        writer: Writer,
        early: Bytes,
        opening: Opening,
        endpoint: Endpoint,
    ) {
        let limits = Limits { max_message_bytes: self.config().message_max_bytes };
        let mut link = Link::new(reader, Decoder::new(Role::Server, limits));
        link.take_early(early);
        let hello = match opening {
            Opening::Bare => Ok((Hello::default(), None)),
            Opening::Hello => {
                tokio::select! {
                    biased;
                    () = self.drains() => Err(self.going_away()),
                    hello = hello(&mut link, &writer) => hello,
                    () = tokio::time::sleep(self.config().hello_timeout) => Err(Refusal::policy("hello expected")),
                }
            }
        };
        let claim = hello.and_then(|(hello, reference)| self.claim(endpoint, hello, reference));
        match claim {
            Ok(claim) => self.establish(link, writer, claim).await,
            Err(refusal) => refuse(&writer, &refusal, link).await,
        }
    }

    /// Asks the session's shard, and starts the task that reads for it.
    async fn establish(&self, mut link: Link, writer: Writer, claim: Claim) {
        let shard = self.shard_of(claim.asked.as_ref().unwrap_or(&claim.fresh_id)).clone();
        let connection = claim.connection;
        let Some(mut answer) = shard.establish(claim, writer).await else { return };
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return match answer {
                    // A task of its own, as small as reading needs: the handshake's large future is freed with this one.
                    Ok(peer) => drop(self.spawn(connection::read(link, peer, shard.inbox()))),
                    Err(_) => link.linger().await,
                },
                alive = link.read(), if link.waiting() < EARLY_MAX => if !alive {
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

    fn going_away(&self) -> Refusal {
        let spread = self.config().drain.spread.as_millis() / 2;
        let reconnect_in_ms = u64::try_from(spread).unwrap_or(u64::MAX);
        Refusal {
            code: CloseCode::GoingAway,
            reason: "going away",
            error: Some(ServerFrame::Closing { reconnect_in_ms, reason: "drain" }),
        }
    }

    fn claim(&self, endpoint: Endpoint, hello: Hello, reference: Option<Ref>) -> Result<Claim, Refusal> {
        if hello.token.is_some() || endpoint.token.is_some() {
            let why = "this endpoint checks no tokens; in development say who you are by ?user=";
            let error = ServerFrame::Error(Rejection::new(ErrorCode::NoAuthenticator, why));
            return Err(Refusal { error: Some(error), ..Refusal::policy("not authenticated") });
        }
        let metadata =
            match hello.metadata.as_deref().map(|m| metadata::parse(m, self.config().metadata_max_bytes)) {
                None => None,
                Some(Ok(metadata)) => metadata,
                Some(Err(rejection)) => {
                    let error = ServerFrame::Error(rejection);
                    return Err(Refusal { error: Some(error), ..Refusal::policy("metadata refused") });
                }
            };
        let asked = hello.session.or(endpoint.session);
        let fresh_id = self.fresh_id(asked.as_ref());
        let fresh_token = fresh_token().map_err(|error| {
            tracing::error!(%error, "the operating system gives no random numbers");
            Refusal { code: CloseCode::Internal, reason: "no randomness", error: None }
        })?;
        Ok(Claim {
            connection: self.next_connection(),
            user: endpoint.identity.and_then(|identity| identity.user),
            asked,
            may_choose: endpoint.may_choose_session,
            resume_token: hello.resume_token.or(endpoint.resume_token),
            positions: hello.positions,
            last: endpoint.last_message_id,
            metadata,
            home: endpoint.room,
            own_rooms: !endpoint.single_room,
            reference,
            fresh_id,
            fresh_token,
        })
    }
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
            return Err(Refusal { code: CloseCode::Normal, reason: "", error: None });
        }
    }
}

/// What the first thing received means.
fn first(received: Received, writer: &Writer) -> ControlFlow<Result<(Hello, Option<Ref>), Refusal>> {
    match received {
        Received::Frame(inbound) => ControlFlow::Break(first_frame(*inbound)),
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
            ControlFlow::Break(Err(Refusal { code, reason, error: None }))
        }
    }
}

fn first_frame(inbound: Inbound) -> Result<(Hello, Option<Ref>), Refusal> {
    match inbound.frame {
        Ok(ClientFrame::Hello(hello)) => Ok((*hello, inbound.reference)),
        Ok(_) => Err(Refusal::policy("hello expected")),
        Err(rejection) => {
            let error = ServerFrame::Error(rejection);
            Err(Refusal { error: Some(error), ..Refusal::policy("hello expected") })
        }
    }
}

async fn refuse(writer: &Writer, refusal: &Refusal, link: Link) {
    let mut bytes = Vec::new();
    if let Some(error) = &refusal.error {
        crate::config::framing().text(&mut bytes, &codec::encode(error));
    }
    moorline_ws::frame::put_close(&mut bytes, refusal.code.number(), refusal.reason);
    // Nothing was sent before, so it fits unless the peer is gone.
    let _unsent = writer.try_write(&bytes);
    writer.finish();
    link.linger().await;
}

fn fresh_token() -> Result<ResumeToken, getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    Ok(ResumeToken::from_random(bits))
}
