//! What one does with a store that nobody has open.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use moorline_broker::{Log as _, Retention, RetentionRules};
use moorline_proto::batch::ReadFrom;
use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::record::Record;
use moorline_proto::stream::Entry;
use moorline_proto::time::Now;
use redb::Database;

use crate::error::{OpenError, WriteError};
use crate::journal::{Restored, open_engine, put_state, read};
use crate::layout::{FORMAT, State};
use crate::place::{Directory, Place as _};

/// What is in a store that nobody has open.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// The version of its format.
    pub format: u32,
    /// The log's epoch.
    pub epoch: Epoch,
    /// Whether it was closed.
    pub was_clean: bool,
    /// Rooms.
    pub rooms: usize,
    /// Records.
    pub records: usize,
    /// What they cost, in bytes.
    pub record_bytes: usize,
    /// Publish ids.
    pub publish_ids: usize,
    /// Sessions.
    pub sessions: usize,
    /// The file, in bytes.
    pub file_bytes: u64,
}

/// Whatever is there.
fn everything() -> RetentionRules {
    let all = Retention { records: usize::MAX, bytes: usize::MAX, age: Duration::MAX };
    RetentionRules {
        room: all,
        own: all,
        prefixes: Vec::new(),
        total_bytes: usize::MAX,
        id_age: Duration::MAX,
        id_bytes: usize::MAX,
    }
}

fn open(directory: &Path) -> Result<(Directory, Database), OpenError> {
    let place = Directory::existing(directory)?;
    let database = open_engine(&place)?;
    Ok((place, database))
}

fn load(directory: &Path) -> Result<(Directory, Restored), OpenError> {
    let (place, database) = open(directory)?;
    let restored = read(&database, place.path(), &everything(), (Now::default(), Epoch(1)))?;
    Ok((place, restored))
}

/// What is in a store that nobody has open. Changes nothing but what an unclean end left to be mended.
///
/// # Errors
/// Says why it could not be opened.
pub fn stats(directory: &Path) -> Result<Stats, OpenError> {
    let (place, Restored { log, sessions, found, .. }) = load(directory)?;
    let kept = log.stats();
    Ok(Stats {
        format: FORMAT,
        epoch: found.as_ref().map_or(Epoch::UNKNOWN, |state| Epoch(state.epoch)),
        was_clean: found.is_some_and(|state| !state.is_open),
        rooms: kept.rooms,
        records: kept.records,
        record_bytes: kept.bytes,
        publish_ids: log.publish_ids(),
        sessions: sessions.len(),
        file_bytes: place.bytes(),
    })
}

/// Looks for damage: the checksum of every page, and whether all that is kept can be read and fits together. Returns what is wrong,
/// empty where nothing is. Changes nothing but what an unclean end left to be mended.
///
/// # Errors
/// Says why it could not be opened at all: in use, missing, not ours.
pub fn check(directory: &Path) -> Result<Vec<String>, OpenError> {
    let (_, Restored { log, sessions, .. }) = match load(directory) {
        Err(OpenError::Damaged { why, .. }) => return Ok(vec![why]),
        loaded => loaded?,
    };
    let mut wrong = Vec::new();
    for room in log.room_names() {
        let state = log.state(&room);
        let mut last = Offset::START;
        log.visit(&room, ReadFrom::After(Offset::START), &mut |entry| {
            let offset = entry.offset();
            // A stream's text is kept longer than what stands beside it.
            let is_cut = matches!(entry, Entry::Record(_)) && offset <= state.cut;
            if offset <= last || offset > state.head || is_cut {
                wrong.push(format!("{room}: record {} is out of place", offset.0));
            }
            last = offset;
            ControlFlow::Continue(())
        });
    }
    for record in sessions {
        for mark in record.rooms.iter().filter(|mark| mark.acked.epoch == log.history().epoch) {
            let head = log.state(&mark.room).head;
            if mark.acked.offset > head {
                let acked = mark.acked.offset.0;
                wrong.push(format!(
                    "session {}: has acknowledged {acked} of {}, which ends at {}",
                    record.id, mark.room, head.0
                ));
            }
        }
    }
    Ok(wrong)
}

/// Makes the file as small as it can be. Returns its size before and after, in bytes.
///
/// # Errors
/// Says why it could not be opened or written.
pub fn compact(directory: &Path) -> Result<(u64, u64), OpenError> {
    let (place, mut database) = open(directory)?;
    let before = place.bytes();
    // Whether it is ours.
    read(&database, place.path(), &everything(), (Now::default(), Epoch(1)))?;
    database.compact().map_err(|error| match error {
        redb::CompactionError::Storage(error) => OpenError::engine(place.path(), error.into()),
        error => OpenError::damaged(place.path(), error.to_string()),
    })?;
    database.close().map_err(|error| OpenError::engine(place.path(), error))?;
    Ok((before, place.bytes()))
}

/// Has the next start begin a new epoch, as after an unclean end. For a copy that was put back: what it came from has given out
/// numbers since that it knows nothing of, and would give to other messages. Returns the epoch that ends.
///
/// # Errors
/// Says why it could not be opened or written.
pub fn begin_new_epoch(directory: &Path) -> Result<Epoch, OpenError> {
    let (place, database) = open(directory)?;
    let restored = read(&database, place.path(), &everything(), (Now::default(), Epoch(1)))?;
    // One that nothing was ever written to begins with a new epoch anyway.
    let Some(found) = restored.found else { return Ok(Epoch::UNKNOWN) };
    let epoch = Epoch(found.epoch);
    let mark = || -> Result<(), WriteError> {
        let transaction = database.begin_write()?;
        put_state(&transaction, &State { is_open: true, ..found })?;
        Ok(transaction.commit()?)
    };
    mark().map_err(|error| OpenError::unwritten(place.path(), error))?;
    database.close().map_err(|error| OpenError::engine(place.path(), error))?;
    Ok(epoch)
}

/// Shows every record that is kept, of one room or of all in the order of their names, each room's in order, until `visit` breaks off.
///
/// # Errors
/// Says why it could not be opened.
pub fn export(
    directory: &Path,
    room: Option<&RoomName>,
    visit: &mut dyn FnMut(&RoomName, Epoch, &Record) -> ControlFlow<()>,
) -> Result<(), OpenError> {
    let (_, Restored { log, found, .. }) = load(directory)?;
    let epoch = found.map_or(Epoch::UNKNOWN, |state| Epoch(state.epoch));
    let rooms = room.map_or_else(|| log.room_names(), |room| vec![room.clone()]);
    for room in rooms {
        let mut flow = ControlFlow::Continue(());
        log.visit(&room, ReadFrom::After(Offset::START), &mut |entry| {
            flow = match entry {
                Entry::Record(record) => visit(&room, epoch, record),
                Entry::Piece(piece) => visit(&room, epoch, &piece.to_record()),
            };
            flow
        });
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}
