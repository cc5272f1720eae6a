//! An open stream never ends under a live lease; one whose producer is gone ends, as orphaned.

use moorline_proto::time::Instant;

use crate::world::World;
use crate::written::Rights;

/// What is wrong with an end of that kind, now; after a restart it is not known when it came.
#[must_use]
pub fn end(rights: &Rights, kind: &str, now: Option<Instant>) -> Option<String> {
    let now = now.filter(|now| kind == "orphaned" && *now < rights.lease_until)?;
    let left = rights.lease_until.since(now);
    Some(format!("it is orphaned, and its lease lasts {} ms more", left.as_millis()))
}

/// Streams that are open at the end, when everybody who wrote has ended or is long dead.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let truth = world.backend.truth.borrow();
    let mut found = Vec::new();
    for room in truth.streams.rooms() {
        let open = truth.streams.of(room).filter(|(_, written)| written.open().is_some());
        found.extend(open.map(|(name, _)| format!("{name} of {room} has no end")));
    }
    found
}
