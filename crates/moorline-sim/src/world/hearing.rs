//! What clients receive, and what their applications are told.

use std::rc::Rc;

use moorline_proto::client::{self, Event};
use moorline_proto::id::{Owner, RoomName, SessionId};
use moorline_proto::position::Offset;
use moorline_proto::resume::ResetReason;
use moorline_proto::shard::ConnectionId;

use super::{ROOMS, World};
use crate::invariants::acks::Acks;
use crate::invariants::delivery::At;
use crate::invariants::resets::Told;
use crate::link::Up;
use crate::names;
use crate::wire::{self, Frame};

impl World {
    /// What the server sent reaches the client, as far as it reads.
    pub(crate) fn downward(&mut self, shard: usize, id: ConnectionId) {
        let most = if self.is_calm || self.random.chance(60) { usize::MAX } else { self.random.below(400) };
        let Some(link) = self.shards[shard].sockets.links.get_mut(&id) else { return };
        if link.is_slow || !link.client_here {
            return;
        }
        let count = most.min(link.to_client.len());
        link.partial.extend(link.to_client.drain(..count));
        loop {
            let Some(link) = self.shards[shard].sockets.links.get_mut(&id).filter(|link| link.client_here)
            else {
                return;
            };
            let client = link.client;
            match wire::take(&mut link.partial) {
                Some(Frame::Text(text)) => self.received(client, &text),
                Some(Frame::Coded(coding, text)) => {
                    if wire::coding_of(id) != Some(coding) {
                        self.backend.violation(format!("{id:?} is sent {coding:?}, which it cannot read"));
                    }
                    self.received(client, &text);
                }
                Some(Frame::Ping) => link.to_server.push_back(Up::Pong),
                Some(Frame::Pong) => {}
                Some(Frame::Close(code)) => {
                    link.client_here = false;
                    link.half_open = false;
                    return self.client_closed(client, id, Some(code));
                }
                None => break,
            }
        }
        let Some(link) = self.shards[shard].sockets.links.get_mut(&id) else { return };
        if !link.server_here && link.to_client.is_empty() && !link.is_silent {
            link.client_here = false;
            link.half_open = false;
            let client = link.client;
            self.client_closed(client, id, None);
        }
    }

    pub(crate) fn client_closed(&mut self, client: usize, id: ConnectionId, code: Option<u16>) {
        self.note(|| format!("{client} is closed with {code:?}"));
        let now = self.now().instant;
        if self.peers[client].link.is_some_and(|(_, current)| current == id) {
            self.peers[client].link = None;
            self.peers[client].client.handle(now, client::Input::Closed(code));
            self.drain_client(client);
        }
    }

    pub(crate) fn received(&mut self, client: usize, text: &str) {
        self.note(|| format!("{client} hears {text}"));
        self.producer_hears(client, text);
        let texts = self.spoiling.heard(self.backend.planted, client, text);
        for text in &texts {
            let peer = &mut self.peers[client];
            if let Some(room) = peer.stream.replayed(text) {
                peer.app.texts.anew(&room);
            }
            let found = peer.stream.received(&self.backend.truth.borrow(), peer.app.user.as_ref(), text);
            self.violation(found);
            let now = self.now().instant;
            self.peers[client].client.handle(now, client::Input::TextReceived(text.clone()));
            self.drain_client(client);
        }
    }

    /// Performs what a client wants.
    pub(crate) fn drain_client(&mut self, index: usize) {
        while let Some(output) = self.peers[index].client.poll_output() {
            match output {
                client::Output::Connect => self.connect(index),
                client::Output::SendText(text) => {
                    // One that was not answered is sent again on the next connection, and then brings everything again.
                    let replay = self.peers[index].stream.sent(&text);
                    if let Some((room, after)) = replay {
                        self.peers[index].app.replays.entry(room).or_default().push(after);
                    }
                    if let Some(link) = self.link_of(index) {
                        link.to_server.push_back(Up::Text(text));
                    }
                }
                client::Output::Close(_) => {
                    let half_open = !self.is_calm && self.random.chance(50);
                    self.abandon(index, half_open);
                }
                client::Output::Event(event) => self.event(index, event),
            }
        }
    }

