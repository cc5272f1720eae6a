//! The driver of one shard: performs its outputs as an asynchronous one would, late and interleaved, in order per kind.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use moorline_broker::{
    Broker, Fence, Keep, LocalBroker, MemorySessions, NodeId, Publication, PublishKey, Published, ReadLimit,
    SessionStore, StoreError,
};
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::{Answer, Presence, Publish, PublishAnswer, PublishOutcome, Target};
use moorline_proto::id::{Owner, RoomName, SessionId};
use moorline_proto::identity::Identity;
use moorline_proto::position::Offset;
use moorline_proto::resume::RoomState;
use moorline_proto::shard::{
    ConnectionId, Event, Host, Input, Output, Peer, SaveError, SessionKey, Shard, ShardConfig,
};
use moorline_proto::time::{Now, Timestamp};
use moorline_proto::users::Users;

use super::checks::planted::Planted;
use super::link::Link;
use super::random::Random;
use super::truth::{self, Truth};

/// What all nodes share.
pub struct Backend {
    pub broker: LocalBroker,
    pub store: MemorySessions,
    pub users: Rc<RefCell<Users>>,
    pub truth: RefCell<Truth>,
    pub violations: RefCell<Vec<String>>,
    /// Session ids that were claimed and not removed, with the fence that holds them.
    pub claims: RefCell<BTreeMap<SessionId, u64>>,
    pub planted: Option<Planted>,
}

impl Backend {
    pub fn violation(&self, text: String) {
        self.violations.borrow_mut().push(text);
    }

    /// Publishes to one room, and writes down what became of it.
    pub fn publish(
        &self,
        now: Now,
        publication: Publication,
        sender: &str,
    ) -> Result<Published, moorline_broker::BrokerError> {
        let Publication { room, message, except, .. } = publication.clone();
        let is_new = state(&self.broker, &room).head == Offset::START;
        let published = self.broker.publish(publication).now_or_never().unwrap()?;
        let mut truth = self.truth.borrow_mut();
        let offset = match published {
            Published::Stored { duplicate: true, .. } => return Ok(published),
            Published::Stored { position, .. } => Some(position.offset),
            Published::Ephemeral => None,
        };
        let envelope = String::from_utf8(message.envelope(&room, offset, now.timestamp)).unwrap();
        let record = truth::Published { offset: offset.map_or(0, |offset| offset.0), envelope, except };
        if offset.is_some() {
            if is_new && truth.head(&room) > 0 {
                let head = truth.head(&room);
                truth.forgotten.insert(room.clone(), head);
            }
            let number = super::checks::order::number_of(message.as_bytes());
            let numbers = truth.numbers.entry((sender.to_owned(), room.clone())).or_default();
            let problem = super::checks::order::publishers_order(numbers, number, &room, sender);
            numbers.push(number);
            if let Some(problem) = problem {
                self.violation(problem);
            }
            truth.rooms.entry(room).or_default().push(record);
        } else {
            truth.ephemeral.insert(record.envelope.clone(), record);
        }
        Ok(published)
    }
}

/// An answer on its way, or what it will be asked for when it is on its way.
enum Pending {
    Answer(Box<Input>),
    Ask(Box<Output>),
}

/// Answers come in order within each of these.
const KINDS: usize = 7;

pub struct Sockets {
    pub links: BTreeMap<ConnectionId, Link>,
    slots: BTreeMap<SessionKey, ConnectionId>,
    users: Rc<RefCell<Users>>,
    random: Random,
    /// How likely a socket takes only a part.
    pub partial_percent: usize,
    /// The most that a write may offer while what waits is written.
    offered: Option<usize>,
    violations: Vec<String>,
}

impl Host for Sockets {
    fn write(&mut self, session: SessionKey, bytes: &[u8]) -> usize {
        if let Some(offered) = &mut self.offered {
            *offered = (*offered).max(bytes.len());
        }
        let Some(link) = self.slots.get(&session).and_then(|id| self.links.get_mut(id)) else {
            self.violations.push(format!("written to session {session:?}, which has no connection"));
            return bytes.len();
        };
        if link.is_broken() {
            return bytes.len();
        }
        let most = link.space().min(bytes.len());
        let count = if self.random.chance(self.partial_percent) { self.random.below(most + 1) } else { most };
        link.to_client.extend(&bytes[..count]);
        count
    }

