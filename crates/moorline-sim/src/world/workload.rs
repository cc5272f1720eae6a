//! What people do.

use moorline_proto::client;
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::record::Except;
use moorline_proto::resume::Since;
use moorline_proto::shard::ConnectionId;
use serde_json::json;

use super::World;
use crate::names;

impl World {
    pub(crate) fn somebody_acts(&mut self) {
        let index = self.random.below(self.peers.len());
        if self.peers[index].has_ended() {
            return;
        }
        let room = self.any_room();
        let input = match self.random.below(20) {
            0..=9 => client::Input::Publish(self.publication(index, &room)),
            10..=14 => {
                let (since, head) = self.since(index, &room);
                if self.peers[index].app.rooms.contains_key(&room) && since != Since::Now {
                    // To read again is another test's: what comes twice then is asked for.
                    return;
                }
                self.peers[index].app.ask(&room, head);
                client::Input::Join { room, since }
            }
            15..=17 => client::Input::Leave { room },
            18 => return self.replay(index, room),
            _ => {
                if let Some(link) = self.link_of(index) {
                    link.is_slow = !link.is_slow;
                }
                return;
            }
        };
        let now = self.now().instant;
        self.peers[index].client.handle(now, input);
        self.drain_client(index);
    }

    /// From where to join, and where the room's head is if that is from now on.
    pub(crate) fn since(&mut self, index: usize, room: &RoomName) -> (Since, u64) {
        if self.has_store() && self.dice().chance(15) {
            let position = self.odd_position(room);
            self.peers[index].app.wild.insert(room.clone());
            return (Since::Position(position), 0);
        }
        match self.random.below(4) {
            0 => (Since::Start, 0),
            1 => {
                let head = self.backend.truth.borrow().head(room);
                let offset = Offset(self.random.below(usize::try_from(head).unwrap_or(0) + 1) as u64);
                (Since::Position(Position { epoch: self.backend.state(room).epoch, offset }), 0)
            }
            _ => {
                let is_unanswered = self.peers[index].client.unanswered() > 0;
                let head = self.backend.state(room).head.0;
                (Since::Now, if is_unanswered { 0 } else { head })
            }
        }
    }

    /// A position that the room never had, does not have yet, lost before anybody saw it, or had in a former epoch.
    fn odd_position(&mut self, room: &RoomName) -> Position {
        let state = self.backend.state(room);
        let (lost, former) = {
            let truth = self.backend.truth.borrow();
            (truth.meanings.beyond(room, state.head.0), truth.former_epochs.last().copied())
        };
        let known = usize::try_from(state.head.0).unwrap_or(0) + 1;
        let dice = self.dice();
        let offset = Offset(dice.below(known) as u64);
        match dice.below(4) {
            0 => Position { epoch: Epoch(0xbad), offset },
            1 => Position { offset: Offset(state.head.0 + 5), ..state.position() },
            2 if !lost.is_empty() => {
                let (epoch, offset) = *dice.pick(&lost);
                Position { epoch, offset: Offset(offset) }
            }
            _ => Position { epoch: former.unwrap_or(state.epoch), offset },
        }
    }

    /// Asks for what lies after an older position; only where nothing else is on its way, so that the answer is exact.
    pub(crate) fn replay(&mut self, index: usize, room: RoomName) {
        let peer = &mut self.peers[index];
        let Some(at) = peer.app.rooms.get(&room).copied().filter(|at| at.low == at.high) else { return };
        if !peer.client.is_established() || peer.client.unanswered() > 0 || at.low == 0 {
            return;
        }
        let back = self.random.below(4) as u64;
        let after = Offset(at.low.saturating_sub(back));
        self.backend.truth.borrow_mut().replays += 1;
        // A replay that its connection does not outlive is not gone on with: what it brings is known, holes in it are not.
        self.peers[index].app.ended(&room, ConnectionId(u64::MAX));
        let now = self.now().instant;
        self.peers[index].client.handle(now, client::Input::Replay { room, after });
        self.drain_client(index);
    }

    pub(crate) fn publication(&mut self, index: usize, room: &RoomName) -> client::Publication {
        self.numbers += 1;
        let sessions: Vec<SessionId> =
            self.peers.iter().filter_map(|peer| peer.app.session.clone()).collect();
        let to = match self.random.below(10) {
            0 => json!("all"),
            1 => json!({"user": self.random.pick(&["ann", "bob"])}),
            2 if !sessions.is_empty() => json!({"session": self.random.pick(&sessions)}),
            3 if !sessions.is_empty() => json!({"sessions": [self.random.pick(&sessions)]}),
            _ => json!({ "room": room }),
        };
        let except =
            self.except(&sessions).map(|except| json!({"sessions": except.sessions, "users": except.users}));
        let message = self.text();
        let id = names::publish_id(&format!("{index}-{}", self.numbers));
        client::Publication { to, message, except, id }
    }

    pub(crate) fn text(&mut self) -> String {
        let padding = "x".repeat([0, 20, 200][self.random.below(3)]);
        format!("{{\"type\":\"m\",\"n\":{},\"x\":\"{padding}\"}}", self.numbers)
    }

    pub(crate) fn except(&mut self, sessions: &[SessionId]) -> Option<Except> {
        if sessions.is_empty() || self.random.chance(60) {
            return None;
        }
        let users = if self.random.chance(30) { vec![names::user("ann")] } else { Vec::new() };
        let count = self.random.below(3);
        let sessions = (0..count).map(|_| self.random.pick(sessions).clone()).collect();
        Some(Except { sessions, users })
    }
}
