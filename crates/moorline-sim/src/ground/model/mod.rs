//! A model of a store on disk: what one promises, in the plainest way, over the log in memory.
//!
//! Publications wait until a commit made them safe; then they are appended, announced and answered. A crash forgets what
//! waits. After an unclean end the log has a new epoch, and remembers the former ones.

mod broker;
mod kept;
mod sessions;

use std::sync::Arc;

use moorline_broker::{Durability, LocalBroker, RetentionRules};
use moorline_proto::position::Epoch;
use moorline_proto::time::Instant;

use self::broker::Waiting;
use self::kept::Disk;
use self::sessions::Sessions;
use super::{Clock, Ground, Open, Outcome, Unsynced};
use crate::planted::Planted;

/// The model.
pub struct Model {
    disk: Disk,
    clock: Clock,
    planted: Option<Planted>,
    broker: Option<Arc<Waiting>>,
    sessions: Arc<Sessions>,
    is_begun: bool,
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new(epoch: Epoch, rules: RetentionRules, clock: Clock, planted: Option<Planted>) -> Self {
        Self {
            disk: Disk::new(epoch, rules),
            clock,
            planted,
            broker: None,
            sessions: Arc::new(Sessions::default()),
            is_begun: false,
        }
    }

    fn reopen(&mut self) {
        self.broker = None;
        self.is_begun = false;
        if self.planted == Some(Planted::ForgetIdsAtRestart) {
            self.disk.forget_ids();
        }
    }
}

impl Ground for Model {
    fn open(&mut self) -> Result<Open, String> {
        let clock = self.clock.clone();
        let inner = LocalBroker::new(self.disk.log(), move || clock.now(), Durability::Memory);
        let broker = Arc::new(Waiting::new(inner, self.planted));
        self.broker = Some(Arc::clone(&broker));
        self.sessions = Arc::new(self.sessions.reopened());
        let restored = self.sessions.restored();
        let rooms = restored.iter().flat_map(|(record, _)| record.rooms.iter().map(|mark| mark.room.clone()));
        self.disk.adopt(rooms.collect());
        let sessions: Arc<Sessions> = Arc::clone(&self.sessions);
        Ok(Open { broker, sessions, restored })
    }

    fn waits(&self) -> bool {
        self.sessions.waits() || self.broker.as_ref().is_some_and(|broker| broker.waits())
    }

    fn expire(&mut self) {
        if let Some(broker) = &self.broker {
            broker.expire();
        }
    }

    /// No stream is written to a model.
    fn lapse(&mut self) {}

    fn lapses_at(&self) -> Option<Instant> {
        None
    }

    fn begin(&mut self) {
        if let Some(broker) = &self.broker
            && !self.is_begun
        {
            self.is_begun = true;
            broker.begin();
            self.sessions.begin();
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(broker) = &self.broker
            && std::mem::take(&mut self.is_begun)
        {
            broker.end(outcome);
            self.sessions.end(outcome);
        }
    }

    fn crash(&mut self, unsynced: Unsynced) {
        if let Some(broker) = self.broker.take()
            && self.is_begun
            && unsynced == Unsynced::Kept
        {
            broker.end(Outcome::Written);
            self.sessions.end(Outcome::Written);
        }
        if self.planted == Some(Planted::ForgetSaves) {
            self.sessions.forget_last();
        }
        if self.planted != Some(Planted::KeepEpoch) {
            self.disk.begin_epoch();
        }
        self.reopen();
    }

    fn close(&mut self) -> Result<(), String> {
        self.end(Outcome::Written);
        self.begin();
        self.end(Outcome::Written);
        self.reopen();
        Ok(())
    }

    fn let_go(&mut self) {
        self.disk.let_go();
    }
}
