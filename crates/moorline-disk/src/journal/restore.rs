//! What a file holds, as the log and the sessions that it was written from.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use moorline_broker::{MemoryLog, RetentionRules};
use moorline_proto::id::{NameError, RoomName};
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::resume::Formers;
use moorline_proto::session_record::SessionRecord;
use moorline_proto::time::{Now, Timestamp};
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableError};

use super::{Journal, chunks, cleaning, open_engine, put_state};
use crate::error::{OpenError, WriteError};
use crate::layout::{CHUNKS, FORMAT, FORMAT_KEY, META, ROOMS, RoomRow, SESSIONS, STATE_KEY, State};
use crate::place::Place;
use crate::session_row::SessionRow;

/// What was in a file.
pub(crate) struct Restored {
    pub(crate) log: MemoryLog,
    pub(crate) sessions: Vec<Arc<SessionRecord>>,
    /// As it was found; none in a new file.
    pub(crate) found: Option<State>,
    pub(crate) next_chunk: u64,
    pub(crate) chunk_bytes: u64,
    pub(crate) forgotten: Vec<RoomName>,
}

/// Reads a file. `fresh_epoch` is for a new one, and for the time after an unclean end.
pub(crate) fn read(
    database: &Database,
    path: &Path,
    rules: &RetentionRules,
    (now, fresh_epoch): (Now, Epoch),
) -> Result<Restored, OpenError> {
    let transaction = database.begin_read().map_err(|error| OpenError::damaged(path, error.to_string()))?;
    let reader = Reader { transaction: &transaction, path };
    let found = reader.state()?;
    let sessions = reader.sessions()?;
    let mut filling = Filling::new(&next_state(found.as_ref(), fresh_epoch), rules, now);
    reader.each(ROOMS, |name, row| filling.room(name, row).map_err(|why| reader.damaged(&why)))?;
    let (mut next_chunk, mut chunk_bytes) = (0, 0);
    chunks::each(&transaction, path, |chunk| {
        next_chunk = chunk.next;
        chunk_bytes += chunk.bytes;
        chunk.entries.into_iter().for_each(|entry| filling.entry(entry));
    })?;
    let forgotten = filling.dead.into_keys().collect();
    Ok(Restored { log: filling.log, sessions, found, next_chunk, chunk_bytes, forgotten })
}

/// The history that goes on: a new one where the last one may have given out numbers that are not in the file.
fn next_state(found: Option<&State>, fresh_epoch: Epoch) -> State {
    let mut state = found.cloned().unwrap_or(State {
        epoch: fresh_epoch.0,
        formers: Vec::new(),
        forgotten_high: 0,
        is_open: false,
    });
    if state.is_open {
        state.formers.push(std::mem::replace(&mut state.epoch, fresh_epoch.0));
        let surplus = state.formers.len().saturating_sub(Formers::MAX);
        state.formers.drain(..surplus);
    }
    State { is_open: true, ..state }
}

/// Opens a place and reads it, and says in it that it is open.
pub(crate) fn restore(
    place: Box<dyn Place>,
    rules: &RetentionRules,
    at: (Now, Epoch),
) -> Result<(Journal, Restored), OpenError> {
    let database = open_engine(&*place)?;
    let restored = read(&database, place.path(), rules, at)?;
    let state = State::of(restored.log.history(), true);
    let mark = || -> Result<(), WriteError> {
        let transaction = database.begin_write()?;
        put_state(&transaction, &state)?;
        transaction.open_table(CHUNKS)?;
        transaction.open_table(ROOMS)?;
        transaction.open_table(SESSIONS)?;
        Ok(transaction.commit()?)
    };
    mark().map_err(|error| OpenError::unwritten(place.path(), error))?;
    let mut journal = Journal {
        slack_bytes: place.slack_bytes(),
        place,
        database: Some(database),
        state,
        next_chunk: restored.next_chunk,
        chunk_bytes: restored.chunk_bytes,
        tombstones: VecDeque::new(),
        last_tombstones: BTreeMap::new(),
        cleaning: cleaning::Progress::default(),
    };
    restored.forgotten.iter().for_each(|room| journal.bury(room.clone()));
    Ok((journal, restored))
}

struct Reader<'a> {
    transaction: &'a ReadTransaction,
    path: &'a Path,
}

