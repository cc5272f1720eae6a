//! Nothing but memory: every append is visible at once, and a node that ends takes everything along.

use std::sync::Arc;

use moorline_broker::{Broker, Durability, LocalBroker, MemoryLog, MemorySessions, RetentionRules};
use moorline_proto::position::Epoch;
use moorline_proto::time::Instant;

use super::{Clock, Ground, Open, Outcome, Unsynced};

/// The ground of `moorline dev`.
pub struct Memory {
    rules: RetentionRules,
    clock: Clock,
    /// The next log's.
    epoch: Epoch,
    broker: Option<Arc<LocalBroker>>,
}

impl Memory {
    /// Empty. Its first log has this epoch.
    #[must_use]
    pub fn new(epoch: Epoch, rules: RetentionRules, clock: Clock) -> Self {
        Self { rules, clock, epoch, broker: None }
    }
}

impl Ground for Memory {
    fn open(&mut self) -> Result<Open, String> {
        let log = MemoryLog::new(self.epoch, self.rules.clone());
        self.epoch = Epoch(self.epoch.0 + 1);
        let clock = self.clock.clone();
        let broker = Arc::new(LocalBroker::new(log, move || clock.now(), Durability::Memory));
        self.broker = Some(Arc::clone(&broker));
        let broker: Arc<dyn Broker> = broker;
        Ok(Open { broker, sessions: Arc::new(MemorySessions::new()), restored: Vec::new() })
    }

    fn waits(&self) -> bool {
        false
    }

    fn expire(&mut self) {
        if let Some(broker) = &self.broker {
            broker.expire();
        }
    }

    fn lapse(&mut self) {
        if let Some(broker) = &self.broker {
            broker.lapse();
        }
    }

    fn lapses_at(&self) -> Option<Instant> {
        self.broker.as_ref()?.lapses_at()
    }

    fn begin(&mut self) {}

    fn end(&mut self, _: Outcome) {}

    fn crash(&mut self, _: Unsynced) {
        self.broker = None;
    }

    fn close(&mut self) -> Result<(), String> {
        self.broker = None;
        Ok(())
    }

    fn let_go(&mut self) {}
}
