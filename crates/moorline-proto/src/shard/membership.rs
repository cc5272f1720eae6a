//! Who is in which room: the lists of both sides, kept in step.

use super::room::{Opening, Room, Standing};
use super::session::{Membership, Session, Texts};
use super::{Output, RoomKey, SessionKey, Shard, number};
use crate::id::{Owner, RoomName, SessionId, UserId};
use crate::position::{Epoch, Offset, Position};

/// The own rooms that a session is in without their being known here before they have a record.
pub(super) fn lazy_rooms(id: &SessionId, user: Option<&UserId>) -> impl Iterator<Item = RoomName> {
    let user = user.cloned().map(Owner::User);
    [Some(Owner::Session(id.clone())), user].into_iter().flatten().map(|owner| RoomName::own(&owner))
}

/// Whether a room is one that sessions are in without its being known here before it has a record.
pub(super) fn is_lazy(name: &RoomName) -> bool {
    name.is_own() && name.as_str() != RoomName::ALL
}

impl Shard {
    pub(super) fn session(&self, key: SessionKey) -> &Session {
        &self.sessions[key.0 as usize]
    }

    pub(super) fn session_mut(&mut self, key: SessionKey) -> &mut Session {
        &mut self.sessions[key.0 as usize]
    }

    pub(super) fn session_keys(&self) -> impl Iterator<Item = SessionKey> {
        self.sessions.iter().map(|(index, _)| SessionKey(number(index)))
    }

    pub(super) fn room(&self, key: RoomKey) -> &Room {
        &self.rooms[key.0 as usize]
    }

    pub(super) fn room_mut(&mut self, key: RoomKey) -> &mut Room {
        &mut self.rooms[key.0 as usize]
    }

    /// The room of that name, which becomes known here where it was not.
    pub(super) fn open_room(&mut self, name: &RoomName) -> RoomKey {
        if let Some(key) = self.room_named(name) {
            return key;
        }
        let key = RoomKey(number(self.rooms.insert(Room::new(name.clone()))));
        self.index_room(key);
        self.named_rooms += usize::from(!name.is_own());
        self.outputs.push_back(Output::Subscribe(key, name.clone()));
        self.admit_owners(key);
        key
    }

    /// Sessions are in their own rooms from their creation on, but that is written down only once such a room has a record:
    /// it had none when they came, so they begin at its start.
    fn admit_owners(&mut self, room: RoomKey) {
        let owners = match self.room(room).name.owner() {
            None | Some(Owner::All) => return,
            Some(owner) => self.owners(&owner),
        };
        let epoch = self.room(self.everyone).position.epoch;
        for key in owners {
            self.enter(key, room, Position { epoch, offset: Offset::START });
        }
    }

    /// Has every own room known here, since the first record of one may have been missed.
    pub(super) fn open_own_rooms(&mut self) {
        let sessions = self.sessions.iter().map(|(_, session)| session).filter(|session| session.own_rooms);
        let names: Vec<RoomName> =
            sessions.flat_map(|session| lazy_rooms(session.id(), session.user())).collect();
        for name in names {
            self.open_room(&name);
        }
    }

    /// Members of an own room that was opened before the shard knew any epoch begin at its start.
    pub(super) fn settle_owners(&mut self, key: RoomKey, epoch: Epoch) {
        let room = self.room(key);
        let members: Vec<SessionKey> =
            [&room.live, &room.readers, &room.absent].into_iter().flatten().copied().collect();
        for member in members {
            if self.session(member).membership(key).is_some_and(|membership| !membership.is_settled()) {
                self.enter(member, key, Position { epoch, offset: Offset::START });
            }
        }
    }

    /// Ends every membership of a room, and so the room.
    pub(super) fn close_room(&mut self, key: RoomKey) {
        let room = self.room(key);
        let members: Vec<SessionKey> =
            [&room.live, &room.readers, &room.absent].into_iter().flatten().copied().collect();
        for member in members {
            self.exit(member, key);
        }
    }

    /// The sessions here whose own room it is.
    pub(super) fn owners(&self, owner: &Owner) -> Vec<SessionKey> {
        let keys: Vec<SessionKey> = match owner {
            Owner::All => return Vec::new(),
            Owner::User(user) => self.sessions_of(user).collect(),
            Owner::Session(id) => self.session_named(id).into_iter().collect(),
        };
        keys.into_iter().filter(|&key| self.session(key).own_rooms).collect()
    }

    /// Makes a session a member that has everything up to `position`, or moves the member there.
    pub(super) fn enter(&mut self, key: SessionKey, room: RoomKey, position: Position) {
        let standing = self.resting(key);
        if self.session(key).membership(room).is_none() {
            let ticket = self.tickets;
            self.tickets = self.tickets.wrapping_add(1);
            let list = self.room_mut(room).list(standing);
            list.push(key);
            let slot = list.len() - 1;
            let memberships = &mut self.session_mut(key).memberships;
            // Most sessions are in two rooms: doubling would hold four.
            memberships.reserve_exact(1);
            memberships.push(Membership {
                room,
                slot: number(slot),
                ticket,
                standing,
                is_added: false,
                skipped: false,
                epoch: position.epoch,
                begin: Offset::START,
                acked: position.offset,
                position: position.offset,
                sent: Offset::START,
                texts: Texts::DONE,
            });
            return;
        }
        self.stand(key, room, standing);
        self.place(key, room, position);
    }

