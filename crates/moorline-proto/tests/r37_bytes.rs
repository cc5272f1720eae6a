//! What sessions, memberships and heartbeats cost a shard, in bytes of the allocator.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail where it stands")]

use std::alloc::System;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moorline_proto::batch::{Framing, Page, ReadFrom};
use moorline_proto::coding::Coding;
use moorline_proto::frame::{ClientFrame, Inbound};
use moorline_proto::heartbeat::Policy;
use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::identity::Identity;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::resume::{Resume, RoomState, Since, Survey};
use moorline_proto::session_record::SessionRecord;
use moorline_proto::shard::{
    Claim, ConnectionId, ExpiryConfig, Host, Input, Output, Peer, SessionKey, Shard, ShardConfig,
};
use moorline_proto::time::{Instant, Now, Timestamp};
use moorline_proto::token::ResumeToken;
use moorline_proto::users::{UserLimits, Users};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The tests of this file count for the whole process, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

fn my_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes that are held now.
fn held() -> isize {
    let Stats { bytes_allocated, bytes_deallocated, .. } = ALLOCATOR.stats();
    bytes_allocated.cast_signed() - bytes_deallocated.cast_signed()
}

const FRAMING: Framing = Framing {
    text_header: |out, _| out.push(b'\n'),
    ping: |out| out.push(b'p'),
    pong: |_, _| {},
    close: |_, _, _| {},
};

fn config() -> ShardConfig {
    ShardConfig {
        heartbeat: Policy::default(),
        heartbeat_frame: "ping".to_owned(),
        session_lifetime: Duration::from_secs(3600),
        absent_max_bytes: 1 << 20,
        rooms_max: 128,
        metadata_max_bytes: 4096,
        pending_max_bytes: 1 << 20,
        stall_timeout: Duration::from_secs(30),
        save_timeout: Duration::from_secs(10),
        in_flight_max: 8,
        shard_rooms_max: 1_000_000,
        expiry: ExpiryConfig::default(),
        authenticates: false,
        authorizes: false,
        framing: FRAMING,
    }
}

/// Sockets that take everything, and count.
struct Sockets {
    writes: usize,
    users: Users,
}

