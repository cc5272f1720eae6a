//! The node's pump: takes what the broker announces, encodes it once, and posts it to every shard, in order.

use std::sync::Arc;
use std::time::Duration;

use moorline_broker::{Announcement, Announcements};
use moorline_proto::batch::{EncodedBatch, EncodedEphemeral};
use tokio_util::sync::CancellationToken;

use crate::config::framing;
use crate::shard::{Posted, ShardHandle};

/// How many announcements are taken at once.
const TAKE: usize = 512;
/// The least time between two looks at streams: the runtime's timer is not more exact.
const LAPSE_EVERY: Duration = Duration::from_millis(1);

/// Runs until the node stops.
pub(crate) async fn pump(
    mut announcements: Box<dyn Announcements>,
    shards: Arc<[ShardHandle]>,
    stopped: CancellationToken,
) {
    let framing = framing();
    let mut taken = Vec::with_capacity(TAKE);
    loop {
        let alive = tokio::select! {
            biased;
            () = stopped.cancelled() => return,
            alive = announcements.receive(&mut taken, TAKE) => alive,
        };
        for announcement in taken.drain(..) {
            let posted = match announcement {
                Announcement::Batch(batch) => Posted::Batch(Arc::new(EncodedBatch::new(batch, &framing))),
                Announcement::Ephemeral(ephemeral) => {
                    Posted::Ephemeral(Arc::new(EncodedEphemeral::new(ephemeral, &framing)))
                }
                Announcement::Cancel(cancel) => Posted::Cancel(Arc::new(cancel)),
                Announcement::Lost => {
                    shards.iter().for_each(ShardHandle::lost);
                    continue;
                }
            };
            for shard in shards.iter() {
                shard.post(posted.clone());
            }
        }
        if !alive {
            tracing::error!("the broker has ended its announcements");
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Lets the memory log drop what is too old, until the node stops.
pub(crate) async fn expire(
    broker: Arc<moorline_broker::LocalBroker>,
    every: Duration,
    stopped: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stopped.cancelled() => return,
            () = tokio::time::sleep(every) => broker.expire(),
        }
    }
}

/// Has a broker in memory show what waits of streams, and end those whose producers are gone, when it is time, until the node stops.
pub(crate) async fn lapse(broker: Arc<moorline_broker::LocalBroker>, stopped: CancellationToken) {
    loop {
        let due = async {
            match broker.lapses_in() {
                Some(left) => tokio::time::sleep(left.max(LAPSE_EVERY)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stopped.cancelled() => return,
            () = broker.lapses_sooner() => {}
            () = due => broker.lapse(),
        }
    }
}
