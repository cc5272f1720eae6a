//! What the lock guards: the log, and what is announced of it.

use std::ops::ControlFlow;

use moorline_proto::batch::{Ephemeral, Page};
use moorline_proto::id::RoomName;
use moorline_proto::position::{Offset, Position};
use moorline_proto::record::Reader;
use moorline_proto::resume::Resume;
use moorline_proto::time::Timestamp;

use super::queue::{Bounds, News, Queue};
use super::receiver::Look;
use crate::broker::{Announcement, BrokerError, Durability, Published, Survey, SurveyRequest};
use crate::log::{Appended, Draft, Log, LogExt as _, ReadLimit};

pub(super) struct Inner {
    pub(super) log: Box<dyn Log>,
    queue: Queue,
    /// How many receivers there were; the last one counts.
    receivers: u64,
    /// Whether that one is alive.
    listening: bool,
    /// Whether the broker was dropped.
    pub(super) closed: bool,
}

impl Inner {
    pub(super) fn new(log: Box<dyn Log>) -> Self {
        let queue = Queue::new(Bounds::DEFAULT);
        Self { log, queue, receivers: 0, listening: false, closed: false }
    }

    /// Whether a receiver that waits has nothing to wake for.
    pub(super) fn is_quiet(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends and announces, as one step.
    pub(super) fn append(
        &mut self,
        room: &RoomName,
        draft: Draft,
        now: Timestamp,
        durability: Durability,
    ) -> Result<Published, BrokerError> {
        let (after, record) = match self.log.append(room, draft, now)? {
            Appended::Duplicate(position) => {
                return Ok(Published::Stored { position, durability, duplicate: true });
            }
            Appended::New { after, record } => (after, record),
        };
        let epoch = self.log.state(room).epoch;
        let position = Position { epoch, offset: record.offset };
        if self.listening {
            self.queue.push_record(News { room, epoch, after, record });
        } else {
            self.queue.lose();
        }
        Ok(Published::Stored { position, durability, duplicate: false })
    }

    pub(super) fn announce_ephemeral(&mut self, ephemeral: Ephemeral) {
        if self.listening {
            self.queue.push_ephemeral(ephemeral);
        }
    }

    /// A new receiver takes the place of the one before; what that one took counts as lost.
    pub(super) fn begin(&mut self) -> u64 {
        if self.receivers > 0 {
            self.queue.lose();
        }
        self.listening = true;
        self.receivers += 1;
        self.receivers
    }

    /// Receiver `number` is gone.
    pub(super) fn end(&mut self, number: u64) {
        if number == self.receivers {
            self.listening = false;
            self.queue.lose();
        }
    }

    pub(super) fn look(&mut self, number: u64, into: &mut Vec<Announcement>, max: usize) -> Look {
        if number != self.receivers {
            return Look::Over;
        }
        if self.queue.is_empty() {
            return if self.closed { Look::Over } else { Look::Nothing };
        }
        self.queue.take(into, max);
        Look::Taken
    }

    pub(super) fn page(&self, room: &RoomName, after: Offset, limit: ReadLimit) -> Page {
        Page { state: self.log.state(room), after, records: self.log.read(room, after, limit) }
    }

    pub(super) fn survey(&self, request: &SurveyRequest, reader: Reader<'_>) -> Survey {
        let state = self.log.state(&request.room);
        let resume = request.since.resume(&state);
        let start = match resume {
            Resume::Continue(after) => after,
            Resume::Reset { to, .. } => to,
        };
        Survey { state, resume, deliverable: self.deliverable(&request.room, start, reader) }
    }

    /// How many kept records after `after` are for `reader`.
    fn deliverable(&self, room: &RoomName, after: Offset, reader: Reader<'_>) -> u64 {
        let mut count = 0;
        self.log.visit(room, after, &mut |record| {
            count += u64::from(!record.excludes(reader));
            ControlFlow::Continue(())
        });
        count
    }
}
