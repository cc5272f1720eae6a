//! What a reader has of a stream is at every moment a prefix of what its producer sent, each part once; all of it with the end, and
//! nothing behind that. What came before something else in the room is there before it.

use std::collections::BTreeMap;

use moorline_proto::id::{RoomName, SessionId, UserId};

use super::delivery::{App, At};
use super::{exclusion, membership};
use crate::truth::Truth;
use crate::written::{Life, Said, Written};

/// What an application has of one stream.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Which of those that had the name.
    life: usize,
    length: usize,
    has_data: bool,
    has_ended: bool,
    /// Whether it may come anew, from its beginning.
    is_stale: bool,
}

/// What an application has of streams.
#[derive(Debug, Default)]
pub struct Readings {
    /// By room and name.
    of: BTreeMap<(RoomName, String), Reading>,
    /// Where it stood in a room before text came that brought it further: texts from behind that may be on their way.
    behind: BTreeMap<RoomName, u64>,
}

impl Readings {
    /// The texts of a room may come anew.
    pub fn anew(&mut self, room: &RoomName) {
        self.behind.remove(room);
        let readings = self.of.iter_mut().filter(|((name, _), _)| name == room);
        readings.for_each(|(_, reading)| reading.is_stale = true);
    }

    /// All may.
    pub fn all_anew(&mut self) {
        self.behind.clear();
        self.of.values_mut().for_each(|reading| reading.is_stale = true);
    }

    /// The offset behind which it is owed what was shown, where records are owed from behind this one.
    #[must_use]
    pub fn since(&self, room: &RoomName, high: u64) -> u64 {
        self.behind.get(room).copied().map_or(high, |behind| behind.min(high))
    }

    /// It has everything up to a record.
    pub fn came_to_record(&mut self, room: &RoomName) {
        self.behind.remove(room);
    }

    fn missing(&self, room: &RoomName, (name, index): (&str, usize), owed: usize) -> Option<String> {
        let reading = self.of.get(&(room.clone(), name.to_owned()));
        let has = reading.filter(|reading| reading.life >= index).map(|reading| match reading.life {
            life if life > index => usize::MAX,
            _ => reading.length,
        });
        has.is_none_or(|has| has < owed).then(|| format!("{has:?} of the {owed} that {name} had"))
    }

    /// What is missing of what was shown of a room's streams behind the first offset and before the second.
    #[must_use]
    pub fn owed(
        &self,
        truth: &Truth,
        room: &RoomName,
        (after, before): (u64, u64),
        (session, user): (&SessionId, Option<&UserId>),
    ) -> Option<String> {
        let after = after.max(truth.forgotten(room));
        truth.streams.of(room).find_map(|(name, written)| {
            let lives = written.lives.iter().enumerate().filter(|(_, life)| life.is_for(session, user));
            lives
                .filter_map(|(index, life)| Some((index, life.owed((after, before))?)))
                .find_map(|(index, owed)| self.missing(room, (name, index), owed))
        })
    }
}

/// The stream of that name whose text may stand at an offset.
fn life_at(written: &Written, offset: u64) -> Option<(usize, &Life)> {
    written.lives.iter().enumerate().rfind(|(_, life)| life.first <= offset)
}

impl App {
    /// Text of a stream reached it. Returns what is wrong with that.
    pub fn chunk(&mut self, truth: &Truth, room: &RoomName, offset: u64, said: &Said) -> Option<String> {
        let session = self.session.clone()?;
        let user = self.user.clone();
        let Some((written, (index, life))) = truth
            .streams
            .named(room, &said.stream)
            .and_then(|written| Some((written, life_at(written, offset)?)))
        else {
            return Some(format!("{session} got {said:?} of {room} at {offset}, which was never written"));
        };
        let excluded = exclusion::text(life, (room, &said.stream), &session, user.as_ref());
        let stranger = membership::check(self.rooms.contains_key(room), room, &session);
        if let Some(wrong) = excluded.or(stranger) {
            return Some(wrong);
        }
        let key = (room.clone(), said.stream.clone());
        let before = self.texts.of.get(&key).copied();
        let goes_on = before
            .is_some_and(|before| before.life == index && !before.has_ended && before.length == said.at);
        let begins = said.at == 0 && before.is_none_or(|before| before.is_stale || before.life < index);
        // A membership that ended and began again without its client's knowing leaves it with a text that was another stream's.
        let is_sure = !self.unsure.contains_key(room);
        if is_sure && !goes_on && !begins {
            return Some(format!("{session} got {said:?} of {room} at {offset} and had {before:?}"));
        }
        if is_sure && !life.has(said.at, &said.content) {
            let text: String = life.text.iter().collect();
            return Some(format!("{session} got {said:?} of {room} at {offset}; its text is {text:?}"));
        }
        if said.data.is_some() && said.data != written.plan.data {
            return Some(format!("{session} got {said:?} of {room}, whose data is {:?}", written.plan.data));
        }
        let reading = Reading {
            life: index,
            length: said.at + said.content.chars().count(),
            has_data: said.data.is_some() || goes_on && before.is_some_and(|before| before.has_data),
            has_ended: false,
            is_stale: goes_on && before.is_some_and(|before| before.is_stale),
        };
        self.texts.of.insert(key, reading);
        self.stands(truth, room, offset)
    }

    /// Text stands here: what lies before came before.
    fn stands(&mut self, truth: &Truth, room: &RoomName, offset: u64) -> Option<String> {
        let (session, user) = (self.session.as_ref()?, self.user.as_ref());
        let at = self.rooms.get_mut(room)?;
        let before = *at;
        if offset < before.low {
            return None;
        }
        *at = At::exactly(offset);
        let known = if before.high == u64::MAX { offset } else { before.high };
        self.texts.behind.entry(room.clone()).or_insert(known);
        if self.unsure.contains_key(room) {
            return None;
        }
        let missing = truth.owed(room, (before.high, offset), session, user)?;
        Some(format!("{session} in {room}: from {before:?} to text at {offset} without {missing}"))
    }

    /// A terminal record reached it. Returns what is wrong with that.
    pub fn stream_ended(
        &mut self,
        truth: &Truth,
        room: &RoomName,
        offset: u64,
        said: &Said,
    ) -> Option<String> {
        let session = self.session.clone()?;
        let written = truth.streams.named(room, &said.stream)?;
        let index = written.lives.iter().position(|life| life.end == Some(offset))?;
        let life = &written.lives[index];
        let reading = self.texts.of.get_mut(&(room.clone(), said.stream.clone()));
        let had = reading.as_deref().copied();
        if let Some(reading) = reading {
            reading.has_ended = true;
        }
        let has_data = |had: Reading| had.has_data || written.plan.data.is_none();
        let is_whole = had.is_some_and(|had| {
            had.life == index
                && had.length == life.text.len()
                && has_data(had)
                && (!had.has_ended || had.is_stale)
        });
        if is_whole || self.unsure.contains_key(room) {
            return None;
        }
        Some(format!("{session} got {said:?} of {room} at {offset} and had {had:?} of {}", life.text.len()))
    }
}
