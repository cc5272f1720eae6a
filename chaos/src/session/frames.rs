//! The server's frames as the recorder reads them, apart from the client that is part of what is tested.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr as _;

use moorline_proto::id::RoomName;
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::stream::TYPES;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::content::Content;
use crate::history::What;

/// `connection_established`.
#[derive(Debug, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) session: String,
    pub(crate) resume_token: String,
    pub(crate) resumed: bool,
    #[serde(default)]
    pub(crate) rooms: BTreeMap<String, Room>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Room {
    epoch: String,
}

impl Greeting {
    pub(crate) fn read(text: &str) -> Option<Self> {
        text.starts_with(r#"{"type":"connection_established""#).then(|| serde_json::from_str(text).ok())?
    }

    pub(super) fn epochs(&self) -> impl Iterator<Item = (RoomName, Epoch)> {
        self.rooms.iter().filter_map(|(name, room)| {
            Some((RoomName::stored(name).ok()?, Epoch::from_str(&room.epoch).ok()?))
        })
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    message_id: Option<u64>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(rename = "ref", borrow)]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
}

/// What a frame is to the recorder.
#[derive(Debug)]
pub(super) enum Heard {
    Message {
        room: RoomName,
        offset: Offset,
        content: Content,
    },
    /// Text of a stream, or its end.
    OfStream,
    /// It names the epoch of a room.
    Epoch(RoomName, Epoch),
    /// The answer to a question of the recorder's own.
    Answer {
        reference: String,
        ok: bool,
    },
    Other,
}

impl Heard {
    pub(super) fn read(text: &str) -> Self {
        let frame: Option<Frame<'_>> = serde_json::from_str(text).ok();
        frame.and_then(|frame| Self::of(text, &frame)).unwrap_or(Self::Other)
    }

    fn of(text: &str, frame: &Frame<'_>) -> Option<Self> {
        if &*frame.kind == "reply" {
            let reference = value(frame.reference)?;
            return Some(Self::Answer { reference, ok: value(frame.ok)? });
        }
        let room = RoomName::stored(frame.room.as_deref()?).ok()?;
        if matches!(&*frame.kind, "joined" | "reset" | "position") {
            return Some(Self::Epoch(room, Epoch::from_str(&value::<String>(frame.epoch)?).ok()?));
        }
        if matches!(&*frame.kind, "left" | "presence") {
            return None;
        }
        if of_stream(text).is_some() {
            return Some(Self::OfStream);
        }
        let content = Content::read(text, value::<String>(frame.key).as_deref());
        Some(Self::Message { room, offset: Offset(frame.message_id?), content })
    }
}

fn value<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// What an envelope says of a stream; none where it comes from none.
pub(super) fn of_stream(envelope: &str) -> Option<What> {
    #[derive(Deserialize)]
    struct Said {
        #[serde(rename = "type")]
        kind: String,
        room: String,
        stream: String,
        #[serde(default)]
        at: usize,
        #[serde(default)]
        content: String,
    }
    if envelope.starts_with(r#"{"type":"chaos""#) {
        return None;
    }
    let Said { kind, room, stream, at, content } = serde_json::from_str(envelope).ok()?;
    let room = RoomName::stored(&room).ok()?;
    match &*kind {
        "chunk" => Some(What::Text { room, stream, at, content }),
        kind if TYPES.contains(&kind) => Some(What::StreamEnded { room, stream, kind: kind.to_owned() }),
        _ => None,
    }
}
