//! Readers of the log: who joined, came back, was slow or asked again. One page at a time, until they are live.

use super::frames::not_a_member;
use super::membership::is_lazy;
use super::portion::Portion;
use super::room::{Opening, Standing};
use super::send::Taken;
use super::session::{Membership, Texts};
use super::{Join, Output, PageReader, Peer, RoomKey, SessionKey, Shard, Surveyor, Turn, number};
use crate::batch::{Batch, EncodedBatch, Page, ReadFrom};
use crate::close::CloseCode;
use crate::error::Rejection;
use crate::frame::{Answer, Reply, ServerFrame};
use crate::id::RoomName;
use crate::position::{Offset, Position};
use crate::resume::{Resume, RoomState, Since, Survey, resume};
use crate::shard::greeting::reset;
use crate::time::Now;
use std::sync::Arc;
use std::time::Duration;

impl Shard {
    /// How long a room whose log could not be read waits before it is read again.
    const RETRY: Duration = Duration::from_secs(1);

    pub(super) fn surveyed(
        &mut self,
        turn: &mut Turn<'_>,
        surveyor: Surveyor,
        surveys: Result<Vec<Survey>, Rejection>,
    ) {
        match surveyor {
            Surveyor::Establish(connection) => self.attach(turn, connection, surveys),
            Surveyor::Join(join) => self.joined(turn, *join, surveys),
        }
    }

    /// It is known where a joining member begins.
    fn joined(&mut self, turn: &mut Turn<'_>, join: Join, surveys: Result<Vec<Survey>, Rejection>) {
        let Join { session: key, room, ticket, is_new, since, connection, reference, .. } = join;
        let asker = connection.map(|connection| Peer { session: key, connection });
        let reference = reference.filter(|_| asker.and_then(|asker| self.resolve(asker)).is_some());
        let still_here = self.sessions.get(key.0 as usize).and_then(|session| session.membership(room));
        let Some(membership) = still_here.filter(|membership| membership.ticket == ticket) else {
            // It left meanwhile, perhaps to join anew.
            if reference.is_some() {
                self.answer(turn, key, reference, Err(not_a_member()));
            }
            return;
        };
        if since == Since::Now && membership.is_settled() {
            let (name, position) =
                (self.room(room).name.clone(), self.standpoint(key, room).unwrap_or_default());
            return self.answer(turn, key, reference, Ok(Answer::At { room: name, position }));
        }
        let survey = match surveys.map(|surveys| surveys.first().copied()) {
            Ok(Some(survey)) => survey,
            Ok(None) => return,
            Err(rejection) => {
                if is_new {
                    self.exit(key, room);
                }
                return self.answer(turn, key, reference, Err(rejection));
            }
        };
        let name = self.room(room).name.clone();
        let state = survey.state.position();
        // A reset that is lost with its connection is told again: only what lies before it counts as acknowledged, and where the
        // numbers that were named mean nothing here, nothing does.
        let (start, acked, lost) = match survey.resume {
            Resume::Continue(offset) => (Position { offset, ..state }, offset, None),
            Resume::Reset { reason, from, to } => {
                let start = Position { offset: to, ..state };
                (start, from.unwrap_or(Offset::START), Some(reset(&name, reason, start, from)))
            }
        };
        let stood = self.standpoint(key, room).filter(|stood| stood.epoch == start.epoch);
        let sent = stood.map_or(start.offset, |stood| stood.offset.max(start.offset));
        self.enter(key, room, start);
        if let Some(membership) = self.session_mut(key).membership_mut(room) {
            // Who reads again from before has not processed that, also if the connection ends before it comes.
            membership.acked = if is_new { acked } else { acked.min(membership.acked) };
            membership.sent = membership.sent.max(sent);
            membership.texts = Texts::due(survey.has_texts);
        }
        self.hold_back(turn.now, key);
        if let Some(reference) = reference {
            let outcome = Ok(Answer::At { room: name.clone(), position: start });
            self.send_frame(turn, key, &ServerFrame::Reply(Reply { reference, outcome }));
        }
        self.send_frame(turn, key, &ServerFrame::Joined { room: name, position: start });
        if let Some(lost) = lost {
            self.send_frame(turn, key, &lost);
        }
        self.save(key);
        self.advance(key);
    }

    /// Lets a session's readers go on: those that stand where the shard stands, and miss no text, become live, the first other one
    /// gets a page. Does nothing while a page is on its way or the socket is full.
    pub(super) fn advance(&mut self, key: SessionKey) {
        let mut index = 0;
        while self.can_read(key) {
            let Some(membership) = self.session(key).memberships.get(index) else { return };
            index += 1;
            let (key_of_room, position) = (membership.room, membership.position());
            let room = self.room(key_of_room);
            if membership.standing != Standing::Reading || !room.is_open() {
                continue;
            }
            if membership.texts != Texts::DONE {
                self.read_page(key, key_of_room);
            } else if position == room.position {
                self.stand(key, key_of_room, Standing::Live);
            } else if position.epoch != room.position.epoch || position.offset < room.position.offset {
                self.read_page(key, key_of_room);
            }
            // Who is ahead of the shard waits for what the shard has not been told yet.
        }
    }

