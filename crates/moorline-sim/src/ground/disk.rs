//! The real store, on a disk in memory that loses what was not synced.

use std::sync::Arc;

use futures_util::FutureExt as _;
use moorline_broker::{NodeId, RetentionRules, SessionStore};
use moorline_disk::testing::VolatileDisk;
use moorline_disk::{Commit, Ground as Store};
use moorline_proto::position::Epoch;
use moorline_proto::time::Instant;

use super::{Clock, Ground, Open, Outcome, Unsynced};
use crate::random::Random;

/// The ground of `moorline serve`.
pub struct Disk {
    disk: VolatileDisk,
    rules: RetentionRules,
    clock: Clock,
    /// The next history's, where one begins.
    epoch: Epoch,
    random: Random,
    store: Option<Store>,
    commit: Option<Commit>,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(epoch: Epoch, rules: RetentionRules, clock: Clock, seed: u64) -> Self {
        let (disk, random) = (VolatileDisk::default(), Random(seed ^ 0xd15c));
        Self { disk, rules, clock, epoch, random, store: None, commit: None }
    }
}

impl Ground for Disk {
    fn open(&mut self) -> Result<Open, String> {
        let clock = self.clock.clone();
        let place = Box::new(self.disk.clone());
        let opened = Store::open(place, &self.rules, (Arc::new(move || clock.now()), self.epoch));
        let mut store = opened.map_err(|error| error.to_string())?;
        self.epoch = Epoch(self.epoch.0 + 1);
        let sessions = store.sessions();
        let claimed = store.take_restored().into_iter().filter_map(|record| {
            let stored = sessions.claim(record.id.clone(), NodeId("n".into())).now_or_never()?.ok()?;
            Some((record, stored.fence.0))
        });
        let open = Open { restored: claimed.collect(), broker: store.broker(), sessions: store.sessions() };
        self.store = Some(store);
        Ok(open)
    }

    fn waits(&self) -> bool {
        true
    }

    fn expire(&mut self) {
        if let Some(store) = &self.store {
            store.broker().expire();
        }
    }

    fn lapse(&mut self) {
        if let Some(store) = &self.store {
            store.broker().lapse();
        }
    }

    fn lapses_at(&self) -> Option<Instant> {
        self.store.as_ref()?.broker().lapses_at()
    }

    fn begin(&mut self) {
        if let Some(store) = self.store.as_ref().filter(|_| self.commit.is_none()) {
            self.commit = store.begin_commit();
        }
    }

    fn end(&mut self, outcome: Outcome) {
        let Some((store, mut commit)) = self.store.as_ref().zip(self.commit.take()) else { return };
        let is_full = outcome == Outcome::Full;
        self.disk.set_full(is_full);
        self.disk.set_sync_fails(is_full && self.random.chance(30));
        match store.write(&commit) {
            Ok(()) => store.end_commit(commit),
            Err(error) => {
                store.fail_commit(&mut commit, &error);
                self.commit = Some(commit);
            }
        }
        self.disk.set_full(false);
        self.disk.set_sync_fails(false);
    }

    fn crash(&mut self, unsynced: Unsynced) {
        let commit = self.commit.take().filter(|_| unsynced != Unsynced::Lost);
        if let Some((store, commit)) = self.store.as_ref().zip(commit) {
            if let Unsynced::Killed(writes) | Unsynced::Torn(writes) = unsynced {
                self.disk.die_after(writes);
            }
            let _unknown = store.write(&commit); // nobody is told
        }
        // How much a disk had put in its place by itself.
        let percent = if matches!(unsynced, Unsynced::Torn(_)) { self.random.below(101) } else { 50 };
        match unsynced {
            Unsynced::Kept | Unsynced::Killed(_) => self.disk.kill(),
            Unsynced::Lost | Unsynced::Torn(_) => self.disk.lose_power(|| self.random.chance(percent)),
        }
        self.store = None;
    }

    fn close(&mut self) -> Result<(), String> {
        // What waits, and what came meanwhile.
        for _ in 0..2 {
            self.begin();
            self.end(Outcome::Written);
        }
        self.commit = None;
        let Some(store) = self.store.take() else { return Ok(()) };
        store.close().map_err(|error| error.to_string())
    }

    fn let_go(&mut self) {}
}
