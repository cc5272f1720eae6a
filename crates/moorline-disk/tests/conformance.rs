//! A store on a real disk passes the suites of its seams.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use moorline_broker::{
    Announcements, Broker, BrokerError, Fence, LogStats, NodeId, Publication, Published, ReadLimit,
    SessionStore, StoreError, Stored, Survey, SurveyRequest, conformance,
};
use moorline_disk::{DiskSessions, Options, Store};
use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::id::{RoomName, SessionId, StreamName, UserId};
use moorline_proto::resume::RoomState;
use moorline_proto::session_record::SessionRecord;
use moorline_proto::stream::{Command, Done, StreamView};

/// A store in a directory of its own, as long as somebody uses it.
struct Held {
    store: Store,
    sessions: Arc<DiskSessions>,
    _directory: tempfile::TempDir,
}

fn open() -> Held {
    let directory = tempfile::tempdir().expect("a directory");
    let store =
        Store::open(directory.path(), &Options { commit_every: Duration::ZERO, ..Options::default() })
            .expect("a store");
    let sessions = store.sessions();
    Held { store, sessions, _directory: directory }
}

impl Broker for Held {
    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Published, BrokerError>> {
        self.store.broker().publish(publication)
    }

    fn subscribe(&self, room: RoomName) -> BoxFuture<'static, Result<RoomState, BrokerError>> {
        self.store.broker().subscribe(room)
    }

    fn unsubscribe(&self, room: RoomName) {
        self.store.broker().unsubscribe(room);
    }

    fn read(
        &self,
        room: RoomName,
        from: ReadFrom,
        limit: ReadLimit,
    ) -> BoxFuture<'static, Result<Page, BrokerError>> {
        self.store.broker().read(room, from, limit)
    }

    fn stream(
        &self,
        room: RoomName,
        stream: StreamName,
        command: Command,
    ) -> BoxFuture<'static, Result<Done, BrokerError>> {
        self.store.broker().stream(room, stream, command)
    }

    fn open_streams(&self, room: RoomName) -> BoxFuture<'static, Result<Vec<StreamView>, BrokerError>> {
        self.store.broker().open_streams(room)
    }

    fn view_stream(
        &self,
        room: RoomName,
        stream: StreamName,
    ) -> BoxFuture<'static, Result<Option<StreamView>, BrokerError>> {
        self.store.broker().view_stream(room, stream)
    }

    fn survey(
        &self,
        session: SessionId,
        user: Option<UserId>,
        requests: Vec<SurveyRequest>,
    ) -> BoxFuture<'static, Result<Vec<Survey>, BrokerError>> {
        self.store.broker().survey(session, user, requests)
    }

    fn clear(&self, room: RoomName) -> BoxFuture<'static, Result<(), BrokerError>> {
        self.store.broker().clear(room)
    }

    fn announcements(&self) -> Box<dyn Announcements> {
        self.store.broker().announcements()
    }

    fn stats(&self) -> LogStats {
        self.store.broker().stats()
    }
}

impl SessionStore for Held {
    fn load(&self, id: SessionId) -> BoxFuture<'static, Result<Option<Arc<SessionRecord>>, StoreError>> {
        self.sessions.load(id)
    }

    fn claim(&self, id: SessionId, owner: NodeId) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.sessions.claim(id, owner)
    }

    fn save(&self, record: Arc<SessionRecord>, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        self.sessions.save(record, fence)
    }

    fn settled(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.sessions.settled()
    }

    fn remove(&self, id: SessionId, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>> {
        self.sessions.remove(id, fence)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_broker_over_a_store_is_a_broker() {
    conformance::broker(open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_sessions_of_a_store_are_a_session_store() {
    conformance::session_store(open).await;
}
