//! Nobody gets what it is excluded from, live or replayed.

use moorline_proto::id::{RoomName, SessionId, UserId};

use crate::truth::Published;
use crate::written::Life;

/// What is wrong with a record's reaching this session.
#[must_use]
pub fn check(
    record: &Published,
    room: &RoomName,
    session: &SessionId,
    user: Option<&UserId>,
) -> Option<String> {
    let what = if record.offset > 0 { record.offset.to_string() } else { record.envelope.clone() };
    (!record.is_for(session, user)).then(|| format!("{session} got {what} of {room}, which is not for it"))
}

/// What is wrong with a stream's reaching this session.
#[must_use]
pub fn text(
    life: &Life,
    (room, stream): (&RoomName, &str),
    session: &SessionId,
    user: Option<&UserId>,
) -> Option<String> {
    (!life.is_for(session, user)).then(|| format!("{session} got {stream} of {room}, which is not for it"))
}
