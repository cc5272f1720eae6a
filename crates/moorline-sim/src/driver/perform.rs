//! What the driver does for each output.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use moorline_broker::{BrokerError, Fence, Keep, NodeId, Publication, PublishKey, Published, StoreError};
use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::{Answer, Presence, Publish, PublishAnswer, PublishOutcome, Target};
use moorline_proto::id::{Owner, RoomName, SessionId, StreamName};
use moorline_proto::position::Offset;
use moorline_proto::resume::{Since, SurveyRequest};
use moorline_proto::session_record::SessionRecord;
use moorline_proto::shard::{Event, Input, Output, Peer, SaveError, Surveyor, Ticket};
use moorline_proto::stream::{Command, Done};
use moorline_proto::time::Now;

use super::Driver;
use super::answers::{Answers, Pending};
use crate::backend::READY;
use crate::planted::Planted;

impl Driver {
    pub(super) fn perform(&mut self, now: Now, output: Output) {
        let Some(kind) = Answers::kind(&output) else { return self.perform_now(now, output) };
        // Who subscribes and publishes is served in the order of asking.
        let at_once = kind == 4 || kind == 6 || self.random.chance(50);
        // Nor does anything come between a save and the store, where that may crash.
        let at_once = at_once || self.saves_at_once && matches!(output, Output::Save { .. });
        let pending = if at_once { self.execute(output) } else { Some(Pending::Ask(Box::new(output))) };
        self.answers.push(kind, pending);
    }

    fn perform_now(&mut self, now: Now, output: Output) {
        match output {
            Output::Remove(id, fence) => {
                // It is done in the call; nobody waits until it is safe.
                let removed = self.backend.sessions().remove(id.clone(), Fence(fence)).now_or_never();
                if removed != Some(Err(StoreError::Fenced)) {
                    self.backend.claims.borrow_mut().remove(&id);
                }
            }
            Output::Unsubscribe(room) => {
                self.unsubscribes += 1;
                if self.backend.planted != Some(Planted::KeepSubscribed)
                    || !self.unsubscribes.is_multiple_of(3)
                {
                    *self.subscribed.entry(room.clone()).or_default() -= 1;
                    self.backend.broker().unsubscribe(room);
                }
            }
            Output::Established(peer) => {
                if let Some(link) = self.sockets.links.get_mut(&peer.connection) {
                    link.peer = Some(peer);
                    self.established.push(peer.connection);
                }
            }
            Output::Refuse(connection, refusal) => {
                if let Some(link) = self.sockets.links.get_mut(&connection) {
                    let mut bytes = Vec::new();
                    (crate::wire::FRAMING.close)(&mut bytes, refusal.code.number(), "");
                    link.to_client.extend(bytes);
                    link.server_here = false;
                }
            }
            Output::AwaitWritable(peer) => {
                if let Some(link) = self.sockets.links.get_mut(&peer.connection) {
                    link.awaits_writable = true;
                }
            }
            Output::Close { peer, rest } => self.close(now, peer, &rest),
            Output::Expire(id) => self.expired.push(id),
            Output::Event(Event::Ended { session }) => {
                self.backend.truth.borrow_mut().ended.insert(session);
            }
            _ => {}
        }
    }

    fn close(&mut self, _now: Now, peer: Peer, rest: &[u8]) {
        self.check_bound(rest.len());
        if self.sockets.slots.get(&peer.session) == Some(&peer.connection) {
            self.sockets.slots.remove(&peer.session);
        }
        if let Some(link) = self.sockets.links.get_mut(&peer.connection) {
            let count = if self.random.chance(30) { self.random.below(rest.len() + 1) } else { rest.len() };
            link.to_client.extend(&rest[..count]);
            link.server_here = false;
            link.awaits_writable = false;
        }
    }

