//! The suite of the seam `Log`, over a log that is closed and opened again in between.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use moorline_broker::{
    AppendError, Appended, Draft, Log, LogStats, New, RetentionRules, Streamed, conformance,
};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::position::Epoch;
use moorline_proto::resume::RoomState;
use moorline_proto::stream::{Command, Entry, Sight, StreamView};
use moorline_proto::time::{Instant, Now};

use crate::ground::rows;
use crate::journal::{self, Journal};
use crate::log::{self, DiskLog, Memory};
use crate::pending::Pending;
use crate::testing::VolatileDisk;

/// After so many changes it is opened again.
const REOPEN_EVERY: u32 = 13;

struct Open {
    log: DiskLog,
    memory: Memory,
    pending: Arc<Pending>,
    journal: Journal,
}

struct Reopening {
    disk: VolatileDisk,
    rules: RetentionRules,
    open: Option<Open>,
    holds: BTreeMap<RoomName, u32>,
    now: Now,
    /// How far the wall clock is from the monotonic one; a jump moves ages when the log is opened again, as it says it does.
    skew: Option<u64>,
    changes: u32,
}

impl Reopening {
    fn new(rules: RetentionRules) -> Self {
        let disk = VolatileDisk::default();
        let mut log = Self {
            disk,
            rules,
            open: None,
            holds: BTreeMap::new(),
            now: Now::default(),
            skew: None,
            changes: 0,
        };
        log.reopen();
        log
    }

    fn reopen(&mut self) {
        if let Some(Open { memory, journal, .. }) = self.open.take() {
            journal.close(&rows(&log::lock(&memory))).expect("closed");
        }
        let at = (self.now, Epoch(7));
        let (journal, restored) =
            journal::restore(Box::new(self.disk.clone()), &self.rules, at).expect("opened");
        let (memory, pending) = (Arc::new(Mutex::new(restored.log)), Arc::new(Pending::new(7)));
        let mut log = DiskLog::new(Arc::clone(&memory), Arc::clone(&pending), Vec::new(), self.now);
        for (room, count) in &self.holds {
            (0..*count).for_each(|_| log.hold(room));
        }
        self.open = Some(Open { log, memory, pending, journal });
    }

    fn change<T>(&mut self, now: Option<Now>, act: impl FnOnce(&mut DiskLog) -> T) -> T {
        if let Some(now) = now {
            let skew =
                now.timestamp.0.wrapping_sub(u64::try_from(now.instant.elapsed().as_millis()).unwrap_or(0));
            self.changes += u32::from(*self.skew.get_or_insert(skew) == skew);
            self.now = now;
        }
        let open = self.open.as_mut().expect("open");
        let result = act(&mut open.log);
        if let Some(batch) = open.pending.take() {
            let soiled = open.journal.read_oldest(&open.memory).expect("read");
            let clean = |soiled| open.journal.clean(&soiled, &log::lock(&open.memory)).expect("cleaned");
            let cleaning = soiled.map(clean);
            open.journal.commit(&batch, cleaning.as_ref()).expect("committed");
        }
        if self.changes >= REOPEN_EVERY {
            self.changes = 0;
            self.reopen();
        }
        result
    }

    fn log(&self) -> &DiskLog {
        &self.open.as_ref().expect("open").log
    }
}

impl Log for Reopening {
    fn state(&self, room: &RoomName) -> RoomState {
        self.log().state(room)
    }

    fn append(&mut self, room: &RoomName, draft: Draft, now: Now) -> Result<Appended, AppendError> {
        self.change(Some(now), |log| log.append(room, draft, now))
    }

    fn stream(&mut self, room: &RoomName, stream: &StreamName, command: &Command, now: Now) -> Streamed {
        self.change(Some(now), |log| log.stream(room, stream, command, now))
    }

    fn lapse(&mut self, now: Now) -> Vec<(RoomName, New)> {
        self.change(Some(now), |log| log.lapse(now))
    }

    fn lapses_at(&self) -> Option<Instant> {
        self.log().lapses_at()
    }

    fn renew_leases(&mut self, now: Now) {
        self.change(Some(now), |log| log.renew_leases(now));
    }

    fn open_streams(&self, room: &RoomName, sight: Sight) -> Vec<StreamView> {
        self.log().open_streams(room, sight)
    }

    fn view_stream(&self, room: &RoomName, stream: &StreamName, sight: Sight) -> Option<StreamView> {
        self.log().view_stream(room, stream, sight)
    }

    fn visit(&self, room: &RoomName, from: ReadFrom, visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>) {
        self.log().visit(room, from, visit);
    }

    fn clear(&mut self, room: &RoomName) {
        self.change(None, |log| log.clear(room));
    }

    fn expire(&mut self, now: Now) {
        self.change(Some(now), |log| log.expire(now));
    }

    fn hold(&mut self, room: &RoomName) {
        *self.holds.entry(room.clone()).or_default() += 1;
        self.change(None, |log| log.hold(room));
    }

    fn release(&mut self, room: &RoomName) {
        if let Some(count) = self.holds.get_mut(room) {
            *count = count.saturating_sub(1);
        }
        self.change(None, |log| log.release(room));
    }

    fn stats(&self) -> LogStats {
        self.log().stats()
    }
}

#[test]
fn a_log_that_is_opened_again_is_the_same_log() {
    conformance::log(Reopening::new);
}