    /// Moves a member to another position.
    pub(super) fn place(&mut self, key: SessionKey, room: RoomKey, position: Position) {
        if let Some(membership) = self.session_mut(key).membership_mut(room) {
            if membership.epoch != position.epoch {
                membership.begin = Offset::START;
                membership.acked = position.offset;
                membership.sent = Offset::START;
            }
            membership.epoch = position.epoch;
            membership.position = position.offset;
        }
    }

    /// Has a member that is not live read the texts of the streams that are open where it stands: all of them. Own rooms have none.
    pub(super) fn read_texts(&mut self, key: SessionKey, room: RoomKey) {
        let may_have = !self.room(room).name.is_own();
        if let Some(membership) = self.session_mut(key).membership_mut(room) {
            membership.texts = Texts::due(may_have);
        }
    }

    /// How a member stands that is not live.
    fn resting(&self, key: SessionKey) -> Standing {
        match &self.session(key).connected {
            None => Standing::Absent,
            Some(connected) if !connected.is_greeted() => Standing::Joining,
            Some(_) => Standing::Reading,
        }
    }

    /// Moves a member from one list of its room to another.
    pub(super) fn stand(&mut self, key: SessionKey, room: RoomKey, standing: Standing) {
        let Some(membership) = self.session(key).membership(room) else { return };
        let (slot, from) = (membership.slot, membership.standing);
        self.unlist(room, from, slot);
        let list = self.room_mut(room).list(standing);
        list.push(key);
        let slot = list.len() - 1;
        if let Some(membership) = self.session_mut(key).membership_mut(room) {
            membership.standing = standing;
            membership.slot = number(slot);
        }
    }

    /// Takes the member at `slot` off its list; the last one of the list takes its place.
    fn unlist(&mut self, room: RoomKey, standing: Standing, slot: u32) {
        let list = self.room_mut(room).list(standing);
        list.swap_remove(slot as usize);
        if let Some(&moved) = list.get(slot as usize)
            && let Some(membership) = self.session_mut(moved).membership_mut(room)
        {
            membership.slot = slot;
        }
        // Most rooms have nobody most of the time who reads, or is away.
        let list = self.room_mut(room).list(standing);
        if list.is_empty() && standing != Standing::Live {
            *list = Vec::new();
        }
    }

    /// Ends a membership. False where there was none.
    pub(super) fn exit(&mut self, key: SessionKey, room: RoomKey) -> bool {
        let memberships = &mut self.session_mut(key).memberships;
        let Some(index) = memberships.iter().position(|membership| membership.room == room) else {
            return false;
        };
        let membership = memberships.remove(index);
        self.unlist(room, membership.standing, membership.slot);
        self.close_unused(room);
        true
    }

    /// Closes a room that has no members here. One whose subscription has not been answered waits for that: the answer would
    /// be taken for a later subscription's, under the same key, and the log may have forgotten the room in between.
    pub(super) fn close_unused(&mut self, key: RoomKey) {
        let room = self.rooms.get(key.0 as usize);
        if room.is_none_or(|room| !room.is_empty() || !room.is_open()) || key == self.everyone {
            return;
        }
        self.unindex_room(key);
        let room = self.rooms.remove(key.0 as usize);
        self.named_rooms -= usize::from(!room.name.is_own());
        // Its key may be another room's when what could not be read is tried again.
        self.behind.retain(|behind| *behind != key);
        self.outputs.push_back(Output::Unsubscribe(room.name));
    }

    /// Where a member stands: a live one where the room stands.
    pub(super) fn standpoint(&self, key: SessionKey, room: RoomKey) -> Option<Position> {
        let membership = self.session(key).membership(room)?;
        Some(match membership.standing {
            Standing::Live => self.room(room).position,
            _ => membership.position(),
        })
    }

    /// How many named rooms a session is in.
    pub(super) fn named_rooms(&self, key: SessionKey) -> usize {
        let memberships = &self.session(key).memberships;
        memberships.iter().filter(|membership| !self.room(membership.room).name.is_own()).count()
    }

    /// Makes a live member read the log from where the room stood before.
    pub(super) fn demote(&mut self, key: SessionKey, room: RoomKey, position: Position) {
        self.stand(key, room, Standing::Reading);
        self.place(key, room, position);
        if let Some(membership) = self.session_mut(key).membership_mut(room) {
            membership.sent = membership.sent.max(position.offset);
        }
    }

    /// A room's state became known: the shard stands at its head from now on.
    pub(super) fn opened_at(&mut self, room: RoomKey, position: Position) -> bool {
        let room = self.room_mut(room);
        let missed = matches!(room.opening, Opening::Waiting(announced) if announced > position.offset);
        room.opening = Opening::Open;
        room.position = position;
        missed
    }
}
