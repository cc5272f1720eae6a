//! A position means one message, for everyone and for ever: also one that was only answered, and then lost.

use std::collections::BTreeMap;

use moorline_proto::id::RoomName;
use moorline_proto::position::Epoch;

/// The number of the message that each position was ever said to mean.
#[derive(Debug, Default)]
pub struct Meanings(BTreeMap<(RoomName, u64, u64), u64>);

impl Meanings {
    /// A position is said to mean this message. Returns what is wrong with that.
    pub fn is(&mut self, room: &RoomName, (epoch, offset): (Epoch, u64), number: u64) -> Option<String> {
        let known = *self.0.entry((room.clone(), epoch.0, offset)).or_insert(number);
        (known != number).then(|| {
            format!("{offset} of {room} in {epoch} means message {number}, and meant message {known}")
        })
    }

    /// Positions that were named and never were visible, or not yet.
    #[must_use]
    pub fn beyond(&self, room: &RoomName, head: u64) -> Vec<(Epoch, u64)> {
        let all = self.0.keys().filter(|(name, _, offset)| name == room && *offset > head);
        all.map(|(_, epoch, offset)| (Epoch(*epoch), *offset)).collect()
    }
}
