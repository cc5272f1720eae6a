//! Connections: what they carry, and how they end.

use std::collections::BTreeMap;

use moorline_proto::client;
use moorline_proto::codec;
use moorline_proto::frame::ClientFrame;
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::identity::Identity;
use moorline_proto::resume::Since;
use moorline_proto::shard::{Claim, ConnectionId, Input};
use moorline_proto::token::ResumeToken;

use super::World;
use crate::link::{Link, Up};
use crate::names;

impl World {
    pub(crate) fn network(&mut self) {
        let shard = self.random.below(self.shards.len());
        let ids: Vec<ConnectionId> = self.shards[shard].sockets.links.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = *self.random.pick(&ids);
        self.move_link(shard, id);
    }

    /// Moves what a connection carries, in both directions.
    pub(crate) fn move_link(&mut self, shard: usize, id: ConnectionId) {
        let now = self.now();
        let Some(link) = self.shards[shard].sockets.links.get_mut(&id) else { return };
        let client = link.client;
        if !link.opened {
            link.opened = true;
            if link.client_here {
                self.peers[client].client.handle(now.instant, client::Input::Opened);
                self.drain_client(client);
            }
            return;
        }
        self.upward(shard, id);
        self.after(shard);
        self.downward(shard, id);
        self.tend(shard, id);
        self.after(shard);
    }

    /// What the client sent reaches the server.
    pub(crate) fn upward(&mut self, shard: usize, id: ConnectionId) {
        for _ in 0..=self.random.below(3) {
            let Some(link) = self.shards[shard].sockets.links.get_mut(&id) else { return };
            if !link.server_here {
                return link.to_server.clear();
            }
            // A hello that comes after its client said another one elsewhere would take the newer connection over, and
            // make its token worthless: networks do that, this one does not.
            if !link.greeted && self.peers[link.client].link != Some((shard, id)) {
                return link.to_server.clear();
            }
            if !link.greeted {
                if let Some(Up::Text(hello)) = link.to_server.pop_front() {
                    link.greeted = true;
                    self.greet(shard, id, &hello);
                }
                return;
            }
            let Some(peer) = link.peer else { return };
            let client = link.client;
            let frame = link.to_server.pop_front();
            let now = self.now();
            match frame {
                Some(Up::Text(text)) => self.inbound(shard, client, peer, &text),
                Some(Up::Pong) => self.shards[shard].handle(now, Input::Alive(peer)),
                None => return,
            }
        }
    }

    pub(crate) fn inbound(
        &mut self,
        shard: usize,
        client: usize,
        peer: moorline_proto::shard::Peer,
        text: &str,
    ) {
        let inbound = codec::decode(text);
        let is_current = self.peers[client].link == Some((shard, peer.connection));
        match &inbound.frame {
            Ok(ClientFrame::Pong { positions }) if is_current => {
                for (room, position) in positions {
                    self.acknowledged((shard, client), room, position.offset.0);
                }
            }
            Ok(ClientFrame::Pong { positions }) => {
                let crossed = positions.iter().map(|(room, position)| (room.clone(), position.offset.0));
                self.peers[client].crossed.extend(crossed);
            }
            Ok(ClientFrame::Ack { room: Some(room), offset, .. }) if is_current => {
                self.acknowledged((shard, client), room, offset.0);
            }
            // What it acknowledged counts until that is answered, and the answer may be lost with the node: then a restart may have
            // taken back what was acknowledged, or not.
            Ok(ClientFrame::Join { room, since }) if *since != Since::Now => {
                self.peers[client].reread.insert(room.clone());
                self.peers[client].acks.forget(room);
            }
            Ok(ClientFrame::Reconnect { room: Some(room), .. }) => self.peers[client].reads_again(room),
            Ok(ClientFrame::Leave { room }) if self.is_member((shard, client), room) => {
                self.peers[client].reads_again(room);
                self.peers[client].app.ended(room, peer.connection);
            }
            Err(rejection) => self.backend.violation(format!("{text} is refused: {rejection}")),
            _ => {}
        }
        self.note(|| format!("{client} says {text}"));
        let now = self.now();
        self.shards[shard].handle(now, Input::Frame(peer, inbound));
        self.read_again(shard);
    }

    /// A client acknowledges; one that is no member any more is refused.
    fn acknowledged(&mut self, (shard, client): (usize, usize), room: &RoomName, offset: u64) {
        if self.is_member((shard, client), room) {
            self.peers[client].acknowledged(self.micros, room, offset);
        }
    }

    /// Whether its shard has a client in a room.
    pub(crate) fn is_member(&self, (shard, client): (usize, usize), room: &RoomName) -> bool {
        let session = self.peers[client].app.session.as_ref();
        let view = session.and_then(|session| self.shards[shard].shard.view(self.now(), session));
        room.is_own() || view.is_some_and(|view| view.rooms.contains(room))
    }

