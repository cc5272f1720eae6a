//! What the broker announces, on its way to the shards.

use std::sync::Arc;

use moorline_broker::Announcement;
use moorline_proto::batch::{EncodedBatch, EncodedEphemeral};
use moorline_proto::shard::{ConnectionId, Input};

use super::World;
use crate::planted::Planted;
use crate::wire::FRAMING;

impl World {
    /// Moves what the broker announces to the shards.
    pub fn pump(&mut self) {
        let news = self.backend.news();
        for announcement in news {
            for shard in &mut self.shards {
                let input = match &announcement {
                    Announcement::Batch(batch) => {
                        let mut batch = batch.clone();
                        if self.backend.planted == Some(Planted::ForgetExcept) {
                            batch.records.iter_mut().for_each(|record| record.except = None);
                        }
                        Input::Batch(Arc::new(EncodedBatch::new(batch, &FRAMING)))
                    }
                    Announcement::Ephemeral(ephemeral) => {
                        Input::Ephemeral(Arc::new(EncodedEphemeral::new(ephemeral.clone(), &FRAMING)))
                    }
                    Announcement::Cancel(cancel) => Input::StreamCancel(Arc::new(cancel.clone())),
                    Announcement::Lost => {
                        shard.behind = true;
                        continue;
                    }
                };
                if !self.is_calm && self.random.chance(4) {
                    shard.behind = true;
                    self.faults.count("announcement lost");
                } else {
                    shard.announced.push_back(input);
                }
            }
        }
    }

    pub(crate) fn somebody_hears(&mut self) {
        let shard = self.random.below(self.shards.len());
        let now = self.now();
        for _ in 0..=self.random.below(4) {
            self.shards[shard].hear(now);
        }
        self.after(shard);
    }

    pub(crate) fn backend_answers(&mut self) {
        let shard = self.random.below(self.shards.len());
        let now = self.now();
        for _ in 0..=self.random.below(4) {
            self.shards[shard].answer(now);
        }
        self.after(shard);
    }

    /// What a shard's outputs mean for the others.
    pub(crate) fn after(&mut self, shard: usize) {
        let now = self.now();
        for id in std::mem::take(&mut self.shards[shard].expired) {
            let home = self.shard_of(&id);
            let there = &mut self.shards[home];
            there.shard.expire(now, &id, &mut there.sockets);
            there.settle(now);
            self.note(|| format!("{id} expires for another one"));
        }
        self.read_again(shard);
        for connection in std::mem::take(&mut self.shards[shard].established) {
            self.session_began(shard, connection);
        }
    }

    /// Sessions that read a room from before have acknowledged nothing of it from now on.
    pub(crate) fn read_again(&mut self, shard: usize) {
        for (session, room) in std::mem::take(&mut self.shards[shard].rereads) {
            let peers = self.peers.iter_mut().filter(|peer| peer.app.session.as_ref() == Some(&session));
            peers.for_each(|peer| peer.reads_again(&room));
        }
    }

    /// What was published from now on is owed to the session.
    pub(crate) fn session_began(&mut self, shard: usize, connection: ConnectionId) {
        let Some(link) = self.shards[shard].sockets.links.get(&connection) else { return };
        let index = link.client;
        if self.peers[index].link != Some((shard, connection)) {
            return;
        }
        let truth = self.backend.truth.borrow();
        self.peers[index].birth.after =
            truth.rooms.keys().map(|room| (room.clone(), truth.head(room))).collect();
    }
}
