//! Each publisher's order is kept, and nothing that it published stands in a room twice.

use std::collections::BTreeSet;

use moorline_proto::id::RoomName;

/// What is wrong with a record whose publisher had those numbers before it; it may have been told to try again later, and then
/// has no order to keep.
#[must_use]
pub fn publishers_order(
    numbers: &BTreeSet<u64>,
    (number, has_order): (u64, bool),
    room: &RoomName,
    sender: &str,
) -> Option<String> {
    if numbers.contains(&number) {
        return Some(format!("{sender:?} has {number} in {room} twice"));
    }
    let last = numbers.last().copied().unwrap_or_default();
    (number < last && has_order).then(|| format!("{sender:?} has {number} in {room} behind {last}"))
}
