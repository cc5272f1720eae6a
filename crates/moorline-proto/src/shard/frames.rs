//! What clients say, once they are established (spec/protocol.md, section 3).

use std::sync::Arc;

use super::asking::Wanted;
use super::room::Standing;
use super::send::Lane;
use super::session::Membership;
use super::{Join, Output, Peer, RoomKey, SessionKey, Shard, Surveyor, Ticket, Turn};
use crate::error::{ErrorCode, Rejection};
use crate::frame::{Answer, ClientFrame, Inbound, LeftReason, Presence, Publish, Ref, Reply, ServerFrame};
use crate::id::RoomName;
use crate::position::{Epoch, Offset, Position};
use crate::resume::{Since, SurveyRequest};
use crate::time::Now;

/// Who has a session join a room.
pub(super) enum Joiner {
    /// Its client, which wants its answer there.
    Client(Option<Ref>),
    /// The application.
    Application,
}

impl Shard {
    pub(super) fn frame(&mut self, turn: &mut Turn<'_>, peer: Peer, inbound: Inbound) {
        let Some(key) = self.resolve(peer) else { return };
        self.session_mut(key).seen(turn.now);
        let Inbound { reference, frame } = inbound;
        let outcome = match frame {
            Err(rejection) => Err(rejection),
            Ok(ClientFrame::Publish(publish)) => self.publish(peer, publish, reference.clone()),
            Ok(ClientFrame::Stream(frame)) => self.stream_frame(peer, *frame, reference.clone()),
            Ok(ClientFrame::Auth { token }) => {
                let reference = reference.clone();
                self.auth_frame(|| Ticket { peer, reference, weight: 1 }, key, token)
            }
            Ok(ClientFrame::Join { room, since }) => {
                self.join_frame(turn, key, &room, since, reference.clone())
            }
            Ok(ClientFrame::Leave { room }) => self.leave_frame(turn, key, &room, reference.clone()),
            Ok(ClientFrame::Presence { room }) => self.presence_frame(peer, room, reference.clone()),
            Ok(ClientFrame::Reconnect { room, last }) => {
                self.reconnect_frame(turn, key, room.as_ref(), last, reference.clone())
            }
            Ok(ClientFrame::Ping) => {
                self.reply(turn, key, reference.clone(), Answer::Done {});
                self.send_frame(turn, key, &ServerFrame::Pong);
                Ok(())
            }
            Ok(frame) => {
                let outcome = self.simple_frame(turn, key, &frame);
                outcome.map(|answer| self.reply(turn, key, reference.clone(), answer))
            }
        };
        if let Err(rejection) = outcome {
            self.answer(turn, key, reference, Err(rejection));
        }
    }

    /// Frames that are answered at once.
    fn simple_frame(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        frame: &ClientFrame,
    ) -> Result<Answer, Rejection> {
        match frame {
            ClientFrame::Ack { room, epoch, offset } => {
                return self.ack_frame(turn.now, key, room.as_ref(), *epoch, *offset);
            }
            ClientFrame::Pong { positions } => self.pong_frame(turn.now, key, positions)?,
            ClientFrame::HeartbeatResponse => self.ponged(turn.now, key),
            ClientFrame::TextPing => self.send_text(turn, key, Lane::Control, b"pong"),
            ClientFrame::Hello(_) => {
                return Err(Rejection::new(ErrorCode::AlreadyEstablished, "hello comes once"));
            }
            ClientFrame::Application { kind } => {
                let why =
                    format!("nothing here handles messages of the type \"{kind}\"; did you mean publish?");
                return Err(Rejection::new(ErrorCode::NoHandler, why));
            }
            // The others are answered later and were taken before.
            _ => {}
        }
        Ok(Answer::Done {})
    }

    fn publish(
        &mut self,
        peer: Peer,
        publish: Box<Publish>,
        reference: Option<Ref>,
    ) -> Result<(), Rejection> {
        self.check_publish(peer.session, &publish.to)?;
        let weight = u32::try_from(publish.to.rooms()).unwrap_or(u32::MAX);
        self.depart(peer.session, weight)?;
        // Without an id nobody looks at the sender.
        let sender = publish.id.as_ref().map_or_else(|| Arc::from(""), |_| self.principal(peer.session));
        let ticket = Ticket { peer, reference, weight };
        let wanted = Wanted::Publish { sender, publish };
        if self.config.authorizes {
            self.ask(ticket, wanted);
        } else {
            self.outputs.push_back(wanted.output(ticket));
        }
        Ok(())
    }

    /// Something that waits for an answer is on its way.
    pub(super) fn depart(&mut self, key: SessionKey, weight: u32) -> Result<(), Rejection> {
        let max = self.config.in_flight_max;
        let Some(connected) = &mut self.session_mut(key).connected else { return Ok(()) };
        // One that is larger than the bound goes alone.
        if connected.in_flight > 0 && connected.in_flight.saturating_add(weight) > max {
            let why = format!(
                "{} answers are being waited for on this connection already (connection.in_flight_max)",
                connected.in_flight
            );
            return Err(Rejection::new(ErrorCode::Overloaded, why));
        }
        connected.in_flight = connected.in_flight.saturating_add(weight);
        Ok(())
    }