    pub(crate) fn event(&mut self, index: usize, event: Event) {
        self.note(|| format!("{index} is told {event:?}"));
        let backend = Rc::clone(&self.backend);
        let mut truth = backend.truth.borrow_mut();
        let now = self.now().instant;
        let peer = &mut self.peers[index];
        let found = match event {
            Event::Established { session, resumed } => {
                drop(truth);
                return self.established(index, &session, resumed);
            }
            Event::Message { room, message_id: Some(offset), text } => {
                truth.deliveries += 1;
                peer.app.message(&truth, &room, offset.0, &text)
            }
            Event::Message { room, message_id: None, text } => peer.app.ephemeral(&truth, &room, &text),
            Event::Reset { room, reason, from, to } => {
                truth.resets += u64::from(reason != ResetReason::Expired);
                // A room of the URL that was left is entered anew; then the membership has ended, not the session.
                // An owner whose token was outrun by older hellos that came later is told the same.
                let former_ended = peer.home.as_ref() == Some(&room)
                    || peer.app.user.is_some()
                    || peer.sessions.iter().any(|id| truth.ended.contains(id));
                let state = backend.state(&room);
                let is_forgotten = state.head == Offset::START;
                let was_cut = truth.was_cut.get(&room).copied().unwrap_or_default();
                let cut = if is_forgotten { truth.head(&room) } else { state.cut.0 };
                let cut = cut.max(truth.forgotten(&room)).max(was_cut);
                let forgotten = if is_forgotten { truth.head(&room) } else { truth.forgotten(&room) };
                let told = Told { reason, from: from.map(|from| from.0), to: to.offset.0, cut, forgotten };
                peer.app.reset(&truth, &room, &told, former_ended)
            }
            Event::Joined { room, position } => {
                peer.app.sure(&room, peer.link.map(|(_, id)| id));
                let is_forgotten = backend.state(&room).head == Offset::START;
                let forgotten = if is_forgotten { truth.head(&room) } else { truth.forgotten(&room) };
                peer.app.joined((truth.head(&room), forgotten), &room, position.offset.0)
            }
            Event::Left { room } => {
                peer.app.left(&room, peer.link.map(|(_, id)| id));
                None
            }
            // A position may cross with the answer to a join that reads again from before.
            Event::Rejected { code, message, .. }
                if code == "bad_frame" || code == "ack_beyond" && peer.reread.is_empty() =>
            {
                Some(format!("{index} is refused: {code}, {message}"))
            }
            Event::Published { .. } | Event::Rejected { .. } | Event::TokenExpiring { .. } => None,
            Event::Disconnected { retry_at } => {
                peer.ended_at = retry_at.is_none().then_some(now);
                None
            }
        };
        drop(truth);
        self.violation(found);
    }

    pub(crate) fn established(&mut self, index: usize, session: &SessionId, resumed: bool) {
        let own = self.own_rooms(index, session);
        let peer = &mut self.peers[index];
        let again = peer.sessions.contains(session);
        // A replay that was answered on the connection before, and did not come, is gone on with.
        peer.app.replays.clear();
        for (room, at) in &peer.app.rooms {
            let stands = peer.client.position(room).map_or(at.low, |(_, offset)| offset.0);
            if stands < at.low {
                peer.app.replays.insert(room.clone(), vec![stands]);
            }
        }
        // Who acknowledged something while it began to read from before goes on behind that.
        for (room, at) in peer.app.rooms.iter_mut().filter(|_| resumed) {
            let acked = peer.acked.get(room).copied().unwrap_or_default();
            let crossed = peer.crossed.get(room).copied().unwrap_or_default();
            at.high = at.high.max(acked).max(crossed);
        }
        peer.crossed.clear();
        peer.app.session = Some(session.clone());
        // What was asked before may be answered now, or once more.
        peer.app.asked.values_mut().for_each(|(head, _)| *head = 0);
        if !resumed {
            peer.app.rooms.clear();
            peer.app.texts.all_anew();
            peer.app.unsure.clear();
            peer.acked.clear();
            peer.acks = Acks::default();
            // The same id again: it may have begun with a connection of which the client never heard.
            peer.sessions.push(session.clone());
            for room in own {
                let before = peer.birth.before.get(&room).copied().unwrap_or_default();
                let low = if again { 0 } else { before };
                let high = peer.birth.after.get(&room).copied().unwrap_or_default();
                peer.app.rooms.insert(room, At { low, high: high.max(low) });
            }
        } else if !peer.sessions.contains(session) {
            // It began with a connection that ended before the client heard of it.
            peer.sessions.push(session.clone());
            peer.app.rooms.extend(own.into_iter().map(|room| (room, At { low: 0, high: u64::MAX })));
        }
        for name in ROOMS {
            let room = names::room(name);
            let Some((_, Offset(offset))) = peer.client.position(&room) else { continue };
            // Where a membership began that nobody told the client of is known by its first message alone.
            let is_told = !resumed && !again && peer.home.as_ref() == Some(&room);
            let at = if is_told { At::exactly(offset) } else { At { low: 0, high: u64::MAX } };
            if !peer.app.rooms.contains_key(&room) {
                peer.app.texts.anew(&room);
                peer.app.rooms.insert(room, at);
            }
        }
    }

    pub(crate) fn own_rooms(&self, index: usize, session: &SessionId) -> Vec<RoomName> {
        let user = self.peers[index].app.user.clone().map(Owner::User);
        let owners = [Some(Owner::All), user, Some(Owner::Session(session.clone()))];
        owners.iter().flatten().map(RoomName::own).collect()
    }
}
