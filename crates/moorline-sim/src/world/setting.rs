//! The settings of a world, from its seed.

use std::time::Duration;

use moorline_broker::{Retention, RetentionRules};
use moorline_proto::heartbeat::Policy;
use moorline_proto::shard::{ExpiryConfig, ShardConfig};

use super::LIFETIME;
use crate::random::Random;
use crate::wire::FRAMING;

pub(super) fn rules(random: &mut Random) -> RetentionRules {
    let records = [4, 12, 1_000][random.below(3)];
    let age = Duration::from_secs(120);
    RetentionRules {
        room: Retention { records, bytes: 1 << 20, age },
        own: Retention { records: 6, bytes: 1 << 20, age },
        prefixes: Vec::new(),
        total_bytes: 1 << 22,
        id_age: Duration::from_secs(100_000),
        id_bytes: 1 << 22,
    }
}

pub(super) fn config(random: &mut Random) -> ShardConfig {
    ShardConfig {
        heartbeat: Policy {
            interval: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(25),
            pong_timeout: None,
        },
        heartbeat_frame: "ping".to_owned(),
        session_lifetime: LIFETIME,
        absent_max_bytes: 1024 * 1024,
        rooms_max: 8,
        metadata_max_bytes: 4_096,
        pending_max_bytes: [700, 2_000, 20_000][random.below(3)],
        stall_timeout: Duration::from_secs(12),
        save_timeout: Duration::from_secs(10),
        in_flight_max: 1_024,
        shard_rooms_max: 1_000_000,
        expiry: ExpiryConfig::default(),
        authenticates: false,
        authorizes: false,
        framing: FRAMING,
    }
}
