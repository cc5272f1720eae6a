//! What a connection is told first: where its rooms stand, what is lost, and then what it missed.

use super::access::left_forbidden;
use super::establish::{Claim, named};
use super::session::Texts;
use super::{SessionKey, Shard};
use crate::frame::{Answer, Reply, RoomEstablished, RoomsEstablished, ServerFrame};
use crate::id::RoomName;
use crate::position::{Offset, Position};
use crate::resume::{ResetReason, Resume, Since, Survey, SurveyRequest, resume};

impl Shard {
    /// Puts every membership where the surveys say it goes on. Returns the rooms to name, and the resets to tell.
    pub(super) fn enter_rooms(
        &mut self,
        claim: &Claim,
        (key, is_stale): (SessionKey, bool),
        requests: &[SurveyRequest],
        surveys: &[Survey],
    ) -> (RoomsEstablished, Vec<ServerFrame>) {
        let mut rooms = RoomsEstablished::default();
        let mut resets = Vec::new();
        for (request, survey) in requests.iter().zip(surveys) {
            let position = survey.state.position();
            let is_new = request.since == Since::Now;
            if let Some(room) = self.room_named(&request.room)
                && !is_new
                && self.is_forbidden(key, room)
            {
                self.exit(key, room);
                resets.push(left_forbidden(request.room.clone()));
                continue;
            }
            if let Some(known) = named(claim, &request.room, position.epoch).filter(|_| is_new) {
                // A number that the room has not come to, as from before the log began anew, means nothing here.
                let is_known = known.epoch == position.epoch && known.offset <= position.offset;
                let from = is_known.then_some(known.offset);
                resets.push(reset(&request.room, ResetReason::Expired, position, from));
                if !request.room.is_own() && claim.home.as_ref() != Some(&request.room) {
                    continue;
                }
            }
            let least = self.least(key, request, survey);
            let start = match resumed(request, survey) {
                Resume::Continue(offset) => {
                    let start = Position { offset, ..position };
                    if let Some(known) =
                        named(claim, &request.room, position.epoch).filter(|_| is_stale && !is_new)
                    {
                        let from = (known.epoch == position.epoch).then_some(known.offset);
                        resets.push(reset(&request.room, ResetReason::Expired, start, from));
                    }
                    start
                }
                Resume::Reset { reason, from, to } => {
                    let to = Position { offset: to.max(least), ..position };
                    let known = named(claim, &request.room, position.epoch);
                    let known = known.filter(|_| !is_stale && !is_new && from.is_some());
                    match known.map(|known| resume(known, &survey.state)) {
                        // What it names by a former history's number it has: only what lies beyond is lost to it.
                        Some(Resume::Continue(_)) => {}
                        // Where its own numbers mean nothing here, that is what it must know.
                        Some(Resume::Reset { reason, from, .. }) => {
                            resets.push(reset(&request.room, reason, to, from));
                        }
                        None => resets.push(reset(&request.room, reason, to, from)),
                    }
                    to
                }
            };
            let mistaken = named(claim, &request.room, position.epoch).filter(|_| !is_new);
            if mistaken.is_some_and(|known| self.is_foreign(known, request, survey)) {
                resets.push(reset(&request.room, ResetReason::Epoch, start, None));
            }
            self.begin(key, request, survey, (start, least));
            // A client that may know a former history's number of an own room learns what that history is called now.
            let is_former = |known: Position| known.epoch != position.epoch;
            let is_renamed = mistaken.is_some_and(is_former)
                || matches!(request.since, Since::Position(acked) if is_former(acked));
            if !request.room.is_own() || survey.deliverable > 0 || is_renamed {
                let established = RoomEstablished { position, replayed: survey.deliverable };
                rooms.0.push((request.room.clone(), established));
            }
        }
        // The room's own name, where it is here: one for all of its members.
        let home = claim.home.as_ref();
        let home = home.map(|name| self.room_named(name).map_or(name, |room| &self.room(room).name).clone());
        self.session_mut(key).home = home;
        (rooms, resets)
    }

    /// Whether a client's own position belongs to another history, while what it acknowledged does not: then it is told
    /// that its numbers mean nothing any more, although nothing is lost.
    fn is_foreign(&self, known: Position, request: &SurveyRequest, survey: &Survey) -> bool {
        let Since::Position(asked) = request.since else { return false };
        matches!(survey.resume, Resume::Continue(_))
            && known.epoch != asked.epoch
            && known.epoch != survey.state.epoch
            && matches!(resume(known, &survey.state), Resume::Reset { .. })
    }

    /// Before what a member never reads, because it was for an earlier session of the same name: also where the numbers are
    /// those of a former history, as far as that was kept.
    fn least(&self, key: SessionKey, request: &SurveyRequest, survey: &Survey) -> Offset {
        let room = self.room_named(&request.room);
        let Some(membership) = room.and_then(|room| self.session(key).membership(room)) else {
            return Offset::START;
        };
        if membership.epoch == survey.state.epoch {
            return membership.begin;
        }
        let kept = survey.state.former.last(membership.epoch);
        kept.map_or(Offset::START, |last| membership.begin.min(last))
    }

    /// Puts a membership where it starts. An own room without any record costs nothing before its first.
    fn begin(
        &mut self,
        key: SessionKey,
        request: &SurveyRequest,
        survey: &Survey,
        (start, least): (Position, Offset),
    ) {
        let (name, is_new) = (&request.room, request.since == Since::Now);
        let lazy = name.is_own() && name.as_str() != RoomName::ALL;
        if lazy && is_new && start.offset == Offset::START && self.room_named(name).is_none() {
            return;
        }
        let room = self.open_room(name);
        // In a new epoch too: a reset that is lost with its connection is told again.
        let acked = self.session(key).membership(room).map_or(start.offset, |membership| membership.acked);
        self.enter(key, room, start);
        if let Some(membership) = self.session_mut(key).membership_mut(room) {
            membership.begin = if is_new && name.is_own() { start.offset } else { least };
            // What a reset skipped counts as processed: it will never come again.
            membership.acked = if is_new { start.offset } else { acked.min(start.offset) };
            membership.sent = start.offset;
            membership.texts = Texts::due(survey.has_texts);
        }
    }

    pub(super) fn greeting(
        &self,
        claim: &Claim,
        key: SessionKey,
        resumed: bool,
        (rooms, resets): (RoomsEstablished, Vec<ServerFrame>),
    ) -> Vec<ServerFrame> {
        let established = ServerFrame::ConnectionEstablished {
            session: self.session(key).id().clone(),
            resume_token: claim.fresh_token.expose().to_owned(),
            resumed,
            rooms,
            heartbeat_ms: u64::try_from(self.config.heartbeat.interval.as_millis()).unwrap_or(u64::MAX),
        };
        let reply = claim
            .reference
            .clone()
            .map(|reference| ServerFrame::Reply(Reply { reference, outcome: Ok(Answer::Done {}) }));
        std::iter::once(established).chain(reply).chain(resets).collect()
    }
}

/// How a member goes on. One that begins at the start of a room is told what of it is lost, as if it stood there.
fn resumed(request: &SurveyRequest, survey: &Survey) -> Resume {
    match request.since {
        Since::Start => resume(Position { offset: Offset::START, ..survey.state.position() }, &survey.state),
        Since::Now | Since::Position(_) => survey.resume,
    }
}

/// A `reset` to `to`.
pub(super) fn reset(room: &RoomName, reason: ResetReason, to: Position, from: Option<Offset>) -> ServerFrame {
    ServerFrame::Reset { room: room.clone(), reason, epoch: to.epoch, from, to: to.offset }
}
