//! What a connection may do by itself, and for how long (spec/protocol.md, section 11).

use std::sync::Arc;
use std::time::Duration;

use super::{Output, Refusal, RoomKey, SessionKey, Shard, Ticket, Turn};
use crate::close::CloseCode;
use crate::error::{ErrorCode, Rejection};
use crate::frame::{Answer, LeftReason, ServerFrame, Target};
use crate::grants::{Grants, Names};
use crate::id::RoomName;
use crate::identity::{Identity, Token, TokenId};
use crate::time::{Instant, Now, Timestamp};

/// What happens when a connection's identity expires.
#[derive(Clone, Copy, Debug)]
pub struct ExpiryConfig {
    /// How long before the end a client is told. Default 60 s: time to fetch a fresh token.
    pub notice: Duration,
    /// How long after the end it is closed. Default 30 s: clocks differ.
    pub leeway: Duration,
    /// The longest that an identity may be valid from now on; as long is a revocation kept. Default 24 h.
    pub lifetime_max: Duration,
}

impl Default for ExpiryConfig {
    fn default() -> Self {
        Self {
            notice: Duration::from_secs(60),
            leeway: Duration::from_secs(30),
            lifetime_max: Duration::from_secs(24 * 3600),
        }
    }
}

/// What an identity allows, where that is not everything for ever.
#[derive(Debug)]
pub(super) struct Access {
    grants: Grants,
    expires_at: Option<Timestamp>,
    /// When the client is to be told; none once it was.
    notice_at: Option<Instant>,
    ends_at: Option<Instant>,
}

impl Access {
    /// One word for the connections that need none of it.
    pub(super) fn new(identity: &Identity, now: Now, config: &ExpiryConfig) -> Option<Box<Self>> {
        let Identity { grants, expires_at, .. } = identity;
        let is_free = grants.join == Names::All && grants.publish == Names::All;
        if is_free && expires_at.is_none() {
            return None;
        }
        let left = expires_at.map(|at| left(at, now));
        Some(Box::new(Self {
            grants: grants.clone(),
            expires_at: *expires_at,
            notice_at: left.map(|left| now.instant + left.saturating_sub(config.notice)),
            ends_at: left.map(|left| now.instant + left + config.leeway),
        }))
    }

    /// When something is to be done about it.
    pub(super) fn next(&self) -> Option<Instant> {
        self.notice_at.or(self.ends_at)
    }
}

/// How long it is until then.
fn left(at: Timestamp, now: Now) -> Duration {
    Duration::from_millis(at.0.saturating_sub(now.timestamp.0))
}

impl Shard {
    /// Why a connection gets no session, as far as its identity says.
    pub(super) fn unwelcome(
        &self,
        turn: &mut Turn<'_>,
        identity: &Identity,
        home: Option<&RoomName>,
    ) -> Option<Refusal> {
        if let Err(rejection) = self.check(turn, identity) {
            return Some(Refusal::of(rejection, CloseCode::Policy, "not authenticated"));
        }
        let home = home?;
        if !identity.grants.may_join(home, identity.user.as_ref()) {
            return Some(Refusal::of(may_not("join", home), CloseCode::Policy, "not allowed here"));
        }
        let is_full = self.has_room_for(home).err();
        is_full.map(|rejection| Refusal::of(rejection, CloseCode::TryLater, "too many rooms"))
    }

    /// Whether an identity counts now.
    fn check(&self, turn: &mut Turn<'_>, identity: &Identity) -> Result<(), Rejection> {
        let refuse = |why: &str| Err(Rejection::new(ErrorCode::NotAuthenticated, why));
        let config = &self.config.expiry;
        if let Some(expires_at) = identity.expires_at {
            let now = turn.now.timestamp.0;
            if expires_at.0.saturating_add(millis(config.leeway)) <= now {
                return refuse("the token has expired");
            }
            // A revocation is kept so long: a token that outlives it would come back to life. One that does not say when it was
            // issued, or names a later time, is taken for one of now.
            let now = now.saturating_add(millis(config.leeway));
            let issued_at = identity.issued_at.map_or(now, |at| at.0.min(now));
            if expires_at.0 > issued_at.saturating_add(millis(config.lifetime_max)) {
                return refuse("the token would be valid for too long");
            }
        }
        if turn.host.is_revoked(identity) {
            return refuse("the token was revoked");
        }
        Ok(())
    }

    /// Whether one more room can be known here.
    pub(super) fn has_room_for(&self, name: &RoomName) -> Result<(), Rejection> {
        if self.named_rooms < self.config.shard_rooms_max || self.room_named(name).is_some() {
            return Ok(());
        }
        let why = format!("there are {} rooms already on this shard (limits.rooms_max)", self.named_rooms);
        Err(Rejection::new(ErrorCode::Overloaded, why))
    }

    /// Whether a session may join a room by itself.
    pub(super) fn check_join(&self, key: SessionKey, room: &RoomName) -> Result<(), Rejection> {
        let session = self.session(key);
        let access = session.connected.as_ref().and_then(|connected| connected.access.as_ref());
        match access {
            Some(access) if !access.grants.may_join(room, session.user()) => Err(may_not("join", room)),
            _ => Ok(()),
        }
    }

