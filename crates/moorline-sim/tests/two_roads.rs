//! The two roads judge alike: what a member is sent as it is published, and what it is sent when it reads the same records
//! from the log, are the same bytes.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use moorline_proto::codec;
use moorline_proto::frame::{ClientFrame, Publish};
use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::identity::Identity;
use moorline_proto::shard::{Claim, ConnectionId, Input, Peer};
use moorline_proto::token::ResumeToken;
use moorline_sim::link::Link;
use moorline_sim::names;
use moorline_sim::random::Random;
use moorline_sim::wire::{self, Frame};
use moorline_sim::world::{Scenario, Wildness, World};
use moorline_sim::written::{Plan, Said, letter};

const WILDNESS: Wildness = Wildness {
    scenario: Scenario::Network,
    shards: 1,
    peers: 0,
    planted: None,
    streams: false,
    is_traced: false,
};
const READER: ConnectionId = ConnectionId(1);

/// A world without clients, with one session in the room `a`.
struct Road {
    world: World,
    peer: Peer,
    published: usize,
}

impl Road {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, WILDNESS).unwrap();
        world.is_calm = true;
        world.shards[0].is_prompt = true;
        world.shards[0].sockets.partial_percent = 0;
        let now = world.now();
        while world.shards[0].answer(now) {}
        let shard = &mut world.shards[0];
        shard.sockets.links.insert(READER, Link::new(READER, 0, 1 << 20));
        let claim = Claim {
            connection: READER,
            coding: wire::coding_of(READER),
            identity: Identity::user(UserId::new("ann").unwrap()),
            asked: None,
            may_choose: true,
            resume_token: None,
            positions: Vec::new(),
            last: None,
            metadata: None,
            home: RoomName::new("a").ok(),
            own_rooms: true,
            reference: None,
            fresh_id: SessionId::new("s").unwrap(),
            fresh_token: ResumeToken::from_random([1; 32]),
        };
        shard.handle(now, Input::Establish(Box::new(claim)));
        while shard.answer(now) {}
        let peer = shard.sockets.links[&READER].peer.unwrap();
        shard.established.clear();
        Self { world, peer, published: 0 }
    }

    /// Publishes what the seed says, for the same seed the same.
    fn publish(&mut self, random: &mut Random) {
        for _ in 0..=random.below(12) {
            self.published += 1;
            let n = self.published;
            let except = ["", r#","except":{"sessions":["s"]}"#, r#","except":{"users":["ann"]}"#];
            let except = except[random.below(5).min(except.len() - 1) * random.below(2)];
            let text = format!(
                r#"{{"type":"publish","to":{{"room":"a"}},"message":{{"type":"m","n":{n},"x":"{}"}}{except}}}"#,
                "x".repeat(random.below(300))
            );
            let Ok(ClientFrame::Publish(publish)) = codec::decode(&text).frame else { panic!("{text}") };
            self.store(*publish);
        }
    }

    fn store(&self, publish: Publish) {
        use moorline_broker::{Keep, Publication};
        let room = RoomName::new("a").unwrap();
        let keep = Keep::Record { key: None, durability: None };
        let Publish { message, except, .. } = publish;
        let publication = Publication { room, message, except, keep };
        self.world.backend.publish(publication, "key/http").now_or_never().unwrap().unwrap();
    }

    /// Writes to a few streams what the seed says; none of them ends.
    fn write(&mut self, random: &mut Random) {
        use moorline_proto::stream::{Command, Done, Expected, Holder, Lease, Open};
        let room = RoomName::new("a").unwrap();
        let principal: std::sync::Arc<str> = "key/http".into();
        for _ in 0..random.below(6) {
            let stream = names::stream(&format!("t{}", random.below(3)));
            let plan = Plan { data: None, except: None, lease: Lease::DEFAULT.time() };
            self.world.backend.truth.borrow_mut().streams.plan(&room, stream.as_str(), plan);
            let open = Command::Open(Box::new(Open {
                principal: std::sync::Arc::clone(&principal),
                session: None,
                data: None,
                except: None,
                lease: Lease::DEFAULT,
                expected: Expected::Any,
            }));
            let opened = self.world.backend.stream(&room, &stream, open).now_or_never().unwrap().unwrap();
            let Done::Opened { fence, at } = opened else { panic!("{opened:?}") };
            let holder = Holder { principal: std::sync::Arc::clone(&principal), session: None, fence };
            let from = usize::try_from(at).unwrap();
            let places = from..from + random.below(40);
            let content = places.map(|at| letter(stream.as_str(), fence, at)).collect::<String>().into();
            let append = Command::Append { holder, at, content };
            self.world.backend.stream(&room, &stream, append).now_or_never().unwrap().unwrap();
            self.world.pass(1_000 * random.below(60) as u64);
        }
    }

    /// Has the shard take in what was announced, in pieces.
    fn announce(&mut self, pieces: &mut Random) {
        self.world.pump();
        let now = self.world.now();
        while self.world.shards[0].hear(now) {
            if pieces.chance(50) {
                while self.world.shards[0].answer(now) {}
            }
        }
        while self.world.shards[0].answer(now) {}
    }

    /// The texts of the messages that the session was sent.
    fn heard(&mut self) -> Vec<String> {
        self.heard_all().into_iter().filter(|text| text.starts_with("{\"type\":\"m\"")).collect()
    }

    fn heard_all(&mut self) -> Vec<String> {
        let link = self.world.shards[0].sockets.links.get_mut(&READER).unwrap();
        let mut bytes: Vec<u8> = link.to_client.drain(..).collect();
        let frames = std::iter::from_fn(|| wire::take(&mut bytes));
        let texts = frames.filter_map(|frame| match frame {
            Frame::Text(text) | Frame::Coded(_, text) => Some(text),
            Frame::Ping | Frame::Pong | Frame::Close(_) => None,
        });
        texts.collect()
    }

    fn say(&mut self, text: &str) {
        let now = self.world.now();
        self.world.shards[0].handle(now, Input::Frame(self.peer, codec::decode(text)));
        while self.world.shards[0].answer(now) {}
    }
}

