//! Once all sessions have ended nothing of them is left.

use crate::world::World;

/// What is left.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for shard in &world.shards {
        let counts = shard.shard.counts();
        if counts.connected + counts.absent > 0 {
            found.push(format!("a shard still has {counts:?}"));
        }
        let rooms = shard.shard.room_names();
        if !rooms.is_empty() {
            found.push(format!("a shard still has the rooms {rooms:?}"));
        }
        let subscribed: Vec<_> = shard.subscribed.iter().filter(|(_, count)| **count != 0).collect();
        let names: Vec<_> = subscribed.iter().map(|(room, count)| (room.as_str(), **count)).collect();
        if names != [("@all", 1)] {
            found.push(format!("a shard is still subscribed to {names:?}"));
        }
    }
    let users = world.backend.users.borrow().count();
    if users > 0 {
        found.push(format!("{users} users are still counted"));
    }
    let claims = world.backend.claims.borrow();
    if !claims.is_empty() {
        found.push(format!("the store still has {:?}", claims.keys().collect::<Vec<_>>()));
    }
    let rooms = world.backend.broker().stats().rooms;
    if rooms > 1 {
        found.push(format!("the log still has {rooms} rooms"));
    }
    found
}
