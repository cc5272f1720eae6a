//! A room as one shard knows it: where the shard stands in it, and who is in it here.

use std::sync::Arc;

use super::SessionKey;
use crate::batch::EncodedBatch;
use crate::id::RoomName;
use crate::position::{Offset, Position};

/// How a member gets what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Pushed to: it has everything up to the room's position.
    Live,
    /// Reads the log from a position of its own.
    Reading,
    /// Reads nothing until it is known where it begins.
    Joining,
    /// Not connected.
    Absent,
}

/// Whether the shard knows where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Not yet; announcements up to this offset came meanwhile.
    Waiting(Offset),
    /// It does.
    Open,
}

/// A room with at least one member here.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: RoomName,
    pub(super) opening: Opening,
    /// Everything up to here was handed to the live members.
    pub(super) position: Position,
    pub(super) live: Vec<SessionKey>,
    /// Connected members that are not live.
    pub(super) readers: Vec<SessionKey>,
    pub(super) absent: Vec<SessionKey>,
    /// Announced, not handed out yet.
    pub(super) run: Vec<Arc<EncodedBatch>>,
    /// Whether a page for all live members is on its way.
    pub(super) reading: bool,
    /// Whether the log holds more than that page.
    pub(super) behind: bool,
}

impl Room {
    pub(super) fn new(name: RoomName) -> Self {
        Self {
            name,
            opening: Opening::Waiting(Offset::START),
            position: Position::default(),
            live: Vec::new(),
            readers: Vec::new(),
            absent: Vec::new(),
            run: Vec::new(),
            reading: false,
            behind: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.opening == Opening::Open
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.readers.is_empty() && self.absent.is_empty()
    }

    pub(super) fn connected(&self) -> usize {
        self.live.len() + self.readers.len()
    }

    pub(super) fn list(&mut self, standing: Standing) -> &mut Vec<SessionKey> {
        match standing {
            Standing::Live => &mut self.live,
            Standing::Reading | Standing::Joining => &mut self.readers,
            Standing::Absent => &mut self.absent,
        }
    }
}
