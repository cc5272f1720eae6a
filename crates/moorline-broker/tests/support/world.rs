//! The world: who is in it, and what one step of it is.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use moorline_broker::{
    Announcement, Announcements, Broker as _, Durability, Keep, LocalBroker, MemoryLog, MemorySessions,
    Publication, Retention, RetentionRules,
};
use moorline_proto::batch::{EncodedBatch, EncodedEphemeral};
use moorline_proto::client::{self, ClientConfig, Event};
use moorline_proto::codec;
use moorline_proto::frame::ClientFrame;
use moorline_proto::heartbeat::Policy;
use moorline_proto::id::{Owner, PublishId, RoomName, SessionId, UserId};
use moorline_proto::identity::Identity;
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::record::Except;
use moorline_proto::resume::{ResetReason, Since};
use moorline_proto::shard::{Claim, ConnectionId, ExpiryConfig, Input, ShardConfig};
use moorline_proto::time::{Now, Timestamp};
use moorline_proto::token::ResumeToken;
use moorline_proto::users::{UserLimits, Users};
use serde_json::json;

use super::checks::delivery::At;
use super::checks::planted::Planted;
use super::checks::resets::Told;
use super::link::{Link, Up};
use super::node::{Backend, Node, moment, state};
use super::peer::Peer;
use super::random::Random;
use super::truth::Truth;
use super::wire::{self, FRAMING, Frame};

pub const EPOCH: Epoch = Epoch(7);
const ROOMS: [&str; 3] = ["a", "b", "c"];
const LIFETIME: Duration = Duration::from_secs(60);

/// How wild it is.
#[derive(Clone, Copy, Debug)]
pub struct Wildness {
    pub nodes: usize,
    pub peers: usize,
    pub planted: Option<Planted>,
}

pub struct World {
    pub random: Random,
    pub micros: u64,
    clock: Arc<AtomicU64>,
    pub backend: Rc<Backend>,
    announcements: Box<dyn Announcements>,
    pub nodes: Vec<Node>,
    pub peers: Vec<Peer>,
    connections: u64,
    numbers: u64,
    messages: u64,
    /// What happened last, for who reads a failure.
    pub trace: VecDeque<String>,
    pub is_calm: bool,
}

impl World {
    pub fn new(seed: u64, wildness: Wildness) -> Self {
        let mut random = Random(seed);
        let clock = Arc::new(AtomicU64::new(moment(0).timestamp.0));
        let hand = Arc::clone(&clock);
        let log = MemoryLog::new(EPOCH, rules(&mut random));
        let broker = LocalBroker::new(
            log,
            move || Now::at(Timestamp(hand.load(Ordering::Relaxed))),
            Durability::Memory,
        );
        let announcements = broker.announcements();
        let backend = Rc::new(Backend {
            broker,
            store: MemorySessions::new(),
            users: Rc::new(RefCell::new(Users::new(UserLimits { connected: 3, absent: 2 }))),
            truth: RefCell::new(Truth::default()),
            violations: RefCell::new(Vec::new()),
            claims: RefCell::new(BTreeMap::new()),
            planted: wildness.planted,
        });
        let config = Arc::new(config(&mut random));
        let nodes =
            (0..wildness.nodes).map(|_| Node::new(&config, &backend, moment(0), random.next())).collect();
        let mut world = Self {
            random,
            micros: 0,
            clock,
            backend,
            announcements,
            nodes,
            peers: Vec::new(),
            connections: 0,
            numbers: 0,
            messages: 0,
            trace: VecDeque::new(),
            is_calm: false,
        };
        for node in &mut world.nodes {
            node.settle(moment(0));
        }
        for _ in 0..wildness.peers {
            world.newcomer();
        }
        world
    }

    pub fn now(&self) -> Now {
        moment(self.micros)
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.trace.len() >= 4_000 {
            self.trace.pop_front();
        }
        let text = format!("{:>9} {}", self.micros / 1_000, text());
        self.trace.push_back(text);
    }

    fn violation(&mut self, found: Option<String>) {
        if let Some(text) = found {
            self.note(|| format!("WRONG: {text}"));
            self.backend.violation(text);
        }
    }

    pub fn is_wrong(&self) -> bool {
        !self.backend.violations.borrow().is_empty()
    }

