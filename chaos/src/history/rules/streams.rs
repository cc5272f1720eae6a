//! What a reader has of a stream is at every moment a prefix of what its producer wrote, and the same for everyone at its one end, which has
//! all that was accepted.

use std::collections::{BTreeMap, BTreeSet};

use moorline_proto::id::RoomName;

use super::super::{End, Entry, Index, Session, Violation, What, Written};
use crate::content::letters;

type Key<'a> = (&'a RoomName, &'a str);

/// What one session has of a stream.
#[derive(Default)]
struct Reading {
    length: usize,
    has_ended: bool,
    /// It may come anew, from its beginning.
    is_stale: bool,
}

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let streams = &index.history.streams;
    let written: BTreeMap<Key<'_>, &Written> =
        streams.iter().map(|written| ((&written.room, &*written.stream), written)).collect();
    for written in streams {
        let what = |wrong: &String| format!("{} of {}: {wrong}", written.stream, written.room);
        found.extend(written.wrong.iter().map(|wrong| violation(None, &written.room, what(wrong))));
    }
    let mut ends: BTreeMap<Key<'_>, BTreeSet<(usize, &str)>> = BTreeMap::new();
    for (number, session) in index.sessions() {
        let mut reader =
            Reader { number, session, written: &written, readings: BTreeMap::new(), found: Vec::new() };
        for entry in &session.entries {
            if let Some((key, end)) = reader.take(entry) {
                ends.entry(key).or_default().insert(end);
            }
        }
        reader.missing();
        found.append(&mut reader.found);
    }
    for ((room, stream), ends) in ends.iter().filter(|(_, ends)| ends.len() > 1) {
        found.push(violation(None, room, format!("{stream} of {room} has several ends: {ends:?}")));
    }
    found
}

fn violation(session: Option<usize>, room: &RoomName, what: String) -> Violation {
    Violation { rule: "streams", session, room: Some(room.clone()), what }
}

/// A session while its entries are read.
struct Reader<'a> {
    number: usize,
    session: &'a Session,
    written: &'a BTreeMap<Key<'a>, &'a Written>,
    readings: BTreeMap<Key<'a>, Reading>,
    found: Vec<Violation>,
}

