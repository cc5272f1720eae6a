//! Announcements of a room that was forgotten, and opened anew before they came: the shard then stands beyond all that the log has.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use moorline_proto::batch::{Batch, EncodedBatch};
use moorline_proto::message::Message;
use moorline_proto::position::Offset;
use moorline_proto::record::Record;
use moorline_proto::resume::RoomState;
use moorline_proto::session_record::Mark;
use moorline_proto::shard::Input;
use moorline_proto::time::Timestamp;
use serde_json::json;
use support::{FRAMING, NEW, Stage, now, position, room};

/// The last record of the room that was forgotten.
const OLD_HEAD: u64 = 5;

/// A session that was in the room before it had a record, and what each look at the log then finds: the last one for ever.
fn stage(heads: &'static [u64]) -> (Stage, Rc<Cell<usize>>) {
    let looks = Rc::new(Cell::new(0));
    let looked = Rc::clone(&looks);
    let log = move |name: &moorline_proto::id::RoomName| {
        if *name != room("r") {
            return RoomState { epoch: NEW, ..RoomState::default() };
        }
        let head = heads[looked.replace(looked.get() + 1).min(heads.len() - 1)];
        RoomState { epoch: NEW, head: Offset(head), ..RoomState::default() }
    };
    let mark = Mark { room: room("r"), acked: position(NEW, 0), begin: Offset(0), is_added: false };
    (Stage::new(log, vec![mark]), looks)
}

/// The room's first record after it was forgotten or opened anew, as it was announced.
fn announce(stage: &mut Stage, offset: u64) {
    let message = Message::parse(format!(r#"{{"type":"m","n":{offset}}}"#).into()).unwrap();
    let record = Record { offset: Offset(offset), timestamp: Timestamp(0), except: None, message };
    let batch =
        Batch { room: room("r"), epoch: NEW, after: Offset(0), records: vec![record], reached: vec![] };
    stage.handle(Input::Batch(Arc::new(EncodedBatch::new(batch, &FRAMING))));
    while stage.shard.fan_out(now(), 16, &mut stage.sockets) {}
}

fn is_live(stage: &Stage) -> bool {
    stage.shard.is_live(stage.peer.unwrap().session, &room("r"))
}

#[test]
fn a_shard_that_was_lifted_beyond_its_log_looks_again() {
    let (mut stage, looks) = stage(&[0]);
    announce(&mut stage, OLD_HEAD);
    let before = looks.get();
    let greeting = stage.connect(&[]);
    assert_eq!(greeting.len(), 1, "nothing of it is lost: {greeting:?}");
    // How it goes on, its page, and the shard's.
    assert_eq!(looks.get() - before, 3);
    assert!(is_live(&stage));
    announce(&mut stage, OLD_HEAD + 1);
    let heard = stage.heard();
    assert_eq!(heard.iter().map(|frame| &frame["message_id"]).collect::<Vec<_>>(), [&json!(6)]);
}

#[test]
fn a_log_that_has_caught_up_meanwhile_is_read_again() {
    // When the room was opened, when the session came, its page, the shard's page, its page.
    let (mut stage, looks) = stage(&[0, 0, 0, OLD_HEAD, OLD_HEAD]);
    announce(&mut stage, OLD_HEAD);
    assert_eq!(stage.connect(&[]).len(), 1);
    assert_eq!(looks.get(), 5);
    assert!(is_live(&stage));
}
