//! Look-ups and commands over all shards (requirements R2, R4, R5, R31).

use futures_util::future::join_all;
use moorline_broker::ReadLimit;
use moorline_proto::batch::{self, ReadFrom};
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::{Presence, PresentSession};
use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::record::Record;
use moorline_proto::resume::{ResetReason, Resume, RoomState, resume};
use moorline_proto::shard::{Host, RoomView, SessionFilter, SessionView, Shard};
use moorline_proto::time::Now;
use serde::Serialize;

use crate::node::Node;

/// Some of many, in order.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// They.
    pub items: Vec<T>,
    /// Whether there are more behind the last.
    pub more: bool,
}

/// A room as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct RoomDetail {
    /// Its name.
    pub room: RoomName,
    /// Its log's history.
    pub epoch: Epoch,
    /// The newest record.
    pub message_id: Offset,
    /// The oldest kept one.
    pub oldest: Option<Offset>,
    /// Connected members.
    pub connected: usize,
    /// Absent ones.
    pub absent: usize,
    /// The connected ones' ids, up to 1,000.
    pub sessions: Vec<SessionId>,
}

/// A user as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct UserView {
    /// Who.
    pub user: UserId,
    /// Connected sessions.
    pub connected: usize,
    /// Absent ones.
    pub absent: usize,
    /// Their ids, sorted, up to 1,000.
    pub sessions: Vec<SessionId>,
}

/// A piece of a room's log.
#[derive(Clone, Debug)]
pub struct History {
    /// The log's history.
    pub epoch: Epoch,
    /// The records.
    pub records: Vec<Record>,
    /// What is lost before them: why, after which offset, up to which. They begin behind that.
    pub reset: Option<Lost>,
}

/// Why, after which offset, up to which.
type Lost = (ResetReason, Option<Offset>, Offset);

/// The node's totals.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Live connections.
    pub connections: usize,
    /// Sessions, connected and absent.
    pub sessions: usize,
    /// Absent ones.
    pub absent: usize,
    /// Users with sessions.
    pub users: usize,
    /// Named rooms with members.
    pub rooms: usize,
    /// Records kept.
    pub records: usize,
    /// What they cost, in bytes.
    pub log_bytes: usize,
    /// How long the node has run.
    pub uptime_ms: u64,
    /// Users with connected sessions.
    #[serde(skip)]
    pub connected_users: usize,
    /// Connected sessions of each of up to 1,000 users.
    pub connections_by_user: serde_json::Map<String, serde_json::Value>,
}

impl Node {
    /// Asks every shard.
    pub(crate) async fn ask_all<T: Send + 'static>(
        &self,
        ask: impl Fn(&mut Shard, Now, &mut dyn Host) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        let asked = self.shards().iter().map(|shard| {
            let ask = ask.clone();
            shard.call(move |shard, now, host| ask(shard, now, host))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Waits until what the shards were told before is as safe as the session store makes it.
    pub(crate) async fn kept(&self) -> Result<(), Rejection> {
        // Answered behind what was asked before: by then the store has been told.
        self.ask_all(|_, _, _| ()).await;
        let settled = self.store().settled().await;
        settled.map_err(|error| Rejection::new(ErrorCode::Unavailable, error.to_string()))
    }

    /// Asks a session's shard.
    async fn ask<T: Send + 'static>(
        &self,
        id: &SessionId,
        ask: impl FnOnce(&mut Shard, Now, &mut dyn Host) -> T + Send + 'static,
    ) -> Result<T, Rejection> {
        let answer = self.shard_of(id).call(ask).await;
        answer.ok_or_else(|| Rejection::new(ErrorCode::Unavailable, "the node has stopped"))
    }

    /// One session.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn session(&self, id: &SessionId) -> Result<SessionView, Rejection> {
        let wanted = id.clone();
        let view = self.ask(id, move |shard, now, _| shard.view(now, &wanted)).await?;
        view.ok_or_else(|| Rejection::new(ErrorCode::NotFound, "there is no such session"))
    }

    /// Sessions, sorted by id. Cost: one look at every session, or at the user's.
    pub async fn sessions(&self, filter: SessionFilter) -> Page<SessionView> {
        let limit = filter.limit.clamp(1, SessionFilter::MAX);
        let views = self.ask_all(move |shard, now, _| shard.views(now, &filter, limit + 1)).await;
        page(views, limit, |a, b| a.session.cmp(&b.session))
    }

