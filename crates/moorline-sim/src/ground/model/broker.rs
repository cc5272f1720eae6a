//! Publications that wait for a commit.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_broker::{
    Announcements, Broker, BrokerError, Durability, Keep, LocalBroker, LogStats, Publication, Published,
    ReadLimit, Survey, SurveyRequest,
};
use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::id::{RoomName, SessionId, StreamName, UserId};
use moorline_proto::position::{Offset, Position};
use moorline_proto::resume::RoomState;
use moorline_proto::stream::{Command, Done, StreamView};
use tokio::sync::oneshot;

use super::Outcome;
use crate::planted::Planted;

type Answer = oneshot::Sender<Result<Published, BrokerError>>;

/// Who waits for a publication.
enum Asker {
    Waits(Answer),
    /// It was answered when it came, and holds its room.
    Answered,
    /// It was told that the store cannot write.
    Refused,
}

enum Change {
    Publish(Publication, Asker),
    Clear(RoomName, Option<oneshot::Sender<()>>),
}

impl Change {
    fn room(&self) -> &RoomName {
        match self {
            Self::Publish(publication, _) => &publication.room,
            Self::Clear(room, _) => room,
        }
    }

    fn has_key(&self) -> bool {
        matches!(self, Self::Publish(Publication { keep: Keep::Record { key: Some(_), .. }, .. }, _))
    }

    fn is_publish(&self) -> bool {
        matches!(self, Self::Publish(..))
    }
}

#[derive(Default)]
struct State {
    changes: VecDeque<Change>,
    begun: usize,
    is_full: bool,
}

/// A broker whose changes happen when a commit ends.
pub(super) struct Waiting {
    inner: LocalBroker,
    state: Mutex<State>,
    planted: Option<Planted>,
}

impl Waiting {
    pub(super) fn new(inner: LocalBroker, planted: Option<Planted>) -> Self {
        Self { inner, state: Mutex::new(State::default()), planted }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn expire(&self) {
        self.inner.expire();
    }

    pub(super) fn waits(&self) -> bool {
        !self.lock().changes.is_empty()
    }

    pub(super) fn begin(&self) {
        let state = &mut *self.lock();
        state.begun = state.changes.len();
    }

    pub(super) fn end(&self, outcome: Outcome) {
        let state = &mut *self.lock();
        let begun = std::mem::take(&mut state.begun);
        state.is_full = outcome == Outcome::Full;
        match outcome {
            Outcome::Written => state.changes.drain(..begun).for_each(|change| self.apply(change)),
            Outcome::Full => state.changes.iter_mut().for_each(refuse),
        }
    }

    fn apply(&self, change: Change) {
        match change {
            Change::Publish(publication, answer) => {
                let room = publication.room.clone();
                let published = self.inner.publish(safe(publication)).now_or_never();
                match answer {
                    Asker::Waits(answer) => {
                        // Whoever asked may not wait any more.
                        let _gone = answer.send(
                            published.map_or(Err(BrokerError::Unavailable), |published| published.map(kept)),
                        );
                    }
                    Asker::Answered => self.inner.unsubscribe(room),
                    Asker::Refused => {}
                }
            }
            Change::Clear(room, answer) => {
                let _ready = self.inner.clear(room).now_or_never(); // it happened in the call
                let _gone = answer.map(|answer| answer.send(())); // whoever asked may not wait any more
            }
        }
    }

    /// Where an unconditional append will stand, where that is certain by now.
    fn position(&self, state: &State, publication: &Publication) -> Option<Position> {
        let limit = ReadLimit { records: 1, bytes: 1 };
        let page = self
            .inner
            .read(publication.room.clone(), ReadFrom::After(Offset::START), limit)
            .now_or_never()?
            .ok()?;
        let mut before = state.changes.iter().filter(|change| *change.room() == publication.room);
        if page.state.head == Offset::START || before.clone().any(Change::has_key) {
            return None;
        }
        let count = before.by_ref().filter(|change| change.is_publish()).count();
        let offset = Offset(page.state.head.0 + 1 + count as u64);
        Some(Position { epoch: page.state.epoch, offset })
    }

    fn early(&self, state: &State, publication: &Publication) -> Option<Published> {
        let Keep::Record { key, durability } = &publication.keep else { return None };
        let is_lie = self.planted == Some(Planted::AckBeforeCommit);
        let is_certain = key.is_none() && *durability == Some(Durability::Memory);
        if !is_certain && !is_lie {
            return None;
        }
        let position = self.position(state, publication)?;
        let durability = if is_lie { Durability::Disk } else { Durability::Memory };
        Some(Published::Stored { position, durability, duplicate: false })
    }
}

/// The log beneath knows no disk.
fn safe(mut publication: Publication) -> Publication {
    if let Keep::Record { durability, .. } = &mut publication.keep {
        *durability = None;
    }
    publication
}

/// What was appended by a commit is on the disk.
const fn kept(published: Published) -> Published {
    match published {
        Published::Stored { position, duplicate, .. } => {
            Published::Stored { position, durability: Durability::Disk, duplicate }
        }
        Published::Ephemeral => Published::Ephemeral,
    }
}

fn refuse(change: &mut Change) {
    if let Change::Publish(_, asker @ Asker::Waits(_)) = change
        && let Asker::Waits(answer) = std::mem::replace(asker, Asker::Refused)
    {
        let _gone = answer.send(Err(BrokerError::Unavailable)); // whoever asked may not wait any more
    }
}

impl Broker for Waiting {
    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Published, BrokerError>> {
        let state = &mut *self.lock();
        if matches!(publication.keep, Keep::Ephemeral) {
            return self.inner.publish(publication);
        }
        if state.is_full {
            return Box::pin(ready(Err(BrokerError::Unavailable)));
        }
        if let Some(published) = self.early(state, &publication) {
            // Its room's head is held until it stands behind it.
            let _ready = self.inner.subscribe(publication.room.clone()).now_or_never();
            state.changes.push_back(Change::Publish(publication, Asker::Answered));
            return Box::pin(ready(Ok(published)));
        }
        let (answer, answered) = oneshot::channel();
        state.changes.push_back(Change::Publish(publication, Asker::Waits(answer)));
        Box::pin(answered.map(|result| result.unwrap_or(Err(BrokerError::Unavailable))))
    }