    /// A client that nobody has seen before.
    fn newcomer(&mut self) {
        let number = self.peers.len();
        let user = self.random.chance(60).then(|| UserId::new(["ann", "bob"][self.random.below(2)]).unwrap());
        let session = self.random.chance(50).then(|| SessionId::new(&format!("s{number}")).unwrap());
        let home = self.random.chance(40).then(|| self.any_room());
        let config = ClientConfig { session: session.clone(), metadata: None, seed: self.random.next() };
        let now = self.now().instant;
        self.peers.push(Peer { wanted: session, ..Peer::new(config, user, home, now) });
        self.drain_client(number);
    }

    pub fn any_room(&mut self) -> RoomName {
        RoomName::new(ROOMS[self.random.below(ROOMS.len())]).unwrap()
    }

    /// One thing happens.
    pub fn step(&mut self) {
        match self.random.below(100) {
            0..=39 => self.network(),
            40..=54 => self.backend_answers(),
            55..=69 => self.somebody_hears(),
            70..=83 => self.somebody_acts(),
            84..=89 => self.somebody_is_cut_off(),
            90..=92 => self.application_acts(),
            93..=98 => {
                let micros = [1_000, 50_000, 400_000, 3_000_000][self.random.below(4)];
                self.pass(micros);
            }
            _ => self.pass(25_000_000),
        }
        self.pump();
    }

    // Time.

    pub fn pass(&mut self, micros: u64) {
        self.micros += micros;
        let now = self.now();
        self.clock.store(now.timestamp.0, Ordering::Relaxed);
        self.backend.broker.expire();
        for node in 0..self.nodes.len() {
            self.nodes[node].handle_timeout(now);
            self.after(node);
        }
        for peer in 0..self.peers.len() {
            if self.peers[peer].client.poll_timeout().is_some_and(|at| at <= now.instant) {
                self.peers[peer].client.handle_timeout(now.instant);
                self.drain_client(peer);
            }
            let gone = self.peers[peer].ended_at.is_some_and(|at| now.instant.since(at).as_secs() > 5);
            if gone && !self.is_calm && self.peers.len() < 24 {
                self.peers[peer].ended_at = Some(now.instant + Duration::from_secs(100_000));
                self.newcomer();
            }
        }
    }

    // Announcements.

    /// Moves what the broker announces to the nodes.
    pub fn pump(&mut self) {
        let mut news = Vec::new();
        let _nothing = self.announcements.receive(&mut news, 100).now_or_never();
        for announcement in news {
            for node in &mut self.nodes {
                let input = match &announcement {
                    Announcement::Batch(batch) => {
                        let mut batch = batch.clone();
                        if self.backend.planted == Some(Planted::ForgetExcept) {
                            batch.records.iter_mut().for_each(|record| record.except = None);
                        }
                        Input::Batch(Arc::new(EncodedBatch::new(batch, &FRAMING)))
                    }
                    Announcement::Ephemeral(ephemeral) => {
                        Input::Ephemeral(Arc::new(EncodedEphemeral::new(ephemeral.clone(), &FRAMING)))
                    }
                    Announcement::Lost => {
                        node.behind = true;
                        continue;
                    }
                };
                if !self.is_calm && self.random.chance(4) {
                    node.behind = true;
                } else {
                    node.announced.push_back(input);
                }
            }
        }
    }

    fn somebody_hears(&mut self) {
        let node = self.random.below(self.nodes.len());
        let now = self.now();
        for _ in 0..=self.random.below(4) {
            self.nodes[node].hear(now);
        }
        self.after(node);
    }

    fn backend_answers(&mut self) {
        let node = self.random.below(self.nodes.len());
        let now = self.now();
        for _ in 0..=self.random.below(4) {
            self.nodes[node].answer(now);
        }
        self.after(node);
    }

    /// What a node's outputs mean for the others.
    fn after(&mut self, node: usize) {
        let now = self.now();
        for id in std::mem::take(&mut self.nodes[node].expired) {
            let home = self.node_of(&id);
            let there = &mut self.nodes[home];
            there.shard.expire(now, &id, &mut there.sockets);
            there.settle(now);
            self.note(|| format!("{id} expires for another one"));
        }
        for connection in std::mem::take(&mut self.nodes[node].established) {
            self.session_began(node, connection);
        }
    }