    fn bind(&mut self, connection: ConnectionId, session: SessionKey) {
        self.slots.insert(session, connection);
        if let Some(link) = self.links.get_mut(&connection) {
            link.bound = Some(session);
        }
    }

    fn with_users(&mut self, act: &mut dyn FnMut(&mut Users)) {
        act(&mut self.users.borrow_mut());
    }

    fn is_revoked(&mut self, _: &Identity) -> bool {
        false
    }
}

pub struct Node {
    pub shard: Shard,
    pub sockets: Sockets,
    pub config: Arc<ShardConfig>,
    backend: Rc<Backend>,
    answers: [VecDeque<Pending>; KINDS],
    /// Announced, not taken in yet.
    pub announced: VecDeque<Input>,
    /// Whether announcements were lost.
    pub behind: bool,
    random: Random,
    /// Whether answers come at once.
    pub is_prompt: bool,
    /// Sessions that expire, on whichever node they are.
    pub expired: Vec<SessionId>,
    /// Subscribed rooms, and how often.
    pub subscribed: BTreeMap<RoomName, i64>,
    /// Connections whose session was established just now.
    pub established: Vec<ConnectionId>,
    page: ReadLimit,
    unsubscribes: u64,
}

impl Node {
    pub fn new(config: &Arc<ShardConfig>, backend: &Rc<Backend>, now: Now, seed: u64) -> Self {
        let mut random = Random(seed);
        let page = ReadLimit { records: 1 + random.below(6), bytes: config.pending_max_bytes / 2 };
        let sockets = Sockets {
            links: BTreeMap::new(),
            slots: BTreeMap::new(),
            users: Rc::clone(&backend.users),
            random: Random(random.next()),
            partial_percent: 30,
            offered: None,
            violations: Vec::new(),
        };
        Self {
            shard: Shard::new(Arc::clone(config), now),
            sockets,
            config: Arc::clone(config),
            backend: Rc::clone(backend),
            answers: std::array::from_fn(|_| VecDeque::new()),
            announced: VecDeque::new(),
            behind: false,
            random,
            is_prompt: false,
            expired: Vec::new(),
            subscribed: BTreeMap::new(),
            established: Vec::new(),
            page,
            unsubscribes: 0,
        }
    }

    pub fn handle(&mut self, now: Now, input: Input) {
        self.take_in(now, input);
        self.settle(now);
    }

    fn take_in(&mut self, now: Now, input: Input) {
        let is_writable = matches!(input, Input::Writable(_));
        self.sockets.offered = is_writable.then_some(0);
        self.shard.handle(now, input, &mut self.sockets);
        if let Some(offered) = self.sockets.offered.take() {
            self.check_bound(offered);
        }
    }

