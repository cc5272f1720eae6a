//! Sessions that come back to a log which began a new history meanwhile, against the shard alone.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::sync::Arc;
use std::time::Duration;

use moorline_proto::batch::{Framing, Page};
use moorline_proto::codec;
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
use serde_json::{Value, json};

const OLD: Epoch = Epoch(7);
const NEW: Epoch = Epoch(9);
const OWN: &str = "@session/s";

/// One line for each frame.
const FRAMING: Framing =
    Framing { text_header: |out, _| out.push(b'\n'), ping: |_| {}, pong: |_, _| {}, close: |_, _, _| {} };

fn config() -> ShardConfig {
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

struct Sockets {
    written: Vec<u8>,
    users: Users,
}

impl Host for Sockets {
    fn write(&mut self, _: SessionKey, bytes: &[u8]) -> usize {
        self.written.extend(bytes);
        bytes.len()
    }

    fn bind(&mut self, _: ConnectionId, _: SessionKey) {}

    fn with_users(&mut self, act: &mut dyn FnMut(&mut Users)) {
        act(&mut self.users);
    }

    fn is_revoked(&mut self, _: &Identity) -> bool {
        false
    }
}

/// A shard over a log whose rooms hold up to 14, of which 10 were kept from the epoch before; up to 2 is gone.
struct Stage {
    shard: Shard,
    sockets: Sockets,
    peer: Option<Peer>,
    connections: u64,
    events: Vec<Event>,
    /// The fences of the sessions that were removed.
    removed: Vec<u64>,
}

fn state(name: &RoomName) -> RoomState {
    if name.as_str() == RoomName::ALL {
        return RoomState { epoch: NEW, ..RoomState::default() };
    }
    let former = [Position { epoch: OLD, offset: Offset(10) }].into_iter().collect();
    RoomState { epoch: NEW, head: Offset(14), cut: Offset(2), cleared: Offset(0), former }
}

fn room(name: &str) -> RoomName {
    RoomName::stored(name).unwrap()
}

fn position(epoch: Epoch, offset: u64) -> Position {
    Position { epoch, offset: Offset(offset) }
}

impl Stage {
    /// A session that acknowledged 8 in the old epoch, restored; in its own room nothing up to 3 was for it.
    fn new() -> Self {
        let now = Now { timestamp: Timestamp(10_000_000), ..Now::default() };
        let sockets = Sockets { written: Vec::new(), users: Users::new(UserLimits::default()) };
        let shard = Shard::new(Arc::new(config()), now);
        let mut stage =
            Self { shard, sockets, peer: None, connections: 0, events: Vec::new(), removed: Vec::new() };
        stage.settle();
        let mark = |name, begin| Mark {
            room: room(name),
            acked: position(OLD, 8),
            begin: Offset(begin),
            is_added: false,
        };
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
            rooms: vec![mark("r", 0), mark(OWN, 3)],
        };
        stage.handle(Input::Restore(Arc::new(record), 1));
        stage
    }

    /// Resumes, naming these positions. Returns the greeting's frames.
    fn connect(&mut self, positions: &[(&str, Position)]) -> Vec<Value> {
        self.connections += 1;
        let number = u8::try_from(self.connections).unwrap();
        let claim = Claim {
            connection: ConnectionId(self.connections),
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

    fn say(&mut self, frame: &Value) -> Vec<Value> {
        self.handle(Input::Frame(self.peer.unwrap(), codec::decode(&frame.to_string())));
        self.heard()
    }

    fn drop_connection(&mut self) {
        let peer = self.peer.take().unwrap();
        self.handle(Input::Lost(peer, None));
    }

    fn heard(&mut self) -> Vec<Value> {
        let written = String::from_utf8(std::mem::take(&mut self.sockets.written)).unwrap();
        written
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn handle(&mut self, input: Input) {
        let now = Now { timestamp: Timestamp(10_000_000), ..Now::default() };
        self.shard.handle(now, input, &mut self.sockets);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            if let Some(input) = self.perform(output) {
                self.handle(input);
            }
        }
    }

    fn perform(&mut self, output: Output) -> Option<Input> {
        Some(match output {
            Output::Claim(connection, _) => Input::Claimed(connection, Ok(2)),
            Output::Survey { surveyor, requests, .. } => {
                let surveys = requests.iter().map(|request| {
                    let state = state(&request.room);
                    let resume = request.resume(&state);
                    let (Resume::Continue(start) | Resume::Reset { to: start, .. }) = resume;
                    Survey { state, resume, deliverable: state.head.0 - start.0 }
                });
                Input::Surveyed(surveyor, Ok(surveys.collect()))
            }
            Output::Save { record, fence, waiting } => {
                Input::Saved { session: record.id.clone(), fence, waiting, result: Ok(()) }
            }
            Output::Subscribe(key, room) => {
                let state = state(&room);
                Input::Subscribed(key, room, Ok(state))
            }
            Output::Read { reader, room, after } => {
                let page = Page { state: state(&room), after, records: Vec::new() };
                Input::PageRead(reader, room, Ok(page))
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

fn token(number: u8) -> ResumeToken {
    ResumeToken::from_random([number; 32])
}

fn entry(replayed: u64) -> Value {
    json!({"epoch": NEW, "message_id": 14, "replayed": replayed})
}

#[test]
fn what_the_log_kept_of_a_former_epoch_is_gone_on_from() {
    let mut stage = Stage::new();
    let greeting = stage.connect(&[("r", position(OLD, 9))]);
    assert_eq!(greeting.len(), 1, "{greeting:?}");
    assert_eq!(greeting[0]["rooms"], json!({"r": entry(5), OWN: entry(6)}));
}

#[test]
fn a_position_beyond_what_was_kept_is_reset() {
    let mut stage = Stage::new();
    let greeting = stage.connect(&[("r", position(OLD, 11))]);
    let reset = json!({"type": "reset", "room": "r", "reason": "epoch", "epoch": NEW, "from": null, "to": 2});
    assert_eq!(greeting[1..], [reset]);
}

#[test]
fn an_old_name_that_is_used_once_more_is_understood() {
    let mut stage = Stage::new();
    assert_eq!(stage.connect(&[("r", position(OLD, 9))]).len(), 1);
    stage.drop_connection();
    // Nothing of the first answer reached the client.
    assert_eq!(stage.connect(&[("r", position(OLD, 9))]).len(), 1);
    stage.drop_connection();
    // One that is beyond what was kept is another's number all the same.
    assert_eq!(stage.connect(&[("r", position(OLD, 11))])[1]["reason"], "epoch");
}

#[test]
fn what_was_for_an_earlier_session_of_the_name_stays_so_in_a_new_epoch() {
    let mut stage = Stage::new();
    stage.connect(&[]);
    let reply = stage.say(&json!({"type": "reconnect", "room": OWN, "last_message_id": 0, "ref": 1}));
    assert_eq!(reply[0]["message_id"], 3, "{reply:?}");
    // Also where the position itself means nothing any more.
    let mut stage = Stage::new();
    let greeting = stage.connect(&[(OWN, position(OLD, 11))]);
    let reset = json!({"type": "reset", "room": OWN, "reason": "epoch", "epoch": NEW, "from": null, "to": 3});
    assert_eq!(greeting[1..], [reset]);
}

#[test]
fn an_own_room_whose_epoch_a_client_names_is_named_back_also_where_nothing_is_replayed() {
    let mut stage = Stage::new();
    stage.connect(&[]);
    stage.say(&json!({"type": "ack", "room": OWN, "message_id": 14}));
    stage.drop_connection();
    assert_eq!(stage.connect(&[])[0]["rooms"].get(OWN), None);
    stage.drop_connection();
    let greeting = stage.connect(&[(OWN, position(OLD, 10))]);
    assert_eq!(greeting.len(), 1, "{greeting:?}");
    assert_eq!(greeting[0]["rooms"][OWN], entry(0));
}

#[test]
fn a_session_that_is_over_its_lifetime_ends_at_once_and_one_that_is_there_stays() {
    let mut stage = Stage::new();
    let record = |id: &str, since| {
        Arc::new(SessionRecord {
            id: SessionId::new(id).unwrap(),
            user: None,
            token: None,
            tokens: TokenSet::new(token(9).hash()),
            metadata: None,
            connected_at: Timestamp(0),
            disconnected_at: Some(Timestamp(since)),
            reconnections: 0,
            own_rooms: false,
            rooms: Vec::new(),
        })
    };
    stage.handle(Input::Restore(record("old", 0), 5));
    assert_eq!(stage.events, [Event::Ended { session: SessionId::new("old").unwrap() }]);
    assert_eq!(stage.removed, [5]);
    stage.handle(Input::Restore(record("later", 7_000_000), 5));
    stage.handle(Input::Restore(record("s", 9_999_999), 6));
    assert_eq!(stage.shard.counts().absent, 2);
    assert_eq!(stage.connect(&[])[0]["resumed"], true);
}
