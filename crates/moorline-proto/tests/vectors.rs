//! The golden vectors of the specification, run against the codec, the names and the resume rule. A key that is not known
//! here fails, so that no case is there for nothing.

use std::time::Duration;

use bytes::Bytes;
use moorline_proto::codec;
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::{
    Answer, ClientFrame, Durability, LeftReason, Presence, PresentSession, PublishAnswer, PublishOutcome,
    Ref, Reply, RoomEstablished, RoomsEstablished, ServerFrame,
};
use moorline_proto::id::{NameError, PublishId, RoomName, SessionId, StreamName, UserId};
use moorline_proto::message::Message;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::resume::{ResetReason, Resume, RoomState, Since};
use moorline_proto::stream::Canceller;
use moorline_proto::time::Timestamp;
use moorline_proto::token::ResumeToken;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors<T> {
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    timestamp: Option<String>,
    cases: Vec<T>,
}

/// What stands for `{fill}`, and for `{end}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fill {
    with: String,
    times: usize,
    #[serde(default)]
    end: String,
    #[serde(default)]
    end_with: String,
}

impl Fill {
    fn text(&self) -> String {
        self.with.repeat(self.times) + &self.end
    }
}

fn filled(text: &str, fill: Option<&Fill>) -> String {
    let Some(fill) = fill else { return text.to_owned() };
    text.replace("{fill}", &fill.text()).replace("{end}", &fill.end_with.repeat(fill.times))
}

fn read<T: DeserializeOwned>(text: &str) -> Vectors<T> {
    let vectors: Vectors<T> = serde_json::from_str(text).expect("a vector file of this shape");
    assert!(!vectors.cases.is_empty());
    vectors
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFrameCase {
    text: String,
    kind: Option<String>,
    error: Option<String>,
    fill: Option<Fill>,
    #[serde(rename = "why")]
    _why: Option<String>,
}

fn kind_of(frame: &ClientFrame) -> &'static str {
    match frame {
        ClientFrame::Hello(_) => "hello",
        ClientFrame::Join { .. } => "join",
        ClientFrame::Leave { .. } => "leave",
        ClientFrame::Publish(_) => "publish",
        ClientFrame::Stream(frame) => frame.act.kind(),
        ClientFrame::Ack { .. } => "ack",
        ClientFrame::Reconnect { .. } => "reconnect",
        ClientFrame::Presence { .. } => "presence",
        ClientFrame::Ping => "ping",
        ClientFrame::TextPing => "text_ping",
        ClientFrame::Pong { .. } => "pong",
        ClientFrame::HeartbeatResponse => "heartbeat_response",
        ClientFrame::Auth { .. } => "auth",
        ClientFrame::Application { .. } => "application",
    }
}

