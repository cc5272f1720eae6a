//! Producers: who writes to streams, who takes them over, who asks them to stop, and who dies. Decided by a stream of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use moorline_proto::id::{RoomName, SessionId, StreamName};
use moorline_proto::record::Except;
use moorline_proto::stream::{Command, Expected, Holder, Lease, Open, Outcome};
use serde_json::{Value, json};

use super::World;
use crate::backend::StreamAnswer;
use crate::link::Up;
use crate::names;
use crate::producer::{Ask, By, Producer, Told, Waiting};
use crate::random::Random;
use crate::written::Plan;

/// Beyond every number that clients give their requests.
const REFERENCES: u64 = 1 << 40;
const PRODUCERS_MAX: usize = 24;
const LENGTH_MAX: usize = 160;

/// Who writes to streams.
pub(super) struct Producing {
    random: Random,
    is_on: bool,
    producers: Vec<Producer>,
    streams: usize,
    references: u64,
}

impl Producing {
    /// Not in every world, so that the others are as before.
    pub(super) fn new(seed: u64, is_wanted: bool) -> Self {
        let mut random = Random(seed ^ 0x57_4ea3);
        let is_on = random.chance(70) && is_wanted;
        Self { random, is_on, producers: Vec::new(), streams: 0, references: REFERENCES }
    }

    fn is_alive(&self, index: usize) -> bool {
        !self.producers[index].is_over
    }
}

impl World {
    /// One thing happens to a stream, or nothing.
    pub(super) fn produce(&mut self) {
        if !self.producing.is_on {
            return;
        }
        match self.producing.random.below(100) {
            0..4 => self.stream_begins(),
            4..40 => self.somebody_produces(),
            40..42 => self.stream_is_taken_over(),
            42..44 => self.somebody_cancels(),
            44 => self.producer_dies(),
            _ => {}
        }
        // The node's timer may be late.
        if self.producing.random.chance(30) {
            self.backend.lapse();
        }
    }

    /// The faults are over: whoever still has something to say says it.
    pub(super) fn produce_all(&mut self) {
        for index in 0..self.producing.producers.len() {
            for _ in 0..3 {
                self.produces(index);
            }
        }
        self.backend.lapse();
    }

    fn any_producer(&mut self) -> Option<usize> {
        let alive: Vec<usize> =
            (0..self.producing.producers.len()).filter(|index| self.producing.is_alive(*index)).collect();
        (!alive.is_empty()).then(|| *self.producing.random.pick(&alive))
    }

    /// Somebody who may write: a client, or the application.
    fn any_writer(&mut self) -> By {
        let random = &mut self.producing.random;
        let index = random.below(self.peers.len());
        if self.peers[index].has_ended() || random.chance(30) { By::Http } else { By::Client(index, None) }
    }

    fn stream_begins(&mut self) {
        if self.producing.producers.len() >= PRODUCERS_MAX {
            return;
        }
        self.producing.streams += 1;
        let number = self.producing.streams;
        let stream = names::stream(&format!("t{number}"));
        let by = self.any_writer();
        let except = self.stream_except();
        let random = &mut self.producing.random;
        let data = random.chance(50).then(|| json!({"of": number}));
        let lease = Duration::from_secs(*random.pick(&[1, 2, 5, 15, 40]));
        let room = names::room(super::ROOMS[random.below(super::ROOMS.len())]);
        let length = random.below(LENGTH_MAX);
        self.backend.truth.borrow_mut().streams.plan(&room, stream.as_str(), Plan { data, except, lease });
        self.producing.producers.push(Producer::new(room, stream, by, length));
        let index = self.producing.producers.len() - 1;
        self.produces(index);
    }

    fn stream_except(&mut self) -> Option<Arc<Except>> {
        let sessions: Vec<SessionId> =
            self.peers.iter().filter_map(|peer| peer.app.session.clone()).collect();
        let random = &mut self.producing.random;
        if sessions.is_empty() || random.chance(75) {
            return None;
        }
        let users = if random.chance(30) { vec![names::user("ann")] } else { Vec::new() };
        Some(Arc::new(Except { sessions: vec![random.pick(&sessions).clone()], users }))
    }