    /// What was published from now on is owed to the session.
    fn session_began(&mut self, node: usize, connection: ConnectionId) {
        let Some(link) = self.nodes[node].sockets.links.get(&connection) else { return };
        let index = link.client;
        if self.peers[index].link != Some((node, connection)) {
            return;
        }
        let truth = self.backend.truth.borrow();
        self.peers[index].birth.after =
            truth.rooms.keys().map(|room| (room.clone(), truth.head(room))).collect();
    }

    // The network.

    fn network(&mut self) {
        let node = self.random.below(self.nodes.len());
        let ids: Vec<ConnectionId> = self.nodes[node].sockets.links.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = *self.random.pick(&ids);
        self.move_link(node, id);
    }

    /// Moves what a connection carries, in both directions.
    fn move_link(&mut self, node: usize, id: ConnectionId) {
        let now = self.now();
        let Some(link) = self.nodes[node].sockets.links.get_mut(&id) else { return };
        let client = link.client;
        if !link.opened {
            link.opened = true;
            if link.client_here {
                self.peers[client].client.handle(now.instant, client::Input::Opened);
                self.drain_client(client);
            }
            return;
        }
        self.upward(node, id);
        self.after(node);
        self.downward(node, id);
        self.tend(node, id);
        self.after(node);
    }

    /// What the client sent reaches the server.
    fn upward(&mut self, node: usize, id: ConnectionId) {
        for _ in 0..=self.random.below(3) {
            let Some(link) = self.nodes[node].sockets.links.get_mut(&id) else { return };
            if !link.server_here {
                return link.to_server.clear();
            }
            // A hello that comes after its client said another one elsewhere would take the newer connection over, and
            // make its token worthless: networks do that, this one does not.
            if !link.greeted && self.peers[link.client].link != Some((node, id)) {
                return link.to_server.clear();
            }
            if !link.greeted {
                if let Some(Up::Text(hello)) = link.to_server.pop_front() {
                    link.greeted = true;
                    self.greet(node, id, &hello);
                }
                return;
            }
            let Some(peer) = link.peer else { return };
            let client = link.client;
            match link.to_server.pop_front() {
                Some(Up::Text(text)) => self.inbound(node, client, peer, &text),
                Some(Up::Pong) => self.nodes[node].handle(moment(self.micros), Input::Alive(peer)),
                None => return,
            }
        }
    }

    fn inbound(&mut self, node: usize, client: usize, peer: moorline_proto::shard::Peer, text: &str) {
        let inbound = codec::decode(text);
        let is_current = self.peers[client].link == Some((node, peer.connection));
        match &inbound.frame {
            Ok(ClientFrame::Pong { positions }) if is_current => {
                for (room, position) in positions {
                    self.peers[client].acked.insert(room.clone(), position.offset.0);
                }
            }
            Ok(ClientFrame::Ack { room: Some(room), offset, .. }) if is_current => {
                self.peers[client].acked.insert(room.clone(), offset.0);
            }
            Ok(ClientFrame::Join { room, since }) if *since != Since::Now => {
                self.peers[client].reread.insert(room.clone());
            }
            Ok(ClientFrame::Reconnect { room: Some(room), .. }) => {
                self.peers[client].reread.insert(room.clone());
            }
            Ok(ClientFrame::Leave { room }) => {
                self.peers[client].reread.insert(room.clone());
                self.peers[client].app.unsure.insert(room.clone(), peer.connection);
            }
            Err(rejection) => self.backend.violation(format!("{text} is refused: {rejection}")),
            _ => {}
        }
        self.note(|| format!("{client} says {text}"));
        self.nodes[node].handle(moment(self.micros), Input::Frame(peer, inbound));
    }

