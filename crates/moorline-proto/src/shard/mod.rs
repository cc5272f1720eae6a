//! The session machine of one shard: its sessions, their rooms and connections, and every decision about them.
//!
//! # For drivers
//! A [`Shard`] does nothing by itself. Its driver calls, in this order and from one task:
//! 1. [`Shard::handle`] with whatever happened; with as many announcements as there are, if it likes: what is announced to one
//!    room then goes to each member in one write. Whatever else is handled before the next step, the members are served first,
//!    all in one go;
//! 2. [`Shard::fan_out`] until it returns false, yielding to other work in between if it likes;
//! 3. [`Shard::poll_output`] until it returns none, performing each output; outputs that have an answer name the
//!    [`Input`] that brings it;
//! 4. waits until [`Shard::poll_timeout`], then [`Shard::handle_timeout`], or until something happens.
//!
//! What is to be written to a connection goes straight through [`Host::write`], which takes what the socket takes; what it
//! does not take waits in the session's outbox until [`Input::Writable`], where control frames overtake messages.
//!
//! # How delivery works
//! A member is **live** while it has everything up to the shard's position in the room: it then needs no position of its
//! own, and a batch is written to it as it is. Every other member is a **reader** of the log, one page at a time, until it
//! stands where the shard stands. Joining, resuming and catching up after being slow are that one thing.
//!
//! Who joins, resumes, was reset or asked for a replay reads the **texts** first: what the streams that are open where it stands have
//! said so far. Its position stays meanwhile; a cursor says how far in the texts it is.

mod absence;
mod access;
mod asking;
mod catch_up;
mod command;
mod contract;
mod establish;
mod fan_out;
mod frames;
mod greeting;
mod index;
mod lookup;
mod membership;
mod portion;
mod restore;
mod room;
mod saving;
mod send;
mod session;
mod settle;
mod streams;
mod timers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

pub use self::access::ExpiryConfig;
pub use self::contract::{Event, Input, Join, Output, PageReader, Refusal, SaveError, Surveyor, Ticket};
pub use self::establish::Claim;
use self::establish::Pending;
use self::fan_out::FanOut;
use self::index::Index;
pub use self::lookup::{Audience, Liveness, RoomView, SessionFilter, SessionView, ShardCounts};
use self::portion::Pages;
use self::room::Room;
use self::session::Session;
use crate::batch::Framing;
use crate::coding::Coding;
use crate::heartbeat::Policy;
use crate::id::{Owner, RoomName};
use crate::identity::Identity;
use crate::time::{Instant, Now};
use crate::users::Users;
use crate::wheel::Wheel;

/// A session's place in its shard. Given out again once the session is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u32);

/// A room's place in its shard. Given out again once the room is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey(pub u32);

/// Names one connection of the node, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A connection of a session. Inputs that name a connection which the session no longer has are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The session.
    pub session: SessionKey,
    /// Its connection.
    pub connection: ConnectionId,
}

/// What a shard is told to be like. Every bound has its reason beside it.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// When to ping and when to give up.
    pub heartbeat: Policy,
    /// The JSON ping's `type`. Default `ping`.
    pub heartbeat_frame: String,
    /// How long a session outlives its connection. Default 1 h (R16).
    pub session_lifetime: Duration,
    /// What the absent sessions of this shard may cost together, as reckoned; beyond it those that are away longest end.
    /// Default 256 MiB for all shards of a node: whoever connects and goes again and again must not fill the memory.
    pub absent_max_bytes: usize,
    /// Rooms per session. Default 128: each costs memory while the session lives.
    pub rooms_max: usize,
    /// Bytes of custom metadata. Default 4 KiB.
    pub metadata_max_bytes: usize,
    /// Bytes of messages that wait for a full socket before the connection is lagging, and of everything else before it is
    /// closed with 1013. Default 128 KiB.
    pub pending_max_bytes: usize,
    /// How long a full socket may take nothing at all. Default 30 s.
    pub stall_timeout: Duration,
    /// How long a connection waits until its session is kept. Default 10 s, as long as a client has for its `hello`; then
    /// 1013.
    pub save_timeout: Duration,
    /// Frames of one connection that wait for their answers (publishes, presence). Default 1,024.
    pub in_flight_max: u32,
    /// Named rooms with members here. Default 1,000,000: each costs memory, and strangers choose their names.
    pub shard_rooms_max: usize,
    /// What happens when a connection's identity expires.
    pub expiry: ExpiryConfig,
    /// Whether `auth` frames have somebody to check them.
    pub authenticates: bool,
    /// Whether an authorizer is asked about publishes, and about who opens or cancels streams.
    pub authorizes: bool,
    /// How frames are laid out.
    pub framing: Framing,
}

