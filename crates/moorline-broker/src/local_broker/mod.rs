//! A broker over any log, for one node.

mod inner;
mod pages;
mod queue;
mod receiver;
mod staged;
mod streams;
mod waiting;

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_proto::batch::{Ephemeral, Page, ReadFrom};
use moorline_proto::id::{RoomName, SessionId, StreamName, UserId};
use moorline_proto::record::Reader;
use moorline_proto::resume::RoomState;
use moorline_proto::stream::{Command, Done, StreamView};
use moorline_proto::time::{Instant, Now};
use tokio::sync::Notify;

use self::inner::Inner;
use self::receiver::Receiver;
use self::streams::Named;
use self::waiting::Answer;
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
/// - With a durability above `memory` what is published is *staged*: nobody reads it, hears of it or is told that it is kept before
///   [`LocalBroker::end_commit`] says so. Who writes calls [`LocalBroker::begin_commit`], writes, and calls that. At most 65,536
///   publications and 64 MiB are staged; beyond it publishes are refused.
/// - The node's timers call [`LocalBroker::expire`], about once a second, and [`LocalBroker::lapse`] when [`LocalBroker::lapses_in`] says.
/// - Pages that hold text of streams are put together once for many readers: up to 8 are kept, of up to 1 MiB each.
/// - When it is dropped its receiver gets what waits, and then ends.
pub struct LocalBroker {
    shared: Arc<Shared>,
    clock: Box<dyn Fn() -> Now + Send + Sync>,
    durability: Durability,
}

struct Shared {
    inner: Mutex<Inner>,
    wake: Notify,
    /// Told where there is something to lapse earlier than there was.
    sooner: Notify,
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
    /// clock does not. `durability` is the strongest that can be asked for: `memory`, which an append to `log` has reached when
    /// it returns, or `disk`, which it has reached with the end of the next commit.
    #[must_use]
    pub fn new(
        log: impl Log,
        clock: impl Fn() -> Now + Send + Sync + 'static,
        durability: Durability,
    ) -> Self {
        let inner = Mutex::new(Inner::new(Box::new(log)));
        let shared = Shared { inner, wake: Notify::new(), sooner: Notify::new() };
        Self { shared: Arc::new(shared), clock: Box::new(clock), durability }
    }

    /// Lets the log drop what is too old. For the node's timer, about once a second; bounded work per call.
    pub fn expire(&self) {
        let mut inner = self.shared.lock();
        let now = (self.clock)();
        inner.log.expire(now);
    }

    /// Shows text of streams that waited, and ends streams whose producers are gone. For the node's timer; bounded work per call. While the store
    /// cannot write it does nothing, and nothing is lost: there is as much to do later.
    pub fn lapse(&self) {
        self.act_on_streams(|inner| {
            let now = (self.clock)();
            inner.lapse(now, self.durability);
        });
    }

    /// When [`LocalBroker::lapse`] has something to do, by the broker's clock; none as long as nothing is asked of a stream, and while
    /// the store cannot write.
    #[must_use]
    pub fn lapses_at(&self) -> Option<Instant> {
        self.shared.lock().lapses_at()
    }

    /// How long it is until then; zero where it is over.
    #[must_use]
    pub fn lapses_in(&self) -> Option<Duration> {
        let at = self.lapses_at()?;
        Some(at.since((self.clock)().instant))
    }

    /// Waits until there is something to lapse earlier than there was, also if that came about before the call. For one who waits.
    pub async fn lapses_sooner(&self) {
        self.shared.sooner.notified().await;
    }

    /// A commit begins: `take` takes what has changed and is to be written, at one moment with what is staged. One at a time.
    pub fn begin_commit<T>(&self, take: impl FnOnce() -> T) -> T {
        self.shared.lock().begin_commit(take)
    }

    /// The same, and nothing more is accepted from now on: the store closes.
    pub fn begin_last_commit<T>(&self, take: impl FnOnce() -> T) -> T {
        let mut inner = self.shared.lock();
        inner.close_stage();
        inner.begin_commit(take)
    }

    /// The commit is through: what it took is announced and answered. Or it failed: who waits is told so, nothing more is
    /// accepted until a commit is through, and the same is to be written again.
    pub fn end_commit(&self, is_kept: bool) {
        let now = (self.clock)();
        self.act_on_streams(|inner| inner.end_commit(is_kept, now));
    }

