//! The publish ids of the last minutes.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use moorline_proto::id::RoomName;
use moorline_proto::position::Offset;
use moorline_proto::time::Timestamp;
use sha2::{Digest as _, Sha256};

use super::age::is_over;
use super::rules::RetentionRules;
use crate::log::{AppendError, Draft, PublishKey};

/// How many old ids an append forgets at least, so that they go away faster than they come.
const FORGOTTEN_PER_APPEND: usize = 16;

/// 128 bits of SHA-256: a sender can at best collide with itself.
pub(super) type Fingerprint = [u8; 16];

/// Each part with its length, so that different lists never look the same.
fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut short = Fingerprint::default();
    short.copy_from_slice(&digest[..size_of::<Fingerprint>()]);
    short
}

/// What one publish id stands for: its name in 128 bits, and its message in as many.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    key: Fingerprint,
    content: Fingerprint,
}

impl Claim {
    pub(super) fn new(room: &RoomName, key: &PublishKey, draft: &Draft) -> Self {
        let key = [room.as_str(), &key.sender, key.id.as_str()].map(str::as_bytes);
        Self { key: fingerprint(key), content: content(draft) }
    }
}

/// The message and who it is not for.
fn content(draft: &Draft) -> Fingerprint {
    let (sessions, users) = draft.except.as_deref().map_or((&[][..], &[][..]), |e| (&e.sessions, &e.users));
    let counted = (sessions.len() as u64).to_le_bytes();
    let ids = sessions.iter().map(|id| id.as_str()).chain(users.iter().map(|id| id.as_str()));
    fingerprint([draft.message.as_bytes(), &counted].into_iter().chain(ids.map(str::as_bytes)))
}

struct Remembered {
    content: Fingerprint,
    offset: Offset,
    at: Timestamp,
}

/// Which publish ids were used, for what, and where the record went. Of fixed size for each id: names are not kept.
pub(super) struct PublishIds {
    age: Duration,
    max: usize,
    known: HashMap<Fingerprint, Remembered>,
    /// In the order of their use; one for each in `known`, and one more for each that was used again when it was too old.
    order: VecDeque<(Timestamp, Fingerprint)>,
}

impl PublishIds {
    pub(super) fn new(rules: &RetentionRules) -> Self {
        Self {
            age: rules.id_age,
            max: rules.id_bytes / RetentionRules::ID_COST_BYTES,
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Where the claim's record went, if it has one; else whether there is room to remember it.
    pub(super) fn find(&mut self, claim: &Claim, now: Timestamp) -> Result<Option<Offset>, AppendError> {
        self.expire(now, FORGOTTEN_PER_APPEND);
        match self.known.get(&claim.key) {
            Some(known) if is_over(known.at, now, self.age) => {}
            Some(known) if known.content == claim.content => return Ok(Some(known.offset)),
            Some(_) => return Err(AppendError::Conflict),
            None => {}
        }
        if self.order.len() >= self.max { Err(AppendError::TooManyIds) } else { Ok(None) }
    }

    pub(super) fn remember(&mut self, claim: &Claim, offset: Offset, now: Timestamp) {
        self.known.insert(claim.key, Remembered { content: claim.content, offset, at: now });
        self.order.push_back((now, claim.key));
    }

    /// Forgets up to `max` of those that are too old.
    pub(super) fn expire(&mut self, now: Timestamp, max: usize) {
        for _ in 0..max {
            let Some(&(at, key)) = self.order.front().filter(|(at, _)| is_over(*at, now, self.age)) else {
                break;
            };
            self.order.pop_front();
            if self.known.get(&key).is_some_and(|known| known.at == at) {
                self.known.remove(&key);
            }
        }
        if self.order.capacity() > 64 && self.order.len() < self.order.capacity() / 4 {
            self.order.shrink_to(self.order.capacity() / 2);
            self.known.shrink_to(self.order.capacity());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(key: u8, content: u8) -> Claim {
        Claim { key: [key; 16], content: [content; 16] }
    }

    fn ids(max: usize) -> PublishIds {
        let id_bytes = max * RetentionRules::ID_COST_BYTES;
        PublishIds::new(&RetentionRules {
            id_age: Duration::from_millis(10),
            id_bytes,
            ..RetentionRules::default()
        })
    }

    #[test]
    fn an_id_used_again_after_its_time_lives_a_whole_time_again() {
        let mut ids = ids(100);
        ids.remember(&claim(1, 1), Offset(1), Timestamp(0));
        // Its time is over but the queue still has it: as if more than one call can forget stood before it.
        ids.remember(&claim(1, 2), Offset(2), Timestamp(10));
        ids.expire(Timestamp(11), usize::MAX);
        assert_eq!(ids.find(&claim(1, 2), Timestamp(19)), Ok(Some(Offset(2))));
        assert_eq!(ids.find(&claim(1, 1), Timestamp(19)), Err(AppendError::Conflict));
        assert_eq!(ids.find(&claim(1, 1), Timestamp(20)), Ok(None));
        assert!(ids.known.is_empty() && ids.order.is_empty());
    }

    #[test]
    fn a_claim_tells_apart_what_would_look_the_same_in_a_row() {
        assert_ne!(fingerprint([&b"ab"[..], b"c"]), fingerprint([&b"a"[..], b"bc"]));
        assert_ne!(fingerprint([&b"ab"[..]]), fingerprint([&b"ab"[..], b""]));
    }

    #[test]
    fn the_tables_shrink_when_the_ids_are_gone() {
        let mut ids = ids(10_000);
        for n in 0..10_000_u64 {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&n.to_le_bytes());
            ids.remember(&Claim { key, content: [0; 16] }, Offset(n), Timestamp(0));
        }
        for _ in 0..200 {
            ids.expire(Timestamp(10), 100);
        }
        assert!(ids.order.capacity() < 1_000 && ids.known.capacity() < 2_000);
    }
}
