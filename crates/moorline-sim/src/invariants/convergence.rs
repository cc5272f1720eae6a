//! Once the faults are over, everybody is connected, answered and up to date.

use moorline_proto::position::Offset;

use crate::world::World;

/// What is not as it should be at the end.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let truth = world.backend.truth.borrow();
    for peer in world.peers.iter().filter(|peer| !peer.has_ended()) {
        let name = format!("{:?}", peer.client.session());
        if !peer.client.is_established() {
            found.push(format!("{name} is not established"));
            continue;
        }
        if peer.client.unanswered() > 0 {
            found.push(format!("{name} waits for {} answers", peer.client.unanswered()));
        }
        let Some(session) = &peer.app.session else { continue };
        for (room, at) in &peer.app.rooms {
            let is_forgotten = world.backend.state(room).head == Offset::START;
            if is_forgotten || peer.app.unsure.contains_key(room) {
                continue;
            }
            let (behind, user) = ((at.high, u64::MAX), peer.app.user.as_ref());
            let record = truth.owed(room, behind, session, user).map(|record| record.to_string());
            let since = (peer.app.texts.since(room, at.high), u64::MAX);
            let texts = || peer.app.texts.owed(&truth, room, since, (session, user));
            if let Some(missing) = record.or_else(texts) {
                found.push(format!("{name} stands at {at:?} in {room} and never got {missing}"));
            }
        }
    }
    found
}
