//! What goes wrong beneath the node: its store, its process and its clocks. Decided by a stream of its own, so that the same
//! seed has the same network without them.

use std::collections::BTreeMap;
use std::time::Duration;

use moorline_broker::RetentionRules;
use moorline_proto::id::RoomName;
use moorline_proto::position::Offset;
use moorline_proto::shard::Input;

use super::{Scenario, World};
use crate::driver::Driver;
use crate::ground::{Outcome, Unsynced};
use crate::invariants::acks::Acks;
use crate::link::Up;
use crate::random::Random;

/// What is wrong at the moment, and what was.
pub(super) struct Faults {
    random: Random,
    /// Decides where in a commit the node dies, beside the others' course; none where that happens between commits alone: over a model,
    /// and in every other world, so that the seeds that are kept repeat what they showed.
    tears: Option<Random>,
    is_on: bool,
    is_begun: bool,
    full_until: u64,
    /// How far the wall clock is off, in milliseconds.
    pub(super) wall_ms: i64,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Faults {
    pub(super) fn new(seed: u64, scenario: Scenario) -> Self {
        let mut tears = Random(seed ^ 0x9_ec44);
        let is_torn = scenario == Scenario::Store && tears.chance(50);
        Self {
            random: Random(seed ^ 0xfa_017),
            tears: is_torn.then_some(tears),
            is_on: scenario != Scenario::Network,
            is_begun: false,
            full_until: 0,
            wall_ms: 0,
            counts: BTreeMap::new(),
        }
    }

    /// In some worlds records expire while sessions wait.
    pub(super) fn rules(&self, mut rules: RetentionRules) -> RetentionRules {
        let mut random = self.random.clone();
        if self.is_on && random.chance(40) {
            rules.room.age = Duration::from_secs(*random.pick(&[5, 20, 50]));
            rules.own.age = rules.room.age;
        }
        rules
    }

    /// What becomes of a commit that is being written when the node dies.
    fn unsynced(&mut self, is_kept: bool) -> Unsynced {
        const TORN_PERCENT: usize = 80;
        /// As many as most commits have.
        const WRITES_MAX: usize = 9;
        let tears = self.tears.as_mut().filter(|_| self.is_begun);
        let writes = tears.and_then(|tears| tears.chance(TORN_PERCENT).then(|| tears.below(WRITES_MAX + 1)));
        match (writes, is_kept) {
            (None, true) => Unsynced::Kept,
            (None, false) => Unsynced::Lost,
            (Some(writes), true) => Unsynced::Killed(writes),
            (Some(writes), false) => Unsynced::Torn(writes),
        }
    }

    pub(super) fn count(&mut self, fault: &'static str) {
        *self.counts.entry(fault).or_default() += 1;
    }
}

impl World {
    /// Whether the store and the clocks have faults.
    pub(super) const fn has_store(&self) -> bool {
        self.faults.is_on
    }

    /// What is decided beside the network's own course.
    pub(super) fn dice(&mut self) -> &mut Random {
        &mut self.faults.random
    }

    /// How often each kind of fault happened.
    #[must_use]
    pub const fn fault_counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.faults.counts
    }

    /// Counts a fault.
    pub(crate) fn fault(&mut self, fault: &'static str) {
        self.faults.count(fault);
    }

    /// One thing happens beneath the node, or nothing.
    pub(super) fn weather(&mut self) {
        if !self.faults.is_on {
            return;
        }
        match self.faults.random.below(1_000) {
            0..350 => self.commit(),
            350..354 => self.crash(),
            354..357 => self.restart(),
            357..361 => {
                let seconds = 1 + self.faults.random.below(20) as u64;
                self.faults.full_until = self.micros + seconds * 1_000_000;
                self.fault("disk full");
                self.note(|| format!("the disk is full for {seconds} s"));
            }
            361..365 => self.set_wall_clock(),
            365..465 => self.somebody_acknowledges(),
            _ => {}
        }
    }

    /// Half a commit: begins one, or ends it.
    pub(super) fn commit(&mut self) {
        if !self.faults.is_begun {
            if self.backend.waits() {
                self.faults.is_begun = true;
                self.backend.begin();
                self.acks_begun();
            }
            return;
        }
        self.faults.is_begun = false;
        let is_full = self.micros < self.faults.full_until && !self.is_calm;
        let outcome = if is_full { Outcome::Full } else { Outcome::Written };
        self.note(|| format!("a commit is {outcome:?}"));
        self.backend.end(outcome);
        self.acks_ended(outcome);
    }

