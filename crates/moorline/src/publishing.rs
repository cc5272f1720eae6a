//! Publishing: one way for clients and applications.

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use moorline_broker::{BrokerError, Keep, Publication, PublishKey, Published};
use moorline_proto::error::Rejection;
use moorline_proto::frame::{Answer, Publish, PublishAnswer, PublishOutcome, Target};
use moorline_proto::id::RoomName;
use moorline_proto::record::Except;
use moorline_proto::shard::Audience;

use crate::node::Node;
use crate::telemetry;

/// A publish that the broker has been given.
pub(crate) struct Publishing {
    rooms: Vec<(RoomName, BoxFuture<'static, Result<Published, BrokerError>>)>,
    except: Option<Arc<Except>>,
    several: bool,
}

impl Node {
    /// Publishes, and answers with where the message stands and how many it reaches. `sender` is within whom its id is
    /// unique: an API key's name, a service's.
    ///
    /// # Errors
    /// Says why nothing was published. Only a server's fault is worth a retry, with the same id.
    pub async fn publish(&self, publish: Publish, sender: &str) -> Result<Answer, Rejection> {
        let publishing = self.begin_publish(&publish, &format!("key/{sender}").into());
        self.finish_publish(publishing, true).await
    }

    /// Publishes several, in their order; answers in the same. One that was refused before keeps its refusal.
    pub async fn publish_all(
        &self,
        publishes: Vec<Result<Publish, Rejection>>,
        sender: &str,
    ) -> Vec<Result<Answer, Rejection>> {
        let sender: Arc<str> = format!("key/{sender}").into();
        let begun: Vec<Result<Publishing, Rejection>> =
            publishes.into_iter().map(|publish| Ok(self.begin_publish(&publish?, &sender))).collect();
        join_all(
            begun.into_iter().map(|publishing| async move { self.finish_publish(publishing?, true).await }),
        )
        .await
    }

    /// Gives a publish to the broker: its place among others is settled by this call.
    pub(crate) fn begin_publish(&self, publish: &Publish, sender: &Arc<str>) -> Publishing {
        let several = matches!(publish.to, Target::Sessions(_));
        let rooms = publish
            .to
            .room_names()
            .map(|room| {
                let keep = if publish.ephemeral {
                    Keep::Ephemeral
                } else {
                    let key = publish.id.clone().map(|id| PublishKey { sender: Arc::clone(sender), id });
                    Keep::Record { key, durability: publish.durability }
                };
                let (message, except) = (publish.message.clone(), publish.except.clone());
                let publication = Publication { room: room.clone(), message, except, keep };
                (room, self.broker().publish(publication))
            })
            .collect();
        Publishing { rooms, except: publish.except.clone(), several }
    }

    pub(crate) async fn finish_publish(
        &self,
        publishing: Publishing,
        wants_counts: bool,
    ) -> Result<Answer, Rejection> {
        let Publishing { rooms, except, several } = publishing;
        let (names, published): (Vec<RoomName>, Vec<_>) = rooms.into_iter().unzip();
        let published = join_all(published).await;
        let audiences = if wants_counts { self.audiences(&names, except).await } else { Vec::new() };
        let audiences = audiences.into_iter().chain(std::iter::repeat(Audience::default()));
        let mut answers =
            names.into_iter().zip(published).zip(audiences).map(|((room, published), audience)| {
                published
                    .map(|published| answer(room, published, audience))
                    .map_err(|error| error.rejection())
            });
        let mut answers = answers.by_ref().inspect(|answer| telemetry::published(answer.as_ref().err()));
        if several {
            return Ok(Answer::Several { results: answers.map(PublishOutcome).collect() });
        }
        match answers.next() {
            Some(answer) => answer.map(Answer::Published),
            None => Ok(Answer::Done {}),
        }
    }

    /// How many members a record of each of these rooms is for, over all shards: one question to each.
    async fn audiences(&self, rooms: &[RoomName], except: Option<Arc<Except>>) -> Vec<Audience> {
        let shards = self.shards().iter().map(|shard| {
            let (rooms, except) = (rooms.to_vec(), except.clone());
            shard.call(move |shard, _, _| -> Vec<Audience> {
                rooms.iter().map(|room| shard.audience(room, except.as_deref())).collect()
            })
        });
        let mut totals = vec![Audience::default(); rooms.len()];
        for audiences in join_all(shards).await.into_iter().flatten() {
            for (total, audience) in totals.iter_mut().zip(audiences) {
                total.reached += audience.reached;
                total.queued += audience.queued;
            }
        }
        totals
    }
}

fn answer(room: RoomName, published: Published, audience: Audience) -> PublishAnswer {
    let (position, durability, duplicate) = match published {
        Published::Stored { position, durability, duplicate } => {
            (Some(position), Some(durability), duplicate)
        }
        Published::Ephemeral => (None, None, false),
    };
    // Nothing waits in a log for who is absent when nothing is stored.
    let queued = if position.is_some() { audience.queued } else { 0 };
    PublishAnswer { room, position, reached: audience.reached, queued, durability, duplicate }
}
