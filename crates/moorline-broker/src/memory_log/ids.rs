//! The publish ids of the last minutes.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use moorline_proto::id::RoomName;
use moorline_proto::position::Offset;
use sha2::{Digest as _, Sha256};

use super::age::LogTime;
use super::rules::RetentionRules;
use crate::log::{AppendError, Draft, PublishKey};

/// How many old ids an append forgets at least, so that they go away faster than they come.
const FORGOTTEN_PER_APPEND: usize = 16;

/// 128 bits of SHA-256: a sender can at best collide with itself.
pub type Fingerprint = [u8; 16];

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

/// Clients have this part of all ids together: the application's own publishes are never refused for theirs.
const CLIENTS_SHARE: usize = 2;
/// One client has this part of all ids: at the defaults 6,553, that is 21 publishes with an id each second.
const CLIENT_SHARE: usize = 16;

/// A client in 64 bits; none is the application.
pub type Client = Option<u64>;

/// What one publish id stands for: its name in 128 bits, and its message in as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The room, the sender and the id.
    pub key: Fingerprint,
    /// The message, and who it is not for.
    pub content: Fingerprint,
    /// Whose share it takes; none is the application.
    pub client: Client,
}

impl Claim {
    pub(super) fn new(room: &RoomName, key: &PublishKey, draft: &Draft) -> Self {
        let client = key.is_clients().then(|| {
            let [a, b, c, d, e, f, g, h, ..] = fingerprint([key.sender.as_bytes()]);
            u64::from_le_bytes([a, b, c, d, e, f, g, h])
        });
        let key = [room.as_str(), &key.sender, key.id.as_str()].map(str::as_bytes);
        Self { key: fingerprint(key), content: content(draft), client }
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
    at: LogTime,
}

/// Which publish ids were used, for what, and where the record went. Of fixed size for each id: names are not kept.
pub(super) struct PublishIds {
    age: Duration,
    max: usize,
    known: HashMap<Fingerprint, Remembered>,
    /// In the order of their use; one for each in `known`, and one more for each that was used again when it was too old.
    order: VecDeque<(LogTime, Fingerprint, Client)>,
    /// How many of `order` are each client's, and all clients' together.
    by_client: HashMap<u64, usize>,
    clients: usize,
}

impl PublishIds {
    pub(super) fn new(rules: &RetentionRules) -> Self {
        Self {
            age: rules.id_age,
            max: rules.id_bytes / RetentionRules::ID_COST_BYTES,
            known: HashMap::new(),
            order: VecDeque::new(),
            by_client: HashMap::new(),
            clients: 0,
        }
    }

    /// Where the claim's record went, if it has one; else whether there is room to remember it.
    pub(super) fn find(&mut self, claim: &Claim, now: LogTime) -> Result<Option<Offset>, AppendError> {
        self.expire(now, FORGOTTEN_PER_APPEND);
        match self.known.get(&claim.key) {
            Some(known) if known.at.is_over(now, self.age) => {}
            Some(known) if known.content == claim.content => return Ok(Some(known.offset)),
            Some(_) => return Err(AppendError::Conflict),
            None => {}
        }
        if self.has_room(claim) { Ok(None) } else { Err(AppendError::TooManyIds) }
    }

    fn has_room(&self, claim: &Claim) -> bool {
        let Some(client) = claim.client else { return self.order.len() < self.max };
        let its = self.by_client.get(&client).copied().unwrap_or_default();
        self.order.len() < self.max
            && self.clients < self.max.div_ceil(CLIENTS_SHARE)
            && its < self.max.div_ceil(CLIENT_SHARE)
    }

    pub(super) fn remember(&mut self, claim: &Claim, offset: Offset, now: LogTime) {
        self.known.insert(claim.key, Remembered { content: claim.content, offset, at: now });
        self.order.push_back((now, claim.key, claim.client));
        if let Some(client) = claim.client {
            *self.by_client.entry(client).or_default() += 1;
            self.clients += 1;
        }
    }

    /// Forgets up to `max` of those that are too old.
    pub(super) fn expire(&mut self, now: LogTime, max: usize) {
        for _ in 0..max {
            let Some(&(at, key, client)) = self.order.front().filter(|(at, ..)| at.is_over(now, self.age))
            else {
                break;
            };
            self.order.pop_front();
            self.give_back(client);
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

impl PublishIds {
    /// Whether an id is still remembered.
    pub(super) fn knows(&self, key: &Fingerprint) -> bool {
        self.known.contains_key(key)
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn give_back(&mut self, client: Client) {
        let Some(client) = client else { return };
        self.clients -= 1;
        if let Some(count) = self.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moorline_proto::time::{Instant, Now};

    fn at(millis: u64) -> LogTime {
        let instant = Instant::since_start(Duration::from_millis(millis));
        LogTime::of(Now { instant, ..Now::default() })
    }

    fn claim(key: u8, content: u8) -> Claim {
        Claim { key: [key; 16], content: [content; 16], client: None }
    }

    #[test]
    fn clients_share_half_and_one_of_them_a_sixteenth() {
        let mut ids = ids(64);
        let mut taken = |client: Client, from: u8| {
            let claims = (from..).map(|key| Claim { client, ..claim(key, 0) });
            let fits = claims.take_while(|claim| {
                let has_room = ids.find(claim, at(0)) == Ok(None);
                if has_room {
                    ids.remember(claim, Offset(1), at(0));
                }
                has_room
            });
            fits.count()
        };
        assert_eq!(taken(Some(1), 0), 4);
        assert_eq!(
            (2..20).map(|client| taken(Some(client), 8 * u8::try_from(client).unwrap())).sum::<usize>(),
            28
        );
        assert_eq!(taken(None, 180), 32);
        ids.expire(at(10), usize::MAX);
        assert!(ids.by_client.is_empty() && ids.clients == 0);
        assert_eq!(ids.find(&Claim { client: Some(1), ..claim(1, 0) }, at(10)), Ok(None));
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
        ids.remember(&claim(1, 1), Offset(1), at(0));
        // Its time is over but the queue still has it: as if more than one call can forget stood before it.
        ids.remember(&claim(1, 2), Offset(2), at(10));
        ids.expire(at(11), usize::MAX);
        assert_eq!(ids.find(&claim(1, 2), at(19)), Ok(Some(Offset(2))));
        assert_eq!(ids.find(&claim(1, 1), at(19)), Err(AppendError::Conflict));
        assert_eq!(ids.find(&claim(1, 1), at(20)), Ok(None));
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
            ids.remember(&Claim { key, content: [0; 16], client: None }, Offset(n), at(0));
        }
        for _ in 0..200 {
            ids.expire(at(10), 100);
        }
        assert!(ids.order.capacity() < 1_000 && ids.known.capacity() < 2_000);
    }
}
