//! WebSocket connections that stay alive, know who they belong to, and get every message to them.
//!
//! A [`Node`] owns sessions, rooms and their records. Connections reach it through [`Node::upgrade`] (any hyper server) or, with
//! the feature `axum`, the extractor in [`transport::axum`]; what applications do, they do with the node's methods.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use moorline::{Config, Node, Publish};
//!
//! let node = Node::in_memory(Config::default())?;
//! let publish = Publish::parse(r#"{"to":{"room":"news"},"message":{"type":"hello"}}"#)?;
//! let answer = node.publish(publish, "docs").await?;
//! assert_eq!(serde_json::to_value(answer)?["message_id"], 1);
//! # Ok(()) }
//! ```
//!
//! What the wire looks like is in `spec/protocol.md`; the rules themselves live in `moorline-proto`, without I/O.

mod admission;
mod authenticate;
mod authorize;
mod backend;
mod clock;
mod compression;
mod config;
mod connection;
mod handshake;
mod host;
mod limits;
mod lookup;
mod node;
mod publishing;
mod pump;
mod shard;
mod streams;
mod telemetry;
mod throttle;
pub mod transport;

/// What the README shows is compiled.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub use authenticate::{AuthenticateError, Authenticator};
pub use authorize::{Action, AuthorizeError, AuthorizeRequest, Authorizer};
pub use backend::Backend;
pub use config::{Config, ConfigError, DrainConfig};
pub use handshake::Endpoint;
pub use limits::{Limits, Rate};
pub use lookup::{History, Page, RoomDetail, Stats, UserView};
pub use moorline_broker as broker;
pub use moorline_proto::close::CloseCode;
pub use moorline_proto::error::{ErrorCode, Rejection};
pub use moorline_proto::frame::{
    Answer, Durability, Publish, PublishAnswer, PublishOutcome, StreamAct, Target,
};
pub use moorline_proto::grants::{Grants, Names, Pattern, PatternError};
pub use moorline_proto::heartbeat::Policy as HeartbeatPolicy;
pub use moorline_proto::id::{PublishId, RoomName, SessionId, StreamName, UserId};
pub use moorline_proto::identity::{Identity, Token, TokenId};
pub use moorline_proto::message::{Message, check_depth};
pub use moorline_proto::position::{Epoch, Offset, Position};
pub use moorline_proto::shard::{Event, ExpiryConfig, Liveness, RoomView, SessionFilter, SessionView};
pub use moorline_proto::stream;
pub use moorline_proto::time::Timestamp;
pub use moorline_proto::token::ResumeToken;
pub use moorline_proto::users::UserLimits;
pub use moorline_ws::deflate::Compression;
pub use node::{Hooks, Node, Observer, StartError};
