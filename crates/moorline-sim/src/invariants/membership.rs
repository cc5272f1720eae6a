//! Nobody gets anything of a room that it is not in.

use moorline_proto::id::{RoomName, SessionId};

/// What is wrong with something's reaching this session.
#[must_use]
pub fn check(is_member: bool, room: &RoomName, session: &SessionId) -> Option<String> {
    (!is_member).then(|| format!("{session} got something of {room} and is no member"))
}