    pub(super) fn execute(&mut self, output: Output) -> Option<Pending> {
        let (broker, store) = (self.backend.broker(), self.backend.sessions());
        let input = match output {
            Output::Load(connection, id) => {
                let record = store.load(id).now_or_never().expect(READY);
                Input::Loaded(connection, record.map_err(|_| unavailable()))
            }
            Output::Claim(connection, id) => {
                let stored = store.claim(id.clone(), NodeId("n".into())).now_or_never().expect(READY);
                let fence = stored.map(|stored| stored.fence.0);
                if let Ok(fence) = fence {
                    self.backend.claims.borrow_mut().insert(id, fence);
                }
                Input::Claimed(connection, fence.map_err(|_| unavailable()))
            }
            Output::Survey { surveyor, session, user, requests } => {
                let reread = reread(&surveyor, &session, &requests);
                let surveys = broker.survey(session, user, requests).now_or_never().expect(READY);
                let input = Input::Surveyed(surveyor, surveys.map_err(|error| error.rejection()));
                if let Some((session, room)) = reread {
                    return Some(Pending::Reread(Box::new(input), session, room));
                }
                input
            }
            Output::Save { record, fence, waiting } => {
                let session = record.id.clone();
                let record = self.kept(record);
                let saved = store.save(record, Fence(fence));
                let answer = move |saved: Result<_, _>| {
                    let result = saved.map_err(|error| match error {
                        StoreError::Fenced => SaveError::Fenced,
                        StoreError::Unavailable => SaveError::Rejected(unavailable()),
                    });
                    Some(Input::Saved { session, fence, waiting, result })
                };
                return at_once(saved.map(answer).boxed());
            }
            Output::Subscribe(key, room) => {
                *self.subscribed.entry(room.clone()).or_default() += 1;
                let state = broker.subscribe(room.clone()).now_or_never().expect(READY);
                Input::Subscribed(key, room, state.map_err(|error| error.rejection()))
            }
            Output::Read { reader, room, from } => {
                self.reads += 1;
                self.last_read = Some((reader, room.clone(), from));
                let mut page = broker.read(room.clone(), from, self.page).now_or_never().expect(READY);
                if let (Ok(page), Some(planted)) = (&mut page, self.backend.planted) {
                    spoil(page, planted);
                }
                Input::PageRead(reader, room, page.map_err(|error| error.rejection()))
            }
            Output::Publish { ticket, sender, publish } => {
                let answer = self.publish(&sender, &publish);
                return at_once(answer.map(|answer| Some(Input::Published(ticket, answer))).boxed());
            }
            Output::Stream { ticket, room, stream, command } => {
                // Nobody here leaves the name to the server.
                let stream = stream?;
                return self.stream(ticket, (room, stream), *command);
            }
            Output::Presence(ticket, room) => {
                let (count, sessions) = self.shard.present(&room, Presence::MAX_LISTED);
                Input::Presence(ticket, Presence { room, count, sessions })
            }
            _ => return None,
        };
        Some(Pending::Answer(Box::new(input)))
    }

    fn stream(
        &self,
        ticket: Ticket,
        (room, stream): (RoomName, StreamName),
        mut command: Command,
    ) -> Option<Pending> {
        let (planted, truth) = (self.backend.planted, &self.backend.truth);
        if let (Some(Planted::IgnoreFences), Command::Append { holder, .. }) = (planted, &mut command) {
            let truth = truth.borrow();
            let rights = truth.streams.named(&room, stream.as_str()).map(|written| &written.rights);
            holder.fence =
                rights.and_then(|rights| rights.given.keys().next_back().copied()).unwrap_or(holder.fence);
        }
        let early = match &command {
            Command::Append { at, content, .. } if planted == Some(Planted::AcceptBeforeCommit) => {
                Some(Done::Appended { at: at + content.chars().count() as u64, cancel: false })
            }
            _ => None,
        };
        let done = self.backend.stream(&room, &stream, command);
        if let Some(done) = early {
            let mut truth = truth.borrow_mut();
            truth.streams.believed(&room, &stream, &done);
            let answer = Answer::of_stream(room, stream, &done);
            return Some(Pending::Answer(Box::new(Input::Published(ticket, Ok(answer)))));
        }
        let answer = done.map(|done| {
            let answer = done.map(|done| Answer::of_stream(room, stream, &done));
            Some(Input::Published(ticket, answer.map_err(|error| error.rejection())))
        });
        at_once(answer.boxed())
    }