    /// A connection says hello.
    fn greet(&mut self, node: usize, id: ConnectionId, text: &str) {
        self.note(|| format!("{id:?} says {text}"));
        let Ok(ClientFrame::Hello(hello)) = codec::decode(text).frame else {
            return self.backend.violation(format!("no hello: {text}"));
        };
        let Some(link) = self.nodes[node].sockets.links.get(&id) else { return };
        let client = link.client;
        let peer = &mut self.peers[client];
        if peer.link == Some((node, id)) {
            let truth = self.backend.truth.borrow();
            peer.birth.before = truth.rooms.keys().map(|room| (room.clone(), truth.head(room))).collect();
            peer.birth.after = BTreeMap::new();
            peer.stream.acked = peer.acked.clone();
            peer.stream.acked.retain(|room, _| !peer.reread.contains(room));
        }
        let (user, home) = (peer.app.user.clone(), peer.home.clone());
        let mut bits = [0; 32];
        bits[..8].copy_from_slice(&self.random.next().to_le_bytes());
        let claim = Claim {
            connection: id,
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
            fresh_id: self.fresh_id(node),
            fresh_token: ResumeToken::from_random(bits),
        };
        self.nodes[node].handle(moment(self.micros), Input::Establish(Box::new(claim)));
    }

    fn fresh_id(&mut self, node: usize) -> SessionId {
        loop {
            self.numbers += 1;
            let id = SessionId::new(&format!("fresh{}", self.numbers)).unwrap();
            if self.node_of(&id) == node {
                return id;
            }
        }
    }

    /// The node that a session is on.
    pub fn node_of(&self, id: &SessionId) -> usize {
        id.as_str().bytes().map(usize::from).sum::<usize>() % self.nodes.len()
    }

