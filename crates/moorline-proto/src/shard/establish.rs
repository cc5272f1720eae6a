//! From a connection that wants a session to a session that has a connection (spec/protocol.md, section 2).
//!
//! Load (where an id was asked for that is not here) → claim (where the session is not here) → survey of the rooms →
//! attach, which decides → save → greeting. Each arrow waits for its answer; nothing is changed before attach.

use std::sync::Arc;

use super::access::left_forbidden;
use super::membership::lazy_rooms;
use super::session::{Greeting, Resumed};
use super::{ConnectionId, Output, Refusal, Shard, Surveyor, Turn};
use crate::close::CloseCode;
use crate::coding::Coding;
use crate::error::Rejection;
use crate::frame::Ref;
use crate::id::{Owner, RoomName, SessionId};
use crate::identity::Identity;
use crate::metadata;
use crate::position::{Epoch, Offset, Position};
use crate::resume::{Since, Survey, SurveyRequest};
use crate::session_record::SessionRecord;
use crate::token::ResumeToken;

/// What a connection brings when its handshake is over.
#[derive(Debug)]
pub struct Claim {
    /// The connection.
    pub connection: ConnectionId,
    /// How its messages are compressed, where both ends agreed on it.
    pub coding: Option<Coding>,
    /// Whom it speaks for.
    pub identity: Identity,
    /// The session it asks for.
    pub asked: Option<SessionId>,
    /// Whether it may have that id where it is free, whatever its grants say.
    pub may_choose: bool,
    /// What proves that the session is its own.
    pub resume_token: Option<ResumeToken>,
    /// Where it stands.
    pub positions: Vec<(RoomName, Position)>,
    /// Where it stands in the endpoint's room, in the epoch of its session.
    pub last: Option<Offset>,
    /// The application's metadata, checked.
    pub metadata: Option<Box<str>>,
    /// The room of its URL.
    pub home: Option<RoomName>,
    /// Whether it is in its own rooms; a single-room endpoint's sessions are not.
    pub own_rooms: bool,
    /// Where it wants the answer to its `hello`.
    pub reference: Option<Ref>,
    /// An id for a new session, which belongs to this shard.
    pub fresh_id: SessionId,
    /// The token that resumes the session next time.
    pub fresh_token: ResumeToken,
}

/// A connection on its way.
#[derive(Debug)]
pub(super) struct Pending {
    claim: Claim,
    abandoned: bool,
    found: Found,
    /// Whether it means an earlier session of this id: it is the owner's, with a token that this one never had.
    is_stale: bool,
    requests: Vec<SurveyRequest>,
}

/// The session that a connection will get.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// One that is here.
    Here(SessionId),
    /// One that a store kept; the fence once it is claimed.
    Stored(Arc<SessionRecord>, u64),
    /// A new one; the fence once it is claimed.
    New(SessionId, u64),
}

impl Found {
    /// The fence of a claim of this id.
    fn fence_of(&mut self, asked: &SessionId) -> Option<&mut u64> {
        match self {
            Self::Here(_) => None,
            Self::Stored(record, fence) => (record.id == *asked).then_some(fence),
            Self::New(id, fence) => (id == asked).then_some(fence),
        }
    }
}

impl Shard {
    pub(super) fn establish(&mut self, turn: &mut Turn<'_>, claim: Claim) {
        let connection = claim.connection;
        if self.draining {
            return self.refuse(connection, CloseCode::GoingAway, "the server drains");
        }
        if let Some(refusal) = self.unwelcome(turn, &claim.identity, claim.home.as_ref()) {
            return self.outputs.push_back(Output::Refuse(connection, Box::new(refusal)));
        }
        let found = match &claim.asked {
            None => Some(Found::New(claim.fresh_id.clone(), 0)),
            Some(id) => match self.session_named(id) {
                Some(key) if entitled(&self.session(key).record, &claim) => Some(Found::Here(id.clone())),
                Some(_) => Some(Found::New(claim.fresh_id.clone(), 0)),
                None => None,
            },
        };
        let asked = claim.asked.clone();
        let placeholder = Found::New(claim.fresh_id.clone(), 0);
        self.pending.insert(
            connection,
            Pending { claim, abandoned: false, found: placeholder, is_stale: false, requests: Vec::new() },
        );
        match (found, asked) {
            (Some(found), _) => self.found(connection, found),
            (None, Some(id)) => self.outputs.push_back(Output::Load(connection, id)),
            (None, None) => {}
        }
    }

