//! Compressed forms of messages on both roads: made once for all that take the same, and for nobody else.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use moorline_proto::batch::{Batch, EncodedBatch, EncodedEphemeral, Ephemeral, Page, ReadFrom};
use moorline_proto::coding::Coding;
use moorline_proto::id::SessionId;
use moorline_proto::identity::Identity;
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::{Except, Record};
use moorline_proto::resume::{RoomState, Survey};
use moorline_proto::shard::{Claim, ConnectionId, Host, Input, Output, Peer, SessionKey, Shard, ShardConfig};
use moorline_proto::time::Timestamp;
use moorline_proto::users::{UserLimits, Users};
use serde_json::Value;
use support::{FRAMING, NEW, config, now, room, token};

/// Frames with fewer bytes stay as they are. `connection_established` has more.
const THRESHOLD: usize = 200;

struct Sockets {
    written: HashMap<SessionKey, Vec<u8>>,
    /// How many bytes each still takes; no bound where nothing is said.
    room: HashMap<SessionKey, usize>,
    /// What was compressed, and for whom.
    compressed: Vec<(Coding, Vec<u8>)>,
    users: Users,
}

impl Host for Sockets {
    fn write(&mut self, session: SessionKey, bytes: &[u8]) -> usize {
        let room = self.room.get_mut(&session);
        let taken = room.as_ref().map_or(bytes.len(), |room| bytes.len().min(**room));
        room.into_iter().for_each(|room| *room -= taken);
        self.written.entry(session).or_default().extend(&bytes[..taken]);
        taken
    }

    fn compress(&mut self, coding: Coding, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let is_compressed = frame.len() >= THRESHOLD;
        if is_compressed {
            self.compressed.push((coding, frame.to_vec()));
            // A mark and the number of the message.
            let message: Value = serde_json::from_slice(&frame[1..]).unwrap();
            out.extend(format!("\n{coding:?} {}", message["n"]).bytes());
        }
        is_compressed
    }

    fn bind(&mut self, _: ConnectionId, _: SessionKey) {}

    fn with_users(&mut self, act: &mut dyn FnMut(&mut Users)) {
        act(&mut self.users);
    }

    fn is_revoked(&mut self, _: &Identity) -> bool {
        false
    }
}

/// A shard whose sessions are all in the room `r`, and its log.
struct Stage {
    shard: Shard,
    sockets: Sockets,
    records: Vec<Record>,
    peers: BTreeMap<u64, Peer>,
}

impl Stage {
    fn with(config: ShardConfig) -> Self {
        let mut stage = Self {
            shard: Shard::new(Arc::new(config), now()),
            sockets: Sockets {
                written: HashMap::new(),
                room: HashMap::new(),
                compressed: Vec::new(),
                users: Users::new(UserLimits::default()),
            },
            records: Vec::new(),
            peers: BTreeMap::new(),
        };
        stage.settle();
        stage
    }

    /// Connects a session of its own for each of these.
    fn of(codings: &[Option<Coding>]) -> Self {
        let mut stage = Self::with(config());
        codings.iter().for_each(|coding| drop(stage.connect(*coding)));
        stage
    }

    fn connect(&mut self, coding: Option<Coding>) -> Vec<String> {
        let number = self.peers.len() as u64 + 1;
        self.claim(number, coding, None)
    }

    /// Establishes a connection; it resumes the first one's session by the token that the connection of that number got.
    fn claim(&mut self, number: u64, coding: Option<Coding>, resumes: Option<u64>) -> Vec<String> {
        let claim = Claim {
            connection: ConnectionId(number),
            coding,
            identity: Identity::anonymous(),
            asked: resumes.map(|_| session(1)),
            may_choose: false,
            resume_token: resumes.map(|number| token(u8::try_from(number).unwrap())),
            positions: vec![],
            last: None,
            metadata: None,
            home: Some(room("r")),
            own_rooms: true,
            reference: None,
            fresh_id: session(number),
            fresh_token: token(u8::try_from(number).unwrap()),
        };
        self.handle(Input::Establish(Box::new(claim)));
        self.heard(number)
    }

    fn state(&self, name: &str) -> RoomState {
        let head = if name == "r" { self.records.len() as u64 } else { 0 };
        RoomState { epoch: NEW, head: Offset(head), ..RoomState::default() }
    }