#[test]
fn live_and_read_records_are_the_same_bytes() {
    let mut compared = 0;
    for seed in 0..256 {
        let mut road = Road::new(seed);
        let room = RoomName::new("a").unwrap();
        let mut random = Random(seed ^ 0xabc);
        road.announce(&mut random);
        assert!(road.world.shards[0].shard.is_live(road.peer.session, &room), "seed {seed}");
        road.heard();
        for _ in 0..=random.below(4) {
            road.publish(&mut random);
            road.announce(&mut random);
        }
        let live = road.heard();
        assert!(road.world.shards[0].shard.is_live(road.peer.session, &room), "seed {seed}");
        road.say(r#"{"type":"reconnect","last_message_id":0}"#);
        let read = road.heard();
        // What retention has removed meanwhile cannot be read again.
        let kept = live.len() - read.len();
        assert_eq!(live[kept..], read, "seed {seed}");
        compared += read.len();
        assert!(!road.world.is_wrong(), "{:?}", road.world.backend.violations.borrow());
    }
    assert!(compared > 1_000, "{compared} records were compared");
}

/// Each stream's text, put together from its chunks, each of which goes on where the one before ended.
fn texts(heard: &[String]) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for said in heard.iter().filter_map(|text| Said::read(text.as_bytes())) {
        let text = texts.entry(said.stream).or_default();
        assert_eq!(text.chars().count(), said.at);
        text.push_str(&said.content);
    }
    texts
}

#[test]
fn r27_streams_live_and_read_texts_are_the_same() {
    let mut compared = 0;
    for seed in 0..128 {
        let mut road = Road::new(seed);
        let mut random = Random(seed ^ 0xabc);
        road.announce(&mut random);
        road.heard();
        let mut live = Vec::new();
        for _ in 0..=random.below(4) {
            road.publish(&mut random);
            road.write(&mut random);
            road.announce(&mut random);
            live.extend(road.heard_all());
        }
        road.world.pass(50_000);
        road.announce(&mut random);
        live.extend(road.heard_all());
        let shown = texts(&live);
        let head = road.world.backend.state(&RoomName::new("a").unwrap()).head.0;
        for after in [0, 1 + random.below(usize::try_from(head).unwrap().max(1)) as u64] {
            road.say(&format!(r#"{{"type":"reconnect","last_message_id":{}}}"#, after.min(head)));
            let read = road.heard_all();
            assert_eq!(texts(&read), shown, "seed {seed} after {after}");
        }
        compared += shown.values().map(String::len).sum::<usize>();
        assert!(!road.world.is_wrong(), "{:?}", road.world.backend.violations.borrow());
    }
    assert!(compared > 1_000, "{compared} bytes were compared");
}