    pub(super) fn abandon(&mut self, connection: ConnectionId) {
        if let Some(pending) = self.pending.get_mut(&connection) {
            pending.abandoned = true;
        }
    }

    pub(super) fn loaded(
        &mut self,
        connection: ConnectionId,
        record: Result<Option<Arc<SessionRecord>>, Rejection>,
    ) {
        let Some(pending) = self.pending.get(&connection) else { return };
        let claim = &pending.claim;
        let found = match (record, &claim.asked) {
            (Err(rejection), _) => return self.give_up(connection, &rejection),
            (Ok(Some(record)), _) if entitled(&record, claim) => Found::Stored(record, 0),
            (Ok(None), Some(asked)) if may_choose(claim, asked) => Found::New(asked.clone(), 0),
            _ => Found::New(claim.fresh_id.clone(), 0),
        };
        self.found(connection, found);
    }

    /// It is known which session it will be: claim it where it is not here, then survey.
    fn found(&mut self, connection: ConnectionId, found: Found) {
        let Some(pending) = self.pending.get_mut(&connection) else { return };
        pending.found = found.clone();
        match found {
            Found::Here(_) => self.survey(connection),
            Found::Stored(record, _) => self.outputs.push_back(Output::Claim(connection, record.id.clone())),
            Found::New(id, _) => self.outputs.push_back(Output::Claim(connection, id)),
        }
    }

    pub(super) fn claimed(&mut self, connection: ConnectionId, fence: Result<u64, Rejection>) {
        let fence = match fence {
            Ok(fence) => fence,
            Err(rejection) => return self.give_up(connection, &rejection),
        };
        let Some(pending) = self.pending.get_mut(&connection) else { return };
        match &mut pending.found {
            Found::Here(_) => return,
            // One that came later may have handed its claim over.
            Found::Stored(_, slot) | Found::New(_, slot) => *slot = fence.max(*slot),
        }
        self.survey(connection);
    }

    fn survey(&mut self, connection: ConnectionId) {
        let Some(pending) = self.pending.get(&connection) else { return };
        let (session, user) = match &pending.found {
            Found::Here(id) => {
                (id.clone(), self.session_named(id).and_then(|key| self.session(key).user().cloned()))
            }
            Found::Stored(record, _) => (record.id.clone(), record.user.clone()),
            Found::New(id, _) => (id.clone(), pending.claim.identity.user.clone()),
        };
        let is_stale = self.is_stale(&pending.claim, &pending.found);
        let requests = self.requests(&pending.claim, &pending.found, is_stale);
        if let Some(pending) = self.pending.get_mut(&connection) {
            pending.is_stale = is_stale;
            pending.requests.clone_from(&requests);
        }
        let surveyor = Surveyor::Establish(connection);
        self.outputs.push_back(Output::Survey { surveyor, session, user, requests });
    }

    /// Which rooms to ask about: where an old session goes on, where a new one begins, and what it once knew.
    fn requests(&self, claim: &Claim, found: &Found, is_stale: bool) -> Vec<SurveyRequest> {
        let mut requests: Vec<SurveyRequest> = match found {
            Found::Here(id) => self.session_named(id).map_or_else(Vec::new, |key| self.marks(key)),
            Found::Stored(record, _) => record.rooms.clone(),
            Found::New(..) => Vec::new(),
        }
        .into_iter()
        .map(|mark| {
            let named = named(claim, &mark.room, mark.acked.epoch).filter(|_| !is_stale);
            SurveyRequest { named, ..SurveyRequest::new(mark.room, Since::Position(mark.acked)) }
        })
        .collect();
        let begins = match found {
            Found::New(id, _) => own_rooms(claim, id),
            Found::Here(_) | Found::Stored(..) => Vec::new(),
        };
        if let Found::Stored(record, _) = found
            && record.own_rooms
        {
            // Without a mark they had no record when the session was kept last.
            add(&mut requests, lazy_rooms(&record.id, record.user.as_ref()), Since::Start);
        }
        add(&mut requests, begins.into_iter().chain(claim.home.clone()), Since::Now);
        if is_stale || matches!(found, Found::New(..)) {
            let open = self.lost_rooms(claim).filter(|room| self.may_ask_about(&claim.identity, room));
            add(&mut requests, open.cloned(), Since::Now);
        }
        requests
    }

