//! Names that the simulator makes up itself, all within their bounds.

use moorline_proto::id::{PublishId, RoomName, SessionId, StreamName, UserId};

/// A room of the application's.
///
/// # Panics
/// Where the simulator itself is broken.
#[must_use]
pub fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("the simulator's room names are within the bounds")
}

/// A session.
///
/// # Panics
/// Where the simulator itself is broken.
#[must_use]
pub fn session(name: &str) -> SessionId {
    SessionId::new(name).expect("the simulator's session ids are within the bounds")
}

/// A user.
///
/// # Panics
/// Where the simulator itself is broken.
#[must_use]
pub fn user(name: &str) -> UserId {
    UserId::new(name).expect("the simulator's user ids are within the bounds")
}

/// What makes a publish idempotent.
///
/// # Panics
/// Where the simulator itself is broken.
#[must_use]
pub fn publish_id(name: &str) -> PublishId {
    PublishId::new(name).expect("the simulator's publish ids are within the bounds")
}

/// A stream.
///
/// # Panics
/// Where the simulator itself is broken.
#[must_use]
pub fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("the simulator's stream names are within the bounds")
}
