//! `moorline.v1.json`: frames to and from JSON text. Keys are checked, values pass through.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::error::{ErrorCode, Rejection};
use crate::frame::{ClientFrame, Durability, Hello, Inbound, Publish, Ref, ServerFrame, Target};
use crate::id::{NameError, PublishId, RoomName, SessionId, UserId};
use crate::identity::Token;
use crate::message::{Message, check_depth};
use crate::position::{Epoch, Offset, Position};
use crate::record::Except;
use crate::resume::Since;
use crate::token::ResumeToken;

/// The subprotocol whose frames these are.
pub const SUBPROTOCOL: &str = "moorline.v1.json";

/// The longest `ref` that is a string, in bytes.
const REF_MAX_BYTES: usize = 128;

/// How many rooms `positions` may name: as many as a session may ever be configured to be in.
pub(crate) const POSITIONS_MAX: usize = 10_000;

/// Reads one text frame of a client's. Always answers; what is wrong is inside.
#[must_use]
pub fn decode(text: &str) -> Inbound {
    if text == "ping" {
        return Inbound { reference: None, frame: Ok(ClientFrame::TextPing) };
    }
    let head = match head(text) {
        Ok(head) => head,
        Err(rejection) => return Inbound { reference: None, frame: Err(rejection) },
    };
    match reference(head.reference) {
        Ok(reference) => Inbound { reference, frame: body(&head.kind, text) },
        Err(rejection) => Inbound { reference: None, frame: Err(rejection) },
    }
}

/// Writes one frame of the server's as JSON text.
#[must_use]
pub fn encode(frame: &ServerFrame) -> Vec<u8> {
    // Every frame is made of strings, numbers and maps with string keys: serialising it cannot fail.
    serde_json::to_vec(frame).unwrap_or_default()
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "ref", borrow, default, deserialize_with = "present")]
    reference: Option<&'a RawValue>,
}

/// A field that is there, so that a null is not taken for an absent one.
pub(crate) fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&'de RawValue>::deserialize(deserializer).map(Some)
}

