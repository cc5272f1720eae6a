//! Announcements that come together: to each member what is for it, in order, with one write for a room.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use moorline_proto::batch::{Batch, EncodedBatch, Page, ReadFrom};
use moorline_proto::codec;
use moorline_proto::coding::Coding;
use moorline_proto::id::SessionId;
use moorline_proto::identity::Identity;
use moorline_proto::message::Message;
use moorline_proto::position::Offset;
use moorline_proto::record::{Except, Record};
use moorline_proto::resume::{RoomState, Survey};
use moorline_proto::shard::{Claim, ConnectionId, Host, Input, Output, Peer, SessionKey, Shard, ShardConfig};
use moorline_proto::time::Timestamp;
use moorline_proto::users::{UserLimits, Users};
use serde_json::Value;
use support::{FRAMING, NEW, config, now, room, token};

const ROOMS: [&str; 2] = ["a", "b"];

struct Sockets {
    /// What each was written, one entry for each write that took something.
    writes: HashMap<SessionKey, Vec<Vec<u8>>>,
    /// How many bytes each still takes; no bound where nothing is said.
    space: HashMap<SessionKey, usize>,
    users: Users,
}

impl Host for Sockets {
    fn write(&mut self, session: SessionKey, bytes: &[u8]) -> usize {
        let space = self.space.get_mut(&session);
        let taken = space.as_ref().map_or(bytes.len(), |space| bytes.len().min(**space));
        space.into_iter().for_each(|space| *space -= taken);
        if taken > 0 {
            self.writes.entry(session).or_default().push(bytes[..taken].to_vec());
        }
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

/// A shard whose sessions are all in both rooms, and the rooms' logs.
struct Stage {
    shard: Shard,
    sockets: Sockets,
    logs: BTreeMap<&'static str, Vec<Record>>,
    peers: Vec<Peer>,
    reads: usize,
}

impl Stage {
    fn new(sessions: u8, pending_max_bytes: usize) -> Self {
        let users = Users::new(UserLimits::default());
        let mut stage = Self {
            shard: Shard::new(Arc::new(ShardConfig { pending_max_bytes, ..config() }), now()),
            sockets: Sockets { writes: HashMap::new(), space: HashMap::new(), users },
            logs: ROOMS.map(|name| (name, Vec::new())).into(),
            peers: Vec::new(),
            reads: 0,
        };
        stage.settle();
        for number in 0..sessions {
            stage.connect(number);
        }
        stage.sockets.writes.clear();
        stage
    }

    fn connect(&mut self, number: u8) {
        let claim = Claim {
            connection: ConnectionId(u64::from(number) + 1),
            coding: None,
            identity: Identity::anonymous(),
            asked: None,
            may_choose: false,
            resume_token: None,
            positions: vec![],
            last: None,
            metadata: None,
            home: Some(room("a")),
            own_rooms: true,
            reference: None,
            fresh_id: session(number),
            fresh_token: token(number),
        };
        self.handle(Input::Establish(Box::new(claim)));
        let join = codec::decode(r#"{"type":"join","room":"b"}"#);
        self.handle(Input::Frame(self.peers[usize::from(number)], join));
    }

    fn handle(&mut self, input: Input) {
        self.shard.handle(now(), input, &mut self.sockets);
        self.settle();
    }

    /// Announces all of them before anyone is served.
    fn announce(&mut self, batches: impl IntoIterator<Item = Arc<EncodedBatch>>) {
        for batch in batches {
            self.shard.handle(now(), Input::Batch(batch), &mut self.sockets);
        }
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while self.shard.fan_out(now(), 2, &mut self.sockets) {}
            let Some(output) = self.shard.poll_output() else { return };
            if let Some(input) = self.perform(output) {
                self.shard.handle(now(), input, &mut self.sockets);
            }
        }
    }

    fn state(&self, name: &str) -> RoomState {
        let head = self.logs.get(name).map_or(0, |log| log.len() as u64);
        RoomState { epoch: NEW, head: Offset(head), ..RoomState::default() }
    }

    fn perform(&mut self, output: Output) -> Option<Input> {
        Some(match output {
            Output::Claim(connection, _) => Input::Claimed(connection, Ok(1)),
            Output::Survey { surveyor, requests, .. } => {
                let surveys = requests.iter().map(|request| {
                    let state = self.state(request.room.as_str());
                    Survey { state, resume: request.resume(&state), deliverable: 0, has_texts: false }
                });
                Input::Surveyed(surveyor, Ok(surveys.collect()))
            }
            Output::Save { record, fence, waiting } => {
                Input::Saved { session: record.id.clone(), fence, waiting, result: Ok(()) }
            }
            Output::Subscribe(key, room) => {
                let state = self.state(room.as_str());
                Input::Subscribed(key, room, Ok(state))
            }
            Output::Read { reader, room, from } => {
                self.reads += 1;
                let state = self.state(room.as_str());
                let ReadFrom::After(after) = from else { panic!("there are no streams here") };
                let log = self.logs.get(room.as_str()).into_iter().flatten();
                let records = log.filter(|record| record.offset > after).cloned().collect();
                let page = Page { state, from, records, reached: vec![], end: state.head };
                Input::PageRead(reader, room, Ok(page))
            }
            Output::Established(peer) => {
                self.peers.push(peer);
                return None;
            }
            _ => return None,
        })
    }

    /// Keeps a message in a room, which is not for these sessions.
    fn keep(&mut self, name: &str, not_for: &[u8]) {
        let log = self.logs.get_mut(name).unwrap();
        let number = log.len() as u64 + 1;
        let except = Except { sessions: not_for.iter().copied().map(session).collect(), users: vec![] };
        let text = format!(r#"{{"type":"m","at":"{name}{number}"}}"#);
        log.push(Record {
            offset: Offset(number),
            timestamp: Timestamp(0),
            except: (!not_for.is_empty()).then(|| Arc::new(except)),
            message: Message::parse(text.into()).unwrap(),
        });
    }

    /// What lies behind `after` in a room, up to `last`, as a batch.
    fn batch(&self, name: &str, after: usize, last: usize) -> Arc<EncodedBatch> {
        let records = self.logs[name][after..last].to_vec();
        let batch =
            Batch { room: room(name), epoch: NEW, after: Offset(after as u64), records, reached: vec![] };
        Arc::new(EncodedBatch::new(batch, &FRAMING))
    }

    /// What a session was written since the last call: for each write the messages in it.
    fn heard(&mut self, number: usize) -> Vec<Vec<String>> {
        let writes = self.sockets.writes.remove(&self.peers[number].session).unwrap_or_default();
        writes.iter().map(|write| messages(write)).collect()
    }

    /// All messages of a room that a session was written, in order.
    fn all_heard(&self, number: usize, name: &str) -> Vec<String> {
        let writes = self.sockets.writes.get(&self.peers[number].session);
        let written: Vec<u8> = writes.into_iter().flatten().flatten().copied().collect();
        messages(&written).into_iter().filter(|at| at.starts_with(name)).collect()
    }

    /// What a session is to have of a room.
    fn due(&self, number: u8, name: &str) -> Vec<String> {
        let is_for = |record: &&Record| {
            record.except.as_ref().is_none_or(|except| !except.sessions.contains(&session(number)))
        };
        self.logs[name].iter().filter(is_for).map(|record| format!("{name}{}", record.offset.0)).collect()
    }
}

fn session(number: u8) -> SessionId {
    SessionId::new(&format!("s{number}")).unwrap()
}

fn messages(written: &[u8]) -> Vec<String> {
    let lines = written.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let frames = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    frames
        .filter(|frame| frame["type"] == "m")
        .map(|frame| frame["at"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_announced_together_to_two_rooms_reaches_each_member_in_one_write_for_each() {
    // Behind one whole message there is no room for those that wait.
    let mut stage = Stage::new(5, 400);
    let (excluded, lagging, full) = (2, 3, 4);
    stage.sockets.space.insert(stage.peers[lagging].session, 0);
    for number in 0..8 {
        stage.keep("a", &[]);
        let batch = stage.batch("a", number, number + 1);
        stage.announce([batch]);
    }
    assert!(!stage.shard.is_live(stage.peers[lagging].session, &room("a")), "it lags");
    stage.sockets.writes.clear();

    stage.sockets.space.insert(stage.peers[full].session, 100);
    for number in 0..6 {
        stage.keep("a", if number % 2 == 0 { &[2] } else { &[] });
        stage.keep("b", if number == 5 { &[2, 4] } else { &[] });
    }
    let batches: Vec<_> =
        (0..6).flat_map(|at| [stage.batch("a", 8 + at, 9 + at), stage.batch("b", at, at + 1)]).collect();
    stage.announce(batches);
    assert_eq!(stage.reads, 0, "nothing was missed");
    let all =
        |name: &str, numbers: &[u64]| numbers.iter().map(|at| format!("{name}{at}")).collect::<Vec<_>>();
    let everything = vec![all("a", &[9, 10, 11, 12, 13, 14]), all("b", &[1, 2, 3, 4, 5, 6])];
    assert_eq!(stage.heard(0), everything);
    assert_eq!(stage.heard(1), everything);
    assert_eq!(stage.heard(excluded), [all("a", &[10, 12, 14]), all("b", &[1, 2, 3, 4, 5])]);

    stage.sockets.space.clear();
    for number in [lagging, full] {
        stage.handle(Input::Writable(stage.peers[number]));
    }
    assert_eq!(stage.all_heard(full, "a"), all("a", &[9, 10, 11, 12, 13, 14]));
    assert_eq!(stage.all_heard(full, "b"), all("b", &[1, 2, 3, 4, 5]));
    assert_eq!(stage.all_heard(lagging, "a"), stage.due(3, "a"));
    assert_eq!(stage.all_heard(lagging, "b"), stage.due(3, "b"));
}

#[test]
fn what_lies_before_a_hole_is_one_write_and_what_lies_behind_it_is_read() {
    let mut stage = Stage::new(2, 1 << 20);
    (0..9).for_each(|_| stage.keep("a", &[]));
    let batches = [(0, 1), (1, 3), (3, 4), (5, 6), (6, 9)].map(|(after, last)| stage.batch("a", after, last));
    stage.announce(batches);
    for number in 0..2 {
        let heard = stage.heard(number);
        assert_eq!(heard[0], ["a1", "a2", "a3", "a4"]);
        assert_eq!(heard.concat(), stage.due(0, "a"));
    }
    assert_eq!(stage.reads, 1, "once for all members");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound).unwrap()
    }
}

/// Announcements of both rooms, whole, lost, repeated and overlapping, some at a time, over sockets that are full now and then.
fn walk(seed: u64) {
    const SESSIONS: u8 = 4;
    let mut random = Random(seed);
    let mut stage = Stage::new(SESSIONS, [150, 600, 1 << 20][random.below(3)]);
    for _ in 0..12 {
        for &peer in &stage.peers.clone() {
            if random.below(3) == 0 {
                stage.sockets.space.insert(peer.session, random.below(500));
            } else if stage.sockets.space.remove(&peer.session).is_some() {
                stage.handle(Input::Writable(peer));
            }
        }
        let mut batches = Vec::new();
        for _ in 0..random.below(10) {
            let name = ROOMS[random.below(2)];
            let after = stage.logs[name].len();
            for _ in 0..=random.below(3) {
                let not_for =
                    if random.below(4) == 0 { vec![u8::try_from(random.below(4)).unwrap()] } else { vec![] };
                stage.keep(name, &not_for);
            }
            let last = stage.logs[name].len();
            match random.below(10) {
                0 => {}
                1 => batches.push(stage.batch(name, after.saturating_sub(2), last)),
                2 => batches.extend([stage.batch(name, after, last), stage.batch(name, after, last)]),
                _ => batches.push(stage.batch(name, after, last)),
            }
        }
        stage.announce(batches);
    }
    stage.sockets.space.clear();
    stage.handle(Input::AnnouncementsLost);
    for peer in stage.peers.clone() {
        stage.handle(Input::Writable(peer));
    }
    for number in 0..SESSIONS {
        for name in ROOMS {
            let heard = stage.all_heard(usize::from(number), name);
            assert_eq!(heard, stage.due(number, name), "seed {seed}, session {number}, room {name}");
        }
    }
}

#[test]
fn everybody_gets_everything_in_order_whatever_comes_together() {
    for seed in 0..400 {
        walk(seed);
    }
}
