//! Who and what is here, by name. A name is kept by what has it and nowhere else, so that an entry costs some five bytes.

use std::hash::{BuildHasher as _, RandomState};
use std::iter::successors;

use hashbrown::HashTable;

use super::{RoomKey, SessionKey, Shard};
use crate::id::{RoomName, SessionId, UserId};

/// Numbers of things, to be found by the names that the things have.
#[derive(Debug, Default)]
pub(super) struct Index {
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Index {
    fn find<'a>(&self, name: &str, name_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        self.numbers.find(self.hasher.hash_one(name), |&other| name_of(other) == name).copied()
    }

    /// Has a thing found by its name, and no longer another one of that name, which is returned.
    fn insert<'a>(&mut self, number: u32, name_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        let name = name_of(number);
        let hash = self.hasher.hash_one(name);
        if let Some(other) = self.numbers.find_mut(hash, |&other| name_of(other) == name) {
            return Some(std::mem::replace(other, number));
        }
        let hasher = &self.hasher;
        self.numbers.insert_unique(hash, number, |&other| hasher.hash_one(name_of(other)));
        None
    }

    fn remove(&mut self, number: u32, name: &str) {
        if let Ok(entry) = self.numbers.find_entry(self.hasher.hash_one(name), |&other| other == number) {
            entry.remove();
        }
    }
}

impl Shard {
    pub(super) fn room_named(&self, name: &RoomName) -> Option<RoomKey> {
        let name_of = |number| self.room(RoomKey(number)).name.as_str();
        self.rooms_by_name.find(name.as_str(), name_of).map(RoomKey)
    }

    pub(super) fn session_named(&self, id: &SessionId) -> Option<SessionKey> {
        let id_of = |number| self.session(SessionKey(number)).id().as_str();
        self.sessions_by_id.find(id.as_str(), id_of).map(SessionKey)
    }

    /// A user's sessions, the newest first.
    pub(super) fn sessions_of(&self, user: &UserId) -> impl Iterator<Item = SessionKey> {
        let user_of = |number| user_of(self.session(SessionKey(number)).user());
        let newest = self.sessions_by_user.find(user.as_str(), user_of).map(SessionKey);
        successors(newest, |&key| self.session(key).older)
    }

    pub(super) fn index_room(&mut self, key: RoomKey) {
        let rooms = &self.rooms;
        // It has no namesake: who opens a room looks first.
        self.rooms_by_name.insert(key.0, |number| rooms[number as usize].name.as_str());
    }

    /// Before the room is taken off the slab.
    pub(super) fn unindex_room(&mut self, key: RoomKey) {
        self.rooms_by_name.remove(key.0, self.rooms[key.0 as usize].name.as_str());
    }

    pub(super) fn index_session(&mut self, key: SessionKey) {
        let sessions = &self.sessions;
        self.sessions_by_id.insert(key.0, |number| sessions[number as usize].id().as_str());
        if self.session(key).user().is_some() {
            let sessions = &self.sessions;
            let older =
                self.sessions_by_user.insert(key.0, |number| user_of(sessions[number as usize].user()));
            self.session_mut(key).older = older.map(SessionKey);
        }
    }

    /// Before the session is taken off the slab.
    pub(super) fn unindex_session(&mut self, key: SessionKey) {
        let session = &self.sessions[key.0 as usize];
        self.sessions_by_id.remove(key.0, session.id().as_str());
        let (Some(user), older) = (session.user(), session.older) else { return };
        let newer = self.sessions_of(user).find(|&newer| self.session(newer).older == Some(key));
        match (newer, older) {
            (Some(newer), _) => self.session_mut(newer).older = older,
            (None, Some(older)) => {
                let sessions = &self.sessions;
                self.sessions_by_user.insert(older.0, |number| user_of(sessions[number as usize].user()));
            }
            (None, None) => self.sessions_by_user.remove(key.0, user.as_str()),
        }
    }
}

/// A user as a name; those who are none are in no index by user.
fn user_of(user: Option<&UserId>) -> &str {
    user.map_or("", UserId::as_str)
}