impl<'a> Reader<'a> {
    /// Takes what comes next; returns a stream's end with how long it was and what it is called.
    fn take(&mut self, entry: &'a Entry) -> Option<(Key<'a>, (usize, &'a str))> {
        match &entry.what {
            What::Established { resumed: false } => {
                self.readings.values_mut().for_each(|reading| reading.is_stale = true);
            }
            What::Joined { room, .. } | What::Left { room } | What::Reset { room, .. } => {
                let readings = self.readings.iter_mut().filter(|((name, _), _)| *name == room);
                readings.for_each(|(_, reading)| reading.is_stale = true);
            }
            What::Text { room, stream, at, content } => self.text((room, stream), *at, content),
            What::StreamEnded { room, stream, kind } => {
                return self.ended((room, stream), kind).map(|length| ((room, &**stream), (length, &**kind)));
            }
            _ => {}
        }
        None
    }

    fn wrong(&mut self, (room, stream): Key<'a>, what: &str) {
        let what = format!("{} and {stream} of {room}: {what}", self.session.name);
        self.found.push(violation(Some(self.number), room, what));
    }

    fn text(&mut self, key: Key<'a>, at: usize, content: &str) {
        let Some(written) = self.written.get(&key) else { return self.wrong(key, "nobody wrote it") };
        if written.excluded.contains(&self.number) {
            return self.wrong(key, "it is not for this one");
        }
        let length = at + content.chars().count();
        if content != letters(key.1, at, length) {
            return self.wrong(key, &format!("{content:?} at {at} was never written"));
        }
        let reading = self.readings.entry(key).or_default();
        let goes_on = !reading.has_ended && reading.length == at;
        let begins = at == 0 && reading.is_stale;
        if goes_on || begins {
            *reading = Reading { length, has_ended: false, is_stale: goes_on && reading.is_stale };
            return;
        }
        let what = format!("text at {at}, where it has {} (ended: {})", reading.length, reading.has_ended);
        self.wrong(key, &what);
    }

    fn ended(&mut self, key: Key<'a>, kind: &str) -> Option<usize> {
        let written = *self.written.get(&key)?;
        let reading = self.readings.entry(key).or_default();
        let (length, was_over) = (reading.length, reading.has_ended && !reading.is_stale);
        reading.has_ended = true;
        if was_over {
            self.wrong(key, "it ends twice");
        }
        if length < written.accepted {
            self.wrong(key, &format!("it ends with {length}, and {} were accepted", written.accepted));
        }
        let is_true = match written.end {
            End::Told(told) => told == kind,
            End::Orphaned => kind == "orphaned",
            End::Unknown => true,
        };
        if !is_true {
            self.wrong(key, &format!("it ends as {kind}, not {:?}", written.end));
        }
        Some(length)
    }

    /// Whoever was a member all the time has every stream's end.
    fn missing(&mut self) {
        for (key, written) in self.written {
            let is_owed = written.began && !written.excluded.contains(&self.number);
            let has_ended = self.readings.get(key).is_some_and(|reading| reading.has_ended);
            if is_owed && !has_ended && self.is_steady(written) {
                self.wrong(*key, "its end never came");
            }
        }
    }

    /// Whether it was a member from before the stream began, and nothing was ever lost to it.
    fn is_steady(&self, written: &Written) -> bool {
        let joins =
            |entry: &&Entry| matches!(&entry.what, What::Joined { room, .. } if *room == written.room);
        let Some(joined) = self.session.entries.iter().find(joins) else { return false };
        let is_break = |entry: &Entry| match &entry.what {
            What::Established { resumed } => !resumed,
            What::Left { room } | What::Leaving { room } | What::Reset { room, .. } => *room == written.room,
            _ => false,
        };
        let later = self.session.entries.iter().filter(|entry| entry.at > joined.at);
        joined.at < written.opened && !later.clone().any(is_break)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::support::Planted;
    use super::*;

    fn found(planted: &Planted) -> Vec<String> {
        check(&Index::new(planted.history())).into_iter().map(|violation| violation.what).collect()
    }

    /// A stream of 9 that is read in two pieces, by two.
    fn planted() -> Planted {
        let mut planted = Planted::new();
        planted.written(10, "a", 9, End::Told("complete"));
        for session in [0, 1] {
            planted.joined(session, 1, 0);
            planted.text(session, 20, ("a", 0, 4));
            planted.text(session, 21, ("a", 4, 9));
        }
        planted
    }

    #[test]
    fn r27_streams_what_is_whole_is_right() {
        let mut planted = planted();
        planted.stream_ended(0, 30, "a", "complete");
        planted.stream_ended(1, 30, "a", "complete");
        assert_eq!(found(&planted), [] as [String; 0]);
    }

    #[test]
    fn r27_streams_each_defect_is_found() {
        type Defect = (&'static str, fn(&mut Planted));
        let defects: [Defect; 7] = [
            ("text at 2", |planted| planted.text(0, 25, ("a", 2, 5))),
            ("ends twice", |planted| planted.stream_ended(0, 31, "a", "complete")),
            ("text at 9", |planted| planted.text(0, 31, ("a", 9, 10))),
            ("several ends", |planted| {
                planted.written(10, "b", 0, End::Unknown);
                planted.stream_ended(0, 32, "b", "complete");
                planted.stream_ended(1, 32, "b", "orphaned");
            }),
            ("nobody wrote", |planted| planted.text(0, 31, ("c", 0, 1))),
            ("never came", |planted| planted.written(10, "d", 0, End::Unknown)),
            ("accepted", |planted| {
                planted.written(10, "e", 5, End::Unknown);
                planted.text(0, 31, ("e", 0, 4));
                planted.stream_ended(0, 32, "e", "complete");
            }),
        ];
        for (what, defect) in defects {
            let mut planted = planted();
            planted.stream_ended(0, 30, "a", "complete");
            planted.stream_ended(1, 30, "a", "complete");
            defect(&mut planted);
            let found = found(&planted);
            assert!(found.iter().any(|found| found.contains(what)), "{what}: {found:?}");
        }
    }

    #[test]
    fn r27_streams_after_a_reset_texts_come_anew() {
        let mut planted = planted();
        planted.reset(0, 25, Some(0), 3);
        planted.text(0, 26, ("a", 0, 9));
        planted.stream_ended(0, 30, "a", "complete");
        planted.stream_ended(1, 30, "a", "complete");
        assert_eq!(found(&planted), [] as [String; 0]);
    }
}