    /// The answer is here. Who asked may be gone.
    pub(super) fn arrive(&mut self, ticket: &Ticket) -> Option<SessionKey> {
        let key = self.resolve(ticket.peer)?;
        if let Some(connected) = &mut self.session_mut(key).connected {
            connected.in_flight = connected.in_flight.saturating_sub(ticket.weight);
        }
        Some(key)
    }

    pub(super) fn published(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        outcome: Result<Answer, Rejection>,
    ) {
        let Some(key) = self.arrive(&ticket) else { return };
        self.answer(turn, key, ticket.reference, outcome);
    }

    fn join_frame(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        name: &RoomName,
        since: Since,
        reference: Option<Ref>,
    ) -> Result<(), Rejection> {
        if let Some(room) = self.room_named(name)
            && since == Since::Now
            && self.session(key).membership(room).is_some_and(Membership::is_settled)
            && let Some(position) = self.standpoint(key, room)
        {
            self.reply(turn, key, reference, Answer::At { room: name.clone(), position });
            return Ok(());
        }
        self.join(key, name, since, Joiner::Client(reference))
    }

    /// Begins a join: where the member reads from is asked for first.
    pub(super) fn join(
        &mut self,
        key: SessionKey,
        name: &RoomName,
        since: Since,
        joiner: Joiner,
    ) -> Result<(), Rejection> {
        let (by_client, reference) = match joiner {
            Joiner::Client(reference) => (true, reference),
            Joiner::Application => (false, None),
        };
        let is_member =
            self.room_named(name).is_some_and(|room| self.session(key).membership(room).is_some());
        if !is_member && self.named_rooms(key) >= self.config.rooms_max {
            let why = format!("a session is in {} rooms at most", self.config.rooms_max);
            return Err(Rejection::new(ErrorCode::TooManyRooms, why));
        }
        if !is_member {
            self.has_room_for(name)?;
            if by_client {
                self.check_join(key, name)?;
            }
        }
        let room = self.open_room(name);
        if !is_member {
            self.enter(key, room, Position::default());
            if self.session(key).connected.is_some() {
                self.stand(key, room, Standing::Joining);
            }
        }
        let Some(ticket) = self.session(key).membership(room).map(|membership| membership.ticket) else {
            return Ok(());
        };
        let session = self.session(key);
        self.outputs.push_back(Output::Survey {
            surveyor: Surveyor::Join(Box::new(Join {
                session: key,
                room,
                ticket,
                is_new: !is_member,
                since,
                by_client,
                connection: session.peer(key).map(|peer| peer.connection),
                reference,
            })),
            session: session.id().clone(),
            user: session.user().cloned(),
            requests: vec![SurveyRequest::new(name.clone(), since)],
        });
        Ok(())
    }

    fn leave_frame(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        name: &RoomName,
        reference: Option<Ref>,
    ) -> Result<(), Rejection> {
        let room = self.member_room(key, Some(name))?;
        self.exit(key, room);
        self.hold_back(turn.now, key);
        self.reply(turn, key, reference, Answer::Room { room: name.clone() });
        self.send_frame(turn, key, &ServerFrame::Left { room: name.clone(), reason: LeftReason::Left });
        self.save(key);
        Ok(())
    }

    fn presence_frame(
        &mut self,
        peer: Peer,
        name: RoomName,
        reference: Option<Ref>,
    ) -> Result<(), Rejection> {
        self.member_room(peer.session, Some(&name))?;
        self.depart(peer.session, 1)?;
        self.outputs.push_back(Output::Presence(Ticket { peer, reference, weight: 1 }, name));
        Ok(())
    }

    pub(super) fn presence_found(&mut self, turn: &mut Turn<'_>, ticket: Ticket, presence: Presence) {
        let Some(key) = self.arrive(&ticket) else { return };
        if let Some(reference) = ticket.reference {
            let outcome = Ok(Answer::Presence(presence.clone()));
            self.send_frame(turn, key, &ServerFrame::Reply(Reply { reference, outcome }));
        }
        self.send_frame(turn, key, &ServerFrame::Presence(presence));
    }

    fn ack_frame(
        &mut self,
        now: Now,
        key: SessionKey,
        name: Option<&RoomName>,
        epoch: Option<Epoch>,
        offset: Offset,
    ) -> Result<Answer, Rejection> {
        let room = self.member_room(key, name)?;
        let name = self.room(room).name.clone();
        let message_id = self.acknowledge(now, key, room, epoch, offset)?;
        Ok(Answer::Acked { room: name, message_id })
    }

