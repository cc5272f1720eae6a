//! How much a log keeps.

use std::time::Duration;

use moorline_proto::id::RoomName;

use super::class::Class;

const MIB: usize = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How much one room keeps. Whatever the bounds say, a room's newest record outlives them until it is too old, or until
/// all rooms together are too large: a message larger than `bytes` is still delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most this many records. Bounds what a reader that comes back is sent, and what reading costs.
    pub records: usize,
    /// At most this many bytes ([`Record::cost_bytes`](moorline_proto::record::Record::cost_bytes)). Bounds one room's
    /// share of the memory.
    pub bytes: usize,
    /// No record older than this, by the wall clock. No shorter than sessions live, else their resets are frequent.
    pub age: Duration,
}

/// How much each room keeps whose name begins in some way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixRetention {
    /// How the name begins.
    pub prefix: Box<str>,
    /// What such a room keeps.
    pub keep: Retention,
}

/// How much a log keeps of rooms and of publish ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRules {
    /// A room of the application's that no prefix names. By default 1,000 records, 4 MiB and 1 hour: the lifetime of an absent session.
    pub room: Retention,
    /// An own room (`@user/…`, `@session/…`, `@all`). By default 100 records, 4 MiB and 1 hour: there is one for each
    /// session and each user, so they are many, and each has few readers.
    pub own: Retention,
    /// Rooms of the application's whose names begin so; the longest prefix that fits counts. By default none, at most
    /// [`RetentionRules::PREFIXES_MAX`]. Own rooms never match.
    pub prefixes: Vec<PrefixRetention>,
    /// All records of all rooms, in bytes; beyond it the oldest record goes, whichever room it is in. By default
    /// 256 MiB. The bound on a log's memory, apart from the publish ids and about 200 bytes for each room.
    pub total_bytes: usize,
    /// How long a publish id is remembered. By default 5 minutes, which the protocol promises; more costs memory.
    pub id_age: Duration,
    /// What all publish ids may take, in bytes; an id costs [`RetentionRules::ID_COST_BYTES`]. By default 16 MiB, that
    /// is 104,857 ids, or 349 publishes with an id each second for five minutes. Beyond it publishes with an id are refused.
    pub id_bytes: usize,
}

impl RetentionRules {
    /// What remembering one publish id costs, in bytes, its share of half-empty tables included.
    pub const ID_COST_BYTES: usize = 160;

    /// How many prefixes there may be: each is compared with the name of every room that gets an entry, and each is one
    /// more place to look for the oldest record of all.
    pub const PREFIXES_MAX: usize = 64;

    /// The bounds of one room.
    #[must_use]
    pub fn of(&self, room: &RoomName) -> &Retention {
        self.of_class(self.class(room))
    }

    /// The kind of room that this is. Looks at every prefix: a log asks once for each of its rooms.
    pub(super) fn class(&self, room: &RoomName) -> Class {
        if room.is_own() {
            return Class::OWN;
        }
        let fitting =
            self.prefixes.iter().enumerate().filter(|(_, rule)| room.as_str().starts_with(&*rule.prefix));
        let longest = fitting.max_by_key(|(_, rule)| rule.prefix.len());
        longest.map_or(Class::NAMED, |(index, _)| Class::prefix(index))
    }

    /// The bounds of a kind of rooms.
    pub(super) fn of_class(&self, class: Class) -> &Retention {
        match class.prefix_index().and_then(|index| self.prefixes.get(index)) {
            Some(rule) => &rule.keep,
            None if class == Class::OWN => &self.own,
            None => &self.room,
        }
    }
}

impl Default for RetentionRules {
    fn default() -> Self {
        Self {
            room: Retention { records: 1_000, bytes: 4 * MIB, age: HOUR },
            own: Retention { records: 100, bytes: 4 * MIB, age: HOUR },
            prefixes: Vec::new(),
            total_bytes: 256 * MIB,
            id_age: Duration::from_secs(5 * 60),
            id_bytes: 16 * MIB,
        }
    }
}
