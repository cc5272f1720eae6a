//! The file: opened, written in one transaction for each commit, opened again after a failure.

mod chunks;
mod cleaning;
mod restore;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use moorline_proto::id::RoomName;
use redb::{Database, WriteTransaction};

pub(crate) use self::chunks::decode;
pub(crate) use self::cleaning::Cleaning;
pub(crate) use self::restore::{Filling, Restored, read, restore};
use crate::error::{OpenError, WriteError};
use crate::layout::{
    CHUNKS, FORMAT, FORMAT_KEY, META, ROOMS, RoomRow, SESSIONS, STATE_KEY, State, space_bytes,
};
use crate::pending::Batch;
use crate::place::Place;
use crate::session_row::SessionRow;
use crate::watched::Watched;

/// What the engine keeps of the file in memory. Everything that is read twice is in memory already: this is for writing.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The one who writes. All its calls block.
pub(crate) struct Journal {
    place: Box<dyn Place>,
    /// None after a failure, until it is opened again.
    database: Option<Database>,
    state: State,
    next_chunk: u64,
    /// What all chunks take of the file, in bytes.
    chunk_bytes: u64,
    /// Rooms that were forgotten, with the chunk before which their last entries lie.
    tombstones: VecDeque<(u64, RoomName)>,
    /// Which of them is the room's last.
    last_tombstones: BTreeMap<RoomName, u64>,
    cleaning: cleaning::Progress,
    /// What chunks may have too much before they are cleaned.
    slack_bytes: u64,
}

/// Opens the engine over a place, renewed where that is due. A file that is not what it was may make the engine panic, which it says; that is damage too.
pub(crate) fn open_engine(place: &dyn Place) -> Result<Database, OpenError> {
    let opening = std::panic::AssertUnwindSafe(|| {
        let io = |error| OpenError::io(place.path(), error);
        if place.doubt().is_raised() {
            place.renew().and_then(|()| place.doubt().settle()).map_err(io)?;
        }
        let backend = place.open().map_err(io)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        builder
            .create_with_backend(Watched::new(backend, Arc::clone(place.doubt())))
            .map_err(|error| OpenError::engine(place.path(), error))
    });
    std::panic::catch_unwind(opening)
        .unwrap_or_else(|_| Err(OpenError::damaged(place.path(), "the engine gave up on it")))
}

impl Journal {
    /// Writes a batch, all or nothing. The same batch may be written again.
    ///
    /// # Errors
    /// Nothing, or everything, of it was written.
    pub(crate) fn commit(&mut self, batch: &Batch, cleaning: Option<&Cleaning>) -> Result<(), WriteError> {
        self.reopen()?;
        let database = self.database.as_ref().ok_or_else(not_open)?;
        let state = State {
            forgotten_high: batch.forgotten_high.map_or(self.state.forgotten_high, |high| high.0),
            ..self.state.clone()
        };
        let write = || -> Result<(), WriteError> {
            let transaction = database.begin_write()?;
            if let Some(cleaning) = cleaning {
                cleaning.write(&transaction)?;
            }
            self.write_batch(&transaction, batch)?;
            if state != self.state {
                put_state(&transaction, &state)?;
            }
            Ok(transaction.commit()?)
        };
        if let Err(error) = write() {
            self.fail();
            return Err(error);
        }
        self.state = state;
        self.note(batch, cleaning);
        Ok(())
    }

    fn write_batch(&self, transaction: &WriteTransaction, batch: &Batch) -> Result<(), WriteError> {
        if !batch.chunks.is_empty() {
            let mut chunks = transaction.open_table(CHUNKS)?;
            for (key, chunk) in (self.next_chunk..).zip(&batch.chunks) {
                chunks.insert(key, chunk.as_slice())?;
            }
        }
        if !batch.rooms.is_empty() {
            let mut rooms = transaction.open_table(ROOMS)?;
            for (room, row) in &batch.rooms {
                rooms.insert(room.as_str(), encode(row)?.as_slice())?;
            }
        }
        if !batch.sessions.is_empty() {
            let mut sessions = transaction.open_table(SESSIONS)?;
            for (id, record) in &batch.sessions {
                match record {
                    Some(record) => {
                        let row = SessionRow::of(record).encode().map_err(cannot_encode)?;
                        sessions.insert(id.as_str(), row.as_slice())?;
                    }
                    None => {
                        sessions.remove(id.as_str())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What the next commit begins with.
    fn note(&mut self, batch: &Batch, cleaning: Option<&Cleaning>) {
        self.next_chunk += batch.chunks.len() as u64;
        self.chunk_bytes += batch.chunks.iter().map(|chunk| space_bytes(chunk)).sum::<u64>();
        for (room, row) in &batch.rooms {
            if row.is_forgotten {
                self.bury(room.clone());
            }
        }
        if let Some(cleaning) = cleaning {
            self.chunk_bytes = self.chunk_bytes.saturating_sub(cleaning.freed_bytes());
            self.cleaning.done(cleaning, self.chunk_bytes);
            for (before, room) in self.tombstones.drain(..cleaning.tombstones().min(self.tombstones.len())) {
                if self.last_tombstones.get(&room) == Some(&before) {
                    self.last_tombstones.remove(&room);
                }
            }
        }
    }

    /// A room was forgotten: its row goes once no chunk has entries of it.
    fn bury(&mut self, room: RoomName) {
        self.last_tombstones.insert(room.clone(), self.next_chunk);
        self.tombstones.push_back((self.next_chunk, room));
    }

    /// The engine refuses everything after a failure: it is opened again.
    fn fail(&mut self) {
        self.database = None;
    }

    /// Opens the file again after a failure.
    fn reopen(&mut self) -> Result<(), WriteError> {
        if self.database.is_some() {
            return Ok(());
        }
        match open_engine(&*self.place) {
            Ok(database) => self.database = Some(database),
            Err(OpenError::Io { source, .. }) => return Err(WriteError::Io(source)),
            Err(error) => return Err(WriteError::Io(std::io::Error::other(error))),
        }
        Ok(())
    }

    /// Writes what a clean start begins with, and closes the file.
    ///
    /// # Errors
    /// The next start is an unclean one.
    pub(crate) fn close(mut self, rooms: &[(RoomName, RoomRow)]) -> Result<(), WriteError> {
        self.reopen()?;
        let database = self.database.take().ok_or_else(not_open)?;
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(ROOMS)?;
            for (room, row) in rooms {
                table.insert(room.as_str(), encode(row)?.as_slice())?;
            }
        }
        put_state(&transaction, &State { is_open: false, ..self.state.clone() })?;
        transaction.commit()?;
        Ok(database.close()?)
    }

    /// The file's size.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.place.bytes()
    }
}

fn encode(row: &RoomRow) -> Result<Vec<u8>, WriteError> {
    postcard::to_stdvec(row).map_err(cannot_encode)
}

/// Never seen: it was opened just before.
fn not_open() -> WriteError {
    WriteError::Io(std::io::Error::other("the file is not open"))
}

/// Never seen: these types always serialise.
fn cannot_encode(error: postcard::Error) -> WriteError {
    WriteError::Io(std::io::Error::other(error))
}

pub(crate) fn put_state(transaction: &WriteTransaction, state: &State) -> Result<(), WriteError> {
    let state = postcard::to_stdvec(state).map_err(cannot_encode)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(STATE_KEY, state.as_slice())?;
    meta.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
    Ok(())
}