impl Reader<'_> {
    fn damaged(&self, why: &dyn std::fmt::Display) -> OpenError {
        OpenError::damaged(self.path, why.to_string())
    }

    /// None in a new file. One without our tables, but with others, is somebody else's.
    fn state(&self) -> Result<Option<State>, OpenError> {
        let meta = match self.transaction.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) => {
                let mut tables = self.transaction.list_tables().map_err(|error| self.damaged(&error))?;
                return match tables.next() {
                    None => Ok(None),
                    Some(_) => Err(OpenError::NotOurs {
                        path: self.path.to_owned(),
                        why: "it is the database of another program",
                    }),
                };
            }
            Err(error) => return Err(self.damaged(&error)),
        };
        let format = meta.get(FORMAT_KEY).map_err(|error| self.damaged(&error))?;
        let format = format.and_then(|value| value.value().try_into().ok()).map(u32::from_le_bytes);
        match format {
            Some(found) if found > FORMAT => {
                return Err(OpenError::Newer { path: self.path.to_owned(), found, known: FORMAT });
            }
            Some(_) => {}
            None => return Err(self.damaged(&"it does not say which format it has")),
        }
        let state = meta.get(STATE_KEY).map_err(|error| self.damaged(&error))?;
        let state = state.ok_or_else(|| self.damaged(&"it does not say which epoch it has"))?;
        let state: State = postcard::from_bytes(state.value()).map_err(|error| self.damaged(&error))?;
        if state.epoch == Epoch::UNKNOWN.0 {
            return Err(self.damaged(&"it has no epoch"));
        }
        Ok(Some(state))
    }

    fn sessions(&self) -> Result<Vec<Arc<SessionRecord>>, OpenError> {
        let mut sessions = Vec::new();
        self.each(SESSIONS, |id, row| {
            let record = SessionRow::read(id, row).map_err(|error| self.damaged(&error))?;
            sessions.push(Arc::new(record));
            Ok(())
        })?;
        // Who is away longest first; who was connected last.
        sessions.sort_by_key(|record| record.disconnected_at.unwrap_or(Timestamp(u64::MAX)));
        Ok(sessions)
    }

    fn each(
        &self,
        table: redb::TableDefinition<'_, &'static str, &'static [u8]>,
        mut act: impl FnMut(&str, &[u8]) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let table = match self.transaction.open_table(table) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(self.damaged(&error)),
        };
        for row in table.iter().map_err(|error| self.damaged(&error))? {
            let (key, value) = row.map_err(|error| self.damaged(&error))?;
            act(key.value(), value.value())?;
        }
        Ok(())
    }
}

/// Why a row of a room cannot be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomRowError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Row(#[from] postcard::Error),
    #[error("the room {0} ends before it begins")]
    Order(String),
}

/// A log that is being filled with what a file says: first the rooms, then the entries in the order of their appends.
pub(crate) struct Filling {
    pub(crate) log: MemoryLog,
    /// The forgotten rooms, with the offset up to which their entries are gone.
    dead: HashMap<RoomName, Offset>,
    now: Now,
}

impl Filling {
    pub(crate) fn new(state: &State, rules: &RetentionRules, now: Now) -> Self {
        let log = MemoryLog::restored(state.history(), rules.clone());
        Self { log, dead: HashMap::new(), now }
    }

    /// The head of a room.
    pub(crate) fn room(&mut self, name: &str, row: &[u8]) -> Result<(), RoomRowError> {
        let room = RoomName::stored(name)?;
        let row: RoomRow = postcard::from_bytes(row)?;
        if row.cut > row.head || row.head > Offset::MAX.0 {
            return Err(RoomRowError::Order(name.to_owned()));
        }
        if row.is_forgotten {
            self.dead.insert(room, Offset(row.cut));
        } else {
            self.log.restore_room(&room, row.head());
        }
        Ok(())
    }

    /// A record, a publish id or a change of a stream.
    pub(crate) fn entry(&mut self, entry: chunks::Entry) {
        let (offset, timestamp, claim, record) = match entry {
            chunks::Entry::Record { offset, timestamp, claim, record } => (offset, timestamp, claim, record),
            chunks::Entry::Stream(epoch, change) => {
                if self.is_alive(&change.room, change.id().first) {
                    self.log.restore_stream(change.id(), epoch, change.change(), self.now);
                }
                return;
            }
        };
        if let Some(claim) = claim {
            self.log.restore_id(&claim, offset, timestamp, self.now);
        }
        if let Some((room, epoch, record)) = record
            && self.is_alive(&room, offset)
        {
            self.log.restore_record(&room, epoch, record, self.now);
        }
    }

    fn is_alive(&self, room: &RoomName, offset: Offset) -> bool {
        self.dead.get(room).is_none_or(|&cut| offset > cut)
    }
}
