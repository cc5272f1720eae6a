//! Each publisher's order is kept, and nothing that it published stands in a room twice.

use moorline_proto::id::RoomName;

/// The `n` of a message.
pub fn number_of(message: &[u8]) -> u64 {
    let text = std::str::from_utf8(message).unwrap();
    let (_, rest) = text.split_once("\"n\":").unwrap();
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

pub fn publishers_order(numbers: &[u64], number: u64, room: &RoomName, sender: &str) -> Option<String> {
    if numbers.contains(&number) {
        return Some(format!("{sender:?} has {number} in {room} twice"));
    }
    let last = numbers.last().copied().unwrap_or_default();
    (number < last).then(|| format!("{sender:?} has {number} in {room} behind {last}"))
}
