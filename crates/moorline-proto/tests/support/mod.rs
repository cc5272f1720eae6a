//! A shard with one session, and a log.

pub mod book;
pub mod crowd;

use std::sync::Arc;
use std::time::Duration;

use moorline_proto::batch::{Framing, Page, ReadFrom};
use moorline_proto::codec;
use moorline_proto::coding::Coding;
use moorline_proto::heartbeat::Policy;
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::identity::Identity;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::resume::{Resume, RoomState, Survey};
use moorline_proto::session_record::{Mark, SessionRecord};
use moorline_proto::shard::{
    Claim, ConnectionId, Event, ExpiryConfig, Host, Input, Output, Peer, SessionKey, Shard, ShardConfig,
};
use moorline_proto::time::{Now, Timestamp};
use moorline_proto::token::{ResumeToken, TokenSet};
use moorline_proto::users::{UserLimits, Users};
use serde_json::Value;

pub const OLD: Epoch = Epoch(7);
pub const NEW: Epoch = Epoch(9);

/// What the clocks show all the time.
pub fn now() -> Now {
    Now { timestamp: Timestamp(10_000_000), ..Now::default() }
}

/// One line for each frame.
pub const FRAMING: Framing =
    Framing { text_header: |out, _| out.push(b'\n'), ping: |_| {}, pong: |_, _| {}, close: |_, _, _| {} };

pub fn config() -> ShardConfig {
    ShardConfig {
        heartbeat: Policy::default(),
        heartbeat_frame: "ping".to_owned(),
        session_lifetime: Duration::from_secs(3600),
        absent_max_bytes: 1 << 20,
        rooms_max: 8,
        metadata_max_bytes: 4096,
        pending_max_bytes: 1 << 20,
        stall_timeout: Duration::from_secs(30),
        save_timeout: Duration::from_secs(10),
        in_flight_max: 8,
        shard_rooms_max: 100,
        expiry: ExpiryConfig::default(),
        authenticates: false,
        authorizes: false,
        framing: FRAMING,
    }
}

pub struct Sockets {
    pub written: Vec<u8>,
    /// How many bytes it takes from now on.
    pub room: usize,
    pub users: Users,
}

impl Host for Sockets {
    fn write(&mut self, _: SessionKey, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room);
        self.room -= if self.room == usize::MAX { 0 } else { taken };
        self.written.extend(&bytes[..taken]);
        taken
    }

    fn compress(&mut self, _: Coding, _: &[u8], _: &mut Vec<u8>) -> bool {
        false
    }

    fn bind(&mut self, _: ConnectionId, _: SessionKey) {}

    fn with_users(&mut self, act: &mut dyn FnMut(&mut Users)) {
        act(&mut self.users);
    }

    fn is_revoked(&mut self, _: &Identity) -> bool {
        false
    }
}

/// What a test wants the log to say.
pub trait Log {
    /// How a room stands.
    fn state(&mut self, room: &RoomName) -> RoomState;

    /// What lies there: nothing unless a test says so.
    fn page(&mut self, room: &RoomName, from: ReadFrom) -> Page {
        let state = self.state(room);
        let end = match from {
            ReadFrom::After(after) => state.head.max(after),
            ReadFrom::Texts { at, .. } => at,
        };
        Page { state, from, records: Vec::new(), reached: Vec::new(), end }
    }

    /// Whether a stream is open at that place, and has text.
    fn has_texts(&mut self, _room: &RoomName, _at: Offset) -> bool {
        false
    }
}

impl<F: FnMut(&RoomName) -> RoomState> Log for F {
    fn state(&mut self, room: &RoomName) -> RoomState {
        self(room)
    }
}

/// A shard with one session, over a log that says what a test wants it to.
pub struct Stage {
    pub shard: Shard,
    pub sockets: Sockets,
    pub log: Box<dyn Log>,
    pub peer: Option<Peer>,
    connections: u64,
    pub events: Vec<Event>,
    /// The fences of the sessions that were removed.
    pub removed: Vec<u64>,
    /// What was read, in order.
    pub reads: Vec<(RoomName, ReadFrom)>,
    /// What waits for an answer of a test's.
    pub asked: Vec<Output>,
}

/// More outputs than one input has: something goes round in circles.
const OUTPUTS_MAX: usize = 1_000;

pub fn room(name: &str) -> RoomName {
    RoomName::stored(name).unwrap()
}

pub fn position(epoch: Epoch, offset: u64) -> Position {
    Position { epoch, offset: Offset(offset) }
}

impl Stage {
    /// The session is restored, and absent.
    pub fn new(log: impl Log + 'static, rooms: Vec<Mark>) -> Self {
        Self::with(config(), log, rooms)
    }

