//! Answers to frames, and to requests that do the same.

use serde::Serialize;

use super::{Durability, Presence, Ref};
use crate::error::Rejection;
use crate::id::{RoomName, StreamName};
use crate::position::{Offset, Position};
use crate::time::Timestamp;

/// An answer with its `ref`.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Which frame it answers.
    pub reference: Ref,
    /// What it carries.
    pub outcome: Result<Answer, Rejection>,
}

impl Serialize for Reply {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Good<'a> {
            r#ref: &'a Ref,
            ok: bool,
            #[serde(flatten)]
            answer: &'a Answer,
        }
        #[derive(Serialize)]
        struct Bad<'a> {
            r#ref: &'a Ref,
            ok: bool,
            error: &'a Rejection,
        }
        match &self.outcome {
            Ok(answer) => Good { r#ref: &self.reference, ok: true, answer }.serialize(serializer),
            Err(error) => Bad { r#ref: &self.reference, ok: false, error }.serialize(serializer),
        }
    }
}

/// What a successful reply carries.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Nothing more.
    Done {},
    /// A room left.
    Room {
        /// Which.
        room: RoomName,
    },
    /// A room and a position in it.
    At {
        /// Which.
        room: RoomName,
        /// Where.
        #[serde(flatten)]
        position: Position,
    },
    /// An acknowledged offset.
    Acked {
        /// Which room.
        room: RoomName,
        /// How far.
        message_id: Offset,
    },
    /// A publish to one room.
    Published(PublishAnswer),
    /// A publish to several sessions.
    Several {
        /// One each, in order.
        results: Vec<PublishOutcome>,
    },
    /// A stream that is open.
    Opened {
        /// The room.
        room: RoomName,
        /// The stream.
        stream: StreamName,
        /// The right of the one who opened it.
        fence: u64,
        /// The length of its text.
        at: u64,
    },
    /// Text that a stream has.
    Appended {
        /// The length of its text.
        at: u64,
        /// Whether somebody asked to stop.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cancel: bool,
    },
    /// A stream that ended.
    Ended {
        /// Its terminal record.
        message_id: Offset,
    },
    /// Who is there.
    Presence(Presence),
    /// A token that was accepted.
    Expires {
        /// When it ends; null where it does not.
        expires_at: Option<Timestamp>,
    },
}

/// What became of one publish.
#[derive(Clone, Debug, Serialize)]
pub struct PublishAnswer {
    /// The room.
    pub room: RoomName,
    /// Where the record stands; absent for an ephemeral one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Connected members that it is for.
    pub reached: u64,
    /// Absent members that it is kept for.
    pub queued: u64,
    /// How safely it is kept; absent for an ephemeral one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Whether it stood there before, under the same id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// What became of one of several publishes.
#[derive(Clone, Debug)]
pub struct PublishOutcome(pub Result<PublishAnswer, Rejection>);

impl Serialize for PublishOutcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(answer) => answer.serialize(serializer),
            Err(rejection) => serializer.collect_map([("error", rejection)]),
        }
    }
}