    /// The rooms that a client believes to be a member of, and is not, because its session ended.
    pub(super) fn lost_rooms<'a>(&self, claim: &'a Claim) -> impl Iterator<Item = &'a RoomName> {
        let known = claim.positions.iter().take(self.config.rooms_max).map(|(room, _)| room);
        known.filter(|room| !room.is_own() && claim.home.as_ref() != Some(room))
    }

    /// Whether the claim's positions are those of an earlier session of the same id, of which nobody told its client that
    /// it had ended.
    fn is_stale(&self, claim: &Claim, found: &Found) -> bool {
        let record = match found {
            Found::New(..) => return false,
            Found::Here(id) => self.session_named(id).map(|key| &self.session(key).record),
            Found::Stored(record, _) => Some(record),
        };
        let Some((record, token)) = record.zip(claim.resume_token.as_ref()) else { return false };
        !record.tokens.accepts(token)
    }

    pub(super) fn attach(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        surveys: Result<Vec<Survey>, Rejection>,
    ) {
        let surveys = match surveys {
            Ok(surveys) => surveys,
            Err(rejection) => return self.give_up(connection, &rejection),
        };
        if self.moved_on(connection) {
            return self.survey(connection);
        }
        let Some(Pending { claim, abandoned, found, is_stale, requests }) = self.pending.remove(&connection)
        else {
            return;
        };
        if abandoned || self.draining {
            self.let_go(&found);
            return self.refuse(connection, CloseCode::GoingAway, "the server drains");
        }
        if self.changed_meanwhile(&claim, &found) {
            self.hand_over_fence(&found);
            return self.establish(turn, claim);
        }
        // Meanwhile it may have been revoked.
        if let Some(refusal) = self.unwelcome(turn, &claim.identity, claim.home.as_ref()) {
            self.let_go(&found);
            return self.outputs.push_back(Output::Refuse(connection, Box::new(refusal)));
        }
        if self.is_outrun(connection, &found) {
            return self.refuse(connection, CloseCode::Replaced, "replaced by a newer connection");
        }
        if self.metadata_refused(&claim, &found) {
            self.let_go(&found);
            return self.refuse(connection, CloseCode::Policy, "metadata over its bound");
        }
        if !self.admitted(turn, &claim, &found) {
            self.let_go(&found);
            return self.refuse(connection, CloseCode::Policy, "connection limit reached");
        }
        let resumed = !is_stale && !matches!(found, Found::New(..));
        // That it is still here was seen above.
        let Some(key) = self.settle(turn, &claim, found) else { return };
        turn.host.bind(connection, key);
        let mut greeting = self.enter_rooms(&claim, (key, is_stale), &requests, &surveys);
        if !resumed {
            // Where they stand is not for who may not join them.
            let closed = self.lost_rooms(&claim).filter(|room| !self.may_ask_about(&claim.identity, room));
            greeting.1.extend(closed.cloned().map(left_forbidden));
        }
        let frames = self.greeting(&claim, key, resumed, greeting);
        let until = turn.now.instant + self.config.save_timeout;
        if let Some(connected) = &mut self.session_mut(key).connected {
            let first = Some(Resumed(resumed));
            connected.greeting = Some(Box::new(Greeting { frames, first, until, ..Greeting::default() }));
        }
        self.save(key);
        self.reschedule(key);
    }

    /// Whether the session that a connection waits for joined or left rooms since it was asked how to go on in them.
    fn moved_on(&self, connection: ConnectionId) -> bool {
        let Some(Pending { found: Found::Here(id), requests, .. }) = self.pending.get(&connection) else {
            return false;
        };
        let Some(key) = self.session_named(id) else { return false };
        let marks = self.marks(key);
        let asked = || requests.iter().filter(|request| request.since != Since::Now);
        marks.len() != asked().count()
            || marks.iter().any(|mark| asked().all(|request| request.room != mark.room))
    }

    /// Whether another connection settled the same session while this one waited.
    fn changed_meanwhile(&self, claim: &Claim, found: &Found) -> bool {
        match found {
            // Also where it ended, and the id is another user's by now.
            Found::Here(id) => {
                self.session_named(id).is_none_or(|key| !entitled(&self.session(key).record, claim))
            }
            Found::Stored(record, _) => self.session_named(&record.id).is_some(),
            Found::New(id, _) => self.session_named(id).is_some(),
        }
    }

    /// The claim of a connection that came too late still outdates the fence of the session that is here now.
    fn hand_over_fence(&mut self, found: &Found) {
        let (id, fence) = match found {
            Found::Here(_) => return,
            Found::Stored(record, fence) => (&record.id, *fence),
            Found::New(id, fence) => (id, *fence),
        };
        if let Some(key) = self.session_named(id) {
            let session = self.session_mut(key);
            session.fence = session.fence.max(fence);
        }
        for slot in self.pending.values_mut().filter_map(|pending| pending.found.fence_of(id)) {
            *slot = fence.max(*slot);
        }
    }

    /// Whether a newer connection had the session before this one came through.
    fn is_outrun(&self, connection: ConnectionId, found: &Found) -> bool {
        let Found::Here(id) = found else { return false };
        self.session_named(id).is_some_and(|key| self.session(key).newest > connection)
    }

    /// Whether what a connection adds to its session's metadata would be too much.
    fn metadata_refused(&self, claim: &Claim, found: &Found) -> bool {
        let record = match found {
            Found::New(..) => None,
            Found::Here(id) => self.session_named(id).map(|key| &self.session(key).record),
            Found::Stored(record, _) => Some(record),
        };
        let Some((record, patch)) = record.zip(claim.metadata.as_deref()) else { return false };
        metadata::merge(record.metadata.as_deref(), patch, self.config.metadata_max_bytes).is_err()
    }

    fn admitted(&self, turn: &mut Turn<'_>, claim: &Claim, found: &Found) -> bool {
        let (user, id) = match found {
            Found::Here(id) => {
                let Some(key) = self.session_named(id) else { return false };
                if self.session(key).connected.is_some() {
                    return true;
                }
                (self.session(key).user(), id)
            }
            Found::Stored(record, _) => (record.user.as_ref(), &record.id),
            Found::New(id, _) => (claim.identity.user.as_ref(), id),
        };
        let Some(user) = user else { return true };
        let mut admitted = false;
        turn.host.with_users(&mut |users| admitted = users.connect(user, id));
        admitted
    }

    fn give_up(&mut self, connection: ConnectionId, rejection: &Rejection) {
        if let Some(pending) = self.pending.remove(&connection) {
            self.let_go(&pending.found);
        }
        self.refuse(connection, CloseCode::of(rejection), &rejection.message);
    }

    /// Whether a connection that is being established claims, or claimed, that session.
    pub(super) fn is_being_claimed(&mut self, id: &SessionId) -> bool {
        self.pending.values_mut().any(|pending| pending.found.fence_of(id).is_some())
    }

    /// Gives back an id that was claimed for a session that did not come to be. Where another connection's came to be
    /// meanwhile, that one goes on with the newer claim: the older one is void.
    fn let_go(&mut self, found: &Found) {
        self.hand_over_fence(found);
        if let Found::New(id, fence) = found
            && self.session_named(id).is_none()
            && !self.is_being_claimed(id)
        {
            self.outputs.push_back(Output::Remove(id.clone(), *fence));
        }
    }

    fn refuse(&mut self, connection: ConnectionId, code: CloseCode, reason: &str) {
        let refusal = Refusal::new(code, reason.to_owned());
        self.outputs.push_back(Output::Refuse(connection, Box::new(refusal)));
    }
}

