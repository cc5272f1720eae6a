//! Rows of any content, restored as those of a file are: what no checksum guards.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use moorline_broker::{MemoryLog, RetentionRules};
use moorline_proto::session_record::SessionRecord;
use moorline_proto::time::Now;

use crate::journal::{Filling, decode};
use crate::layout::State;
use crate::session_row::SessionRow;

/// A log and sessions that are being restored, row by row.
pub struct Rows {
    filling: Filling,
    sessions: Vec<Arc<SessionRecord>>,
    now: Now,
}

impl Rows {
    /// Begins with the row that says which history the log is in.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn begin(state: &[u8], now: Now) -> Result<Self, String> {
        let state: State = postcard::from_bytes(state).map_err(why)?;
        Ok(Self { filling: Filling::new(&state, &RetentionRules::default(), now), sessions: Vec::new(), now })
    }

    /// A row of a room.
    ///
    /// # Errors
    /// It cannot be believed.
    pub fn room(&mut self, name: &str, row: &[u8]) -> Result<(), String> {
        self.filling.room(name, row).map_err(why)
    }

    /// A chunk of entries.
    ///
    /// # Errors
    /// It cannot be believed.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        let entries = decode(chunk, &mut HashMap::new()).map_err(why)?;
        entries.into_iter().for_each(|entry| self.filling.entry(entry));
        Ok(())
    }

    /// A row of a session. What was read of it is read again of what is then written.
    ///
    /// # Errors
    /// It cannot be believed.
    ///
    /// # Panics
    /// What is written of it is something else when it is read again.
    pub fn session(&mut self, id: &str, row: &[u8]) -> Result<(), String> {
        let record = SessionRow::read(id, row).map_err(why)?;
        let written = SessionRow::of(&record).encode().map_err(why)?;
        let again = SessionRow::read(id, &written).map_err(why)?;
        assert_eq!(SessionRow::of(&again).encode().map_err(why)?, written, "it is read as it was written");
        self.sessions.push(Arc::new(record));
        Ok(())
    }

    /// The log and the sessions, with what is too old gone.
    #[must_use]
    pub fn end(self) -> (MemoryLog, Vec<Arc<SessionRecord>>) {
        let mut log = self.filling.log;
        moorline_broker::Log::expire(&mut log, self.now);
        (log, self.sessions)
    }
}

fn why(error: impl Display) -> String {
    error.to_string()
}