    /// A session's record as it reaches the store.
    fn kept(&self, mut record: Arc<SessionRecord>) -> Arc<SessionRecord> {
        if self.backend.planted == Some(Planted::ForgetAcks) {
            let marks = Arc::make_mut(&mut record).rooms.iter_mut();
            marks.for_each(|mark| mark.acked.offset = Offset::START);
        }
        record
    }

    fn publish(&self, sender: &Arc<str>, publish: &Publish) -> BoxFuture<'static, Result<Answer, Rejection>> {
        match &publish.to {
            Target::Room(room) => {
                let answer = self.publish_to(room.clone(), sender, publish);
                answer.map(|answer| answer.map(Answer::Published)).boxed()
            }
            Target::Sessions(ids) => {
                let rooms = ids.iter().map(|id| RoomName::own(&Owner::Session(id.clone())));
                let answers: Vec<_> = rooms.map(|room| self.publish_to(room, sender, publish)).collect();
                let results = |results: Vec<_>| results.into_iter().map(PublishOutcome).collect();
                join_all(answers)
                    .map(move |answers| Ok(Answer::Several { results: results(answers) }))
                    .boxed()
            }
        }
    }

    fn publish_to(
        &self,
        room: RoomName,
        sender: &Arc<str>,
        publish: &Publish,
    ) -> BoxFuture<'static, Result<PublishAnswer, Rejection>> {
        let id = publish.id.clone().filter(|_| self.backend.planted != Some(Planted::ForgetPublishIds));
        let keep = if publish.ephemeral {
            Keep::Ephemeral
        } else {
            let key = id.map(|id| PublishKey { sender: Arc::clone(sender), id });
            Keep::Record { key, durability: publish.durability }
        };
        let (message, except) = (publish.message.clone(), publish.except.clone());
        let publication = Publication { room: room.clone(), message, except, keep };
        // A user's sessions share the ids' scope, but not an order.
        let who = publish.id.as_ref().and_then(|id| id.as_str().split('-').next()).unwrap_or_default();
        let published = self.backend.publish(publication, &format!("{sender} {who}"));
        let audience = self.shard.audience(&room, publish.except.as_deref());
        let (reached, queued) = (audience.reached, audience.queued);
        let answer = move |published: Result<_, BrokerError>| {
            let (position, duplicate) = match published.map_err(|error| error.rejection())? {
                Published::Stored { position, duplicate, .. } => (Some(position), duplicate),
                Published::Ephemeral => (None, false),
            };
            Ok(PublishAnswer { room, position, reached, queued, durability: None, duplicate })
        };
        published.map(answer).boxed()
    }
}

/// What planted bugs make of a page.
fn spoil(page: &mut Page, planted: Planted) {
    match (planted, page.from) {
        (Planted::ForgetExceptOnReplay, _) => page.records.iter_mut().for_each(|record| record.except = None),
        (Planted::SkipTexts, ReadFrom::Texts { at, .. }) => {
            (page.records, page.reached, page.end) = (Vec::new(), Vec::new(), at);
        }
        _ => {}
    }
}

/// The room that a join reads from before.
fn reread(
    surveyor: &Surveyor,
    session: &SessionId,
    requests: &[SurveyRequest],
) -> Option<(SessionId, RoomName)> {
    let request = requests.first().filter(|request| request.since != Since::Now)?;
    matches!(surveyor, Surveyor::Join(_)).then(|| (session.clone(), request.room.clone()))
}

/// The answer where it is there, else later.
fn at_once(mut answer: BoxFuture<'static, Option<Input>>) -> Option<Pending> {
    match (&mut answer).now_or_never() {
        Some(input) => Some(Pending::Answer(Box::new(input?))),
        None => Some(Pending::Later(answer)),
    }
}

fn unavailable() -> Rejection {
    Rejection::new(ErrorCode::Unavailable, "the store does not answer")
}
