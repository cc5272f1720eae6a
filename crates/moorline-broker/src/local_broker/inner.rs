//! What the lock guards: the log, and what is announced of it.

use std::ops::ControlFlow;

use moorline_proto::batch::{Ephemeral, Page, ReadFrom};
use moorline_proto::id::RoomName;
use moorline_proto::position::{Offset, Position};
use moorline_proto::record::Reader;
use moorline_proto::resume::{Resume, RoomState};
use moorline_proto::stream::Entry;
use moorline_proto::time::Now;

use tokio::sync::oneshot;

use super::queue::{Bounds, News, Queue};
use super::receiver::Look;
use super::staged::{Stage, Staged, StagedRecord};
use crate::broker::{Announcement, BrokerError, Durability, Published, Survey, SurveyRequest};
use crate::log::{Appended, Draft, Log, LogExt as _, ReadLimit};

/// When a publish is answered.
pub(super) enum Answer {
    Now(Published),
    Later(oneshot::Receiver<Result<Published, BrokerError>>),
}

pub(super) struct Inner {
    pub(super) log: Box<dyn Log>,
    queue: Queue,
    /// What is not kept yet; empty where an append is as safe as it gets at once.
    stage: Stage,
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
        Self { log, queue, stage: Stage::default(), receivers: 0, listening: false, closed: false }
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

    fn announce(&mut self, news: News<'_>) {
        if self.listening {
            self.queue.push_record(news);
        } else {
            self.queue.lose();
        }
    }

    /// Appends, and stages the announcement and the answer until the commit is through.
    pub(super) fn stage(
        &mut self,
        room: &RoomName,
        draft: Draft,
        now: Now,
        asked: Durability,
    ) -> Result<Answer, BrokerError> {
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
            let (sender, receiver) = oneshot::channel();
            (Some((sender, stored(Durability::Disk))), Answer::Later(receiver))
        };
        self.stage.push(match appended {
            Appended::New { after, record } => {
                // Who subscribes meanwhile is announced it later: until then the room is not to be forgotten, however old
                // its records become.
                if !self.stage.hides(room) {
                    self.log.hold(room);
                }
                let record = Some(StagedRecord { room: room.clone(), epoch, after, record });
                Staged::Change { waiting, record }
            }
            Appended::Duplicate(_) => Staged::Follower { waiting, ephemeral: None },
        });
        Ok(answer)
    }

    /// Removes a room's records; the answer waits for the commit.
    pub(super) fn stage_clear(&mut self, room: &RoomName) -> Result<Answer, BrokerError> {
        self.stage.admit()?;
        if self.log.state(room).head == Offset::START {
            return Ok(Answer::Now(Published::Ephemeral));
        }
        self.log.clear(room);
        let (sender, receiver) = oneshot::channel();
        self.stage.push(Staged::Change { waiting: Some((sender, Published::Ephemeral)), record: None });
        Ok(Answer::Later(receiver))
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
    pub(super) fn end_commit(&mut self, is_kept: bool) {
        if !is_kept {
            return self.stage.fail();
        }
        self.stage.succeed();
        while let Some(staged) = self.stage.pop_kept() {
            let waiting = match staged {
                Staged::Change { waiting, record } => {
                    if let Some(StagedRecord { room, epoch, after, record }) = record {
                        self.announce(News { room: &room, epoch, after, record });
                        if !self.stage.hides(&room) {
                            self.log.release(&room);
                        }
                    }
                    waiting
                }
                Staged::Follower { waiting, ephemeral } => {
                    ephemeral.into_iter().for_each(|ephemeral| self.announce_ephemeral(ephemeral));
                    waiting
                }
            };
            if let Some((sender, published)) = waiting {
                // Who asked may be gone.
                let _gone = sender.send(Ok(published));
            }
        }
    }

    /// Says something that is not stored, behind what the room still has to show.
    pub(super) fn say(&mut self, ephemeral: Ephemeral) -> Result<(), BrokerError> {
        if !self.stage.hides(&ephemeral.room) {
            self.announce_ephemeral(ephemeral);
            return Ok(());
        }
        self.stage.admit()?;
        self.stage.push(Staged::Follower { waiting: None, ephemeral: Some(ephemeral) });
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

    pub(super) fn page(&self, room: &RoomName, from: ReadFrom, limit: ReadLimit) -> Page {
        let state = self.state(room);
        let (records, reached, end) = self.log.page(room, from, state.head, limit);
        Page { state, from, records, reached, end }
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
