//! Each publisher's order is kept, and nothing that it published stands in a room twice.

use moorline_proto::id::RoomName;

/// What is wrong with a record whose publisher had those numbers before it.
#[must_use]
pub fn publishers_order(numbers: &[u64], number: u64, room: &RoomName, sender: &str) -> Option<String> {
    if numbers.contains(&number) {
        return Some(format!("{sender:?} has {number} in {room} twice"));
    }
    let last = numbers.last().copied().unwrap_or_default();
    (number < last).then(|| format!("{sender:?} has {number} in {room} behind {last}"))
}
