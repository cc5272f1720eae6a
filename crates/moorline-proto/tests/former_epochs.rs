//! Sessions that come back to a log which began a new history meanwhile, against the shard alone.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::sync::Arc;

use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::position::{Offset, Position};
use moorline_proto::resume::RoomState;
use moorline_proto::session_record::{Mark, SessionRecord};
use moorline_proto::shard::{Event, Input};
use moorline_proto::time::Timestamp;
use moorline_proto::token::TokenSet;
use serde_json::{Value, json};
use support::{NEW, OLD, Stage, position, room, token};

const OWN: &str = "@session/s";

/// Rooms hold up to 14, of which 10 were kept from the epoch before; up to 2 is gone.
fn state(name: &RoomName) -> RoomState {
    if name.as_str() == RoomName::ALL {
        return RoomState { epoch: NEW, ..RoomState::default() };
    }
    let former = [Position { epoch: OLD, offset: Offset(10) }].into_iter().collect();
    RoomState { epoch: NEW, head: Offset(14), cut: Offset(2), cleared: Offset(0), former }
}

/// A session that acknowledged 8 in the old epoch; in its own room nothing up to 3 was for it.
fn restored() -> Stage {
    let mark = |name, begin| Mark {
        room: room(name),
        acked: position(OLD, 8),
        begin: Offset(begin),
        is_added: false,
    };
    Stage::new(state, vec![mark("r", 0), mark(OWN, 3)])
}

fn entry(replayed: u64) -> Value {
    json!({"epoch": NEW, "message_id": 14, "replayed": replayed})
}

#[test]
fn what_the_log_kept_of_a_former_epoch_is_gone_on_from() {
    let mut stage = restored();
    let greeting = stage.connect(&[("r", position(OLD, 9))]);
    assert_eq!(greeting.len(), 1, "{greeting:?}");
    assert_eq!(greeting[0]["rooms"], json!({"r": entry(5), OWN: entry(6)}));
}

#[test]
fn a_position_beyond_what_was_kept_is_reset() {
    let mut stage = restored();
    let greeting = stage.connect(&[("r", position(OLD, 11))]);
    let reset = json!({"type": "reset", "room": "r", "reason": "epoch", "epoch": NEW, "from": null, "to": 2});
    assert_eq!(greeting[1..], [reset]);
}

#[test]
fn an_old_name_that_is_used_once_more_is_understood() {
    let mut stage = restored();
    assert_eq!(stage.connect(&[("r", position(OLD, 9))]).len(), 1);
    stage.drop_connection();
    // Nothing of the first answer reached the client.
    assert_eq!(stage.connect(&[("r", position(OLD, 9))]).len(), 1);
    stage.drop_connection();
    // One that is beyond what was kept is another's number all the same.
    assert_eq!(stage.connect(&[("r", position(OLD, 11))])[1]["reason"], "epoch");
}

#[test]
fn what_was_for_an_earlier_session_of_the_name_stays_so_in_a_new_epoch() {
    let mut stage = restored();
    stage.connect(&[]);
    let reply = stage.say(&json!({"type": "reconnect", "room": OWN, "last_message_id": 0, "ref": 1}));
    assert_eq!(reply[0]["message_id"], 3, "{reply:?}");
    // Also where the position itself means nothing any more.
    let mut stage = restored();
    let greeting = stage.connect(&[(OWN, position(OLD, 11))]);
    let reset = json!({"type": "reset", "room": OWN, "reason": "epoch", "epoch": NEW, "from": null, "to": 3});
    assert_eq!(greeting[1..], [reset]);
}

#[test]
fn an_own_room_whose_epoch_a_client_names_is_named_back_also_where_nothing_is_replayed() {
    let mut stage = restored();
    stage.connect(&[]);
    stage.say(&json!({"type": "ack", "room": OWN, "message_id": 14}));
    stage.drop_connection();
    assert_eq!(stage.connect(&[])[0]["rooms"].get(OWN), None);
    stage.drop_connection();
    let greeting = stage.connect(&[(OWN, position(OLD, 10))]);
    assert_eq!(greeting.len(), 1, "{greeting:?}");
    assert_eq!(greeting[0]["rooms"][OWN], entry(0));
}

#[test]
fn a_session_that_is_over_its_lifetime_ends_at_once_and_one_that_is_there_stays() {
    let mut stage = restored();
    let record = |id: &str, since| {
        Arc::new(SessionRecord {
            id: SessionId::new(id).unwrap(),
            user: None,
            token: None,
            tokens: TokenSet::new(token(9).hash()),
            metadata: None,
            connected_at: Timestamp(0),
            disconnected_at: Some(Timestamp(since)),
            reconnections: 0,
            own_rooms: false,
            rooms: Vec::new(),
        })
    };
    stage.handle(Input::Restore(record("old", 0), 5));
    assert_eq!(stage.events, [Event::Ended { session: SessionId::new("old").unwrap() }]);
    assert_eq!(stage.removed, [5]);
    stage.handle(Input::Restore(record("later", 7_000_000), 5));
    stage.handle(Input::Restore(record("s", 9_999_999), 6));
    assert_eq!(stage.shard.counts().absent, 2);
    assert_eq!(stage.connect(&[])[0]["resumed"], true);
}