    /// A second producer opens what another one writes: of the same principal, which fences it, or of another, which is refused.
    fn stream_is_taken_over(&mut self) {
        let Some(index) = self.any_producer().filter(|_| self.producing.producers.len() < PRODUCERS_MAX)
        else {
            return;
        };
        let producer = &self.producing.producers[index];
        let (room, stream, by) = (producer.room.clone(), producer.stream.clone(), producer.by);
        let user = |by| match by {
            By::Client(index, _) => {
                self.peers.get(index).and_then(|peer: &crate::peer::Peer| peer.app.user.clone())
            }
            By::Http => None,
        };
        let own = user(by);
        let twin = (0..self.peers.len()).find(|&other| {
            own.is_some() && user(By::Client(other, None)) == own && !self.peers[other].has_ended()
        });
        let is_stranger = self.producing.random.chance(15);
        let by = match (twin, by) {
            (_, _) if is_stranger => self.any_writer(),
            (Some(twin), _) => By::Client(twin, None),
            (None, By::Client(index, _)) => By::Client(index, None),
            (None, By::Http) => By::Http,
        };
        let length = self.producing.random.below(LENGTH_MAX);
        self.fault("stream taken over");
        self.producing.producers.push(Producer::new(room, stream, by, length));
        let index = self.producing.producers.len() - 1;
        self.produces(index);
    }

    /// It is never heard of again: its lease runs out.
    fn producer_dies(&mut self) {
        let Some(index) = self.any_producer() else { return };
        self.fault("producer dies");
        self.note(|| format!("producer {index} dies"));
        self.producing.producers[index].is_over = true;
    }

    fn somebody_cancels(&mut self) {
        let Some(index) = self.any_producer() else { return };
        let client = self.producing.random.below(self.peers.len());
        let producer = &self.producing.producers[index];
        let frame = json!({"type": "stream_cancel", "room": producer.room, "stream": producer.stream});
        let is_established = self.peers[client].client.is_established();
        if let Some(link) = self.link_of(client).filter(|_| is_established) {
            link.to_server.push_back(Up::Text(frame.to_string()));
        }
    }

    fn somebody_produces(&mut self) {
        if let Some(index) = self.any_producer() {
            self.produces(index);
        }
    }

    /// A producer does the next thing, where it can.
    fn produces(&mut self, index: usize) {
        if !self.producing.is_alive(index) {
            return;
        }
        if let By::Client(client, link) = self.producing.producers[index].by {
            if self.peers[client].has_ended() {
                self.producing.producers[index].is_over = true;
                return;
            }
            let current = self.peers[client].link;
            let producer = &mut self.producing.producers[index];
            if link != current {
                producer.forget();
                producer.by = By::Client(client, current);
            }
            if !self.peers[client].client.is_established() {
                return;
            }
        }
        self.hear_http(index);
        let Producing { random, producers, .. } = &mut self.producing;
        let Some(ask) = producers[index].next(random) else { return };
        self.asks(index, &ask);
    }

    /// Answers over HTTP.
    fn hear_http(&mut self, index: usize) {
        loop {
            let producer = &mut self.producing.producers[index];
            let first = producer.waiting.front_mut().and_then(|waiting| waiting.answer.as_mut());
            let Some(answer) = first.and_then(|answer| answer.now_or_never()) else { return };
            producer.waiting.pop_front();
            let found = producer.told(&Told::of(&answer));
            self.note(|| format!("producer {index} is told {answer:?}"));
            self.violation(found);
        }
    }

    fn asks(&mut self, index: usize, ask: &Ask) {
        self.producing.references += 1;
        let reference = self.producing.references;
        let producer = &self.producing.producers[index];
        let (room, stream) = (producer.room.clone(), producer.stream.clone());
        let fence = producer.fence.unwrap_or_default();
        let by = producer.by;
        let Some(plan) = self.plan(&room, &stream) else { return };
        self.note(|| format!("producer {index} of {stream} in {room} by {by:?} asks {ask:?} under {fence}"));
        let answer = match by {
            By::Http => Some(self.asks_http((&room, &stream), fence, ask, &plan)),
            By::Client(client, _) => {
                let mut frame = frame(fence, ask, &plan);
                frame["ref"] = reference.into();
                frame["room"] = json!(room);
                frame["stream"] = json!(stream);
                let Some(link) = self.link_of(client) else { return };
                link.to_server.push_back(Up::Text(frame.to_string()));
                None
            }
        };
        self.producing.producers[index].waiting.push_back(Waiting { reference, answer });
        self.hear_http(index);
    }

