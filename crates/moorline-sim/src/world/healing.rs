//! The end: the faults are over.

use moorline_proto::client;
use moorline_proto::shard::ConnectionId;

use super::World;

impl World {
    /// The faults are over: everything moves at once until nothing is left to move.
    pub fn heal(&mut self) {
        self.is_calm = true;
        for _ in 0..90 {
            if self.is_wrong() {
                return;
            }
            self.produce_all();
            self.move_everything();
            self.pass(1_000_000);
        }
        self.move_everything();
    }

    pub(crate) fn move_everything(&mut self) {
        for shard in 0..self.shards.len() {
            self.shards[shard].is_prompt = true;
            self.shards[shard].sockets.partial_percent = 0;
        }
        for _ in 0..12 {
            if self.has_store() {
                self.commit();
                self.commit();
            }
            for shard in 0..self.shards.len() {
                self.pump();
                self.exhaust(shard);
                self.after(shard);
                let ids: Vec<ConnectionId> = self.shards[shard].sockets.links.keys().copied().collect();
                for id in ids {
                    if let Some(link) = self.shards[shard].sockets.links.get_mut(&id) {
                        link.is_slow = false;
                        link.half_open = false;
                    }
                    self.move_link(shard, id);
                    self.move_link(shard, id);
                }
            }
        }
    }

    /// Lets a shard do everything that it can do at this moment; which must end.
    fn exhaust(&mut self, shard: usize) {
        const STEPS_MAX: usize = 20_000;
        let now = self.now();
        for _ in 0..STEPS_MAX {
            let is_idle = !self.shards[shard].hear(now) && !self.shards[shard].answer(now);
            if is_idle || self.is_wrong() {
                return;
            }
        }
        self.violation(Some(format!("shard {shard} finds no end, at one moment")));
    }

    /// Everybody leaves, and what they leave behind grows old.
    pub fn end(&mut self) {
        for index in 0..self.peers.len() {
            let now = self.now().instant;
            self.peers[index].client.handle(now, client::Input::Shutdown);
            self.drain_client(index);
        }
        for _ in 0..20 {
            self.move_everything();
            self.pass(20_000_000);
        }
    }
}
