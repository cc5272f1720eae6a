//! The two roads judge alike: what a member is sent as it is published, and what it is sent when it reads the same records
//! from the log, are the same bytes.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use futures_util::FutureExt as _;
use moorline_proto::codec;
use moorline_proto::frame::{ClientFrame, Publish};
use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::identity::Identity;
use moorline_proto::shard::{Claim, ConnectionId, Input, Peer};
use moorline_proto::token::ResumeToken;
use moorline_sim::link::Link;
use moorline_sim::random::Random;
use moorline_sim::wire::{self, Frame};
use moorline_sim::world::{Scenario, Wildness, World};

const WILDNESS: Wildness =
    Wildness { scenario: Scenario::Network, shards: 1, peers: 0, planted: None, streams: false, is_traced: false };
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
        let link = self.world.shards[0].sockets.links.get_mut(&READER).unwrap();
        let mut bytes: Vec<u8> = link.to_client.drain(..).collect();
        let frames = std::iter::from_fn(|| wire::take(&mut bytes));
        let texts = frames.filter_map(|frame| match frame {
            Frame::Text(text) => Some(text),
            Frame::Ping | Frame::Pong | Frame::Close(_) => None,
        });
        texts.filter(|text| text.starts_with("{\"type\":\"m\"")).collect()
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
