//! Suites that every implementation of a seam passes: one function for each clause of the seam's contract, named after
//! it, and one that runs them all. A clause that does not hold panics.
//!
//! ```
//! use moorline_broker::{MemoryLog, conformance};
//! use moorline_proto::position::Epoch;
//!
//! conformance::log(|rules| MemoryLog::new(Epoch(1), rules));
//! ```

pub mod broker;
pub mod broker_announcements;
mod broker_producer;
pub mod broker_streams;
pub mod log;
pub mod log_ids;
pub mod log_retention;
pub mod log_stream_ends;
pub mod log_stream_kept;
pub mod log_stream_reads;
pub mod log_stream_texts;
pub mod log_stream_times;
pub mod log_stream_walk;
pub mod log_streams;
pub mod session_store;
mod stage;
mod stream_history;

pub use self::broker::broker;
pub use self::log::log;
pub use self::session_store::session_store;

use moorline_proto::id::{PublishId, RoomName, SessionId, UserId};
use moorline_proto::message::Message;

use crate::log::{PublishKey, ReadLimit};

/// No limit.
const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

fn room(name: &str) -> RoomName {
    RoomName::stored(name).expect("a room's name")
}

fn session(id: &str) -> SessionId {
    SessionId::new(id).expect("a session's id")
}

fn user(id: &str) -> UserId {
    UserId::new(id).expect("a user's id")
}

/// A message that tells itself apart by its number.
fn message(number: u64) -> Message {
    sized(number, 0)
}

/// One with so much text more.
fn sized(number: u64, bytes: usize) -> Message {
    let text = format!(r#"{{"type":"m","n":{number},"x":"{}"}}"#, "x".repeat(bytes));
    Message::stored(text.into_bytes().into())
}

fn key(sender: &str, id: &str) -> PublishKey {
    PublishKey { sender: sender.into(), id: PublishId::new(id).expect("a publish's id") }
}
