//! What the application does over HTTP.

use std::sync::Arc;

use futures_util::FutureExt as _;
use moorline_broker::{Durability, Keep, Publication, PublishKey};
use moorline_proto::id::{Owner, RoomName, SessionId};
use moorline_proto::message::Message;
use moorline_proto::shard::ConnectionId;

use super::World;
use crate::names;

impl World {
    /// A publish over HTTP, stored or not.
    pub(crate) fn publish(&mut self, room: RoomName, is_ephemeral: bool) {
        self.numbers += 1;
        let sessions: Vec<SessionId> =
            self.peers.iter().filter_map(|peer| peer.app.session.clone()).collect();
        let except = self.except(&sessions).map(Arc::new);
        let text = self.text().into_bytes();
        let message = Message::parse(text.into()).expect("the simulator's messages are good ones");
        let keep = if is_ephemeral { Keep::Ephemeral } else { self.keep() };
        self.note(|| format!("HTTP publishes to {room}: {message:?} except {except:?} {keep:?}"));
        let _answer = self.backend.publish(Publication { room, message, except, keep }, "key/http"); // the backend looks at it
    }

    /// With or without an id, and how safe it wants to be; both only where that makes a difference.
    fn keep(&mut self) -> Keep {
        if !self.has_store() {
            return Keep::Record { key: None, durability: None };
        }
        let number = self.numbers;
        let id = || PublishKey { sender: "key/http".into(), id: names::publish_id(&format!("h{number}")) };
        let key = self.dice().chance(40).then(id);
        let durability = *self.dice().pick(&[
            None,
            Some(Durability::Disk),
            Some(Durability::Memory),
            Some(Durability::Memory),
        ]);
        Keep::Record { key, durability }
    }

    pub(crate) fn application_acts(&mut self) {
        let room = self.any_room();
        let index = self.random.below(self.peers.len());
        let session = self.peers[index].app.session.clone();
        let now = self.now();
        match (self.random.below(40), session) {
            (0..=14, _) => self.publish(room, false),
            (15..=19, _) => self.publish(room, true),
            (20..=21, Some(id)) => self.publish(RoomName::own(&Owner::Session(id)), false),
            (22..=23, _) => self.publish(RoomName::own(&Owner::User(names::user("ann"))), false),
            (24, _) => self.publish(RoomName::own(&Owner::All), true),
            (38, _) => self.publish(RoomName::own(&Owner::All), false),
            (25..=30, Some(id)) => {
                let shard = self.shard_of(&id);
                let is_unanswered = self.peers[index].client.unanswered() > 0;
                let head = if is_unanswered { 0 } else { self.backend.state(&room).head.0 };
                self.note(|| format!("HTTP puts {id} into {room}"));
                self.peers[index].app.ask(&room, head);
                let _too_many = self.shards[shard].shard.add_to_room(&id, &room);
                self.shards[shard].settle(now);
            }
            (31..=34, Some(id)) => {
                let shard = self.shard_of(&id);
                self.note(|| format!("HTTP takes {id} out of {room}"));
                let connection = self.peers[index].link.map_or(ConnectionId(0), |(_, id)| id);
                if self.is_member((shard, index), &room) {
                    self.peers[index].app.ended(&room, connection);
                    self.peers[index].reads_again(&room);
                }
                let there = &mut self.shards[shard];
                let _gone = there.shard.remove_from_room(now, &id, &room, &mut there.sockets);
                there.settle(now);
            }
            (35..=36, _) => {
                self.note(|| format!("HTTP clears {room}"));
                let _cleared = self.backend.broker().clear(room).now_or_never();
            }
            (37, Some(id)) => {
                let shard = self.shard_of(&id);
                self.note(|| format!("HTTP ends {id}"));
                let there = &mut self.shards[shard];
                there.shard.disconnect(now, &id, &mut there.sockets);
                there.settle(now);
            }
            _ => {}
        }
    }
}
