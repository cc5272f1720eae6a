//! What the application does to sessions: the HTTP interface and the library call these. Each is idempotent.

use super::frames::Joiner;
use super::{Host, SessionKey, Shard, Turn};
use crate::close::CloseCode;
use crate::error::{ErrorCode, Rejection};
use crate::frame::{LeftReason, ServerFrame};
use crate::id::{RoomName, SessionId, UserId};
use crate::identity::TokenId;
use crate::metadata;
use crate::resume::Since;
use crate::time::Now;
use std::sync::Arc;

const DISCONNECTED: (CloseCode, &str) = (CloseCode::Disconnected, "disconnected by the application");
const REVOKED: (CloseCode, &str) = (CloseCode::Revoked, "revoked");

impl Shard {
    /// Ends a session; its connection is closed with 4002. False where there is none.
    pub fn disconnect(&mut self, now: Now, id: &SessionId, host: &mut dyn Host) -> bool {
        let Some(key) = self.session_named(id) else { return false };
        self.end_now(&mut Turn { now, host }, key, DISCONNECTED);
        true
    }

    /// Ends a session, connected or not.
    pub(super) fn end_now(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        (code, reason): (CloseCode, &str),
    ) {
        if self.session(key).connected.is_some() {
            self.drop_connection(turn, key, Some((code.number(), reason)));
            if let Some(user) = self.session(key).user().cloned() {
                turn.host.with_users(&mut |users| users.close(&user));
            }
        }
        self.end(turn, key);
    }

    /// Ends every session of a user here. Returns how many there were.
    pub fn disconnect_user(&mut self, now: Now, user: &UserId, host: &mut dyn Host) -> usize {
        self.end_user(&mut Turn { now, host }, user, DISCONNECTED)
    }

    /// Ends every session of a user whose tokens were revoked, with close 4003. Returns how many there were.
    pub fn revoke_user(&mut self, now: Now, user: &UserId, host: &mut dyn Host) -> usize {
        self.end_user(&mut Turn { now, host }, user, REVOKED)
    }

    fn end_user(&mut self, turn: &mut Turn<'_>, user: &UserId, why: (CloseCode, &str)) -> usize {
        let keys: Vec<SessionKey> = self.sessions_of(user).collect();
        keys.iter().for_each(|&key| self.end_now(turn, key, why));
        keys.len()
    }

    /// Ends every session that a revoked token let in, with close 4003. Returns how many there were. Cost: one look at
    /// every session.
    pub fn revoke_token(&mut self, now: Now, token: &TokenId, host: &mut dyn Host) -> usize {
        let keys = self.sessions_of_token(token);
        let turn = &mut Turn { now, host };
        keys.iter().for_each(|&key| self.end_now(turn, key, REVOKED));
        keys.len()
    }

    /// Ends a session if it is absent, because its user has too many of those.
    pub fn expire(&mut self, now: Now, id: &SessionId, host: &mut dyn Host) {
        let turn = &mut Turn { now, host };
        if let Some(key) = self.session_named(id)
            && self.session(key).connected.is_none()
        {
            self.end(turn, key);
        }
    }

    /// Makes a session a member of a room from now on; the client is told by `joined`.
    ///
    /// # Errors
    /// `not_found` without such a session, `too_many_rooms`.
    pub fn add_to_room(&mut self, id: &SessionId, room: &RoomName) -> Result<(), Rejection> {
        let key = self.key_of(id)?;
        let is_member =
            self.room_named(room).is_some_and(|room| self.session(key).membership(room).is_some());
        if !is_member {
            self.join(key, room, Since::Now, Joiner::Application)?;
        }
        let room = self.open_room(room);
        let membership = self.session_mut(key).membership_mut(room);
        let is_news = membership.is_some_and(|membership| !std::mem::replace(&mut membership.is_added, true));
        if is_member && is_news {
            self.save(key);
        }
        Ok(())
    }

    /// Ends a session's membership; the client is told by `left`.
    ///
    /// # Errors
    /// `not_found` without such a session.
    pub fn remove_from_room(
        &mut self,
        now: Now,
        id: &SessionId,
        room: &RoomName,
        host: &mut dyn Host,
    ) -> Result<(), Rejection> {
        let turn = &mut Turn { now, host };
        let key = self.key_of(id)?;
        let left = self.room_named(room).is_some_and(|room| self.exit(key, room));
        if left {
            self.hold_back(now, key);
            let frame = ServerFrame::Left { room: room.clone(), reason: LeftReason::Removed };
            self.send_frame(turn, key, &frame);
            self.save(key);
        }
        Ok(())
    }

    /// Merges into a session's metadata (RFC 7396).
    ///
    /// # Errors
    /// `not_found` without such a session, `metadata_invalid`.
    pub fn update_metadata(&mut self, id: &SessionId, patch: &str) -> Result<(), Rejection> {
        let key = self.key_of(id)?;
        let max = self.config.metadata_max_bytes;
        let session = self.session_mut(key);
        let merged = metadata::merge(session.record.metadata.as_deref(), patch, max)?;
        Arc::make_mut(&mut session.record).metadata = merged;
        self.save(key);
        Ok(())
    }

    fn key_of(&self, id: &SessionId) -> Result<SessionKey, Rejection> {
        let key = self.session_named(id);
        key.ok_or_else(|| Rejection::new(ErrorCode::NotFound, "there is no such session"))
    }
}