    /// Whether a session may publish there.
    pub(super) fn check_publish(&self, key: SessionKey, to: &Target) -> Result<(), Rejection> {
        let session = self.session(key);
        let access = session.connected.as_ref().and_then(|connected| connected.access.as_ref());
        let Some(access) = access.filter(|access| access.grants.publish != Names::All) else { return Ok(()) };
        let refused = to.room_names().find(|room| !access.grants.may_publish(room, session.user()));
        refused.map_or(Ok(()), |room| Err(may_not("publish to", &room)))
    }

    /// A fresh token for an open connection.
    pub(super) fn auth_frame(
        &mut self,
        ticket: impl FnOnce() -> Ticket,
        key: SessionKey,
        token: Token,
    ) -> Result<(), Rejection> {
        if !self.config.authenticates {
            return Err(Rejection::new(ErrorCode::NoAuthenticator, "this endpoint checks no tokens"));
        }
        self.depart(key, 1)?;
        self.outputs.push_back(Output::Authenticate(ticket(), token));
        Ok(())
    }

    pub(super) fn authenticated(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        identity: Result<Box<Identity>, Rejection>,
    ) {
        let Some(key) = self.arrive(&ticket) else { return };
        let renewed = identity.and_then(|identity| self.renew_access(turn, key, &identity));
        let is_renewed = renewed.is_ok();
        self.answer(turn, key, ticket.reference, renewed);
        if is_renewed && self.resolve(ticket.peer).is_some() {
            self.leave_forbidden(turn, key);
            self.save(key);
            self.reschedule(key);
        }
    }

    fn renew_access(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        identity: &Identity,
    ) -> Result<Answer, Rejection> {
        self.check(turn, identity)?;
        if identity.user.as_ref() != self.session(key).user() {
            return Err(Rejection::new(ErrorCode::Forbidden, "this token is another user's"));
        }
        let access = Access::new(identity, turn.now, &self.config.expiry);
        let session = self.session_mut(key);
        Arc::make_mut(&mut session.record).token.clone_from(&identity.token);
        if let Some(connected) = &mut session.connected {
            connected.access = access;
        }
        Ok(Answer::Expires { expires_at: identity.expires_at })
    }

    /// Ends the memberships that a session began by itself and may no longer have.
    fn leave_forbidden(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        let rooms: Vec<RoomKey> = self.session(key).memberships.iter().map(|m| m.room).collect();
        let forbidden: Vec<RoomKey> =
            rooms.into_iter().filter(|&room| self.is_forbidden(key, room)).collect();
        for room in forbidden {
            let room_name = self.room(room).name.clone();
            self.exit(key, room);
            self.send_frame(turn, key, &left_forbidden(room_name));
        }
    }

    /// Whether a session is in a room in which neither its token nor the application wants it.
    pub(super) fn is_forbidden(&self, key: SessionKey, room: RoomKey) -> bool {
        let name = &self.room(room).name;
        let is_added = self.session(key).membership(room).is_some_and(|membership| membership.is_added);
        !name.is_own() && !is_added && self.check_join(key, name).is_err()
    }

    /// Whether a connection may be told how a room stands in which its session is not.
    pub(super) fn may_ask_about(&self, identity: &Identity, room: &RoomName) -> bool {
        !self.config.authorizes && identity.grants.may_join(room, identity.user.as_ref())
    }

    /// Tells a client that its token ends, and ends its connection with it. True where that was done.
    pub(super) fn expire_access(&mut self, turn: &mut Turn<'_>, key: SessionKey) -> bool {
        let now = turn.now;
        let Some(connected) = &mut self.session_mut(key).connected else { return false };
        let Some(access) = &mut connected.access else { return false };
        if access.ends_at.is_some_and(|at| at <= now.instant) {
            self.close(turn, key, CloseCode::Policy.number(), "token expired");
            return true;
        }
        if access.notice_at.is_some_and(|at| at <= now.instant) {
            access.notice_at = None;
            let expires_in = access.expires_at.map_or(Duration::ZERO, |at| left(at, now));
            self.send_frame(turn, key, &ServerFrame::TokenExpiring { expires_in_ms: millis(expires_in) });
        }
        false
    }

    /// The sessions whose current, or last, connection came with that token.
    pub(super) fn sessions_of_token(&self, token: &TokenId) -> Vec<SessionKey> {
        let is_its = |key: &SessionKey| self.session(*key).record.token.as_ref() == Some(token);
        self.session_keys().filter(is_its).collect()
    }
}

pub(super) fn left_forbidden(room: RoomName) -> ServerFrame {
    ServerFrame::Left { room, reason: LeftReason::Forbidden }
}

fn may_not(what: &str, room: &RoomName) -> Rejection {
    Rejection::new(
        ErrorCode::Forbidden,
        format!("the token does not allow this session to {what} \"{room}\""),
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
