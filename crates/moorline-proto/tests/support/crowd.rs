//! A shard whose sessions are all live in one room, over sockets that take everything: what a delivery costs the core alone.

use std::sync::Arc;

use moorline_proto::batch::{Batch, EncodedBatch};
use moorline_proto::coding::Coding;
use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::identity::Identity;
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::resume::{Resume, RoomState, Survey};
use moorline_proto::shard::{Claim, ConnectionId, Host, Input, Output, SessionKey, Shard};
use moorline_proto::time::Timestamp;
use moorline_proto::token::ResumeToken;
use moorline_proto::users::{UserLimits, Users};

use super::{FRAMING, config, now};

const EPOCH: Epoch = Epoch(1);
/// Members served before a driver lets other tasks run.
const TURN: usize = 256;

/// Counts what is written, and keeps nothing of it.
#[derive(Debug)]
pub struct Sockets {
    pub writes: u64,
    pub bytes: u64,
    users: Users,
}

impl Host for Sockets {
    fn write(&mut self, _: SessionKey, bytes: &[u8]) -> usize {
        self.writes += 1;
        self.bytes += bytes.len() as u64;
        bytes.len()
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

/// The shard with its sessions.
#[derive(Debug)]
pub struct Crowd {
    shard: Shard,
    pub sockets: Sockets,
    room: RoomName,
    head: Offset,
    connections: u64,
}

impl Crowd {
    /// Of each message, beside what it stands in.
    pub const TEXT_BYTES: usize = 64;

    /// So many members of users of their own.
    pub fn new(members: u64) -> Self {
        let mut crowd = Self {
            shard: Shard::new(Arc::new(config()), now()),
            sockets: Sockets { writes: 0, bytes: 0, users: Users::new(UserLimits::default()) },
            room: RoomName::new("bench").unwrap(),
            head: Offset::START,
            connections: 0,
        };
        crowd.settle();
        (0..members).for_each(|_| crowd.connect());
        crowd
    }

    /// One more member, of a user of its own, live from its greeting on.
    pub fn connect(&mut self) {
        self.connections += 1;
        let number = self.connections;
        let mut bits = [0; 32];
        bits[..8].copy_from_slice(&number.to_le_bytes());
        let claim = Claim {
            connection: ConnectionId(number),
            identity: Identity::user(UserId::new(&format!("u{number}")).unwrap()),
            asked: None,
            may_choose: false,
            resume_token: None,
            positions: Vec::new(),
            last: None,
            metadata: None,
            home: Some(self.room.clone()),
            own_rooms: true,
            reference: None,
            fresh_id: SessionId::new(&format!("0192f0c1-2b3c-7d4e-8f50-{number:012x}")).unwrap(),
            coding: None,
            fresh_token: ResumeToken::from_random(bits),
        };
        self.handle(Input::Establish(Box::new(claim)));
    }

    /// A batch of so many messages behind what there is, encoded as the pump does it.
    pub fn batch(&mut self, messages: u64) -> Arc<EncodedBatch> {
        let after = self.head;
        self.head = Offset(after.0 + messages);
        let text = format!(r#"{{"type":"m","data":"{}"}}"#, "x".repeat(Self::TEXT_BYTES));
        let record = |offset| Record {
            offset: Offset(offset),
            timestamp: Timestamp(0),
            except: None,
            message: Message::parse(text.clone().into()).unwrap(),
        };
        let records = (after.0 + 1..=self.head.0).map(record).collect();
        let batch = Batch { room: self.room.clone(), epoch: EPOCH, after, records, reached: Vec::new() };
        Arc::new(EncodedBatch::new(batch, &FRAMING))
    }

    /// Hands a batch to everyone.
    pub fn announce(&mut self, batch: &Arc<EncodedBatch>) {
        self.shard.handle(now(), Input::Batch(Arc::clone(batch)), &mut self.sockets);
        while self.shard.fan_out(now(), TURN, &mut self.sockets) {}
    }

    /// Hands batches to everyone that were announced before anyone was served.
    pub fn announce_all(&mut self, batches: &[Arc<EncodedBatch>]) {
        // The driver takes several from its inbox, and serves members then.
        for batch in batches {
            self.shard.handle(now(), Input::Batch(Arc::clone(batch)), &mut self.sockets);
        }
        while self.shard.fan_out(now(), TURN, &mut self.sockets) {}
    }

    fn handle(&mut self, input: Input) {
        self.shard.handle(now(), input, &mut self.sockets);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            let input = match output {
                Output::Claim(connection, _) => Input::Claimed(connection, Ok(1)),
                Output::Survey { surveyor, requests, .. } => {
                    let surveys = requests.iter().map(|request| {
                        let state = self.state(&request.room);
                        let start = state.head;
                        let resume = Resume::Continue(start);
                        Survey { state, resume, deliverable: 0, has_texts: false }
                    });
                    Input::Surveyed(surveyor, Ok(surveys.collect()))
                }
                Output::Save { record, fence, waiting } => {
                    Input::Saved { session: record.id.clone(), fence, waiting, result: Ok(()) }
                }
                Output::Subscribe(key, room) => {
                    let state = self.state(&room);
                    Input::Subscribed(key, room, Ok(state))
                }
                Output::Established(_) | Output::Event(_) => continue,
                other => panic!("nothing else is to be done: {other:?}"),
            };
            self.shard.handle(now(), input, &mut self.sockets);
        }
    }

    fn state(&self, room: &RoomName) -> RoomState {
        let head = if *room == self.room { self.head } else { Offset::START };
        RoomState { epoch: EPOCH, head, ..RoomState::default() }
    }
}