    fn subscribe(&self, room: RoomName) -> BoxFuture<'static, Result<RoomState, BrokerError>> {
        self.inner.subscribe(room)
    }

    fn unsubscribe(&self, room: RoomName) {
        self.inner.unsubscribe(room);
    }

    fn read(
        &self,
        room: RoomName,
        from: ReadFrom,
        limit: ReadLimit,
    ) -> BoxFuture<'static, Result<Page, BrokerError>> {
        self.inner.read(room, from, limit)
    }

    fn stream(
        &self,
        room: RoomName,
        stream: StreamName,
        command: Command,
    ) -> BoxFuture<'static, Result<Done, BrokerError>> {
        self.inner.stream(room, stream, command)
    }

    fn open_streams(&self, room: RoomName) -> BoxFuture<'static, Result<Vec<StreamView>, BrokerError>> {
        self.inner.open_streams(room)
    }

    fn view_stream(
        &self,
        room: RoomName,
        stream: StreamName,
    ) -> BoxFuture<'static, Result<Option<StreamView>, BrokerError>> {
        self.inner.view_stream(room, stream)
    }

    fn survey(
        &self,
        session: SessionId,
        user: Option<UserId>,
        requests: Vec<SurveyRequest>,
    ) -> BoxFuture<'static, Result<Vec<Survey>, BrokerError>> {
        self.inner.survey(session, user, requests)
    }

    fn clear(&self, room: RoomName) -> BoxFuture<'static, Result<(), BrokerError>> {
        let (answer, answered) = oneshot::channel();
        self.lock().changes.push_back(Change::Clear(room, Some(answer)));
        Box::pin(answered.map(|result| result.map_err(|_| BrokerError::Unavailable)))
    }

    fn announcements(&self) -> Box<dyn Announcements> {
        self.inner.announcements()
    }

    fn stats(&self) -> LogStats {
        self.inner.stats()
    }
}
