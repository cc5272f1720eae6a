//! A session has one live connection at most.

use std::collections::BTreeMap;

use moorline_proto::shard::{ConnectionId, SessionKey};

use crate::link::Link;

/// What is wrong with who writes where: a connection that the server still holds for a session that has another one.
#[must_use]
pub fn check(
    links: &BTreeMap<ConnectionId, Link>,
    current: &BTreeMap<SessionKey, ConnectionId>,
) -> Option<String> {
    let second = links.values().find(|link| {
        let has = link.peer.and_then(|peer| current.get(&peer.session));
        link.server_here && has.is_some_and(|current| *current != link.id)
    })?;
    Some(format!("{:?} is held for a session that has another connection", second.id))
}