    /// A client acknowledges what it has of a room, of its own accord.
    fn somebody_acknowledges(&mut self) {
        let index = self.faults.random.below(self.peers.len());
        let peer = &self.peers[index];
        let rooms: Vec<&RoomName> = peer.app.rooms.keys().collect();
        if rooms.is_empty() || !peer.client.is_established() {
            return;
        }
        let room = (*self.faults.random.pick(&rooms)).clone();
        let Some((Some(epoch), offset)) = self.peers[index].client.position(&room) else { return };
        // A position that is ahead of what this connection brought would be refused.
        let offset = offset.min(Offset(self.peers[index].stream.brought(&room)));
        let position = serde_json::json!({"type": "ack", "room": room, "epoch": epoch, "message_id": offset});
        if let Some(link) = self.link_of(index).filter(|_| offset > Offset::START) {
            link.to_server.push_back(Up::Text(position.to_string()));
        }
    }

    fn set_wall_clock(&mut self) {
        let steps = [-3_600_000, -5_000, -90_000, 5_000, 90_000, 3_600_000];
        self.faults.wall_ms += *self.faults.random.pick(&steps);
        let (now, off) = (self.now(), self.faults.wall_ms);
        self.clock.set(now);
        self.fault("wall clock set");
        self.note(|| format!("the wall clock is {off} ms off"));
    }

    /// The node dies where it stands.
    fn crash(&mut self) {
        let is_kept = self.faults.random.chance(40);
        let unsynced = self.faults.unsynced(is_kept);
        self.fault(match unsynced {
            Unsynced::Kept => "kill -9",
            Unsynced::Lost => "loss of power",
            Unsynced::Killed(_) => "kill -9 within a commit",
            Unsynced::Torn(_) => "loss of power within a commit",
        });
        self.note(|| format!("the node crashes, what was not synced is {unsynced:?}"));
        self.faults.is_begun = false;
        self.backend.crash(unsynced);
        self.come_back();
        self.acks_after_crash();
    }

    /// The node ends as it should, and starts again.
    fn restart(&mut self) {
        self.fault("clean restart");
        self.note(|| "the node restarts".to_owned());
        let now = self.now();
        for shard in &mut self.shards {
            shard.handle(now, Input::Drain(Duration::from_secs(2)));
        }
        // What waits for the store is answered by its last commit.
        for _ in 0..3 {
            for shard in &mut self.shards {
                while shard.answer(now) {}
            }
            self.backend.begin();
            self.backend.end(Outcome::Written);
        }
        self.faults.is_begun = false;
        self.backend.restart();
        self.come_back();
        self.acks_after_crash();
    }

    /// New shards, with the old connections' ends.
    fn come_back(&mut self) {
        let now = self.now();
        for line in self.backend.left() {
            self.note(|| line);
        }
        for index in 0..self.shards.len() {
            let links = std::mem::take(&mut self.shards[index].sockets.links);
            let seed = self.faults.random.number();
            let mut shard = Driver::new(&self.config, &self.backend, now, seed);
            shard.saves_at_once = true;
            shard.is_prompt = self.shards[index].is_prompt;
            shard.sockets.partial_percent = self.shards[index].sockets.partial_percent;
            shard.sockets.links = links;
            for link in shard.sockets.links.values_mut() {
                link.sever(&mut self.faults.random);
            }
            shard.settle(now);
            self.shards[index] = shard;
        }
        for (record, fence) in self.backend.all_restored() {
            let shard = self.shard_of(&record.id);
            self.shards[shard].handle(now, Input::Restore(record, fence));
        }
        self.backend.let_go();
        (0..self.shards.len()).for_each(|shard| self.after(shard));
    }
}

// What was acknowledged, and what a crash leaves of it.
impl World {
    fn acks_begun(&mut self) {
        let micros = self.micros;
        self.peers.iter_mut().for_each(|peer| peer.acks.begun(micros));
    }

    fn acks_ended(&mut self, outcome: Outcome) {
        for peer in &mut self.peers {
            match outcome {
                Outcome::Written => peer.acks.written(),
                Outcome::Full => peer.acks.failed(),
            }
        }
    }

    fn acks_after_crash(&mut self) {
        // What was in the room may have another name now.
        self.peers.iter_mut().for_each(|peer| peer.app.texts.all_anew());
        let mut found = Vec::new();
        for peer in &mut self.peers {
            let session = peer.app.session.as_ref();
            let Some(record) = session.and_then(|session| self.backend.restored(session)) else {
                peer.acked.clear();
                peer.acks = Acks::default();
                continue;
            };
            found.extend(peer.acks.restored(&record));
            peer.acked.retain(|room, offset| {
                let mark = record.rooms.iter().find(|mark| mark.room == *room);
                *offset = mark.map_or(0, |mark| mark.acked.offset.0).min(*offset);
                *offset > 0
            });
        }
        found.into_iter().for_each(|text| self.violation(Some(text)));
    }
}
