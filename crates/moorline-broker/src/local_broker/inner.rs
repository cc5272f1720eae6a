//! What the lock guards: the log, and what is announced of it.

use std::ops::ControlFlow;

use moorline_proto::batch::{Ephemeral, Page, ReadFrom};
use moorline_proto::id::RoomName;
use moorline_proto::position::{Offset, Position};
use moorline_proto::record::Reader;
use moorline_proto::resume::{Resume, RoomState};
use moorline_proto::stream::Entry;
use moorline_proto::time::Now;

use super::pages::{Pages, Wanted};
use super::queue::{Bounds, News, Queue};
use super::receiver::Look;
use super::staged::{Stage, Staged, StagedRecord, Told, Until};
use super::waiting::{Answer, Waiting};
use crate::broker::{Announcement, BrokerError, Durability, Published, Survey, SurveyRequest};
use crate::log::{Appended, Draft, Log, ReadLimit};

pub(super) struct Inner {
    pub(super) log: Box<dyn Log>,
    queue: Queue,
    /// What is not kept yet; empty where an append is as safe as it gets at once.
    pub(super) stage: Stage,
    pages: Pages,
    /// How many receivers there were; the last one counts.
    receivers: u64,
    /// Whether that one is alive.
    listening: bool,
    /// Whether the broker was dropped.
    pub(super) closed: bool,
}

impl Inner {
    pub(super) fn new(log: Box<dyn Log>) -> Self {
        Self {
            log,
            queue: Queue::new(Bounds::DEFAULT),
            stage: Stage::default(),
            pages: Pages::default(),
            receivers: 0,
            listening: false,
            closed: false,
        }
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
        now: Now,
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
        self.announce(News { room, epoch, after, record });
        Ok(Published::Stored { position, durability, duplicate: false })
    }

    /// Announces what everybody may see now.
    pub(super) fn tell(&mut self, told: Told) {
        match told {
            Told::Record(StagedRecord { room, epoch, after, record }) => {
                self.announce(News { room: &room, epoch, after, record });
            }
            Told::Ephemeral(ephemeral) => self.announce_ephemeral(ephemeral),
            // Where nobody listens nothing is lost: the producer's next append is answered by it too.
            Told::Cancel(cancel) if self.listening => self.queue.push_cancel(cancel),
            Told::Cancel(_) => {}
        }
    }

    fn announce(&mut self, news: News<'_>) {
        if self.listening {
            self.queue.push_record(news);
        } else {
            self.queue.lose();
        }
    }

    /// Puts something behind what is not kept yet. Who subscribes meanwhile to the room of a record is announced it later: until then
    /// the room is not to be forgotten, however old its records become.
    pub(super) fn put(&mut self, staged: Staged) {
        if let Some(record) = staged.record()
            && !self.stage.hides(&record.room)
        {
            self.log.hold(&record.room);
        }
        self.stage.push(staged);
    }

    /// Appends, and stages the announcement and the answer until the commit is through.
    pub(super) fn stage(
        &mut self,
        room: &RoomName,
        draft: Draft,
        now: Now,
        asked: Durability,
    ) -> Result<Answer<Published>, BrokerError> {
        self.stage.admit()?;
        let appended = self.log.append(room, draft, now)?;
        let epoch = self.log.state(room).epoch;
        let (offset, duplicate) = match &appended {
            Appended::New { record, .. } => (record.offset, false),
            Appended::Duplicate(position) => (position.offset, true),
        };
        let position = Position { epoch, offset };
        let stored = |durability| Published::Stored { position, durability, duplicate };
        let is_kept = duplicate && self.stage.visible_head(room).is_none_or(|head| offset <= head);
        let (waiting, answer) = if is_kept {
            return Ok(Answer::Now(stored(Durability::Disk)));
        } else if asked == Durability::Memory {
            (None, Answer::Now(stored(Durability::Memory)))
        } else {
            let (waiting, answer) = Waiting::publish(stored(Durability::Disk));
            (Some(waiting), answer)
        };
        let (until, told) = match appended {
            Appended::New { after, record } => {
                let staged = StagedRecord { room: room.clone(), epoch, after, record };
                (Until::Commit, Some(Told::Record(staged)))
            }
            Appended::Duplicate(_) => (Until::Turn, None),
        };
        self.put(Staged { until, told, waiting, text: None });
        Ok(answer)
    }