    fn plan(&self, room: &RoomName, stream: &StreamName) -> Option<Plan> {
        let truth = self.backend.truth.borrow();
        truth.streams.named(room, stream.as_str()).map(|written| written.plan.clone())
    }

    fn asks_http(
        &self,
        (room, stream): (&RoomName, &StreamName),
        fence: u64,
        ask: &Ask,
        plan: &Plan,
    ) -> StreamAnswer {
        let principal: Arc<str> = "key/http".into();
        let holder = Holder { principal: Arc::clone(&principal), session: None, fence };
        let command = match ask {
            Ask::Open => Command::Open(Box::new(Open {
                principal,
                session: None,
                data: plan.data.as_ref().map(|data| Bytes::from(data.to_string())),
                except: plan.except.clone(),
                lease: Lease::new(plan.lease).expect("the simulator's leases are within the bounds"),
                expected: Expected::Any,
            })),
            Ask::Append { at, content } => {
                Command::Append { holder, at: *at as u64, content: content.as_str().into() }
            }
            Ask::End(kind) => {
                let outcome = match *kind {
                    "complete" => Outcome::Complete { message: None },
                    "error" => Outcome::Error { error: None },
                    _ => Outcome::Cancelled,
                };
                Command::End { holder, outcome }
            }
        };
        self.backend.stream(room, stream, command)
    }

    /// A frame reached a client that is a producer's.
    pub(crate) fn producer_hears(&mut self, client: usize, text: &str) {
        let is_of_stream =
            text.starts_with("{\"type\":\"stream_cancel\"") || text.starts_with("{\"type\":\"reply\"");
        let Some(frame) = is_of_stream.then(|| serde_json::from_str::<Value>(text).ok()).flatten() else {
            return;
        };
        if frame["type"] == "stream_cancel" {
            return self.producer_is_asked_to_stop(client, &frame);
        }
        let Some(reference) = frame["ref"].as_u64().filter(|reference| *reference > REFERENCES) else {
            return;
        };
        for producer in &mut self.producing.producers {
            let Some(index) = producer.waiting.iter().position(|waiting| waiting.reference == reference)
            else {
                continue;
            };
            producer.waiting.remove(index);
            let found = producer.told(&Told::read(&frame));
            return self.violation(found);
        }
    }

    fn producer_is_asked_to_stop(&mut self, client: usize, frame: &Value) {
        let own = self.producing.producers.iter_mut().filter(|producer| {
            matches!(producer.by, By::Client(by, _) if by == client)
                && frame["stream"] == producer.stream.as_str()
        });
        let mut is_ours = false;
        for producer in own {
            producer.is_asked_to_stop = true;
            is_ours = true;
        }
        if !is_ours {
            self.violation(Some(format!("{client} is told {frame} and wrote to no such stream")));
        }
    }
}

/// The frame that asks for it.
fn frame(fence: u64, ask: &Ask, plan: &Plan) -> Value {
    match ask {
        Ask::Open => {
            let lease = u64::try_from(plan.lease.as_millis()).unwrap_or(u64::MAX);
            let mut frame = json!({"type": "stream_open", "lease_ms": lease});
            if let Some(data) = &plan.data {
                frame["data"] = data.clone();
            }
            if let Some(except) = &plan.except {
                frame["except"] = json!({"sessions": except.sessions, "users": except.users});
            }
            frame
        }
        Ask::Append { at, content } => {
            json!({"type": "stream_append", "fence": fence, "at": at, "content": content})
        }
        Ask::End(kind) => json!({"type": "stream_end", "fence": fence, "outcome": kind}),
    }
}