    fn acknowledge(
        &mut self,
        now: Now,
        key: SessionKey,
        room: RoomKey,
        epoch: Option<Epoch>,
        offset: Offset,
    ) -> Result<Offset, Rejection> {
        let Some(stands) = self.standpoint(key, room) else { return Ok(offset) };
        let Some(membership) = self.session_mut(key).membership_mut(room) else { return Ok(offset) };
        if epoch.is_some_and(|epoch| epoch != stands.epoch) {
            let why = format!("the room's epoch is {}", stands.epoch);
            return Err(Rejection::new(ErrorCode::EpochMismatch, why));
        }
        let sent = stands.offset.max(membership.sent);
        if offset > sent {
            let why = format!("this connection was sent nothing beyond {}", sent.0);
            return Err(Rejection::new(ErrorCode::AckBeyond, why));
        }
        if offset > membership.acked {
            membership.acked = offset;
            self.flush_soon(now, key);
        }
        Ok(self.session(key).membership(room).map_or(offset, |membership| membership.acked))
    }

    /// A pong may acknowledge; a room that was left meanwhile is no error.
    fn pong_frame(
        &mut self,
        now: Now,
        key: SessionKey,
        positions: &[(RoomName, Position)],
    ) -> Result<(), Rejection> {
        self.ponged(now, key);
        let mut outcome = Ok(());
        for (name, position) in positions {
            if let Ok(room) = self.member_room(key, Some(name)) {
                let acked = self.acknowledge(now, key, room, Some(position.epoch), position.offset);
                // One that is wrong does not keep the others from counting.
                outcome = outcome.and(acked.map(|_| ()));
            }
        }
        outcome
    }

    fn reconnect_frame(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        name: Option<&RoomName>,
        last: Option<Offset>,
        reference: Option<Ref>,
    ) -> Result<(), Rejection> {
        let room = self.member_room(key, name)?;
        let Some(stands) = self.standpoint(key, room) else { return Ok(()) };
        let Some(membership) = self.session(key).membership(room).filter(|m| m.is_settled()) else {
            return Err(not_a_member());
        };
        let offset = last.unwrap_or(membership.acked);
        if offset > stands.offset.max(membership.sent) {
            let why =
                format!("this connection was sent nothing beyond {}", stands.offset.max(membership.sent).0);
            return Err(Rejection::new(ErrorCode::AckBeyond, why));
        }
        let position = Position { offset: offset.max(membership.begin), ..stands };
        let name = self.room(room).name.clone();
        self.demote(key, room, stands);
        self.place(key, room, position);
        self.read_texts(key, room);
        self.read_again(turn.now, key, room, position.offset);
        if let Some(reference) = reference {
            // What waits from before must not come behind it: it would be taken for the replay.
            let reply = Reply { reference, outcome: Ok(Answer::At { room: name, position }) };
            self.send_frame_in(turn, key, Lane::Placed, &ServerFrame::Reply(reply));
        }
        self.advance(key);
        Ok(())
    }

    /// Who asks for a replay has not processed what it brings, as with a join that reads again: if the connection ends before
    /// that was acknowledged anew, the session goes on from there, and no later. It never begins before the membership did
    /// in an own room, and in another one not before what the log keeps.
    fn read_again(&mut self, now: Now, key: SessionKey, room: RoomKey, offset: Offset) {
        let Some(membership) = self.session_mut(key).membership_mut(room) else { return };
        if offset < membership.acked {
            membership.acked = offset;
            self.flush_soon(now, key);
        }
    }

    /// The room that a frame means, of which the session must be a member; without a name the URL's.
    fn member_room(&self, key: SessionKey, name: Option<&RoomName>) -> Result<RoomKey, Rejection> {
        let name = name.or(self.session(key).home.as_ref()).ok_or_else(|| {
            Rejection::new(ErrorCode::RoomRequired, "name a room: the URL of this connection names none")
        })?;
        let room = self.room_named(name);
        room.filter(|&room| self.session(key).membership(room).is_some()).ok_or_else(not_a_member)
    }

    /// Answers a frame that succeeded, where an answer is wanted.
    fn reply(&mut self, turn: &mut Turn<'_>, key: SessionKey, reference: Option<Ref>, answer: Answer) {
        self.answer(turn, key, reference, Ok(answer));
    }

    /// Answers a frame: by `reply` where it has a `ref`, else by `error` where it failed.
    pub(super) fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        reference: Option<Ref>,
        outcome: Result<Answer, Rejection>,
    ) {
        let frame = match (reference, outcome) {
            (Some(reference), outcome) => ServerFrame::Reply(Reply { reference, outcome }),
            (None, Err(rejection)) => ServerFrame::Error(rejection),
            (None, Ok(_)) => return,
        };
        self.send_frame(turn, key, &frame);
    }
}

pub(super) fn not_a_member() -> Rejection {
    Rejection::new(ErrorCode::NotAMember, "the session is not a member of that room")
}