    /// What the server sent reaches the client, as far as it reads.
    fn downward(&mut self, node: usize, id: ConnectionId) {
        let most = if self.is_calm || self.random.chance(60) { usize::MAX } else { self.random.below(400) };
        let Some(link) = self.nodes[node].sockets.links.get_mut(&id) else { return };
        if link.is_slow || !link.client_here {
            return;
        }
        let count = most.min(link.to_client.len());
        link.partial.extend(link.to_client.drain(..count));
        loop {
            let Some(link) = self.nodes[node].sockets.links.get_mut(&id).filter(|link| link.client_here)
            else {
                return;
            };
            let client = link.client;
            match wire::take(&mut link.partial) {
                Some(Frame::Text(text)) => self.received(client, &text),
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
        let Some(link) = self.nodes[node].sockets.links.get_mut(&id) else { return };
        if !link.server_here && link.to_client.is_empty() {
            link.client_here = false;
            link.half_open = false;
            let client = link.client;
            self.client_closed(client, id, None);
        }
    }

    fn client_closed(&mut self, client: usize, id: ConnectionId, code: Option<u16>) {
        self.note(|| format!("{client} is closed with {code:?}"));
        let now = self.now().instant;
        if self.peers[client].link.is_some_and(|(_, current)| current == id) {
            self.peers[client].link = None;
            self.peers[client].client.handle(now, client::Input::Closed(code));
            self.drain_client(client);
        }
    }

    /// Tells the server's end what it can know.
    fn tend(&mut self, node: usize, id: ConnectionId) {
        let now = self.now();
        let Some(link) = self.nodes[node].sockets.links.get_mut(&id) else { return };
        if link.awaits_writable && (link.space() > 0 || link.is_broken()) {
            link.awaits_writable = false;
            if let Some(peer) = link.peer {
                self.nodes[node].handle(now, Input::Writable(peer));
            }
        }
        let Some(link) = self.nodes[node].sockets.links.get_mut(&id) else { return };
        let is_over = link.is_broken() && (link.to_server.is_empty() || !link.server_here);
        if is_over && link.server_here {
            match (link.peer, link.greeted) {
                (Some(peer), _) => {
                    link.server_here = false;
                    self.nodes[node].handle(now, Input::Lost(peer, None));
                }
                (None, true) if !link.told_lost => {
                    link.told_lost = true;
                    self.nodes[node].handle(now, Input::Abandoned(id));
                }
                (None, true) => {}
                (None, false) => link.server_here = false,
            }
        }
        let links = &mut self.nodes[node].sockets.links;
        if links.get(&id).is_some_and(|link| !link.client_here && !link.server_here) {
            links.remove(&id);
        }
    }

    // Clients.

    fn received(&mut self, client: usize, text: &str) {
        self.note(|| format!("{client} hears {text}"));
        let is_message = text.starts_with("{\"type\":\"m\"");
        self.messages += u64::from(is_message);
        let every = is_message && self.messages.is_multiple_of(97);
        match self.backend.planted {
            Some(Planted::DropDeliveries) if every => return,
            Some(Planted::SwallowResets) if text.starts_with("{\"type\":\"reset\"") => return,
            _ => {}
        }
        let times = if every && self.backend.planted == Some(Planted::RepeatDeliveries) { 2 } else { 1 };
        for _ in 0..times {
            let peer = &mut self.peers[client];
            let found = peer.stream.received(&self.backend.truth.borrow(), peer.app.user.as_ref(), text);
            self.violation(found);
            let now = self.now().instant;
            self.peers[client].client.handle(now, client::Input::TextReceived(text.to_owned()));
            self.drain_client(client);
        }
    }

    /// Performs what a client wants.
    pub fn drain_client(&mut self, index: usize) {
        while let Some(output) = self.peers[index].client.poll_output() {
            match output {
                client::Output::Connect => self.connect(index),
                client::Output::SendText(text) => {
                    self.peers[index].stream.sent(&text);
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

    pub fn link_of(&mut self, index: usize) -> Option<&mut Link> {
        let (node, id) = self.peers[index].link?;
        self.nodes[node].sockets.links.get_mut(&id)
    }

    fn connect(&mut self, index: usize) {
        let known = self.peers[index].client.session().cloned();
        let asked = known.or_else(|| self.peers[index].wanted.clone());
        let node = match asked {
            Some(id) => self.node_of(&id),
            None => self.random.below(self.nodes.len()),
        };
        self.connections += 1;
        let id = ConnectionId(self.connections);
        let room_bytes = if self.is_calm { 1 << 20 } else { [300, 1_000, 1 << 16][self.random.below(3)] };
        self.nodes[node].sockets.links.insert(id, Link::new(id, index, room_bytes));
        self.peers[index].link = Some((node, id));
        self.peers[index].stream = super::checks::stream::Stream::default();
    }

    /// The client's end of its connection is gone.
    fn abandon(&mut self, index: usize, half_open: bool) {
        if let Some(link) = self.link_of(index) {
            link.client_here = false;
            link.half_open = half_open;
            link.to_client.clear();
        }
        self.peers[index].link = None;
    }

    fn event(&mut self, index: usize, event: Event) {
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
                let state = state(&backend.broker, &room);
                let is_forgotten = state.head == Offset::START;
                let cut =
                    if is_forgotten { truth.head(&room) } else { state.cut.0.max(truth.forgotten(&room)) };
                let told = Told { reason, from: from.map(|from| from.0), to: to.offset.0, cut };
                peer.app.reset(&truth, &room, &told, former_ended)
            }
            Event::Joined { room, position } => {
                peer.app.sure(&room, peer.link.map(|(_, id)| id), false);
                peer.app.joined(&truth, &room, position.offset.0)
            }
            Event::Left { room } => {
                peer.app.sure(&room, None, true);
                peer.app.rooms.remove(&room);
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

    fn established(&mut self, index: usize, session: &SessionId, resumed: bool) {
        let own = self.own_rooms(index, session);
        let peer = &mut self.peers[index];
        let again = peer.sessions.contains(session);
        peer.app.session = Some(session.clone());
        // What was asked before may be answered now, or once more.
        peer.app.asked.values_mut().for_each(|head| *head = 0);
        if !resumed {
            peer.app.rooms.clear();
            peer.app.unsure.clear();
            peer.acked.clear();
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
            let room = RoomName::new(name).unwrap();
            let Some((_, Offset(offset))) = peer.client.position(&room) else { continue };
            // Where a membership began that nobody told the client of is known by its first message alone.
            let is_told = !resumed && !again && peer.home.as_ref() == Some(&room);
            let at = if is_told { At::exactly(offset) } else { At { low: 0, high: u64::MAX } };
            peer.app.rooms.entry(room).or_insert(at);
        }
    }

    fn own_rooms(&self, index: usize, session: &SessionId) -> Vec<RoomName> {
        let user = self.peers[index].app.user.clone().map(Owner::User);
        let owners = [Some(Owner::All), user, Some(Owner::Session(session.clone()))];
        owners.iter().flatten().map(RoomName::own).collect()
    }

    // What people do.

    fn somebody_acts(&mut self) {
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
    fn since(&mut self, index: usize, room: &RoomName) -> (Since, u64) {
        match self.random.below(4) {
            0 => (Since::Start, 0),
            1 => {
                let head = self.backend.truth.borrow().head(room);
                let offset = Offset(self.random.below(usize::try_from(head).unwrap() + 1) as u64);
                (Since::Position(Position { epoch: EPOCH, offset }), 0)
            }
            _ => {
                let is_unanswered = self.peers[index].client.unanswered() > 0;
                let head = state(&self.backend.broker, room).head.0;
                (Since::Now, if is_unanswered { 0 } else { head })
            }
        }
    }

    /// Asks for what lies after an older position; only where nothing else is on its way, so that the answer is exact.
    fn replay(&mut self, index: usize, room: RoomName) {
        let peer = &mut self.peers[index];
        let Some(at) = peer.app.rooms.get(&room).copied().filter(|at| at.low == at.high) else { return };
        if !peer.client.is_established() || peer.client.unanswered() > 0 || at.low == 0 {
            return;
        }
        let back = self.random.below(4) as u64;
        let after = Offset(at.low.saturating_sub(back));
        self.backend.truth.borrow_mut().replays += 1;
        self.peers[index].app.replays.insert(room.clone(), after.0);
        // A replay that its connection does not outlive is not gone on with: what it brings is known, holes in it are not.
        self.peers[index].app.unsure.insert(room.clone(), ConnectionId(u64::MAX));
        let now = self.now().instant;
        self.peers[index].client.handle(now, client::Input::Replay { room, after });
        self.drain_client(index);
    }

    fn publication(&mut self, index: usize, room: &RoomName) -> client::Publication {
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
        let id = PublishId::new(&format!("{index}-{}", self.numbers)).unwrap();
        client::Publication { to, message, except, id }
    }

    fn text(&mut self) -> String {
        let padding = "x".repeat([0, 20, 200][self.random.below(3)]);
        format!("{{\"type\":\"m\",\"n\":{},\"x\":\"{padding}\"}}", self.numbers)
    }

    fn except(&mut self, sessions: &[SessionId]) -> Option<Except> {
        if sessions.is_empty() || self.random.chance(60) {
            return None;
        }
        let users = if self.random.chance(30) { vec![UserId::new("ann").unwrap()] } else { Vec::new() };
        let count = self.random.below(3);
        let sessions = (0..count).map(|_| self.random.pick(sessions).clone()).collect();
        Some(Except { sessions, users })
    }

    /// A publish over HTTP, stored or not.
    pub fn publish(&mut self, room: RoomName, is_ephemeral: bool) {
        self.numbers += 1;
        let sessions: Vec<SessionId> =
            self.peers.iter().filter_map(|peer| peer.app.session.clone()).collect();
        let except = self.except(&sessions).map(Arc::new);
        let message = Message::parse(self.text().into_bytes().into()).unwrap();
        let keep = if is_ephemeral { Keep::Ephemeral } else { Keep::Record { key: None, durability: None } };
        self.note(|| format!("HTTP publishes to {room}: {message:?} except {except:?}"));
        let publication = Publication { room, message, except, keep };
        let published = self.backend.publish(self.now(), publication, "key/http");
        self.violation(published.err().map(|error| error.to_string()));
    }

    fn application_acts(&mut self) {
        let room = self.any_room();
        let index = self.random.below(self.peers.len());
        let session = self.peers[index].app.session.clone();
        let now = self.now();
        match (self.random.below(40), session) {
            (0..=14, _) => self.publish(room, false),
            (15..=19, _) => self.publish(room, true),
            (20..=21, Some(id)) => self.publish(RoomName::own(&Owner::Session(id)), false),
            (22..=23, _) => self.publish(RoomName::own(&Owner::User(UserId::new("ann").unwrap())), false),
            (24, _) => self.publish(RoomName::own(&Owner::All), true),
            (38, _) => self.publish(RoomName::own(&Owner::All), false),
            (25..=30, Some(id)) => {
                let node = self.node_of(&id);
                let is_unanswered = self.peers[index].client.unanswered() > 0;
                let head = if is_unanswered { 0 } else { state(&self.backend.broker, &room).head.0 };
                self.note(|| format!("HTTP puts {id} into {room}"));
                self.peers[index].app.ask(&room, head);
                let _too_many = self.nodes[node].shard.add_to_room(&id, &room);
                self.nodes[node].settle(now);
            }
            (31..=34, Some(id)) => {
                let node = self.node_of(&id);
                self.note(|| format!("HTTP takes {id} out of {room}"));
                let connection = self.peers[index].link.map_or(ConnectionId(0), |(_, id)| id);
                self.peers[index].app.unsure.insert(room.clone(), connection);
                self.peers[index].reread.insert(room.clone());
                let there = &mut self.nodes[node];
                let _gone = there.shard.remove_from_room(now, &id, &room, &mut there.sockets);
                there.settle(now);
            }
            (35..=36, _) => {
                self.note(|| format!("HTTP clears {room}"));
                let _cleared = self.backend.broker.clear(room).now_or_never();
            }
            (37, Some(id)) => {
                let node = self.node_of(&id);
                self.note(|| format!("HTTP ends {id}"));
                let there = &mut self.nodes[node];
                there.shard.disconnect(now, &id, &mut there.sockets);
                there.settle(now);
            }
            _ => {}
        }
    }

    fn somebody_is_cut_off(&mut self) {
        let index = self.random.below(self.peers.len());
        if self.peers[index].link.is_none() || self.random.chance(50) {
            return;
        }
        let half_open = self.random.chance(40);
        self.note(|| format!("{index} is cut off, half open: {half_open}"));
        self.abandon(index, half_open);
        let now = self.now().instant;
        self.peers[index].client.handle(now, client::Input::Closed(None));
        self.drain_client(index);
    }

    // The end.

    /// The faults are over: everything moves at once until nothing is left to move.
    pub fn heal(&mut self) {
        self.is_calm = true;
        for _ in 0..90 {
            if self.is_wrong() {
                return;
            }
            self.move_everything();
            self.pass(1_000_000);
        }
        self.move_everything();
    }

    fn move_everything(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].is_prompt = true;
            self.nodes[node].sockets.partial_percent = 0;
        }
        for _ in 0..12 {
            for node in 0..self.nodes.len() {
                self.pump();
                let now = self.now();
                while self.nodes[node].hear(now) || self.nodes[node].answer(now) {}
                self.after(node);
                let ids: Vec<ConnectionId> = self.nodes[node].sockets.links.keys().copied().collect();
                for id in ids {
                    if let Some(link) = self.nodes[node].sockets.links.get_mut(&id) {
                        link.is_slow = false;
                        link.half_open = false;
                    }
                    self.move_link(node, id);
                    self.move_link(node, id);
                }
            }
        }
    }

    /// Everybody leaves, and what they leave behind grows old.
    pub fn end(&mut self) {
        for index in 0..self.peers.len() {
            let now = self.now().instant;
            self.peers[index].client.handle(now, client::Input::Shutdown);
            self.drain_client(index);
        }
        for _ in 0..20 {
            self.move_everything();
            self.pass(20_000_000);
        }
    }
}

fn rules(random: &mut Random) -> RetentionRules {
    let records = [4, 12, 1_000][random.below(3)];
    let age = Duration::from_secs(120);
    RetentionRules {
        room: Retention { records, bytes: 1 << 20, age },
        own: Retention { records: 6, bytes: 1 << 20, age },
        prefixes: Vec::new(),
        total_bytes: 1 << 22,
        id_age: Duration::from_secs(100_000),
        id_bytes: 1 << 22,
    }
}

fn config(random: &mut Random) -> ShardConfig {
    ShardConfig {
        heartbeat: Policy {
            interval: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(25),
            pong_timeout: None,
        },
        heartbeat_frame: "ping".to_owned(),
        session_lifetime: LIFETIME,
        absent_max_bytes: 1024 * 1024,
        rooms_max: 8,
        metadata_max_bytes: 4_096,
        pending_max_bytes: [700, 2_000, 20_000][random.below(3)],
        stall_timeout: Duration::from_secs(12),
        save_timeout: Duration::from_secs(10),
        in_flight_max: 1_024,
        shard_rooms_max: 1_000_000,
        expiry: ExpiryConfig::default(),
        authenticates: false,
        authorizes: false,
        framing: FRAMING,
    }
}