/// Asks about more rooms, where they are not asked about yet.
fn add(requests: &mut Vec<SurveyRequest>, rooms: impl Iterator<Item = RoomName>, since: Since) {
    for room in rooms {
        if !requests.iter().any(|request| request.room == room) {
            requests.push(SurveyRequest::new(room, since));
        }
    }
}

/// Whether a connection may have that id, where it is free.
fn may_choose(claim: &Claim, id: &SessionId) -> bool {
    claim.may_choose || claim.identity.grants.may_choose(id, claim.identity.user.as_ref())
}

/// Whether a connection may have a session: its authenticated owner, or who is not authenticated and holds a token of it.
fn entitled(record: &SessionRecord, claim: &Claim) -> bool {
    match (&record.user, &claim.identity.user) {
        (owner, Some(user)) => owner.as_ref() == Some(user),
        (_, None) => claim.resume_token.as_ref().is_some_and(|token| record.tokens.accepts(token)),
    }
}

/// Where a connection says that it stands in a room; what its URL says is of this epoch.
pub(super) fn named(claim: &Claim, room: &RoomName, epoch: Epoch) -> Option<Position> {
    let position = claim.positions.iter().find(|(name, _)| name == room).map(|(_, position)| *position);
    let last = claim.last.filter(|_| claim.home.as_ref() == Some(room));
    position.or(last.map(|offset| Position { epoch, offset }))
}

fn own_rooms(claim: &Claim, id: &SessionId) -> Vec<RoomName> {
    if !claim.own_rooms {
        return Vec::new();
    }
    let user = claim.identity.user.clone().map(Owner::User);
    let owners = [Some(Owner::All), user, Some(Owner::Session(id.clone()))];
    owners.iter().flatten().map(RoomName::own).collect()
}