/// What a shard asks of its driver and is answered at once.
pub trait Host {
    /// Offers bytes to a session's connection, and returns how many it took without waiting.
    fn write(&mut self, session: SessionKey, bytes: &[u8]) -> usize;

    /// Appends the compressed form of a whole frame to `out`; false where it is to be sent as it is. Asked only for connections
    /// whose [`Claim`] has a coding.
    fn compress(&mut self, coding: Coding, frame: &[u8], out: &mut Vec<u8>) -> bool;

    /// From now on the session's connection is this one.
    fn bind(&mut self, connection: ConnectionId, session: SessionKey);

    /// Lends the node's count of users' sessions.
    fn with_users(&mut self, act: &mut dyn FnMut(&mut Users));

    /// Whether an identity was revoked.
    fn is_revoked(&mut self, identity: &Identity) -> bool;
}

/// What one call of the driver's brings: the moment, and the driver itself.
struct Turn<'a> {
    now: Now,
    host: &'a mut dyn Host,
}

impl Turn<'_> {
    fn compress(&mut self, coding: Coding) -> impl FnMut(&[u8], &mut Vec<u8>) -> bool {
        move |frame, out| self.host.compress(coding, frame, out)
    }
}

/// The machine. See the [module](self) for its driver's contract.
#[derive(Debug)]
pub struct Shard {
    config: Arc<ShardConfig>,
    sessions: Slab<Session>,
    sessions_by_id: Index,
    /// A user's newest session, which names the one before it.
    sessions_by_user: Index,
    rooms: Slab<Room>,
    rooms_by_name: Index,
    /// How many of them are the application's.
    named_rooms: usize,
    everyone: RoomKey,
    pending: BTreeMap<ConnectionId, Pending>,
    wheel: Wheel,
    queue: VecDeque<RoomKey>,
    current: Option<FanOut>,
    /// Rooms whose log could not be read, and when to try again.
    behind: Vec<RoomKey>,
    retry_at: Option<Instant>,
    pages: Pages,
    /// Whether a connection ever had a coding.
    compresses: bool,
    outputs: VecDeque<Output>,
    ping: Arc<[u8]>,
    connected: usize,
    tickets: u32,
    /// Messages written since the driver asked.
    delivered: u64,
    draining: bool,
    /// Absent sessions that are to end once what is being handled is done with them.
    ended: Vec<SessionKey>,
    /// Absent sessions in the order in which they went, with the number of that absence; some have come back.
    absent: VecDeque<(SessionKey, u32)>,
    absent_bytes: usize,
}