    fn handle(&mut self, input: Input) {
        self.shard.handle(now(), input, &mut self.sockets);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while self.shard.fan_out(now(), 16, &mut self.sockets) {}
            let Some(output) = self.shard.poll_output() else { return };
            if let Some(input) = self.perform(output) {
                self.shard.handle(now(), input, &mut self.sockets);
            }
        }
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
                let state = self.state(room.as_str());
                let ReadFrom::After(after) = from else { panic!("there are no streams here") };
                let records: Vec<Record> =
                    self.records.iter().filter(|record| record.offset > after).cloned().collect();
                let page = Page { state, from, records, reached: vec![], end: state.head };
                Input::PageRead(reader, room, Ok(page))
            }
            Output::Established(peer) => {
                self.peers.insert(peer.connection.0, peer);
                return None;
            }
            _ => return None,
        })
    }

    /// Keeps a message of about so many bytes, which is not for these sessions; the record.
    fn keep(&mut self, bytes: usize, not_for: &[u64]) -> Record {
        let number = self.records.len() as u64 + 1;
        let except = Except { sessions: not_for.iter().copied().map(session).collect(), users: vec![] };
        let record = Record {
            offset: Offset(number),
            timestamp: Timestamp(0),
            except: (!not_for.is_empty()).then(|| Arc::new(except)),
            message: message(number, bytes),
        };
        self.records.push(record.clone());
        record
    }

    /// Publishes messages of about so many bytes as one batch.
    fn publish(&mut self, sizes: &[usize]) -> Arc<EncodedBatch> {
        let records = sizes.iter().map(|bytes| self.keep(*bytes, &[])).collect();
        self.announce(records)
    }

    fn announce(&mut self, records: Vec<Record>) -> Arc<EncodedBatch> {
        let batch = Arc::new(EncodedBatch::new(batch(NEW, records), &FRAMING));
        self.handle(Input::Batch(Arc::clone(&batch)));
        batch
    }

    /// Announces batches before anyone is served.
    fn announce_all(&mut self, batches: &[Arc<EncodedBatch>]) {
        for batch in batches {
            self.shard.handle(now(), Input::Batch(Arc::clone(batch)), &mut self.sockets);
        }
        self.settle();
    }

    /// What the connection with that number was sent, a line for each frame: the number of a message, after its coding where it was
    /// compressed, or the type of another frame.
    fn heard(&mut self, number: u64) -> Vec<String> {
        let Some(peer) = self.peers.get(&number) else { return vec![] };
        let written =
            String::from_utf8(self.sockets.written.remove(&peer.session).unwrap_or_default()).unwrap();
        let shown = |line: &str| match serde_json::from_str::<Value>(line) {
            Ok(frame) if frame["type"] == "m" => frame["n"].to_string(),
            Ok(frame) => frame["type"].as_str().unwrap().to_owned(),
            Err(_) => line.to_owned(),
        };
        written.split('\n').filter(|line| !line.is_empty()).map(shown).collect()
    }

    fn compressions(&mut self) -> Vec<Coding> {
        std::mem::take(&mut self.sockets.compressed).into_iter().map(|(coding, _)| coding).collect()
    }
}

fn session(number: u64) -> SessionId {
    SessionId::new(&format!("s{number}")).unwrap()
}