    /// Acts as [`LocalBroker::act`] does, and tells the timer where it is to ring earlier.
    fn act_on_streams<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let (result, is_sooner) = self.act(|inner| {
            let before = inner.lapses_at();
            let result = act(inner);
            let after = inner.lapses_at();
            (result, after.is_some_and(|after| before.is_none_or(|before| after < before)))
        });
        if is_sooner {
            self.shared.sooner.notify_one();
        }
        result
    }

    /// Acts under the lock, and wakes the receiver where that gave it something.
    fn act<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.shared.lock();
        let was_quiet = inner.is_quiet();
        let result = act(&mut inner);
        let wake = was_quiet && !inner.is_quiet();
        drop(inner);
        if wake {
            self.shared.wake.notify_waiters();
        }
        result
    }

    fn publish_now(&self, publication: Publication) -> Result<Answer<Published>, BrokerError> {
        let Publication { room, message, except, keep } = publication;
        let strongest = self.durability;
        self.act(|inner| match keep {
            Keep::Record { durability, .. } if durability.is_some_and(|asked| asked > strongest) => {
                Err(BrokerError::Durability { strongest })
            }
            Keep::Record { key, durability } => {
                let (draft, now) = (Draft { message, except, key }, (self.clock)());
                if strongest == Durability::Memory {
                    return inner.append(&room, draft, now, strongest).map(Answer::Now);
                }
                inner.stage(&room, draft, now, durability.unwrap_or(strongest))
            }
            Keep::Ephemeral => {
                let timestamp = (self.clock)().timestamp;
                inner.say(Ephemeral { room, except, timestamp, message })?;
                Ok(Answer::Now(Published::Ephemeral))
            }
        })
    }
}

/// The answer, once it is there.
fn answered<T: Send + 'static>(
    answer: Result<Answer<T>, BrokerError>,
) -> BoxFuture<'static, Result<T, BrokerError>> {
    match answer {
        Ok(Answer::Now(answer)) => Box::pin(ready(Ok(answer))),
        Ok(Answer::Later(receiver)) => {
            receiver.map(|answer| answer.unwrap_or(Err(BrokerError::Unavailable))).boxed()
        }
        Err(error) => Box::pin(ready(Err(error))),
    }
}

impl Broker for LocalBroker {
    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Published, BrokerError>> {
        answered(self.publish_now(publication))
    }

    fn subscribe(&self, room: RoomName) -> BoxFuture<'static, Result<RoomState, BrokerError>> {
        let mut inner = self.shared.lock();
        inner.log.hold(&room);
        Box::pin(ready(Ok(inner.state(&room))))
    }

    fn unsubscribe(&self, room: RoomName) {
        self.shared.lock().log.release(&room);
    }

    fn read(
        &self,
        room: RoomName,
        from: ReadFrom,
        limit: ReadLimit,
    ) -> BoxFuture<'static, Result<Page, BrokerError>> {
        Box::pin(ready(Ok(self.shared.lock().page(&room, from, limit))))
    }

    fn stream(
        &self,
        room: RoomName,
        stream: StreamName,
        command: Command,
    ) -> BoxFuture<'static, Result<Done, BrokerError>> {
        let named = Named { room: &room, stream: &stream };
        answered(self.act_on_streams(|inner| {
            let now = (self.clock)();
            match self.durability {
                Durability::Memory => inner.stream(named, &command, now),
                Durability::Disk | Durability::Broker => inner.stage_stream(named, &command, now),
            }
        }))
    }

    fn open_streams(&self, room: RoomName) -> BoxFuture<'static, Result<Vec<StreamView>, BrokerError>> {
        let inner = self.shared.lock();
        Box::pin(ready(Ok(inner.log.open_streams(&room, inner.sight(&room)))))
    }

    fn view_stream(
        &self,
        room: RoomName,
        stream: StreamName,
    ) -> BoxFuture<'static, Result<Option<StreamView>, BrokerError>> {
        let inner = self.shared.lock();
        Box::pin(ready(Ok(inner.log.view_stream(&room, &stream, inner.sight(&room)))))
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
        if self.durability == Durability::Memory {
            self.shared.lock().log.clear(&room);
            return Box::pin(ready(Ok(())));
        }
        answered(self.shared.lock().stage_clear(&room))
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