impl Shard {
    /// A shard without sessions. Its first output subscribes to the room of everyone.
    #[must_use]
    pub fn new(config: Arc<ShardConfig>, now: Now) -> Self {
        let mut shard = Self {
            ping: ping(&config),
            wheel: Wheel::new(tick(&config), now.instant),
            config,
            sessions: Slab::new(),
            sessions_by_id: Index::default(),
            sessions_by_user: Index::default(),
            rooms: Slab::new(),
            rooms_by_name: Index::default(),
            named_rooms: 0,
            everyone: RoomKey(0),
            pending: BTreeMap::new(),
            queue: VecDeque::new(),
            current: None,
            behind: Vec::new(),
            retry_at: None,
            pages: Pages::default(),
            compresses: false,
            outputs: VecDeque::new(),
            connected: 0,
            tickets: 0,
            delivered: 0,
            draining: false,
            ended: Vec::new(),
            absent: VecDeque::new(),
            absent_bytes: 0,
        };
        shard.everyone = shard.open_room(&RoomName::own(&Owner::All));
        shard
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Now, input: Input, host: &mut dyn Host) {
        let turn = &mut Turn { now, host };
        if !self.joins_what_waits(&input) {
            while self.serve_members(turn, usize::MAX) {}
        }
        match input {
            Input::Establish(claim) => self.establish(turn, *claim),
            Input::Abandoned(connection) => self.abandon(connection),
            Input::Loaded(connection, record) => self.loaded(connection, record),
            Input::Claimed(connection, fence) => self.claimed(connection, fence),
            Input::Surveyed(surveyor, surveys) => self.surveyed(turn, surveyor, surveys),
            Input::Saved { session, fence, waiting, result } => {
                self.saved(turn, (&session, fence), waiting, &result);
            }
            Input::Frame(peer, inbound) => self.frame(turn, peer, inbound),
            Input::Alive(peer) => self.alive(turn.now, peer),
            Input::TransportPing(peer, payload) => self.transport_ping(turn, peer, &payload),
            Input::Lost(peer, why) => self.lost(turn, peer, why),
            Input::Writable(peer) => self.writable(turn, peer),
            Input::Batch(batch) => self.announced(batch),
            Input::Ephemeral(ephemeral) => self.ephemeral(turn, &ephemeral),
            Input::StreamCancel(cancel) => self.stream_cancel(turn, &cancel),
            Input::AnnouncementsLost => self.announcements_lost(),
            Input::Subscribed(key, room, state) => {
                self.subscribed(turn.now, key, &room, state.ok());
                self.close_unused(key);
            }
            Input::PageRead(reader, room, page) => self.page_read(turn, reader, &room, page),
            Input::Published(ticket, outcome) => self.published(turn, ticket, outcome),
            Input::Presence(ticket, presence) => self.presence_found(turn, ticket, presence),
            Input::Authenticated(ticket, identity) => self.authenticated(turn, ticket, identity),
            Input::Authorized(peer, outcome) => self.authorized(turn, peer, outcome),
            Input::Drain(spread) => self.drain(turn, spread),
            Input::Restore(record, fence) => self.restore(turn, &record, fence),
        }
        self.end_outlived(turn);
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many messages were handed to connections since this was asked last.
    pub fn take_delivered(&mut self) -> u64 {
        std::mem::take(&mut self.delivered)
    }

    /// When [`Shard::handle_timeout`] wants to be called, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.wheel.next(), self.retry_at].into_iter().flatten().min()
    }
}

/// How exact deadlines are: a small part of the shortest one, and never worse than half a second.
fn tick(config: &ShardConfig) -> Duration {
    let Policy { interval, idle_timeout, pong_timeout } = config.heartbeat;
    let shortest = interval.min(idle_timeout).min(pong_timeout.unwrap_or(interval)).min(config.stall_timeout);
    (shortest / 32).clamp(Duration::from_millis(10), Duration::from_millis(500))
}

/// A slab's index as a key. There are never 2^32 of anything here: each costs more than a byte.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// The JSON ping and the transport's, in one piece: browsers answer the second even when the page's script does not.
fn ping(config: &ShardConfig) -> Arc<[u8]> {
    let mut out = Vec::new();
    let json = serde_json::json!({ "type": config.heartbeat_frame }).to_string();
    config.framing.text(&mut out, json.as_bytes());
    (config.framing.ping)(&mut out);
    out.into()
}
