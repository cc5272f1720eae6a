//! Histories by hand, for the rules' tests: one room `r`, an epoch of 1, moments in milliseconds.

use std::time::Duration;

use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::resume::ResetReason;
use moorline_proto::time::Instant;

use super::{End, Ending, Entry, History, Outcome, Publication, Session, Stop, What, Written};
use crate::content::{Content, Key, letters};

const EPOCH: Epoch = Epoch(1);

pub(super) fn key(publisher: u32, number: u64) -> Key {
    Key { publisher, number: u32::try_from(number).unwrap() }
}

fn ms(at: u64) -> Instant {
    Instant::since_start(Duration::from_millis(at))
}

fn room() -> RoomName {
    RoomName::new("r").unwrap()
}

pub(super) struct Planted {
    pub(super) history: History,
    connection: u32,
}

impl Planted {
    pub(super) fn new() -> Self {
        Self { history: History { resets_allowed: Some(0), ..History::default() }, connection: 1 }
    }

    /// What follows happens on this one.
    pub(super) fn connection(&mut self, connection: u32) {
        self.connection = connection;
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    fn session(&mut self, session: usize) -> &mut Session {
        while self.history.sessions.len() <= session {
            let name = format!("s{}", self.history.sessions.len());
            self.history.sessions.push(Session { name, ..Session::default() });
        }
        &mut self.history.sessions[session]
    }

    fn on(&mut self, session: usize, at: u64, connection: u32, what: What) {
        self.session(session).entries.push(Entry { at: ms(at), connection, what });
    }

    fn push(&mut self, session: usize, at: u64, what: What) {
        self.on(session, at, self.connection, what);
    }

    pub(super) fn own(&mut self, session: usize, room: &str) {
        self.session(session).own.push(RoomName::stored(room).unwrap());
    }

    pub(super) fn established(&mut self, session: usize, at: u64, connection: u32, resumed: bool) {
        self.on(session, at, connection, What::Established { resumed });
    }

    pub(super) fn closed(&mut self, session: usize, at: u64, connection: u32, ending: Ending) {
        self.on(session, at, connection, What::Closed(ending));
    }

    pub(super) fn joined(&mut self, session: usize, at: u64, offset: u64) {
        self.push(session, at, What::Joining { room: room() });
        let position = Position { epoch: EPOCH, offset: Offset(offset) };
        self.push(session, at, What::Joined { room: room(), position });
    }

    pub(super) fn leaving(&mut self, session: usize, at: u64) {
        self.push(session, at, What::Leaving { room: room() });
    }

    pub(super) fn left(&mut self, session: usize, at: u64) {
        self.push(session, at, What::Left { room: room() });
    }

    pub(super) fn message(&mut self, session: usize, at: u64, key: Key, offset: u64) {
        self.received(session, at, Content::Whole(key), (offset, true));
    }

    pub(super) fn dropped(&mut self, session: usize, at: u64, key: Key, offset: u64) {
        self.received(session, at, Content::Whole(key), (offset, false));
    }

    pub(super) fn torn(&mut self, session: usize, at: u64, offset: u64) {
        self.received(session, at, Content::Torn("{".to_owned()), (offset, true));
    }

    fn received(&mut self, session: usize, at: u64, content: Content, (offset, fresh): (u64, bool)) {
        let what = What::Message { room: room(), epoch: Some(EPOCH), offset: Offset(offset), content, fresh };
        self.push(session, at, what);
    }

    pub(super) fn reset(&mut self, session: usize, at: u64, from: Option<u64>, to: u64) {
        let to = Position { epoch: EPOCH, offset: Offset(to) };
        let reason = ResetReason::Retention;
        self.push(session, at, What::Reset { room: room(), reason, from: from.map(Offset), to });
    }

    pub(super) fn written(&mut self, at: u64, stream: &str, accepted: usize, end: End) {
        self.history.streams.push(Written {
            room: room(),
            stream: stream.to_owned(),
            opened: ms(at),
            began: true,
            accepted,
            end,
            excluded: Vec::new(),
            wrong: Vec::new(),
        });
    }

    pub(super) fn text(&mut self, session: usize, at: u64, (stream, from, to): (&str, usize, usize)) {
        let (stream, content) = (stream.to_owned(), letters(stream, from, to));
        self.push(session, at, What::Text { room: room(), stream, at: from, content });
    }

    pub(super) fn stream_ended(&mut self, session: usize, at: u64, stream: &str, kind: &str) {
        let (stream, kind) = (stream.to_owned(), kind.to_owned());
        self.push(session, at, What::StreamEnded { room: room(), stream, kind });
    }

    pub(super) fn acked(&mut self, session: usize, at: u64, offset: u64) {
        self.push(session, at, What::Acked { room: room(), offset: Offset(offset) });
    }

    pub(super) fn stop(&mut self, at: u64, back: u64) {
        self.history.stops.push(Stop { at: ms(at), back: ms(back), clean: false });
    }

    pub(super) fn pause(&mut self, at: u64, until: u64) {
        self.history.pauses.push((ms(at), ms(until)));
    }

    pub(super) fn accepted(&mut self, at: u64, key: Key, offset: u64) {
        self.accepted_except(at, key, offset, &[]);
    }

    pub(super) fn accepted_except(&mut self, at: u64, key: Key, offset: u64, excluded: &[usize]) {
        self.accepted_in("r", at, key, offset);
        if let Some(publication) = self.history.publications.last_mut() {
            publication.excluded = excluded.to_vec();
        }
    }

    pub(super) fn accepted_in(&mut self, room: &str, at: u64, key: Key, offset: u64) {
        let position = Position { epoch: EPOCH, offset: Offset(offset) };
        self.answered(at, key, Outcome::Accepted { at: ms(at), position });
        if let Some(publication) = self.history.publications.last_mut() {
            publication.room = RoomName::stored(room).unwrap();
        }
    }

    pub(super) fn answered(&mut self, at: u64, key: Key, outcome: Outcome) {
        let excluded = Vec::new();
        self.history.publications.push(Publication { key, room: room(), sent: ms(at), outcome, excluded });
    }
}