    fn can_read(&self, key: SessionKey) -> bool {
        let connected = &self.session(key).connected;
        connected.as_ref().is_some_and(|c| !c.reading && c.outbox.is_none() && c.greeting.is_none())
    }

    fn read_page(&mut self, key: SessionKey, room: RoomKey) {
        let session = self.session_mut(key);
        let (Some(peer), Some(membership)) = (session.peer(key), session.membership(room)) else { return };
        let from = membership.reads_from();
        if let Some(connected) = &mut session.connected {
            connected.reading = true;
        }
        let name = self.room(room).name.clone();
        self.outputs.push_back(Output::Read { reader: PageReader::Member(peer, room), room: name, from });
    }

    pub(super) fn page_read(
        &mut self,
        turn: &mut Turn<'_>,
        reader: PageReader,
        name: &RoomName,
        page: Result<Page, Rejection>,
    ) {
        match reader {
            PageReader::Member(peer, room) => self.member_page(turn, peer, (room, name), page),
            PageReader::Room(room) => self.room_page(turn.now, room, name, page),
        }
    }

    fn member_page(
        &mut self,
        turn: &mut Turn<'_>,
        peer: Peer,
        (room, name): (RoomKey, &RoomName),
        page: Result<Page, Rejection>,
    ) {
        let Some(key) = self.resolve(peer) else { return };
        if let Some(connected) = &mut self.session_mut(key).connected {
            connected.reading = false;
        }
        let page = match page {
            Ok(page) => page,
            Err(rejection) => {
                let code = CloseCode::of(&rejection).number();
                return self.close(turn, key, code, &rejection.message);
            }
        };
        // Its place may be another room's by now, and its socket full: then it is read again.
        let is_same = self.rooms.get(room.0 as usize).is_some_and(|room| room.name == *name);
        let reading = self
            .session(key)
            .membership(room)
            .filter(|m| m.standing == Standing::Reading && is_same && self.can_read(key));
        if let Some(position) = reading.filter(|m| m.reads_from() == page.from).map(Membership::position) {
            self.hand_out(turn, key, room, position, &page);
            let is_texts = matches!(page.from, ReadFrom::Texts { .. });
            if !is_texts && page.is_last() && self.is_beyond_its_log(room, &page) {
                // It waits for what the shard finds: reading on would find the same for ever.
                return self.read_room(room);
            }
        }
        self.advance(key);
    }

    /// Whether the shard stands beyond all that the log has: what was announced belongs to a room that was forgotten since.
    fn is_beyond_its_log(&self, room: RoomKey, page: &Page) -> bool {
        let stands = self.rooms.get(room.0 as usize).map(|room| room.position);
        stands.is_some_and(|stands| stands.epoch == page.state.epoch && stands.offset > page.state.head)
    }

    /// Hands a page to its reader: what is for it, or that something is lost.
    fn hand_out(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        room: RoomKey,
        position: Position,
        page: &Page,
    ) {
        let name = self.room(room).name.clone();
        let epoch = page.state.epoch;
        match resume(position, &page.state) {
            Resume::Reset { reason, from, to } => {
                let to = Position { epoch, offset: to };
                self.place(key, room, to);
                self.read_texts(key, room);
                self.send_frame(turn, key, &reset(&name, reason, to, from));
            }
            Resume::Continue(offset) => {
                self.place(key, room, Position { epoch, offset });
                let encoded = self.pages.encoded((room, &name), page, &self.config.framing);
                match page.from {
                    ReadFrom::After(_) => self.hand_out_records(turn, (key, room), page, &encoded),
                    ReadFrom::Texts { .. } => self.hand_out_texts(turn, (key, room), page, &encoded),
                }
            }
        }
    }

    fn hand_out_records(
        &mut self,
        turn: &mut Turn<'_>,
        (key, room): (SessionKey, RoomKey),
        page: &Page,
        encoded: &EncodedBatch,
    ) {
        let frames = self.frames_for(turn, key, encoded);
        let portion = Portion::of(&encoded.batch, frames, page.after(), self.session(key).reader());
        let end = self.offer_portion(turn, key, &portion, page);
        let Some(membership) = self.session_mut(key).membership_mut(room) else { return };
        membership.position = end;
        membership.sent = membership.sent.max(end);
        membership.skipped |= portion.is_empty() && end > page.after();
    }

    /// Texts stand where the reader stands: its position stays, until it has them all.
    fn hand_out_texts(
        &mut self,
        turn: &mut Turn<'_>,
        (key, room): (SessionKey, RoomKey),
        page: &Page,
        encoded: &EncodedBatch,
    ) {
        let frames = self.frames_for(turn, key, encoded);
        let portion = Portion::of_texts(&encoded.batch, frames, self.session(key).reader());
        let cursor = self.offer_portion(turn, key, &portion, page);
        let Some(membership) = self.session_mut(key).membership_mut(room) else { return };
        let has_all = page.is_last() && cursor >= page.end;
        membership.texts = if has_all { Texts::DONE } else { Texts::after(cursor) };
        membership.sent = membership.sent.max(membership.position);
    }

