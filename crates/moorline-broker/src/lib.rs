//! The seams between a node and what keeps its messages and sessions, with their in-memory implementations and the
//! conformance suites that every implementation passes.
//!
//! | seam | what it is | implementations here |
//! |---|---|---|
//! | [`Log`] | rooms' records, synchronous, with one owner | [`MemoryLog`] |
//! | [`Broker`] | appends and announces, for any number of nodes | [`LocalBroker`], over any `Log` |
//! | [`SessionStore`] | what is kept of sessions, with an owner fence | [`MemorySessions`] |

mod broker;
pub mod conformance;
mod local_broker;
mod log;
mod memory_log;
mod memory_sessions;
mod session_store;

pub use broker::{
    Announcement, Announcements, Broker, BrokerError, Durability, Keep, Publication, Published, Survey,
    SurveyRequest,
};
pub use local_broker::LocalBroker;
pub use log::{AppendError, Appended, Draft, Log, LogExt, LogStats, New, PublishKey, ReadLimit, Streamed};
pub use memory_log::{
    Claim, Client, Fingerprint, History, MemoryLog, Noting, PrefixRetention, Retention, RetentionRules,
    RoomHead, StreamChange, StreamId,
};
pub use memory_sessions::MemorySessions;
pub use session_store::{Fence, NodeId, SessionStore, StoreError, Stored};
