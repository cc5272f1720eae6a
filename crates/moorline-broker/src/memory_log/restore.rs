//! A memory log from what a journal kept of an earlier one.

use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::time::{Now, Timestamp};

use super::MemoryLog;
use super::age::LogTime;
use super::ids::{Claim, Fingerprint};
use super::room::{Room, RoomHead};
use super::rules::RetentionRules;

/// Which history a log is in, and what it remembers of those before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The present one.
    pub epoch: Epoch,
    /// Those before, oldest first; at most [`Formers::MAX`](moorline_proto::resume::Formers::MAX).
    pub formers: Vec<Epoch>,
    /// The highest head of all rooms that were forgotten; rooms begin after it, so that no number is given twice.
    pub forgotten_high: Offset,
}

/// Restoring: first the heads of rooms, then the records in the order in which they were appended.
impl MemoryLog {
    /// An empty log that continues a history. It remembers which rooms it forgets, for [`MemoryLog::take_forgotten`].
    #[must_use]
    pub fn restored(history: History, rules: RetentionRules) -> Self {
        Self { forgotten: Some(Vec::new()), ..Self::with_history(history, rules) }
    }

    /// The history that it is in.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// A room as it was kept.
    pub fn restore_room(&mut self, name: &RoomName, head: RoomHead) {
        let room = Room::restored(self.rules.class(name), head);
        self.rooms.insert(name.clone(), room);
        self.became_empty(name);
    }

    /// A record as it was kept, of that history. What its room has cut is left out.
    pub fn restore_record(&mut self, name: &RoomName, epoch: Epoch, record: Record, now: Now) {
        let at = LogTime::restored(record.timestamp, now);
        self.keep(name, (epoch, record), at, LogTime::of(now));
    }

    /// A publish id as it was kept.
    pub fn restore_id(&mut self, claim: &Claim, offset: Offset, at: Timestamp, now: Now) {
        let at = LogTime::restored(at, now);
        if !at.is_over(LogTime::of(now), self.rules.id_age) {
            self.ids.remember(claim, offset, at);
        }
    }

    /// What is to be kept of a room apart from its records; none for one that has no entry.
    #[must_use]
    pub fn room_head(&self, name: &RoomName) -> Option<RoomHead> {
        self.rooms.get(name).map(Room::to_head)
    }

    /// Every room with an entry, sorted.
    #[must_use]
    pub fn room_names(&self) -> Vec<RoomName> {
        let mut names: Vec<RoomName> = self.rooms.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Whether a record is still kept.
    #[must_use]
    pub fn keeps(&self, name: &RoomName, offset: Offset) -> bool {
        self.rooms.get(name).is_some_and(|room| room.keeps(offset))
    }

    /// Whether a publish id is still remembered.
    #[must_use]
    pub fn knows_id(&self, key: &Fingerprint) -> bool {
        self.ids.knows(key)
    }

    /// How many publish ids are remembered.
    #[must_use]
    pub fn publish_ids(&self) -> usize {
        self.ids.len()
    }

    /// Rooms that were forgotten since this was asked last, with what they were then.
    pub fn take_forgotten(&mut self) -> Vec<(RoomName, RoomHead)> {
        self.forgotten.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use moorline_proto::message::Message;
    use moorline_proto::time::Instant;

    use super::*;
    use crate::log::Log as _;

    const MINUTE_MS: u64 = 60_000;
    /// What the wall clock shows at the start, in milliseconds.
    const START_MS: u64 = 1_700_000_000_000;

    fn after(millis: u64) -> Now {
        let instant = Instant::since_start(Duration::from_millis(millis));
        Now { instant, timestamp: Timestamp(START_MS + millis) }
    }

    /// Rooms keep for an hour, ids for five minutes.
    fn log() -> MemoryLog {
        MemoryLog::restored(History { epoch: Epoch(1), ..History::default() }, RetentionRules::default())
    }

    #[test]
    fn a_record_of_the_future_is_new_at_the_start_and_what_came_after_it_waits_for_no_more_than_that() {
        let (mut log, room) = (log(), RoomName::new("a").unwrap());
        // The clock was a day ahead, and then right again.
        for (offset, timestamp) in [(1, START_MS + 1_440 * MINUTE_MS), (2, START_MS - 59 * MINUTE_MS)] {
            let message = Message::stored(br#"{"type":"m"}"#.to_vec().into());
            let timestamp = Timestamp(timestamp);
            let record = Record { offset: Offset(offset), timestamp, except: None, message };
            log.restore_record(&room, Epoch(1), record, after(0));
        }
        log.expire(after(60 * MINUTE_MS - 1));
        assert_eq!(log.stats().records, 2);
        log.expire(after(60 * MINUTE_MS));
        assert_eq!(log.stats().records, 0);
    }

    #[test]
    fn a_publish_id_of_the_future_is_new_at_the_start_and_those_behind_it_have_their_own_time() {
        let mut log = log();
        let [ahead, behind] = [1, 2].map(|key| Claim { key: [key; 16], content: [0; 16], client: None });
        log.restore_id(&ahead, Offset(1), Timestamp(START_MS + 1_440 * MINUTE_MS), after(0));
        log.restore_id(&behind, Offset(2), Timestamp(START_MS - 4 * MINUTE_MS), after(0));
        let mut found = |claim, millis| log.ids.find(claim, LogTime::of(after(millis)));
        assert_eq!(found(&behind, MINUTE_MS - 1), Ok(Some(Offset(2))));
        assert_eq!(found(&behind, MINUTE_MS), Ok(None), "it is free again");
        assert_eq!(found(&ahead, 5 * MINUTE_MS - 1), Ok(Some(Offset(1))));
        assert_eq!(found(&ahead, 5 * MINUTE_MS), Ok(None));
        assert_eq!(log.publish_ids(), 0);
    }
}