    pub fn handle_timeout(&mut self, now: Now) {
        if self.shard.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.shard.handle_timeout(now, &mut self.sockets);
            self.settle(now);
        }
    }

    pub fn settle(&mut self, now: Now) {
        loop {
            let budget = 1 + self.random.below(4);
            while self.shard.fan_out(now, budget, &mut self.sockets) {}
            if let Some(output) = self.shard.poll_output() {
                self.perform(now, output);
            } else if self.is_prompt && self.answers.iter().any(|waiting| !waiting.is_empty()) {
                if let Some(input) = self.next_answer(now) {
                    self.take_in(now, input);
                }
            } else {
                break;
            }
        }
        for violation in std::mem::take(&mut self.sockets.violations) {
            self.backend.violation(violation);
        }
    }

    fn check_bound(&self, waiting: usize) {
        const FRAME_MAX: usize = 600;
        let bound = self.config.pending_max_bytes * 2 + FRAME_MAX;
        if waiting > bound {
            self.backend.violation(format!("{waiting} bytes wait for a connection; the bound is {bound}"));
        }
    }

    /// Delivers one answer that is on its way. False where there is none.
    pub fn answer(&mut self, now: Now) -> bool {
        if self.answers.iter().all(VecDeque::is_empty) {
            return false;
        }
        if let Some(input) = self.next_answer(now) {
            self.handle(now, input);
        }
        true
    }

    /// The next answer of some kind; none where nobody waits for what was done.
    fn next_answer(&mut self, now: Now) -> Option<Input> {
        let waiting: Vec<usize> = (0..KINDS).filter(|&kind| !self.answers[kind].is_empty()).collect();
        let kind = waiting[self.random.below(waiting.len())];
        match self.answers[kind].pop_front()? {
            Pending::Answer(input) => Some(*input),
            Pending::Ask(output) => self.execute(now, *output),
        }
    }

    /// Takes in one announcement. False where there is none.
    pub fn hear(&mut self, now: Now) -> bool {
        if self.behind && (self.announced.is_empty() || self.random.chance(30)) {
            self.behind = false;
            if self.backend.planted != Some(Planted::NeverTellLost) {
                self.handle(now, Input::AnnouncementsLost);
            }
            return true;
        }
        let Some(input) = self.announced.pop_front() else { return false };
        self.handle(now, input);
        true
    }

    fn perform(&mut self, now: Now, output: Output) {
        let kind = match &output {
            Output::Load(..) => 0,
            Output::Claim(..) => 1,
            Output::Survey { .. } => 2,
            Output::Save { .. } => 3,
            Output::Subscribe(..) => 4,
            Output::Read { .. } => 5,
            Output::Publish { .. } | Output::Presence(..) => 6,
            _ => return self.perform_now(now, output),
        };
        // Who subscribes and publishes is served in the order of asking.
        let at_once = kind == 4 || kind == 6 || self.random.chance(50);
        let pending = if at_once {
            self.execute(now, output).map(|input| Pending::Answer(Box::new(input)))
        } else {
            Some(Pending::Ask(Box::new(output)))
        };
        self.answers[kind].extend(pending);
    }

    fn perform_now(&mut self, now: Now, output: Output) {
        match output {
            Output::Remove(id, fence) => {
                let removed = self.backend.store.remove(id.clone(), Fence(fence)).now_or_never().unwrap();
                if removed.is_ok() {
                    self.backend.claims.borrow_mut().remove(&id);
                }
            }
            Output::Unsubscribe(room) => {
                self.unsubscribes += 1;
                if self.backend.planted != Some(Planted::KeepSubscribed)
                    || !self.unsubscribes.is_multiple_of(3)
                {
                    *self.subscribed.entry(room.clone()).or_default() -= 1;
                    self.backend.broker.unsubscribe(room);
                }
            }
            Output::Established(peer) => {
                if let Some(link) = self.sockets.links.get_mut(&peer.connection) {
                    link.peer = Some(peer);
                    self.established.push(peer.connection);
                }
            }
            Output::Refuse(connection, refusal) => {
                if let Some(link) = self.sockets.links.get_mut(&connection) {
                    let mut bytes = Vec::new();
                    (super::wire::FRAMING.close)(&mut bytes, refusal.code.number(), "");
                    link.to_client.extend(bytes);
                    link.server_here = false;
                }
            }
            Output::AwaitWritable(peer) => {
                if let Some(link) = self.sockets.links.get_mut(&peer.connection) {
                    link.awaits_writable = true;
                }
            }
            Output::Close { peer, rest } => self.close(now, peer, &rest),
            Output::Expire(id) => self.expired.push(id),
            Output::Event(Event::Ended { session }) => {
                self.backend.truth.borrow_mut().ended.insert(session);
            }
            _ => {}
        }
    }

    fn close(&mut self, _now: Now, peer: Peer, rest: &[u8]) {
        self.check_bound(rest.len());
        if self.sockets.slots.get(&peer.session) == Some(&peer.connection) {
            self.sockets.slots.remove(&peer.session);
        }
        if let Some(link) = self.sockets.links.get_mut(&peer.connection) {
            let count = if self.random.chance(30) { self.random.below(rest.len() + 1) } else { rest.len() };
            link.to_client.extend(&rest[..count]);
            link.server_here = false;
            link.awaits_writable = false;
        }
    }

    fn execute(&mut self, now: Now, output: Output) -> Option<Input> {
        let (broker, store) = (&self.backend.broker, &self.backend.store);
        Some(match output {
            Output::Load(connection, id) => {
                let record = store.load(id).now_or_never().unwrap();
                Input::Loaded(connection, record.map_err(|_| unavailable()))
            }
            Output::Claim(connection, id) => {
                let stored = store.claim(id.clone(), NodeId("n".into())).now_or_never().unwrap();
                let fence = stored.map(|stored| stored.fence.0);
                if let Ok(fence) = fence {
                    self.backend.claims.borrow_mut().insert(id, fence);
                }
                Input::Claimed(connection, fence.map_err(|_| unavailable()))
            }
            Output::Survey { surveyor, session, user, requests } => {
                let surveys = broker.survey(session, user, requests).now_or_never().unwrap();
                Input::Surveyed(surveyor, surveys.map_err(|error| error.rejection()))
            }
            Output::Save { record, fence, waiting } => {
                let session = record.id.clone();
                let saved = store.save(record, Fence(fence)).now_or_never().unwrap();
                let result = saved.map_err(|error| match error {
                    StoreError::Fenced => SaveError::Fenced,
                    StoreError::Unavailable => SaveError::Rejected(unavailable()),
                });
                Input::Saved { session, fence, waiting, result }
            }
            Output::Subscribe(key, room) => {
                *self.subscribed.entry(room.clone()).or_default() += 1;
                let state = broker.subscribe(room.clone()).now_or_never().unwrap();
                Input::Subscribed(key, room, state.map_err(|error| error.rejection()))
            }
            Output::Read { reader, room, after } => {
                let page = broker.read(room.clone(), after, self.page).now_or_never().unwrap();
                Input::PageRead(reader, room, page.map_err(|error| error.rejection()))
            }
            Output::Publish { ticket, sender, publish } => {
                Input::Published(ticket, self.publish(now, &sender, &publish))
            }
            Output::Presence(ticket, room) => {
                let (count, sessions) = self.shard.present(&room, Presence::MAX_LISTED);
                Input::Presence(ticket, Presence { room, count, sessions })
            }
            _ => return None,
        })
    }

    fn publish(&self, now: Now, sender: &Arc<str>, publish: &Publish) -> Result<Answer, Rejection> {
        match &publish.to {
            Target::Room(room) => self.publish_to(now, room.clone(), sender, publish).map(Answer::Published),
            Target::Sessions(ids) => {
                let rooms = ids.iter().map(|id| RoomName::own(&Owner::Session(id.clone())));
                let results = rooms.map(|room| PublishOutcome(self.publish_to(now, room, sender, publish)));
                Ok(Answer::Several { results: results.collect() })
            }
        }
    }

    fn publish_to(
        &self,
        now: Now,
        room: RoomName,
        sender: &Arc<str>,
        publish: &Publish,
    ) -> Result<PublishAnswer, Rejection> {
        let id = publish.id.clone().filter(|_| self.backend.planted != Some(Planted::ForgetPublishIds));
        let keep = if publish.ephemeral {
            Keep::Ephemeral
        } else {
            let key = id.map(|id| PublishKey { sender: Arc::clone(sender), id });
            Keep::Record { key, durability: None }
        };
        let (message, except) = (publish.message.clone(), publish.except.clone());
        let publication = Publication { room: room.clone(), message, except, keep };
        // A user's sessions share the ids' scope, but not an order.
        let who = publish.id.as_ref().and_then(|id| id.as_str().split('-').next()).unwrap_or_default();
        let publisher = format!("{sender} {who}");
        let published =
            self.backend.publish(now, publication, &publisher).map_err(|error| error.rejection())?;
        let (position, duplicate) = match published {
            Published::Stored { position, duplicate, .. } => (Some(position), duplicate),
            Published::Ephemeral => (None, false),
        };
        let audience = self.shard.audience(&room, publish.except.as_deref());
        let (reached, queued) = (audience.reached, audience.queued);
        Ok(PublishAnswer { room, position, reached, queued, durability: None, duplicate })
    }
}

fn unavailable() -> Rejection {
    Rejection::new(ErrorCode::Unavailable, "the store does not answer")
}

/// A moment so many microseconds after the beginning.
pub fn moment(micros: u64) -> Now {
    let elapsed = std::time::Duration::from_micros(micros);
    Now {
        instant: moorline_proto::time::Instant::since_start(elapsed),
        timestamp: Timestamp(1_700_000_000_000 + micros / 1_000),
    }
}

/// What the log knows of a room.
pub fn state(broker: &LocalBroker, room: &RoomName) -> RoomState {
    let limit = ReadLimit { records: 1, bytes: 1 };
    let page = broker.read(room.clone(), Offset::START, limit).now_or_never().unwrap();
    page.map(|page| page.state).unwrap_or_default()
}