    /// A connection says hello.
    pub(crate) fn greet(&mut self, shard: usize, id: ConnectionId, text: &str) {
        self.note(|| format!("{id:?} says {text}"));
        let Ok(ClientFrame::Hello(hello)) = codec::decode(text).frame else {
            return self.backend.violation(format!("no hello: {text}"));
        };
        let Some(link) = self.shards[shard].sockets.links.get(&id) else { return };
        let client = link.client;
        let peer = &mut self.peers[client];
        if peer.link == Some((shard, id)) {
            let truth = self.backend.truth.borrow();
            peer.birth.before = truth.rooms.keys().map(|room| (room.clone(), truth.head(room))).collect();
            peer.birth.after = BTreeMap::new();
            peer.stream.acked = peer.acked.clone();
            peer.stream.acked.retain(|room, _| !peer.reread.contains(room));
        }
        let (user, home) = (peer.app.user.clone(), peer.home.clone());
        let mut bits = [0; 32];
        bits[..8].copy_from_slice(&self.random.number().to_le_bytes());
        let claim = Claim {
            connection: id,
            coding: crate::wire::coding_of(id),
            identity: user.map_or_else(Identity::anonymous, Identity::user),
            asked: hello.session.clone(),
            may_choose: true,
            resume_token: hello.resume_token.clone(),
            positions: hello.positions.clone(),
            last: None,
            metadata: None,
            home,
            own_rooms: true,
            reference: None,
            fresh_id: self.fresh_id(shard),
            fresh_token: ResumeToken::from_random(bits),
        };
        let now = self.now();
        self.shards[shard].handle(now, Input::Establish(Box::new(claim)));
    }

    pub(crate) fn fresh_id(&mut self, shard: usize) -> SessionId {
        loop {
            self.numbers += 1;
            let id = names::session(&format!("fresh{}", self.numbers));
            if self.shard_of(&id) == shard {
                return id;
            }
        }
    }

    /// The shard that a session is on.
    pub(crate) fn shard_of(&self, id: &SessionId) -> usize {
        id.as_str().bytes().map(usize::from).sum::<usize>() % self.shards.len()
    }

    /// Tells the server's end what it can know.
    pub(crate) fn tend(&mut self, shard: usize, id: ConnectionId) {
        let now = self.now();
        let Some(link) = self.shards[shard].sockets.links.get_mut(&id) else { return };
        if link.awaits_writable && (link.space() > 0 || link.is_broken()) {
            link.awaits_writable = false;
            if let Some(peer) = link.peer {
                self.shards[shard].handle(now, Input::Writable(peer));
            }
        }
        let Some(link) = self.shards[shard].sockets.links.get_mut(&id) else { return };
        let is_over = link.is_broken() && (link.to_server.is_empty() || !link.server_here);
        if is_over && link.server_here {
            match (link.peer, link.greeted) {
                (Some(peer), _) => {
                    link.server_here = false;
                    self.shards[shard].handle(now, Input::Lost(peer, None));
                }
                (None, true) if !link.told_lost => {
                    link.told_lost = true;
                    self.shards[shard].handle(now, Input::Abandoned(id));
                }
                (None, true) => {}
                (None, false) => link.server_here = false,
            }
        }
        let links = &mut self.shards[shard].sockets.links;
        if links.get(&id).is_some_and(|link| !link.client_here && !link.server_here) {
            links.remove(&id);
        }
    }

    pub(crate) fn link_of(&mut self, index: usize) -> Option<&mut Link> {
        let (shard, id) = self.peers[index].link?;
        self.shards[shard].sockets.links.get_mut(&id)
    }

    pub(crate) fn connect(&mut self, index: usize) {
        let known = self.peers[index].client.session().cloned();
        let asked = known.or_else(|| self.peers[index].wanted.clone());
        let shard = match asked {
            Some(id) => self.shard_of(&id),
            None => self.random.below(self.shards.len()),
        };
        self.connections += 1;
        let id = ConnectionId(self.connections);
        let room_bytes = if self.is_calm { 1 << 20 } else { [300, 1_000, 1 << 16][self.random.below(3)] };
        self.shards[shard].sockets.links.insert(id, Link::new(id, index, room_bytes));
        self.peers[index].link = Some((shard, id));
        self.peers[index].stream = crate::invariants::stream::Stream::default();
    }

    /// The client's end of its connection is gone.
    pub(crate) fn abandon(&mut self, index: usize, half_open: bool) {
        if let Some(link) = self.link_of(index) {
            link.client_here = false;
            link.half_open = half_open;
            link.to_client.clear();
        }
        self.peers[index].link = None;
    }

    pub(crate) fn somebody_is_cut_off(&mut self) {
        let index = self.random.below(self.peers.len());
        if self.peers[index].link.is_none() || self.random.chance(50) {
            return;
        }
        let half_open = self.random.chance(40);
        self.note(|| format!("{index} is cut off, half open: {half_open}"));
        self.fault(if half_open { "cut off, half open" } else { "cut off" });
        self.abandon(index, half_open);
        let now = self.now().instant;
        self.peers[index].client.handle(now, client::Input::Closed(None));
        self.drain_client(index);
    }
}