    /// The same, with a configuration of its own.
    pub fn with(config: ShardConfig, log: impl Log + 'static, rooms: Vec<Mark>) -> Self {
        let mut stage = Self {
            shard: Shard::new(Arc::new(config), now()),
            sockets: Sockets {
                written: Vec::new(),
                room: usize::MAX,
                users: Users::new(UserLimits::default()),
            },
            log: Box::new(log),
            peer: None,
            connections: 0,
            events: Vec::new(),
            removed: Vec::new(),
            reads: Vec::new(),
            asked: Vec::new(),
        };
        stage.settle();
        let record = SessionRecord {
            id: SessionId::new("s").unwrap(),
            user: None,
            token: None,
            tokens: TokenSet::new(token(0).hash()),
            metadata: None,
            connected_at: Timestamp(0),
            disconnected_at: Some(Timestamp(9_999_000)),
            reconnections: 0,
            own_rooms: true,
            rooms,
        };
        stage.handle(Input::Restore(Arc::new(record), 1));
        stage
    }

    /// Resumes, naming these positions. Returns the greeting's frames.
    pub fn connect(&mut self, positions: &[(&str, Position)]) -> Vec<Value> {
        self.connections += 1;
        let number = u8::try_from(self.connections).unwrap();
        let claim = Claim {
            connection: ConnectionId(self.connections),
            coding: None,
            identity: Identity::anonymous(),
            asked: SessionId::new("s").ok(),
            may_choose: true,
            resume_token: Some(token(number - 1)),
            positions: positions.iter().map(|(name, position)| (room(name), *position)).collect(),
            last: None,
            metadata: None,
            home: None,
            own_rooms: true,
            reference: None,
            fresh_id: SessionId::new(&format!("fresh{number}")).unwrap(),
            fresh_token: token(number),
        };
        self.handle(Input::Establish(Box::new(claim)));
        self.heard()
    }

    pub fn say(&mut self, frame: &Value) -> Vec<Value> {
        self.handle(Input::Frame(self.peer.unwrap(), codec::decode(&frame.to_string())));
        self.heard()
    }

    pub fn drop_connection(&mut self) {
        let peer = self.peer.take().unwrap();
        self.handle(Input::Lost(peer, None));
    }

    /// The whole frames that the socket took since the last call.
    pub fn heard(&mut self) -> Vec<Value> {
        let written = std::mem::take(&mut self.sockets.written);
        let mut frames = Vec::new();
        for line in written.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(frame) => frames.push(frame),
                // The rest of it comes when there is room.
                Err(_) if written.ends_with(line) => self.sockets.written = line.into(),
                Err(error) => panic!("{error}: {}", line.escape_ascii()),
            }
        }
        frames
    }

    pub fn handle(&mut self, input: Input) {
        self.shard.handle(now(), input, &mut self.sockets);
        self.settle();
    }

    fn settle(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.shard.poll_output() {
            outputs += 1;
            assert!(outputs < OUTPUTS_MAX, "it goes round in circles: {output:?}");
            if let Some(input) = self.perform(output) {
                self.shard.handle(now(), input, &mut self.sockets);
            }
        }
    }

    fn perform(&mut self, output: Output) -> Option<Input> {
        Some(match output {
            Output::Claim(connection, _) => Input::Claimed(connection, Ok(2)),
            Output::Survey { surveyor, requests, .. } => {
                let surveys = requests.iter().map(|request| {
                    let state = self.log.state(&request.room);
                    let resume = request.resume(&state);
                    let (Resume::Continue(start) | Resume::Reset { to: start, .. }) = resume;
                    let has_texts = self.log.has_texts(&request.room, start);
                    Survey { state, resume, deliverable: state.head.0 - start.0, has_texts }
                });
                Input::Surveyed(surveyor, Ok(surveys.collect()))
            }
            Output::Save { record, fence, waiting } => {
                Input::Saved { session: record.id.clone(), fence, waiting, result: Ok(()) }
            }
            Output::Subscribe(key, room) => {
                let state = self.log.state(&room);
                Input::Subscribed(key, room, Ok(state))
            }
            Output::Read { reader, room, from } => {
                self.reads.push((room.clone(), from));
                let page = self.log.page(&room, from);
                Input::PageRead(reader, room, Ok(page))
            }
            other @ (Output::Publish { .. } | Output::Stream { .. } | Output::Authorize { .. }) => {
                self.asked.push(other);
                return None;
            }
            Output::Established(peer) => {
                self.peer = Some(peer);
                return None;
            }
            Output::Remove(_, fence) => {
                self.removed.push(fence);
                return None;
            }
            Output::Event(event) => {
                self.events.push(event);
                return None;
            }
            _ => return None,
        })
    }
}

pub fn token(number: u8) -> ResumeToken {
    ResumeToken::from_random([number; 32])
}