    /// Offers what of a page is for a reader. Returns how far it has come.
    fn offer_portion(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        portion: &Portion<'_>,
        page: &Page,
    ) -> Offset {
        if portion.is_empty() {
            return page.end;
        }
        match self.offer(turn, key, &portion.wire, &portion.ends) {
            Taken::All => page.end,
            Taken::Some(count) => portion.reached(count, page.after()),
        }
    }

    /// The shard itself missed announcements of a room: what it missed goes to the live members as if announced.
    fn room_page(&mut self, now: Now, key: RoomKey, name: &RoomName, page: Result<Page, Rejection>) {
        let Some(room) = self.rooms.get_mut(key.0 as usize).filter(|room| room.name == *name) else { return };
        room.reading = false;
        let Ok(page) = page else {
            self.behind.push(key);
            self.retry_at = Some(now.instant + Self::RETRY);
            return;
        };
        if page.after() != room.position.offset {
            return self.read_room(key);
        }
        if matches!(resume(room.position, &page.state), Resume::Reset { .. }) {
            self.demote_all(key, &page.state);
            return self.read_on(key);
        }
        room.behind |= !page.is_last();
        if page.records.is_empty() {
            let members = room.readers.clone();
            self.read_on(key);
            return members.into_iter().for_each(|member| self.advance(member));
        }
        let batch = Batch {
            room: name.clone(),
            epoch: page.state.epoch,
            after: page.after(),
            records: page.records,
            reached: page.reached,
        };
        let encoded = Arc::new(EncodedBatch::new(batch, &self.config.framing));
        self.room_mut(key).run.insert(0, encoded);
        self.queue.push_back(key);
    }

    /// What the live members of a room miss is lost: each is told so by its own reading.
    fn demote_all(&mut self, key: RoomKey, state: &RoomState) {
        let (live, before) = (self.room(key).live.clone(), self.room(key).position);
        self.room_mut(key).position = state.position();
        for member in live {
            self.demote(member, key, before);
            if self.can_read(member) {
                self.read_page(member, key);
            }
        }
        for member in self.room(key).readers.clone() {
            self.advance(member);
        }
    }

    /// Reads on where the log may hold more than the last page.
    pub(super) fn read_on(&mut self, key: RoomKey) {
        if std::mem::take(&mut self.room_mut(key).behind) {
            self.read_room(key);
        }
    }

    /// Asks for what the shard missed of a room. A page that is on its way may be older than what was missed: then there
    /// is to be another one.
    pub(super) fn read_room(&mut self, key: RoomKey) {
        let room = self.room_mut(key);
        if let Opening::Waiting(announced) = &mut room.opening {
            *announced = Offset::MAX;
            return;
        }
        if room.reading {
            room.behind = true;
            return;
        }
        room.reading = true;
        let (name, after) = (room.name.clone(), room.position.offset);
        self.outputs.push_back(Output::Read {
            reader: PageReader::Room(key),
            room: name,
            from: ReadFrom::After(after),
        });
    }

    pub(super) fn announcements_lost(&mut self) {
        self.open_own_rooms();
        let open: Vec<RoomKey> = self.rooms.iter().map(|(index, _)| RoomKey(number(index))).collect();
        for key in open {
            self.read_room(key);
        }
    }

    pub(super) fn subscribed(&mut self, now: Now, key: RoomKey, name: &RoomName, state: Option<RoomState>) {
        let Some(room) = self.rooms.get(key.0 as usize).filter(|room| room.name == *name && !room.is_open())
        else {
            return;
        };
        let members: Vec<SessionKey> = room.readers.clone();
        let Some(state) = state else {
            self.behind.push(key);
            self.retry_at = Some(now.instant + Self::RETRY);
            return;
        };
        if is_lazy(name) {
            self.settle_owners(key, state.epoch);
        }
        let missed = self.opened_at(key, state.position());
        if missed {
            self.read_room(key);
        } else if state.head == Offset::START && is_lazy(name) {
            // No record so far: its members are in it again with its first one.
            return self.close_room(key);
        }
        for member in members {
            self.advance(member);
        }
    }

    /// Tries again what could not be read or subscribed to.
    pub(super) fn retry(&mut self, now: Now) {
        if self.retry_at.is_none_or(|at| at > now.instant) {
            return;
        }
        self.retry_at = None;
        for key in std::mem::take(&mut self.behind) {
            match self.rooms.get(key.0 as usize) {
                Some(room) if room.is_open() => self.read_room(key),
                Some(room) => self.outputs.push_back(Output::Subscribe(key, room.name.clone())),
                None => {}
            }
        }
    }
}