impl Host for Sockets {
    fn write(&mut self, _: SessionKey, bytes: &[u8]) -> usize {
        self.writes += 1;
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

/// A shard with its users' counts, a store of its sessions' records, and a log without records.
struct Ground {
    shard: Shard,
    sockets: Sockets,
    store: HashMap<SessionId, Arc<SessionRecord>>,
    peers: Vec<Peer>,
    now: Now,
}

fn state() -> RoomState {
    RoomState { epoch: Epoch(7), ..RoomState::default() }
}

impl Ground {
    fn new() -> Self {
        let now = Now { timestamp: Timestamp(10_000_000), ..Now::default() };
        let mut ground = Self {
            shard: Shard::new(Arc::new(config()), now),
            sockets: Sockets { writes: 0, users: Users::new(UserLimits::default()) },
            store: HashMap::new(),
            peers: Vec::new(),
            now,
        };
        ground.settle();
        ground
    }

    fn at(&mut self, elapsed: Duration) {
        self.now.instant = Instant::since_start(elapsed);
    }

    /// One more user's session, in a room of its URL.
    fn connect(&mut self, home: &str) -> Peer {
        let number = self.peers.len();
        let claim = Claim {
            connection: ConnectionId(number as u64 + 1),
            identity: Identity::user(UserId::new(&format!("user-{number}")).unwrap()),
            asked: None,
            may_choose: false,
            resume_token: None,
            positions: Vec::new(),
            last: None,
            metadata: None,
            home: Some(RoomName::new(home).unwrap()),
            own_rooms: true,
            reference: None,
            fresh_id: SessionId::new(&format!("0199a1b2-c3d4-7e5f-8a9b-{number:012}")).unwrap(),
            coding: None,
            fresh_token: ResumeToken::from_random([7; 32]),
        };
        self.handle(Input::Establish(Box::new(claim)));
        assert_eq!(self.peers.len(), number + 1, "it is established");
        self.peers[number]
    }

    fn join(&mut self, peer: Peer, room: RoomName) {
        self.say(peer, ClientFrame::Join { room, since: Since::Now });
    }

    fn leave(&mut self, peer: Peer, room: RoomName) {
        self.say(peer, ClientFrame::Leave { room });
    }

    fn say(&mut self, peer: Peer, frame: ClientFrame) {
        self.handle(Input::Frame(peer, Inbound { reference: None, frame: Ok(frame) }));
    }

    fn handle(&mut self, input: Input) {
        self.shard.handle(self.now, input, &mut self.sockets);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            if let Some(input) = self.perform(output) {
                self.shard.handle(self.now, input, &mut self.sockets);
            }
        }
    }

    fn perform(&mut self, output: Output) -> Option<Input> {
        Some(match output {
            Output::Claim(connection, _) => Input::Claimed(connection, Ok(1)),
            Output::Survey { surveyor, requests, .. } => {
                let survey = Survey {
                    state: state(),
                    resume: Resume::Continue(Offset::START),
                    deliverable: 0,
                    has_texts: false,
                };
                Input::Surveyed(surveyor, Ok(vec![survey; requests.len()]))
            }
            Output::Save { record, fence, waiting } => {
                let session = record.id.clone();
                self.store.insert(session.clone(), record);
                Input::Saved { session, fence, waiting, result: Ok(()) }
            }
            Output::Remove(id, _) => {
                self.store.remove(&id);
                return None;
            }
            Output::Subscribe(key, room) => Input::Subscribed(key, room, Ok(state())),
            Output::Read { reader, room, from } => {
                let page = Page {
                    state: state(),
                    from,
                    records: Vec::new(),
                    reached: Vec::new(),
                    end: Offset::START,
                };
                assert!(matches!(from, ReadFrom::After(_)), "there are no streams");
                Input::PageRead(reader, room, Ok(page))
            }
            Output::Established(peer) => {
                self.peers.push(peer);
                return None;
            }
            _ => return None,
        })
    }
}

/// What a session may cost, in a room and in everyone's: its shard, the count of its user, and a store that keeps its record.
const SESSION_BYTES: usize = 940;
/// What one more room of a session may cost, with its mark in the record and a tenth of the room itself.
const MEMBERSHIP_BYTES: usize = 135;

/// How much more is held now than `before`, for each of so many.
fn each(before: isize, count: usize) -> usize {
    let more = usize::try_from(held() - before).expect("no less than before");
    more / count
}

/// It is a little more just behind each size at which a table doubles.
#[test]
fn r37_a_session_costs_few_bytes_however_many_there_are() {
    let _turn = my_turn();
    for count in [1_000, 4_000, 10_000] {
        let mut ground = Ground::new();
        let before = held();
        for _ in 0..count {
            ground.connect("lobby");
        }
        let bytes = each(before, count);
        println!("{count} sessions: {bytes} bytes each");
        assert!(bytes <= SESSION_BYTES, "{bytes} bytes for each of {count} sessions");
    }
}

#[test]
fn r37_a_session_in_fifty_rooms_costs_few_bytes_for_each() {
    const SESSIONS: usize = 400;
    const ROOMS: usize = 50;
    let _turn = my_turn();
    let mut ground = Ground::new();
    for _ in 0..SESSIONS {
        ground.connect("lobby");
    }
    let before = held();
    for (number, peer) in ground.peers.clone().into_iter().enumerate() {
        for room in 0..ROOMS {
            // Ten members each.
            ground.join(peer, name(number / 10 * ROOMS + room));
        }
    }
    let bytes = each(before, SESSIONS * ROOMS);
    println!("{bytes} bytes for each membership");
    assert!(bytes <= MEMBERSHIP_BYTES, "{bytes} bytes for each membership");
}

/// Joining and leaving costs no more in a large room, and empties leave nothing: neither rooms nor what was kept of members.
#[test]
fn r37_a_million_joins_and_leaves_leave_nothing_behind() {
    const CHANGES: usize = 1_000_000;
    let _turn = my_turn();
    let mut ground = Ground::new();
    let peers: Vec<Peer> = (0..20).map(|_| ground.connect("lobby")).collect();
    let rooms: Vec<RoomName> = (0..100).map(name).collect();
    let mut churn = |changes: usize| {
        for change in 0..changes / 2 {
            // 10,000 in a second, of names that come again and of ones that do not.
            ground.at(Duration::from_micros(200 * change as u64));
            let fresh = change.is_multiple_of(4).then(|| name(1_000 + change));
            let room = fresh.unwrap_or_else(|| rooms[change % rooms.len()].clone());
            let peer = peers[change % peers.len()];
            ground.join(peer, room.clone());
            ground.leave(peer, room);
        }
    };
    churn(CHANGES / 10);
    let before = held();
    churn(CHANGES);
    let more = held() - before;
    assert!(more < 4096, "{more} bytes more are held");
}

/// A shard's pings cost what is due and nothing besides, and no session has a timer of its own.
#[test]
fn r37_an_hour_of_heartbeats_holds_nothing_more() {
    const SESSIONS: u64 = 1_000;
    let _turn = my_turn();
    let mut ground = Ground::new();
    for number in 0..SESSIONS {
        ground.at(Duration::from_millis(30 * number));
        ground.connect("lobby");
    }
    let mut pings = Vec::new();
    let mut rounds = |ground: &mut Ground, count: usize| {
        let mut most = 0;
        for _ in 0..count {
            let due = ground.shard.poll_timeout().expect("there is always a ping to come");
            ground.now.instant = due;
            let (writes, allocations) = (ground.sockets.writes, ALLOCATOR.stats().allocations);
            ground.shard.handle_timeout(ground.now, &mut ground.sockets);
            let pinged = ground.sockets.writes - writes;
            pings.push(pinged);
            most = most.max(pinged);
            assert!(ALLOCATOR.stats().allocations - allocations < 16, "none for each of {pinged}");
            answer(ground);
        }
        most
    };
    rounds(&mut ground, 200);
    let before = held();
    let most = rounds(&mut ground, 1_000);
    assert!(held() - before < 64 * 1024, "{} bytes more", held() - before);
    // Spread over the interval as their connections came.
    assert!(most <= 60, "{most} pings at once");
}

/// Every peer shows that it is alive.
fn answer(ground: &mut Ground) {
    for peer in ground.peers.clone() {
        ground.handle(Input::Alive(peer));
    }
}

fn name(number: usize) -> RoomName {
    RoomName::new(&format!("room-{number}")).expect("a room's name")
}
