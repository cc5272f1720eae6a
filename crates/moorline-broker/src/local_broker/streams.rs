//! Streams under the lock: what a command changed is announced or staged, as what was published is.

use moorline_proto::id::{RoomName, SessionId, StreamName};
use moorline_proto::stream::{Cancel, Canceller, Command, Done, Sight};
use moorline_proto::time::{Instant, Now};

use super::inner::Inner;
use super::staged::{Staged, StagedRecord, Told, Until};
use super::waiting::{Answer, Waiting};
use crate::broker::{BrokerError, Durability};
use crate::log::{New, Streamed};

/// A stream of a room.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) room: &'a RoomName,
    pub(super) stream: &'a StreamName,
}

impl Inner {
    /// Asks a stream, and announces what that changed, as one step.
    pub(super) fn stream(
        &mut self,
        named: Named<'_>,
        command: &Command,
        now: Now,
    ) -> Result<Answer<Done>, BrokerError> {
        let streamed = self.log.stream(named.room, named.stream, command, now);
        for told in self.told(named, streamed.records, streamed.asked) {
            self.tell(told);
        }
        Ok(Answer::Now(streamed.result?))
    }

    /// Asks a stream, and stages what that changed, and the answer, until the commit is through. Where it changed nothing its
    /// answer waits for what is staged: what it repeats may be among that.
    pub(super) fn stage_stream(
        &mut self,
        named: Named<'_>,
        command: &Command,
        now: Now,
    ) -> Result<Answer<Done>, BrokerError> {
        self.stage.admit()?;
        let Streamed { result, records, is_change, asked } =
            self.log.stream(named.room, named.stream, command, now);
        let until = if is_change || !records.is_empty() { Until::Commit } else { Until::Turn };
        let mut told = self.told(named, records, asked);
        if until == Until::Turn && self.stage.is_empty() {
            told.into_iter().for_each(|told| self.tell(told));
            return Ok(Answer::Now(result?));
        }
        let (waiting, answer) = Waiting::stream(result.map_err(BrokerError::from));
        let last = told.pop();
        for told in told {
            self.put(Staged::of(until, told));
        }
        let text = match command {
            Command::Append { content, .. } if is_change => Some((named.room.clone(), content.len())),
            _ => None,
        };
        self.put(Staged { until, told: last, waiting: Some(waiting), text });
        Ok(answer)
    }

    /// What is to be announced, in order.
    fn told(&self, named: Named<'_>, records: Vec<New>, asked: Option<(SessionId, Canceller)>) -> Vec<Told> {
        let Named { room, stream } = named;
        let cancel =
            asked.map(|(holder, by)| Cancel { holder, room: room.clone(), stream: stream.clone(), by });
        let records = records.into_iter().map(|new| self.told_record(room.clone(), new));
        records.chain(cancel.map(Told::Cancel)).collect()
    }

    fn told_record(&self, room: RoomName, New { after, record }: New) -> Told {
        let epoch = self.log.state(&room).epoch;
        Told::Record(StagedRecord { room, epoch, after, record })
    }

    /// Has the log show text that waited, and end streams whose producers are gone. Nothing while the store cannot write: it could
    /// not be kept, and the log still has it later. Staged however much is: the log bounds it, and it is of what was accepted.
    pub(super) fn lapse(&mut self, now: Now, durability: Durability) {
        if !self.stage.can_keep() {
            return;
        }
        for (room, new) in self.log.lapse(now) {
            let told = self.told_record(room, new);
            match durability {
                Durability::Memory => self.tell(told),
                Durability::Disk | Durability::Broker => {
                    self.put(Staged::of(Until::Commit, told));
                }
            }
        }
    }

    /// What of a room's streams may be seen by who looks at them: what readers may see, and all of the text where all of it is kept.
    pub(super) fn sight(&self, room: &RoomName) -> Sight {
        Sight { head: self.state(room).head, accepted: !self.stage.holds_text(room) }
    }

    /// When there is something to lapse; none where there is nothing, or it could not be kept.
    pub(super) fn lapses_at(&self) -> Option<Instant> {
        self.log.lapses_at().filter(|_| self.stage.can_keep())
    }
}
