//! Frames of clients, and the bodies of HTTP requests that say the same.
//!
//! Input: text. What is understood of it is understood of the same JSON written otherwise; and its answer is JSON with its `ref`.

use moorline_proto::codec::{decode, encode, stream};
use moorline_proto::frame::{Answer, ClientFrame, Inbound, Publish, Reply, ServerFrame, StreamAct};
use serde_json::Value;

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let inbound = decode(text);
    check_answer(text, &inbound);
    check_rewritten(text, &inbound);
    check_bodies(text, &inbound);
}

fn check_answer(text: &str, inbound: &Inbound) {
    let refused = inbound.frame.as_ref().err().cloned();
    let frame = match (inbound.reference.clone(), refused) {
        (Some(reference), refused) => {
            let outcome = refused.map_or(Ok(Answer::Done {}), Err);
            ServerFrame::Reply(Reply { reference, outcome })
        }
        (None, Some(rejection)) => ServerFrame::Error(rejection),
        (None, None) => return,
    };
    let answer: Value = serde_json::from_slice(&encode(&frame)).expect("an answer is JSON");
    if inbound.reference.is_some() {
        let asked: Value = serde_json::from_str(text).expect("what has a ref is JSON");
        assert_eq!(answer["ref"], asked["ref"]);
        assert_eq!(answer["ok"], inbound.frame.is_ok());
    } else {
        assert!(answer["code"].is_string() && answer["message"].is_string(), "{answer}");
    }
}

/// The same JSON in other words. Where a name stands twice only one of them would be left, so only what is accepted counts.
fn check_rewritten(text: &str, inbound: &Inbound) {
    let (Ok(frame), Ok(value)) = (&inbound.frame, serde_json::from_str::<Value>(text)) else { return };
    let again = decode(&value.to_string());
    let (Ok(same), true) = (&again.frame, frame.kind() != "application") else {
        return check_kind(frame, &value);
    };
    assert_eq!((frame.kind(), frame.weight()), (same.kind(), same.weight()));
    if let (ClientFrame::Publish(publish), ClientFrame::Publish(other)) = (frame, same) {
        assert_eq!((&publish.to, &publish.id, publish.ephemeral), (&other.to, &other.id, other.ephemeral));
        assert!(value["message"] == json(publish) && json(publish) == json(other));
    }
}

fn check_kind(frame: &ClientFrame, value: &Value) {
    let ClientFrame::Application { kind } = frame else { panic!("{value} is no longer a {}", frame.kind()) };
    assert_eq!(Value::from(kind.as_str()), value["type"]);
}

fn json(publish: &Publish) -> Value {
    serde_json::from_slice(publish.message.as_bytes()).expect("a message is JSON")
}

/// A body is a frame without its type: whatever is a publish as a frame is one as a body.
fn check_bodies(text: &str, inbound: &Inbound) {
    let body = Publish::parse(text);
    if matches!(inbound.frame, Ok(ClientFrame::Publish(_))) {
        assert!(body.is_ok(), "{body:?}");
    }
    let _any = (
        stream(text),
        StreamAct::parse_open(text),
        StreamAct::parse_append(text),
        StreamAct::parse_end(text),
    );
}
