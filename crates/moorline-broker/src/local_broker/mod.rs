//! A broker over any log, for one node.

mod inner;
mod queue;
mod receiver;

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use moorline_proto::batch::{Ephemeral, Page};
use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::position::Offset;
use moorline_proto::record::Reader;
use moorline_proto::resume::RoomState;
use moorline_proto::time::Timestamp;
use tokio::sync::Notify;

use self::inner::Inner;
use self::receiver::Receiver;
use crate::broker::{
    Announcements, Broker, BrokerError, Durability, Keep, Publication, Published, Survey, SurveyRequest,
};
use crate::log::{Draft, Log, LogStats, ReadLimit};

/// A broker for one node, over any [`Log`].
///
/// - One lock around the log and the queue of announcements, taken for each call and never across an await: everything
///   happens in the call itself, and the futures are ready at once. All rooms are announced.
/// - Announcements wait for a receiver that is alive, up to 65,536 of them and 64 MiB; beyond either all that wait are
///   replaced by [`Announcement::Lost`](crate::Announcement::Lost). While there is no receiver nothing is queued, and the next one begins with `Lost`.
/// - Consecutive records of one room are announced as one batch, of about 256 records or 256 KiB at most.
/// - The node's timer calls [`LocalBroker::expire`], about once a second.
/// - When it is dropped its receiver gets what waits, and then ends.
pub struct LocalBroker {
    shared: Arc<Shared>,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    durability: Durability,
}

struct Shared {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl Shared {
    /// A panic while it was held (of the clock, say) ends that call, and must not end all later ones.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalBroker {
    /// A broker over `log`, which it owns from now on.
    ///
    /// `clock` is asked under the lock, once for each publication, so that time does not fall within a room while the
    /// clock does not. `durability` is what an append to `log` has reached when it returns: the strongest that can be
    /// asked for, and what every publication is answered with.
    #[must_use]
    pub fn new(
        log: impl Log,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        durability: Durability,
    ) -> Self {
        let shared = Shared { inner: Mutex::new(Inner::new(Box::new(log))), wake: Notify::new() };
        Self { shared: Arc::new(shared), clock: Box::new(clock), durability }
    }

    /// Lets the log drop what is too old. For the node's timer, about once a second; bounded work per call.
    pub fn expire(&self) {
        let mut inner = self.shared.lock();
        let now = (self.clock)();
        inner.log.expire(now);
    }

    fn publish_now(&self, publication: Publication) -> Result<Published, BrokerError> {
        let Publication { room, message, except, keep } = publication;
        let mut inner = self.shared.lock();
        let was_quiet = inner.is_quiet();
        let published = match keep {
            Keep::Record { durability, .. } if durability.is_some_and(|asked| asked > self.durability) => {
                Err(BrokerError::Durability { strongest: self.durability })
            }
            Keep::Record { key, .. } => {
                let draft = Draft { message, except, key };
                inner.append(&room, draft, (self.clock)(), self.durability)
            }
            Keep::Ephemeral => {
                inner.announce_ephemeral(Ephemeral { room, except, timestamp: (self.clock)(), message });
                Ok(Published::Ephemeral)
            }
        };
        let wake = was_quiet && !inner.is_quiet();
        drop(inner);
        if wake {
            self.shared.wake.notify_waiters();
        }
        published
    }
}

impl Broker for LocalBroker {
    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Published, BrokerError>> {
        Box::pin(ready(self.publish_now(publication)))
    }

    fn subscribe(&self, room: RoomName) -> BoxFuture<'static, Result<RoomState, BrokerError>> {
        let mut inner = self.shared.lock();
        inner.log.hold(&room);
        Box::pin(ready(Ok(inner.log.state(&room))))
    }

    fn unsubscribe(&self, room: RoomName) {
        self.shared.lock().log.release(&room);
    }

    fn read(
        &self,
        room: RoomName,
        after: Offset,
        limit: ReadLimit,
    ) -> BoxFuture<'static, Result<Page, BrokerError>> {
        Box::pin(ready(Ok(self.shared.lock().page(&room, after, limit))))
    }

    /// Takes the lock for each room anew, so that a long survey does not hold up publishing.
    fn survey(
        &self,
        session: SessionId,
        user: Option<UserId>,
        requests: Vec<SurveyRequest>,
    ) -> BoxFuture<'static, Result<Vec<Survey>, BrokerError>> {
        let reader = Reader { session: &session, user: user.as_ref() };
        let surveys = requests.iter().map(|request| self.shared.lock().survey(request, reader)).collect();
        Box::pin(ready(Ok(surveys)))
    }

    fn clear(&self, room: RoomName) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.shared.lock().log.clear(&room);
        Box::pin(ready(Ok(())))
    }

    fn announcements(&self) -> Box<dyn Announcements> {
        let number = self.shared.lock().begin();
        self.shared.wake.notify_waiters();
        Box::new(Receiver { shared: Arc::clone(&self.shared), number })
    }

    fn stats(&self) -> LogStats {
        self.shared.lock().log.stats()
    }
}

impl Drop for LocalBroker {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_waiters();
    }
}
