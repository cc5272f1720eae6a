//! What a node is told to be like. Every setting has a default, a unit and a reason.

use std::sync::Arc;
use std::time::Duration;

use moorline_broker::RetentionRules;
use moorline_proto::batch::Framing;
use moorline_proto::heartbeat::Policy;
use moorline_proto::shard::{ExpiryConfig, ShardConfig};
use moorline_proto::users::UserLimits;
use moorline_ws::deflate::Compression;

use crate::limits::Limits;

/// How long a connection waits until its session is kept: as long as a client has for its `hello`.
const SAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of a node. Change what differs from [`Config::default`]; [`crate::Node::start`] checks the whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// When to ping and when to give a peer up. Default: every 30 s, 90 s without a sign of life (R18, R19).
    pub heartbeat: Policy,
    /// The JSON ping's `type`. Default `ping`; some clients know it as `heartbeat`.
    pub heartbeat_frame: String,
    /// How long a session outlives its connection. Default 1 h (R16).
    pub session_lifetime: Duration,
    /// What absent sessions may cost together, in bytes as reckoned (1 KiB each, 800 bytes per room, their metadata);
    /// beyond it those that are away longest expire. Default 256 MiB.
    pub absent_max_bytes: usize,
    /// How long a client may take to say `hello`. Default 10 s.
    pub hello_timeout: Duration,
    /// Rooms per session. Default 128.
    pub rooms_max: usize,
    /// Sessions per user. Default 5 connected (R6) and 20 absent.
    pub users: UserLimits,
    /// Bytes of a session's custom metadata. Default 4 KiB.
    pub metadata_max_bytes: usize,
    /// Bytes of one inbound message. Default 64 KiB; beyond it the connection is closed with 1009.
    pub message_max_bytes: usize,
    /// Bytes that wait for one connection before it is lagging and reads the log instead. Default 128 KiB.
    pub pending_max_bytes: usize,
    /// How long a full socket may take nothing. Default 30 s; then 1013.
    pub stall_timeout: Duration,
    /// Whether messages are compressed for clients that offer it, and from clients that do it; default no. It costs time, a window for each
    /// thread that reads and up to three for each shard, and no memory for a connection; the lengths of compressed messages tell
    /// something about what is in them.
    pub compression: Option<Compression>,
    /// Frames of one connection that wait for their answers (publishes, presence). Default 1,024; beyond it `overloaded`.
    pub in_flight_max: u32,
    /// How much clients may do in a time.
    pub limits: Limits,
    /// When clients are told that their token ends, and for how long it still counts.
    pub expiry: ExpiryConfig,
    /// Named rooms with members, in each shard. Default 1,000,000; beyond it a join is `overloaded`.
    pub shard_rooms_max: usize,
    /// What rooms keep, in memory. Ignored where the broker is the caller's own.
    pub retention: RetentionRules,
    /// How connections are sent away at the end.
    pub drain: DrainConfig,
    /// Shards: single-threaded parts of the node. Default one per core.
    pub shards: usize,
}

/// How connections are sent away when the node stops.
#[derive(Clone, Copy, Debug)]
pub struct DrainConfig {
    /// Until when everything is over. Default 10 s.
    pub timeout: Duration,
    /// Over how long the clients' returns are spread, so that they do not come back at once. Default 5 s.
    pub spread: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), spread: Duration::from_secs(5) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Policy::default(),
            heartbeat_frame: "ping".to_owned(),
            session_lifetime: Duration::from_secs(3600),
            absent_max_bytes: 256 * 1024 * 1024,
            hello_timeout: Duration::from_secs(10),
            rooms_max: 128,
            users: UserLimits::default(),
            metadata_max_bytes: 4096,
            message_max_bytes: 64 * 1024,
            pending_max_bytes: 128 * 1024,
            stall_timeout: Duration::from_secs(30),
            compression: None,
            in_flight_max: 1024,
            limits: Limits::default(),
            expiry: ExpiryConfig::default(),
            shard_rooms_max: 1_000_000,
            retention: RetentionRules::default(),
            drain: DrainConfig::default(),
            shards: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// A setting that cannot be. The message names it and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {problem}")]
pub struct ConfigError {
    /// Which field of [`Config`].
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Config {
    /// Checks what would make a node useless or unbounded.
    ///
    /// # Errors
    /// Names the first setting that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        const LEAST: Duration = Duration::from_millis(10);
        let wrong = [
            (self.shards == 0 || self.shards > 1024, "shards", "must be between 1 and 1024"),
            (self.heartbeat.interval < LEAST, "heartbeat.interval", "must be at least 10 ms"),
            (self.heartbeat.idle_timeout < LEAST, "heartbeat.idle_timeout", "must be at least 10 ms"),
            (
                self.heartbeat.pong_timeout.is_some_and(|timeout| timeout < LEAST),
                "heartbeat.pong_timeout",
                "must be at least 10 ms, or none",
            ),
            (self.heartbeat_frame.is_empty(), "heartbeat_frame", "must not be empty"),
            (self.rooms_max == 0, "rooms_max", "must be at least 1"),
            (self.users.connected == 0, "users.connected", "must be at least 1"),
            (self.message_max_bytes < 256, "message_max_bytes", "must be at least 256"),
            (self.pending_max_bytes < 1024, "pending_max_bytes", "must be at least 1024"),
            (
                self.compression.is_some_and(|compression| !(1..=9).contains(&compression.level)),
                "compression.level",
                "must be between 1 and 9",
            ),
            (self.in_flight_max == 0, "in_flight_max", "must be at least 1"),
            (
                self.retention.prefixes.len() > RetentionRules::PREFIXES_MAX,
                "retention.prefixes",
                "must be at most 64",
            ),
            (self.shard_rooms_max == 0, "shard_rooms_max", "must be at least 1"),
            (self.limits.unestablished_max == 0, "limits.unestablished_max", "must be at least 1"),
            (
                self.limits.address_unestablished_max == 0,
                "limits.address_unestablished_max",
                "must be at least 1",
            ),
        ];
        match wrong.into_iter().find(|(is_wrong, ..)| *is_wrong) {
            Some((_, setting, problem)) => Err(ConfigError { setting, problem }),
            None => Ok(()),
        }
    }

    pub(crate) fn shard_config(&self, authenticates: bool, authorizes: bool) -> Arc<ShardConfig> {
        Arc::new(ShardConfig {
            heartbeat: self.heartbeat,
            heartbeat_frame: self.heartbeat_frame.clone(),
            session_lifetime: self.session_lifetime,
            absent_max_bytes: self.absent_max_bytes / self.shards,
            rooms_max: self.rooms_max,
            metadata_max_bytes: self.metadata_max_bytes,
            pending_max_bytes: self.pending_max_bytes,
            stall_timeout: self.stall_timeout,
            save_timeout: SAVE_TIMEOUT,
            in_flight_max: self.in_flight_max,
            shard_rooms_max: self.shard_rooms_max,
            expiry: self.expiry,
            authenticates,
            authorizes,
            framing: framing(),
        })
    }
}

/// Frames as RFC 6455 lays them out.
pub(crate) fn framing() -> Framing {
    Framing {
        text_header: moorline_ws::frame::put_text_header,
        ping: |out| moorline_ws::frame::put_ping(out, b""),
        pong: moorline_ws::frame::put_pong,
        close: moorline_ws::frame::put_close,
    }
}