    /// Removes a room's records; the answer waits for the commit.
    pub(super) fn stage_clear(&mut self, room: &RoomName) -> Result<Answer<()>, BrokerError> {
        self.stage.admit()?;
        if self.log.state(room).head == Offset::START {
            return Ok(Answer::Now(()));
        }
        self.log.clear(room);
        let (waiting, answer) = Waiting::clear();
        self.put(Staged { until: Until::Commit, told: None, waiting: Some(waiting), text: None });
        Ok(answer)
    }

    /// A commit takes what is staged now, and what `take` finds has changed.
    pub(super) fn begin_commit<T>(&mut self, take: impl FnOnce() -> T) -> T {
        self.stage.mark();
        take()
    }

    /// From now on nothing is accepted.
    pub(super) fn close_stage(&mut self) {
        self.stage.close();
    }

    /// The commit is through, or will be tried again as it is.
    pub(super) fn end_commit(&mut self, is_kept: bool, now: Now) {
        if !is_kept {
            return self.stage.fail();
        }
        if self.stage.succeed() {
            // Nobody could renew a lease meanwhile.
            self.log.renew_leases(now);
        }
        while let Some(staged) = self.stage.pop_kept() {
            let shown = staged.record().map(|record| record.room.clone());
            staged.told.into_iter().for_each(|told| self.tell(told));
            if let Some(room) = shown.filter(|room| !self.stage.hides(room)) {
                self.log.release(&room);
            }
            staged.waiting.into_iter().for_each(Waiting::tell);
        }
    }

    /// Says something that is not stored, behind what the room still has to show.
    pub(super) fn say(&mut self, ephemeral: Ephemeral) -> Result<(), BrokerError> {
        if !self.stage.hides(&ephemeral.room) {
            self.announce_ephemeral(ephemeral);
            return Ok(());
        }
        self.stage.admit()?;
        self.put(Staged::of(Until::Turn, Told::Ephemeral(ephemeral)));
        Ok(())
    }

    /// What may be seen of a room.
    pub(super) fn state(&self, room: &RoomName) -> RoomState {
        self.stage.visible(room, self.log.state(room))
    }

    fn announce_ephemeral(&mut self, ephemeral: Ephemeral) {
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

    /// Reads a page. One that holds chunks of streams is built under the lock, which takes some 100 µs for each 64 KiB of text, and once
    /// for all who read it next.
    pub(super) fn page(&mut self, room: &RoomName, from: ReadFrom, limit: ReadLimit) -> Page {
        let kept = self.log.state(room);
        let state = self.stage.visible(room, kept);
        self.pages.read(&*self.log, Wanted { room, from, limit }, (kept.cut, state))
    }

    pub(super) fn survey(&self, request: &SurveyRequest, reader: Reader<'_>) -> Survey {
        let state = self.state(&request.room);
        let resume = request.resume(&state);
        let start = match resume {
            Resume::Continue(after) => after,
            Resume::Reset { to, .. } => to,
        };
        let deliverable = self.deliverable(&request.room, start, reader);
        Survey { state, resume, deliverable, has_texts: self.has_texts(&request.room, start) }
    }

    /// How many kept records after `after` are for `reader`.
    fn deliverable(&self, room: &RoomName, after: Offset, reader: Reader<'_>) -> u64 {
        let (mut count, head) = (0, self.stage.visible_head(room));
        self.log.visit(room, ReadFrom::After(after), &mut |entry| {
            if head.is_some_and(|head| entry.offset() > head) {
                return ControlFlow::Break(());
            }
            if let Entry::Record(record) = entry {
                count += u64::from(!record.excludes(reader));
            }
            ControlFlow::Continue(())
        });
        count
    }

    /// Whether a stream that was open at an offset had text there.
    fn has_texts(&self, room: &RoomName, at: Offset) -> bool {
        let mut found = false;
        self.log.visit(room, ReadFrom::Texts { at, after: Offset::START }, &mut |_| {
            found = true;
            ControlFlow::Break(())
        });
        found
    }
}