    /// Ends a session: its connection is closed with 4002, it cannot be resumed. False where there was none.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn disconnect(&self, id: &SessionId) -> Result<bool, Rejection> {
        let wanted = id.clone();
        let had_one = self.ask(id, move |shard, now, host| shard.disconnect(now, &wanted, host)).await?;
        self.kept().await?;
        Ok(had_one)
    }

    /// Ends every session of a user. Returns how many there were.
    ///
    /// # Errors
    /// `unavailable`: they ended here, and may be back after a crash.
    pub async fn disconnect_user(&self, user: &UserId) -> Result<usize, Rejection> {
        let user = user.clone();
        let ended = self.ask_all(move |shard, now, host| shard.disconnect_user(now, &user, host)).await;
        self.kept().await?;
        Ok(ended.into_iter().sum())
    }

    /// Merges into a session's metadata (RFC 7396) and returns the session.
    ///
    /// # Errors
    /// `not_found`, or `metadata_invalid`.
    pub async fn update_metadata(&self, id: &SessionId, patch: String) -> Result<SessionView, Rejection> {
        let wanted = id.clone();
        self.ask(id, move |shard, _, _| shard.update_metadata(&wanted, &patch)).await??;
        self.kept().await?;
        self.session(id).await
    }

    /// Makes a session a member of a room, from now on.
    ///
    /// # Errors
    /// `not_found` without such a session, `too_many_rooms`.
    pub async fn add_to_room(&self, id: &SessionId, room: RoomName) -> Result<(), Rejection> {
        let wanted = id.clone();
        self.ask(id, move |shard, _, _| shard.add_to_room(&wanted, &room)).await??;
        self.kept().await
    }

    /// Ends a session's membership.
    ///
    /// # Errors
    /// `not_found` without such a session.
    pub async fn remove_from_room(&self, id: &SessionId, room: RoomName) -> Result<(), Rejection> {
        let wanted = id.clone();
        self.ask(id, move |shard, now, host| shard.remove_from_room(now, &wanted, &room, host)).await??;
        self.kept().await
    }

    /// Ends a session that is one too many of its user's absent ones.
    pub(crate) async fn expire(&self, id: SessionId) {
        let wanted = id.clone();
        // A node that has stopped has nothing to expire.
        let _stopped = self.ask(&id, move |shard, now, host| shard.expire(now, &wanted, host)).await;
    }

    /// Named rooms with members, sorted.
    pub async fn rooms(&self, cursor: Option<RoomName>, limit: usize) -> Page<RoomView> {
        let limit = limit.clamp(1, SessionFilter::MAX);
        let mut views: Vec<RoomView> = self
            .ask_all(move |shard, _, _| shard.room_views(cursor.as_ref(), limit + 1))
            .await
            .into_iter()
            .flatten()
            .collect();
        views.sort_unstable_by(|a, b| a.room.cmp(&b.room));
        views.dedup_by(|later, earlier| {
            let same = later.room == earlier.room;
            if same {
                earlier.connected += later.connected;
                earlier.absent += later.absent;
            }
            same
        });
        page(vec![views], limit, |a, b| a.room.cmp(&b.room))
    }

    /// One room.
    ///
    /// # Errors
    /// `not_found` where it has neither members nor records; or the broker does not answer.
    pub async fn room(&self, room: &RoomName) -> Result<RoomDetail, Rejection> {
        let name = room.clone();
        let present = self
            .ask_all(move |shard, _, _| (shard.present(&name, SessionFilter::MAX), shard.absent(&name)))
            .await;
        let (mut connected, mut absent, mut sessions) = (0, 0, Vec::new());
        for ((count, present), away) in present {
            connected += count;
            absent += away;
            sessions.extend(present.into_iter().map(|present| present.session));
        }
        sessions.sort_unstable();
        sessions.truncate(SessionFilter::MAX);
        let first = self.read(room, Offset::START, 1).await?;
        let oldest = first.records.first().map(|record| record.offset);
        if connected + absent == 0 && oldest.is_none() && first.state.head == Offset::START {
            return Err(Rejection::new(ErrorCode::NotFound, "there is no such room"));
        }
        let (epoch, message_id) = (first.state.epoch, first.state.head);
        Ok(RoomDetail { room: room.clone(), epoch, message_id, oldest, connected, absent, sessions })
    }

    /// The records of a room behind an offset, or behind what is lost there; without one all that is kept, from the oldest.
    ///
    /// # Errors
    /// The broker does not answer; `overloaded` where the room loses more at every look.
    pub async fn history(
        &self,
        room: &RoomName,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<History, Rejection> {
        const LOOKS_MAX: usize = 16;
        let limit = limit.clamp(1, SessionFilter::MAX);
        let asked = after.unwrap_or(Offset::START);
        let mut from = asked;
        for _ in 0..LOOKS_MAX {
            let page = self.read(room, from, limit).await?;
            let reset = after.and_then(|after| lost_behind(after, &page.state));
            let begin = reset.map_or(asked, |(.., to)| to);
            // Text of open streams stays where all else was cut: it has no place here, and may be merged with what has.
            if from <= begin && page.records.first().is_none_or(|first| first.offset > begin) {
                return Ok(History { epoch: page.state.epoch, records: page.records, reset });
            }
            from = begin;
        }
        Err(Rejection::new(ErrorCode::Overloaded, "the room loses messages faster than they are read"))
    }

    async fn read(&self, room: &RoomName, after: Offset, records: usize) -> Result<batch::Page, Rejection> {
        const BYTES: usize = 4 * 1024 * 1024;
        let limit = ReadLimit { records, bytes: BYTES };
        let from = ReadFrom::After(after);
        self.broker().read(room.clone(), from, limit).await.map_err(|error| error.rejection())
    }

    /// Removes a room's records. Members go on; who had not read them is told by `reset`.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn clear(&self, room: &RoomName) -> Result<(), Rejection> {
        self.broker().clear(room.clone()).await.map_err(|error| error.rejection())
    }

    /// One user's sessions.
    ///
    /// # Errors
    /// `not_found` where it has none.
    pub async fn user(&self, user: &UserId) -> Result<UserView, Rejection> {
        let filter =
            SessionFilter { user: Some(user.clone()), limit: SessionFilter::MAX, ..SessionFilter::default() };
        let sessions = self.sessions(filter).await.items;
        if sessions.is_empty() {
            return Err(Rejection::new(ErrorCode::NotFound, "this user has no session"));
        }
        let connected = sessions.iter().filter(|session| session.connected).count();
        let absent = sessions.len() - connected;
        let sessions = sessions.into_iter().map(|session| session.session).collect();
        Ok(UserView { user: user.clone(), connected, absent, sessions })
    }

    /// The totals. Cost: one look at every session.
    pub async fn stats(&self) -> Stats {
        let answers = self
            .ask_all(|shard, _, _| {
                (shard.counts(), shard.room_names(), shard.user_counts(SessionFilter::MAX))
            })
            .await;
        let (mut connections, mut absent) = (0, 0);
        let mut rooms = std::collections::BTreeSet::new();
        let mut by_user = std::collections::BTreeMap::<UserId, usize>::new();
        for (counts, names, users) in answers {
            connections += counts.connected;
            absent += counts.absent;
            rooms.extend(names);
            for (user, count) in users {
                *by_user.entry(user).or_default() += count;
            }
        }
        let by_user = by_user.into_iter().take(SessionFilter::MAX);
        let log = self.broker().stats();
        Stats {
            connections,
            sessions: connections + absent,
            absent,
            users: self.with_users(|users| users.count()),
            connected_users: self.with_users(|users| users.connected()),
            rooms: rooms.len(),
            records: log.records,
            log_bytes: log.bytes,
            uptime_ms: u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX),
            connections_by_user: by_user.map(|(user, count)| (user.to_string(), count.into())).collect(),
        }
    }

    /// Who is connected in a room.
    pub(crate) async fn presence(&self, room: RoomName) -> Presence {
        let name = room.clone();
        let answers = self.ask_all(move |shard, _, _| shard.present(&name, Presence::MAX_LISTED)).await;
        let count = answers.iter().map(|(count, _)| count).sum();
        let mut sessions: Vec<PresentSession> =
            answers.into_iter().flat_map(|(_, sessions)| sessions).collect();
        sessions.sort_unstable();
        sessions.truncate(Presence::MAX_LISTED);
        Presence { room, count, sessions }
    }
}

/// What a reader that stands there has lost.
fn lost_behind(after: Offset, state: &RoomState) -> Option<Lost> {
    match resume(Position { epoch: state.epoch, offset: after }, state) {
        Resume::Continue(_) => None,
        Resume::Reset { reason, from, to } => Some((reason, from, to)),
    }
}

/// The first `limit` of several sorted lists.
fn page<T>(lists: Vec<Vec<T>>, limit: usize, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Page<T> {
    let mut items: Vec<T> = lists.into_iter().flatten().collect();
    items.sort_unstable_by(order);
    let more = items.len() > limit;
    items.truncate(limit);
    Page { items, more }
}
