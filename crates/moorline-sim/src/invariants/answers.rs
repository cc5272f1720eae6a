//! What a publish was answered is true: a stored one is there, a refused one never appears, an unknown one whole or not at
//! all.

use std::collections::BTreeMap;
use std::sync::Arc;

use moorline_broker::{BrokerError, Durability, Published};
use moorline_proto::id::RoomName;
use moorline_proto::message::Message;
use moorline_proto::record::{Except, Record};

/// The `n` of a message; every publication of the world has its own.
#[must_use]
pub fn number_of(message: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(message);
    let number = text.split_once("\"n\":").map_or("", |(_, rest)| rest);
    number.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What was tried to be published.
#[derive(Clone, Debug)]
pub struct Try {
    /// Who tried.
    pub sender: String,
    /// What.
    pub message: Message,
    /// Not for whom.
    pub except: Option<Arc<Except>>,
}

/// A sender's tries to publish one message to one room: however often, it is there once.
#[derive(Debug)]
struct Fate {
    what: Try,
    /// Tries that may still take effect.
    open: usize,
    has_appeared: bool,
    /// Whether a try was refused for now: who tries again later is behind what it sent since.
    was_refused: bool,
}

/// Every publication, by its room and number: one fate for each sender.
#[derive(Debug, Default)]
pub struct Tries(BTreeMap<(RoomName, u64), Vec<Fate>>);

impl Tries {
    /// It is sent, for the first time or again.
    pub fn record(&mut self, room: &RoomName, number: u64, what: Try) {
        let fates = self.0.entry((room.clone(), number)).or_default();
        match fates.iter_mut().find(|fate| fate.what.sender == what.sender) {
            Some(fate) => fate.open += 1,
            None => fates.push(Fate { what, open: 1, has_appeared: false, was_refused: false }),
        }
    }

    /// It was answered.
    pub fn answered(
        &mut self,
        room: &RoomName,
        number: u64,
        sender: &str,
        answer: Result<Published, BrokerError>,
    ) {
        let mut fates = self.0.get_mut(&(room.clone(), number)).into_iter().flatten();
        let Some(fate) = fates.find(|fate| fate.what.sender == sender) else { return };
        fate.was_refused |=
            matches!(answer, Err(BrokerError::Unavailable | BrokerError::CannotKeep | BrokerError::Behind));
        // What an unavailable store does with it later is open; until what is only in memory is kept, so is that.
        let is_closed = match answer {
            Ok(Published::Stored { durability, .. }) => durability != Durability::Memory || fate.has_appeared,
            Ok(Published::Ephemeral) => true,
            Err(error) => error != BrokerError::Unavailable,
        };
        fate.open -= usize::from(is_closed && fate.open > 0);
    }

    /// Its record is visible. Returns its sender, and whether that has an order to keep.
    ///
    /// # Errors
    /// Says why it should not be.
    pub fn appeared(
        &mut self,
        room: &RoomName,
        number: u64,
        record: &Record,
    ) -> Result<(String, bool), String> {
        let Some(fates) = self.0.get_mut(&(room.clone(), number)) else {
            return Err(format!("{room} has message {number}, which nobody published"));
        };
        let index = fates.iter().position(|fate| !fate.has_appeared && fate.open > 0);
        let again = || fates.iter().position(|fate| fate.has_appeared);
        let Some(fate) = index.or_else(again).and_then(|index| fates.get_mut(index)) else {
            return Err(format!("{room} has message {number}, whose every publication was refused"));
        };
        let Try { sender, message, except } = &fate.what;
        if message.as_bytes() != record.message.as_bytes() || *except != record.except {
            return Err(format!("{room} has {record:?}, which was published as {:?}", fate.what));
        }
        fate.has_appeared = true;
        Ok((sender.clone(), !fate.was_refused))
    }

    /// The node that they were sent to is gone, with all that it had not kept.
    pub fn settle_after_restart(&mut self) {
        self.0.values_mut().flatten().for_each(|fate| fate.open = 0);
    }

    pub(crate) fn rooms(&self) -> impl Iterator<Item = RoomName> {
        self.0.keys().map(|(room, _)| room.clone())
    }
}

/// What is wrong with an answer; `at` says which message a record of the room is.
pub fn wrong(
    room: &RoomName,
    number: u64,
    answer: Result<Published, BrokerError>,
    at: impl Fn(u64) -> Option<u64>,
) -> Option<String> {
    let Ok(Published::Stored { position, durability, duplicate }) = answer else { return None };
    let there = at(position.offset.0);
    if there == Some(number) || there.is_none() && durability == Durability::Memory {
        return None;
    }
    Some(format!(
        "message {number} was answered to be {position:?} of {room} ({durability:?}, duplicate: {duplicate}), where {there:?} is"
    ))
}