#[test]
fn client_frames_are_taken_for_what_they_are() {
    let vectors: Vectors<ClientFrameCase> = read(include_str!("../../../spec/vectors/client-frames.json"));
    for case in vectors.cases {
        let text = filled(&case.text, case.fill.as_ref());
        let taken = match &codec::decode(&text).frame {
            Ok(frame) => (Some(kind_of(frame).to_owned()), None),
            Err(rejection) => (None, Some(rejection.code.to_string())),
        };
        assert_eq!(taken, (case.kind, case.error), "{}", case.text);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerFrameCase {
    name: String,
    json: String,
}

fn position() -> Position {
    Position { epoch: Epoch(0xff), offset: Offset(41) }
}

fn room(name: &str) -> RoomName {
    RoomName::stored(name).expect("a room's name")
}

fn session(name: &str) -> SessionId {
    SessionId::new(name).expect("a session's id")
}

fn presence() -> Presence {
    let ann = PresentSession { session: session("s1"), user: UserId::new("ann").ok() };
    let nobody = PresentSession { session: session("s2"), user: None };
    Presence { room: room("a"), count: 2, sessions: vec![ann, nobody] }
}

fn published(name: &str, duplicate: bool) -> PublishAnswer {
    let durability = Some(Durability::Memory);
    PublishAnswer {
        room: room(name),
        position: Some(position()),
        reached: 2,
        queued: 1,
        durability,
        duplicate,
    }
}

fn rejection(code: ErrorCode) -> Rejection {
    Rejection::new(code, "why")
}

fn reply(reference: &str, outcome: Result<Answer, Rejection>) -> ServerFrame {
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str(reference).expect("JSON");
    ServerFrame::Reply(Reply { reference: Ref(raw.into()), outcome })
}

fn reset(reason: ResetReason, from: Option<Offset>) -> ServerFrame {
    let Position { epoch, offset: to } = position();
    ServerFrame::Reset { room: room("a"), reason, epoch, from, to }
}

/// The frames of the cases. That every type is among them is checked by name below.
fn server_frame(name: &str) -> Option<ServerFrame> {
    let a = || room("a");
    let several = || {
        let first = PublishAnswer { reached: 1, queued: 0, ..published("@session/s1", false) };
        vec![PublishOutcome(Ok(first)), PublishOutcome(Err(rejection(ErrorCode::Conflict)))]
    };
    let ephemeral = || PublishAnswer { position: None, durability: None, queued: 0, ..published("a", false) };
    Some(match name {
        "connection_established" => established(),
        "reply done" => reply("1", Ok(Answer::Done {})),
        "reply room" => reply("\"r\\u00e9\"", Ok(Answer::Room { room: a() })),
        "reply at" => reply("1", Ok(Answer::At { room: a(), position: position() })),
        "reply acked" => reply("1", Ok(Answer::Acked { room: a(), message_id: Offset(41) })),
        "reply published" => reply("1", Ok(Answer::Published(published("a", false)))),
        "reply duplicate" => reply("1", Ok(Answer::Published(published("a", true)))),
        "reply ephemeral" => reply("1", Ok(Answer::Published(ephemeral()))),
        "reply several" => reply("1", Ok(Answer::Several { results: several() })),
        "reply presence" => reply("1", Ok(Answer::Presence(presence()))),
        "reply refused" => reply("1", Err(rejection(ErrorCode::NotAMember))),
        "error" => ServerFrame::Error(rejection(ErrorCode::BadFrame)),
        "error with a time" => {
            ServerFrame::Error(rejection(ErrorCode::RateLimited).retry_in(Duration::from_micros(1_001)))
        }
        "pong" => ServerFrame::Pong,
        "joined" => ServerFrame::Joined { room: a(), position: position() },
        "left" => ServerFrame::Left { room: a(), reason: LeftReason::Left },
        "removed" => ServerFrame::Left { room: a(), reason: LeftReason::Removed },
        "presence" => ServerFrame::Presence(presence()),
        "reset" => reset(ResetReason::Retention, Some(Offset(5))),
        "reset epoch" => reset(ResetReason::Epoch, None),
        "position" => ServerFrame::Position { room: a(), position: position() },
        "forbidden" => ServerFrame::Left { room: a(), reason: LeftReason::Forbidden },
        "token_expiring" => ServerFrame::TokenExpiring { expires_in_ms: 60_000 },
        "reply expires" => reply("1", Ok(Answer::Expires { expires_at: Some(Timestamp(1_795_262_400_000)) })),
        "reply never expires" => reply("1", Ok(Answer::Expires { expires_at: None })),
        "reply opened" => reply("1", Ok(opened())),
        "reply appended" => reply("1", Ok(Answer::Appended { at: 4, cancel: false })),
        "reply appended, cancel" => reply("1", Ok(Answer::Appended { at: 4, cancel: true })),
        "reply ended" => reply("1", Ok(Answer::Ended { message_id: Offset(41) })),
        "reply at_mismatch" => reply("1", Err(Rejection { at: Some(4), ..rejection(ErrorCode::AtMismatch) })),
        "stream_cancel" => {
            stream_cancel(Canceller { session: Some(session("s1")), user: UserId::new("ann").ok() })
        }
        "stream_cancel, application" => stream_cancel(Canceller::default()),
        "closing" => ServerFrame::Closing { reconnect_in_ms: 250, reason: "drain" },
        _ => return None,
    })
}

fn stream() -> StreamName {
    StreamName::new("a1").expect("a stream's name")
}

fn opened() -> Answer {
    Answer::Opened { room: room("a"), stream: stream(), fence: 2, at: 4 }
}

fn stream_cancel(by: Canceller) -> ServerFrame {
    ServerFrame::StreamCancel { room: room("a"), stream: stream(), by }
}

fn established() -> ServerFrame {
    let rooms = vec![(room("request:7"), RoomEstablished { position: position(), replayed: 0 })];
    ServerFrame::ConnectionEstablished {
        session: session("s1"),
        resume_token: ResumeToken::from_random([1; 32]).expose().to_owned(),
        resumed: false,
        rooms: RoomsEstablished(rooms),
        heartbeat_ms: 30_000,
    }
}

#[test]
fn server_frames_are_written_byte_for_byte() {
    let vectors: Vectors<ServerFrameCase> = read(include_str!("../../../spec/vectors/server-frames.json"));
    let mut types = std::collections::BTreeSet::new();
    for case in vectors.cases {
        let frame = server_frame(&case.name).unwrap_or_else(|| panic!("{:?} is no case", case.name));
        let text = String::from_utf8(codec::encode(&frame)).expect("UTF-8");
        assert_eq!(text, case.json, "{}", case.name);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        types.insert(value["type"].as_str().expect("a type").to_owned());
    }
    let all = "closing connection_established error joined left pong position presence reply reset stream_cancel token_expiring";
    assert_eq!(types.into_iter().collect::<Vec<_>>().join(" "), all);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageCase {
    text: String,
    envelope: Option<String>,
    error: Option<String>,
    #[serde(default)]
    deliverable: bool,
    fill: Option<Fill>,
    #[serde(rename = "why")]
    _why: Option<String>,
}

#[test]
fn messages_are_refused_or_delivered_as_they_stand() {
    let vectors: Vectors<MessageCase> = read(include_str!("../../../spec/vectors/messages.json"));
    let timestamp = Timestamp(1_795_262_400_000);
    assert_eq!(Some(timestamp.to_string()), vectors.timestamp);
    for case in vectors.cases {
        let text = filled(&case.text, case.fill.as_ref());
        match Message::parse(Bytes::from(text)) {
            Ok(message) => {
                let envelope = message.envelope(&room("a"), Some(Offset(7)), timestamp);
                let envelope = String::from_utf8(envelope).expect("UTF-8");
                assert!(case.deliverable || Some(&envelope) == case.envelope.as_ref(), "{envelope}");
                assert_eq!(case.error, None, "{}", case.text);
            }
            Err(rejection) => assert_eq!(Some(rejection.code.to_string()), case.error, "{}", case.text),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameCase {
    kind: String,
    name: String,
    fill: Option<Fill>,
    valid: bool,
}

#[test]
fn names_are_accepted_or_not() {
    let vectors: Vectors<NameCase> = read(include_str!("../../../spec/vectors/names.json"));
    for case in vectors.cases {
        let name = case.name.clone() + &case.fill.as_ref().map(Fill::text).unwrap_or_default();
        let checked: Result<(), NameError> = match case.kind.as_str() {
            "room" => RoomName::new(&name).map(drop),
            "any_room" => RoomName::stored(&name).map(drop),
            "session" => SessionId::new(&name).map(drop),
            "user" => UserId::new(&name).map(drop),
            "publish" => PublishId::new(&name).map(drop),
            "stream" => StreamName::new(&name).map(drop),
            other => panic!("{other:?} is no kind of name"),
        };
        assert_eq!(checked.is_ok(), case.valid, "{} {name:?}: {checked:?}", case.kind);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PositionCase {
    state: StateCase,
    since: Value,
    continues: Option<u64>,
    reset: Option<ResetCase>,
    #[serde(rename = "why")]
    _why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateCase {
    epoch: String,
    head: u64,
    cut: u64,
    cleared: u64,
    former: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetCase {
    reason: ResetReason,
    from: Option<u64>,
    to: u64,
}

fn epoch(text: &str) -> Epoch {
    text.parse().expect("an epoch")
}

fn position_of(value: &Value) -> Position {
    let keys: Vec<&String> = value.as_object().expect("a position").keys().collect();
    assert_eq!(keys, ["epoch", "message_id"]);
    let offset = value["message_id"].as_u64().expect("a number");
    Position { epoch: epoch(value["epoch"].as_str().expect("text")), offset: Offset(offset) }
}

#[test]
fn positions_are_judged_by_the_resume_rule() {
    let vectors: Vectors<PositionCase> = read(include_str!("../../../spec/vectors/positions.json"));
    for case in vectors.cases {
        let StateCase { epoch: name, head, cut, cleared, former } = &case.state;
        let state = RoomState {
            epoch: epoch(name),
            head: Offset(*head),
            cut: Offset(*cut),
            cleared: Offset(*cleared),
            former: former.as_ref().map(position_of).into_iter().collect(),
        };
        let since = match &case.since {
            Value::Null => Since::Now,
            Value::String(word) if word == "start" => Since::Start,
            position => Since::Position(position_of(position)),
        };
        let expected = match (case.continues, case.reset) {
            (Some(offset), None) => Resume::Continue(Offset(offset)),
            (None, Some(ResetCase { reason, from, to })) => {
                Resume::Reset { reason, from: from.map(Offset), to: Offset(to) }
            }
            other => panic!("one of both: {:?}", other.0),
        };
        assert_eq!(since.resume(&state), expected, "{since:?}");
    }
}