fn message(number: u64, bytes: usize) -> Message {
    let text = format!(r#"{{"type":"m","n":{number},"x":"{}"}}"#, "x".repeat(bytes));
    Message::parse(text.into()).unwrap()
}

fn batch(epoch: Epoch, records: Vec<Record>) -> Batch {
    Batch { room: room("r"), epoch, after: Offset(records[0].offset.0 - 1), records, reached: vec![] }
}

const LARGE: Option<Coding> = Some(Coding::Deflate15);
const SMALL: Option<Coding> = Some(Coding::Deflate9);

#[test]
fn r34_a_message_is_compressed_once_for_each_window_and_some_get_it_as_it_is() {
    let mut stage = Stage::of(&[LARGE, None, SMALL, LARGE, None, SMALL, LARGE]);
    stage.publish(&[10, 500, 20, 600]);
    for number in [1, 4, 7] {
        assert_eq!(stage.heard(number), ["1", "Deflate15 2", "3", "Deflate15 4"], "{number}");
    }
    for number in [3, 6] {
        assert_eq!(stage.heard(number), ["1", "Deflate9 2", "3", "Deflate9 4"], "{number}");
    }
    for number in [2, 5] {
        assert_eq!(stage.heard(number), ["1", "2", "3", "4"], "{number}");
    }
    use Coding::{Deflate9, Deflate15};
    assert_eq!(stage.compressions(), [Deflate15, Deflate15, Deflate9, Deflate9]);
    assert_eq!(stage.shard.take_delivered(), 7 * 4);
}

#[test]
fn r34_nothing_is_compressed_where_nobody_takes_it_or_all_is_short() {
    let mut stage = Stage::of(&[None, None]);
    stage.publish(&[500]);
    assert_eq!(stage.compressions(), []);
    let mut stage = Stage::of(&[LARGE, LARGE]);
    stage.publish(&[10, 20]);
    assert_eq!((stage.heard(1), stage.compressions()), (vec!["1".to_owned(), "2".to_owned()], vec![]));
}

#[test]
fn r34_shards_share_what_one_of_them_compressed() {
    let (mut one, mut other) = (Stage::of(&[LARGE]), Stage::of(&[LARGE, SMALL]));
    let batch = one.publish(&[500]);
    assert_eq!(one.compressions(), [Coding::Deflate15]);
    other.records = one.records.clone();
    other.handle(Input::Batch(batch));
    assert_eq!(other.heard(1), ["Deflate15 1"]);
    assert_eq!(other.heard(2), ["Deflate9 1"]);
    assert_eq!(other.compressions(), [Coding::Deflate9], "the other form was there");
}

#[test]
fn r34_joined_batches_share_it_too() {
    let mut stage = Stage::of(&[]);
    let records: Vec<Record> = (0..4).map(|index| stage.keep([10, 500][index % 2], &[])).collect();
    let parts: Vec<Arc<EncodedBatch>> = records
        .chunks(2)
        .map(|part| Arc::new(EncodedBatch::new(batch(NEW, part.to_vec()), &FRAMING)))
        .collect();
    let mut made = 0;
    let mut compress = |frame: &[u8], out: &mut Vec<u8>| {
        let is_compressed = frame.len() >= THRESHOLD;
        if is_compressed {
            made += 1;
            out.extend(b"\nshort");
        }
        is_compressed
    };
    let joined = || EncodedBatch::joined(&parts).unwrap().made_of(parts.clone());
    let expected = parts[0].frame_of(0) + "\nshort" + &parts[1].frame_of(0) + "\nshort";
    for _ in 0..2 {
        let joined = joined();
        let frames = joined.coded(Coding::Deflate12, &mut compress);
        assert_eq!((std::str::from_utf8(frames.wire).unwrap(), frames.ends.len()), (&*expected, 4));
        assert_eq!(joined.plain().ends.len(), 4);
    }
    assert_eq!(made, 2, "each once, however often they are joined");
}

/// What comes at once is compressed within one bound, in however many announcements it came: the shard does nothing else meanwhile.
#[test]
fn r34_of_batches_that_come_together_only_so_much_is_compressed() {
    const MIB: usize = 1024 * 1024;
    let (count, bytes) = (80, 60_000);
    let within = MIB.div_ceil(bytes);
    let mut stage = Stage::of(&[LARGE, SMALL]);
    let batches: Vec<_> = (0..count)
        .map(|_| Arc::new(EncodedBatch::new(batch(NEW, vec![stage.keep(bytes, &[])]), &FRAMING)))
        .collect();
    // Another shard has compressed one that lies behind the bound.
    batches[70].coded(Coding::Deflate15, &mut |_, out| {
        out.extend(b"\nbefore");
        true
    });
    stage.announce_all(&batches);
    for coding in [Coding::Deflate15, Coding::Deflate9] {
        let compressed = stage.sockets.compressed.iter().filter(|(of, _)| *of == coding);
        let spent: usize = compressed.map(|(_, frame)| frame.len()).sum();
        assert!((MIB..MIB + bytes + 200).contains(&spent), "{coding:?}: {spent}");
    }
    let shown = |coding: &str, number: usize| match (number, coding) {
        (71, "Deflate15") => "before".to_owned(),
        (number, _) if number <= within => format!("{coding} {number}"),
        (number, _) => number.to_string(),
    };
    for (client, coding) in [(1, "Deflate15"), (2, "Deflate9")] {
        let expected: Vec<String> = (1..=count).map(|number| shown(coding, number)).collect();
        assert_eq!(stage.heard(client), expected, "{coding}");
    }
    // Alone, one that lay behind it is compressed.
    let mut other = Stage::of(&[]);
    other.records = stage.records[..79].to_vec();
    other.connect(LARGE);
    other.records = stage.records.clone();
    other.handle(Input::Batch(Arc::clone(&batches[79])));
    assert_eq!(other.heard(1)[..], ["Deflate15 80"]);
}

trait FrameOf {
    fn frame_of(&self, index: usize) -> String;
}

impl FrameOf for Arc<EncodedBatch> {
    fn frame_of(&self, index: usize) -> String {
        String::from_utf8(self.plain().frame(index).to_vec()).unwrap()
    }
}

#[test]
fn r34_who_is_not_to_have_a_message_gets_the_others_compressed() {
    let mut stage = Stage::of(&[LARGE, LARGE]);
    let records = vec![stage.keep(500, &[]), stage.keep(500, &[2]), stage.keep(500, &[])];
    stage.announce(records);
    assert_eq!(stage.heard(1), ["Deflate15 1", "Deflate15 2", "Deflate15 3"]);
    assert_eq!(stage.heard(2), ["Deflate15 1", "Deflate15 3"]);
    assert_eq!(stage.compressions().len(), 3);
}

#[test]
fn r34_a_full_socket_goes_on_in_the_middle_of_a_compressed_frame() {
    let plan: Vec<usize> = (0..8).map(|index| [10, 500][index % 2]).collect();
    let wanted = {
        let mut stage = Stage::of(&[LARGE]);
        stage.publish(&plan);
        stage.heard(1)
    };
    for first in 0..200 {
        let mut stage = Stage::of(&[LARGE]);
        let peer = stage.peers[&1];
        stage.sockets.room.insert(peer.session, first);
        stage.publish(&plan);
        stage.sockets.room.clear();
        stage.handle(Input::Writable(peer));
        assert_eq!(stage.heard(1), wanted, "{first} bytes at first");
    }
}

#[test]
fn r34_who_lags_or_comes_back_reads_the_log_in_the_same_form() {
    let mut stage = Stage::with(ShardConfig { pending_max_bytes: 1, ..config() });
    for coding in [LARGE, LARGE, None] {
        stage.connect(coding);
    }
    let slow: Vec<Peer> = [1, 2].iter().map(|number| stage.peers[number]).collect();
    stage.sockets.room.extend(slow.iter().map(|peer| (peer.session, 0)));
    for _ in 0..3 {
        stage.publish(&[500]);
    }
    assert!(!stage.shard.is_live(slow[0].session, &room("r")), "it lags");
    stage.compressions();
    stage.sockets.room.clear();
    slow.iter().for_each(|peer| stage.handle(Input::Writable(*peer)));
    let all = ["Deflate15 1", "Deflate15 2", "Deflate15 3"];
    assert_eq!(
        (stage.heard(1), stage.heard(2)),
        (all.map(str::to_owned).to_vec(), all.map(str::to_owned).to_vec())
    );
    assert_eq!(stage.heard(3), ["1", "2", "3"]);
    assert_eq!(stage.compressions().len(), 2, "one page for both that lagged");

    // The same session with another agreement: what it has is the connection's.
    stage.handle(Input::Lost(slow[0], None));
    stage.publish(&[700]);
    let heard = stage.claim(4, SMALL, Some(1));
    assert_eq!(heard[0], "connection_established");
    assert!(heard[1..].contains(&"Deflate9 4".to_owned()), "{heard:?}");
    stage.handle(Input::Lost(stage.peers[&4], None));
    stage.publish(&[800]);
    let heard = stage.claim(5, None, Some(4));
    assert!(heard.contains(&"5".to_owned()), "{heard:?}");
}

#[test]
fn r34_what_is_not_stored_is_compressed_too_and_what_the_server_says_is_not() {
    let mut stage = Stage::with(config());
    for coding in [LARGE, LARGE, None] {
        assert_eq!(stage.connect(coding), ["connection_established"]);
    }
    let written = |n, bytes| {
        let ephemeral =
            Ephemeral { room: room("r"), except: None, timestamp: Timestamp(0), message: message(n, bytes) };
        Input::Ephemeral(Arc::new(EncodedEphemeral::new(ephemeral, &FRAMING)))
    };
    stage.handle(written(1, 500));
    stage.handle(written(2, 10));
    assert_eq!(stage.heard(1), ["Deflate15 1", "2"]);
    assert_eq!(stage.heard(2), ["Deflate15 1", "2"]);
    assert_eq!(stage.heard(3), ["1", "2"]);
    assert_eq!(stage.compressions(), [Coding::Deflate15]);
}