/// The fields that every frame may have, beside those of its type.
macro_rules! wire {
    ($name:ident $(<$lt:lifetime>)? { $($(#[$meta:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name $(<$lt>)? {
            #[serde(rename = "type", default)]
            _kind: Option<IgnoredAny>,
            #[serde(rename = "ref", default)]
            _reference: Option<IgnoredAny>,
            $($(#[$meta])* $field: $ty,)*
        }
    };
}

mod streams;

pub use self::streams::stream;

wire!(Bare {});
wire!(HelloWire<'a> {
    token: Option<String>,
    session: Option<String>,
    resume_token: Option<String>,
    positions: Option<BTreeMap<String, Object<PositionWire>>>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
});
wire!(JoinWire { room: String, since: Option<SinceWire>, });
wire!(RoomWire { room: String });
wire!(AckWire { message_id: Offset, room: Option<String>, epoch: Option<String>, });
wire!(ReconnectWire { last_message_id: Option<Offset>, room: Option<String>, });
wire!(PongWire { positions: Option<BTreeMap<String, Object<PositionWire>>>, });
wire!(AuthWire { token: String });
wire!(PublishWire<'a> {
    #[serde(borrow)]
    to: &'a RawValue,
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(borrow)]
    except: Option<&'a RawValue>,
    id: Option<String>,
    #[serde(default)]
    ephemeral: bool,
    durability: Option<Durability>,
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PositionWire {
    epoch: String,
    message_id: Offset,
}

impl From<PositionWire> for Position {
    fn from(wire: PositionWire) -> Self {
        Self { epoch: epoch(&wire.epoch), offset: wire.message_id }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SinceWire {
    Start(StartWord),
    Position(Object<PositionWire>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum StartWord {
    Start,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum TargetWire {
    Room(String),
    User(String),
    Session(String),
    Sessions(Vec<String>),
    All,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExceptWire {
    #[serde(default)]
    sessions: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
}

fn head(text: &str) -> Result<Head<'_>, Rejection> {
    check_depth(text.as_bytes()).map_err(bad)?;
    parse(text)
}

fn reference(raw: Option<&RawValue>) -> Result<Option<Ref>, Rejection> {
    let Some(raw) = raw else { return Ok(None) };
    let text = raw.get();
    let integer = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    let string = serde_json::from_str::<String>(text).is_ok_and(|string| string.len() <= REF_MAX_BYTES);
    if !(string || integer) {
        return Err(bad("a ref is a string of up to 128 bytes or an integer"));
    }
    Ok(Some(Ref(Arc::from(raw.to_owned()))))
}

fn body(kind: &str, text: &str) -> Result<ClientFrame, Rejection> {
    match kind {
        "hello" => hello(parse(text)?).map(|hello| ClientFrame::Hello(Box::new(hello))),
        "join" => join(parse(text)?),
        "leave" => Ok(ClientFrame::Leave { room: room(&parse::<RoomWire>(text)?.room)? }),
        "publish" => publish(parse(text)?).map(|publish| ClientFrame::Publish(Box::new(publish))),
        "ack" => ack(parse(text)?),
        "reconnect" => reconnect(parse(text)?),
        "presence" => Ok(ClientFrame::Presence { room: room(&parse::<RoomWire>(text)?.room)? }),
        "ping" => parse::<Bare>(text).map(|_| ClientFrame::Ping),
        "pong" => Ok(ClientFrame::Pong { positions: positions(parse::<PongWire>(text)?.positions)? }),
        "heartbeat_response" => parse::<Bare>(text).map(|_| ClientFrame::HeartbeatResponse),
        "auth" => {
            parse::<AuthWire>(text).map(|wire| ClientFrame::Auth { token: Token::presented(&wire.token) })
        }
        "stream_open" | "stream_append" | "stream_end" | "stream_cancel" => {
            streams::frame(kind, text).map(|frame| ClientFrame::Stream(Box::new(frame)))
        }
        _ => Ok(ClientFrame::Application { kind: kind.to_owned() }),
    }
}

fn hello(wire: HelloWire<'_>) -> Result<Hello, Rejection> {
    Ok(Hello {
        token: wire.token.as_deref().map(Token::presented),
        session: wire.session.map(|text| id(SessionId::new(&text), "session")).transpose()?,
        resume_token: wire.resume_token.map(|text| ResumeToken::presented(&text)),
        positions: positions(wire.positions)?,
        metadata: wire.metadata.map(|raw| raw.get().to_owned()),
    })
}

fn join(wire: JoinWire) -> Result<ClientFrame, Rejection> {
    let since = match wire.since {
        None => Since::Now,
        Some(SinceWire::Start(StartWord::Start)) => Since::Start,
        Some(SinceWire::Position(Object(position))) => Since::Position(position.into()),
    };
    Ok(ClientFrame::Join { room: room(&wire.room)?, since })
}

fn ack(wire: AckWire) -> Result<ClientFrame, Rejection> {
    Ok(ClientFrame::Ack {
        room: any_room(wire.room)?,
        epoch: wire.epoch.as_deref().map(epoch),
        offset: wire.message_id,
    })
}

fn reconnect(wire: ReconnectWire) -> Result<ClientFrame, Rejection> {
    Ok(ClientFrame::Reconnect { room: any_room(wire.room)?, last: wire.last_message_id })
}

fn publish(wire: PublishWire<'_>) -> Result<Publish, Rejection> {
    if wire.ephemeral && (wire.id.is_some() || wire.durability.is_some()) {
        return Err(bad("an ephemeral publish is never stored: it takes neither id nor durability"));
    }
    Ok(Publish {
        to: target(wire.to.get())?,
        message: Message::parse(Bytes::copy_from_slice(wire.message.get().as_bytes()))?,
        except: wire.except.map(|raw| except(raw.get())).transpose()?.flatten(),
        id: wire.id.map(|text| publish_id(&text)).transpose()?,
        ephemeral: wire.ephemeral,
        durability: wire.durability,
    })
}

/// Checks a publish id.
///
/// # Errors
/// `id_invalid`.
pub fn publish_id(text: &str) -> Result<PublishId, Rejection> {
    id(PublishId::new(text), "publish")
}

fn target(text: &str) -> Result<Target, Rejection> {
    let wire: TargetWire = serde_json::from_str(text).map_err(|error| {
        Rejection::new(
            ErrorCode::TargetInvalid,
            format!("\"to\" is \"all\" or an object with one of room, user, session, sessions: {error}"),
        )
    })?;
    Ok(match wire {
        TargetWire::All => Target::Room(RoomName::own(&crate::id::Owner::All)),
        TargetWire::Room(name) => Target::Room(room(&name)?),
        TargetWire::User(text) => {
            Target::Room(RoomName::own(&crate::id::Owner::User(id(UserId::new(&text), "user")?)))
        }
        TargetWire::Session(text) => {
            Target::Room(RoomName::own(&crate::id::Owner::Session(id(SessionId::new(&text), "session")?)))
        }
        TargetWire::Sessions(texts) => sessions(&texts)?,
    })
}

fn sessions(texts: &[String]) -> Result<Target, Rejection> {
    if texts.is_empty() || texts.len() > Target::MAX_SESSIONS {
        let why = format!("\"sessions\" names 1 to {} sessions", Target::MAX_SESSIONS);
        return Err(Rejection::new(ErrorCode::TargetInvalid, why));
    }
    texts
        .iter()
        .map(|text| id(SessionId::new(text), "session"))
        .collect::<Result<_, _>>()
        .map(Target::Sessions)
}

fn except(text: &str) -> Result<Option<Arc<Except>>, Rejection> {
    let invalid = |why: String| Rejection::new(ErrorCode::TargetInvalid, why);
    let Object(wire): Object<ExceptWire> = serde_json::from_str(text)
        .map_err(|error| invalid(format!("\"except\" is {{sessions, users}}: {error}")))?;
    if wire.sessions.len() + wire.users.len() > Except::MAX {
        return Err(invalid(format!("\"except\" names up to {} ids", Except::MAX)));
    }
    let except = Except {
        sessions: wire.sessions.iter().map(|t| id(SessionId::new(t), "session")).collect::<Result<_, _>>()?,
        users: wire.users.iter().map(|t| id(UserId::new(t), "user")).collect::<Result<_, _>>()?,
    };
    Ok((!except.is_empty()).then(|| Arc::new(except)))
}

fn positions(
    wire: Option<BTreeMap<String, Object<PositionWire>>>,
) -> Result<Vec<(RoomName, Position)>, Rejection> {
    let wire = wire.unwrap_or_default();
    if wire.len() > POSITIONS_MAX {
        return Err(bad(format!("\"positions\" names up to {POSITIONS_MAX} rooms")));
    }
    wire.into_iter().map(|(name, Object(position))| Ok((stored_room(&name)?, position.into()))).collect()
}

fn any_room(name: Option<String>) -> Result<Option<RoomName>, Rejection> {
    name.map(|name| stored_room(&name)).transpose()
}

/// A room that a client names as its own position: own rooms included.
fn stored_room(name: &str) -> Result<RoomName, Rejection> {
    RoomName::stored(name).map_err(|error| room_invalid(&error))
}

/// Checks the name of a room of the application's.
///
/// # Errors
/// `room_invalid`.
pub fn room(name: &str) -> Result<RoomName, Rejection> {
    RoomName::new(name).map_err(|error| room_invalid(&error))
}

fn room_invalid(error: &NameError) -> Rejection {
    Rejection::new(ErrorCode::RoomInvalid, format!("the room name {error}"))
}

/// Turns a refused id into the answer for who sent it.
///
/// # Errors
/// `id_invalid`.
pub fn id<T>(checked: Result<T, NameError>, what: &str) -> Result<T, Rejection> {
    checked.map_err(|error| Rejection::new(ErrorCode::IdInvalid, format!("the {what} id {error}")))
}

/// An epoch as a client names it; one that is not ours matches none.
fn epoch(text: &str) -> Epoch {
    text.parse().unwrap_or(Epoch::UNKNOWN)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Rejection> {
    serde_json::from_str(text).map(|Object(value)| value).map_err(bad)
}

/// A JSON object, and no array of its values in their order, which serde would take for it.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData)).map(Self)
    }
}

fn bad(why: impl Display) -> Rejection {
    Rejection::new(ErrorCode::BadFrame, why.to_string())
}

impl Publish {
    /// Reads the body of an HTTP publish: the fields of a `publish` frame as JSON text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        check_depth(text.as_bytes()).map_err(bad)?;
        publish(parse(text)?)
    }
}
