//! Settings as they are written (`Raw`) and as they are meant (`Settings`).

mod auth;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use auth::{Algorithm, AuthSettings, JwksPlace, JwksSource, KeySource};

use figment::Figment;
use figment::providers::{Env, Serialized};
use moorline::broker::{Retention, RetentionRules};
use moorline::{Config, DrainConfig, HeartbeatPolicy, UserLimits};
use serde::{Deserialize, Serialize};

/// What stands before every variable.
const PREFIX: &str = "MOORLINE__";

/// A setting that cannot be. Nothing was started.
#[derive(Debug)]
pub(crate) struct SettingsError(String);

impl SettingsError {
    /// Says what is wrong and how to mend it.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

/// What the program works with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) head_max_bytes: usize,
    pub(crate) body_max_bytes: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) auth: AuthSettings,
    pub(crate) keys_file: Option<PathBuf>,
    pub(crate) node: Config,
}

macro_rules! raw {
    ($($(#[$doc:meta])* $section:ident $name:ident { $($field:ident: $ty:ty = $default:expr,)* })*) => {
        /// Every section, with its defaults (spec/protocol.md, section 10).
        #[derive(Debug, Default, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        struct Raw { $($section: $name,)* }

        $(
            $(#[$doc])*
            #[derive(Debug, Deserialize, Serialize)]
            #[serde(deny_unknown_fields)]
            struct $name { $($field: $ty,)* }

            impl Default for $name {
                fn default() -> Self { Self { $($field: $default,)* } }
            }
        )*
    };
}

raw! {
    /// The HTTP server.
    http RawHttp {
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        head_max_bytes: u64 = 16_384,
        body_max_bytes: u64 = 1_048_576,
        head_timeout_ms: u64 = 10_000,
        request_timeout_ms: u64 = 30_000,
    }
    /// When to ping and when to give up.
    heartbeat RawHeartbeat {
        interval_ms: u64 = 30_000,
        idle_timeout_ms: u64 = 90_000,
        pong_timeout_ms: u64 = 0,
        frame: String = "ping".to_owned(),
    }
    /// Sessions.
    session RawSession {
        lifetime_ms: u64 = 3_600_000,
        hello_timeout_ms: u64 = 10_000,
        rooms_max: u64 = 128,
        per_user_max: u64 = 5,
        absent_per_user_max: u64 = 20,
        absent_max_bytes: u64 = 268_435_456,
        metadata_max_bytes: u64 = 4_096,
    }
    /// Connections.
    connection RawConnection {
        message_max_bytes: u64 = 65_536,
        pending_max_bytes: u64 = 131_072,
        stall_timeout_ms: u64 = 30_000,
        in_flight_max: u32 = 1_024,
    }
    /// What rooms keep.
    retention RawRetention {
        room_records: u64 = 1_000,
        room_bytes: u64 = 4_194_304,
        room_age_ms: u64 = 3_600_000,
        own_records: u64 = 100,
        own_age_ms: u64 = 3_600_000,
        total_bytes: u64 = 268_435_456,
    }
    /// Publish ids.
    publish RawPublish {
        id_age_ms: u64 = 300_000,
        id_max_bytes: u64 = 16_777_216,
    }
    /// The end.
    drain RawDrain {
        timeout_ms: u64 = 10_000,
        spread_ms: u64 = 5_000,
    }
}

/// Reads the settings: defaults, then the environment, then the command line.
///
/// # Errors
/// Names the setting and what it may be.
pub(crate) fn load(listen: Option<SocketAddr>) -> Result<Settings, SettingsError> {
    let figment =
        Figment::from(Serialized::defaults(Raw::default())).merge(Env::prefixed(PREFIX).split("__"));
    let mut raw: Raw = figment.extract().map_err(|error| unreadable(&error))?;
    raw.http.listen = listen.unwrap_or(raw.http.listen);
    check_ranges(&raw)?;
    Ok(resolve(raw, auth::read(None)?))
}

/// Reads a settings file.
///
/// # Errors
/// Names the setting and what it may be.
pub(crate) fn load_file(path: Option<&Path>) -> Result<Settings, SettingsError> {
    Ok(resolve(Raw::default(), auth::read(path)?))
}

/// Development settings believe who clients say they are: they stay on this machine.
///
/// # Errors
/// For an address that others can reach.
pub(crate) fn check_loopback(listen: SocketAddr) -> Result<(), SettingsError> {
    if listen.ip().is_loopback() {
        return Ok(());
    }
    let why = "anyone could say that they are anyone: listen on a loopback address, 127.0.0.1 or [::1]";
    Err(SettingsError(format!(
        "the address {listen} is reachable from other machines, and in development {why}"
    )))
}

/// Says which variable could not be read, by its own name.
fn unreadable(error: &figment::Error) -> SettingsError {
    let mut path = error.path.clone();
    if let figment::error::Kind::UnknownField(field, _) = &error.kind
        && path.last() != Some(field)
    {
        path.push(field.clone());
    }
    let variable = format!("{PREFIX}{}", path.join("__").to_uppercase());
    SettingsError(format!("the setting {variable}: {}", error.kind))
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const GIB: u64 = 1 << 30;

/// The ranges of spec/protocol.md, section 10.
fn check_ranges(raw: &Raw) -> Result<(), SettingsError> {
    let pong = raw.heartbeat.pong_timeout_ms;
    let ranges: [(&str, u64, u64, u64); 28] = [
        ("http.head_max_bytes", raw.http.head_max_bytes, 8_192, 1_048_576),
        ("http.body_max_bytes", raw.http.body_max_bytes, 1_024, 67_108_864),
        ("http.head_timeout_ms", raw.http.head_timeout_ms, 100, 600_000),
        ("http.request_timeout_ms", raw.http.request_timeout_ms, 100, 600_000),
        ("heartbeat.interval_ms", raw.heartbeat.interval_ms, 100, HOUR),
        ("heartbeat.idle_timeout_ms", raw.heartbeat.idle_timeout_ms, 100, DAY),
        ("heartbeat.pong_timeout_ms", if pong == 0 { 100 } else { pong }, 100, DAY),
        ("session.lifetime_ms", raw.session.lifetime_ms, 0, 7 * DAY),
        ("session.hello_timeout_ms", raw.session.hello_timeout_ms, 100, 600_000),
        ("session.rooms_max", raw.session.rooms_max, 1, 10_000),
        ("session.per_user_max", raw.session.per_user_max, 1, 100_000),
        ("session.absent_per_user_max", raw.session.absent_per_user_max, 1, 100_000),
        ("session.absent_max_bytes", raw.session.absent_max_bytes, 1_048_576, 1024 * GIB),
        ("session.metadata_max_bytes", raw.session.metadata_max_bytes, 2, 65_536),
        ("connection.message_max_bytes", raw.connection.message_max_bytes, 256, 16_777_216),
        ("connection.pending_max_bytes", raw.connection.pending_max_bytes, 1_024, 67_108_864),
        ("connection.stall_timeout_ms", raw.connection.stall_timeout_ms, 100, HOUR),
        ("connection.in_flight_max", u64::from(raw.connection.in_flight_max), 1, 65_536),
        ("retention.room_records", raw.retention.room_records, 1, 1_000_000),
        ("retention.room_bytes", raw.retention.room_bytes, 1_024, GIB),
        ("retention.room_age_ms", raw.retention.room_age_ms, 1_000, 7 * DAY),
        ("retention.own_records", raw.retention.own_records, 1, 1_000_000),
        ("retention.own_age_ms", raw.retention.own_age_ms, 1_000, 7 * DAY),
        ("retention.total_bytes", raw.retention.total_bytes, 1_048_576, 1024 * GIB),
        ("publish.id_age_ms", raw.publish.id_age_ms, 1_000, DAY),
        ("publish.id_max_bytes", raw.publish.id_max_bytes, 1_024, GIB),
        ("drain.timeout_ms", raw.drain.timeout_ms, 100, HOUR),
        ("drain.spread_ms", raw.drain.spread_ms, 0, HOUR),
    ];
    if let Some((name, value, least, most)) =
        ranges.into_iter().find(|(_, value, least, most)| value < least || value > most)
    {
        let variable = format!("{PREFIX}{}", name.replace('.', "__").to_uppercase());
        return Err(SettingsError(format!("the setting {variable} is {value}: it may be {least} to {most}")));
    }
    let frame = &raw.heartbeat.frame;
    if frame.is_empty() || frame.len() > 64 || frame.chars().any(char::is_control) {
        let why = "must have 1 to 64 bytes and no control characters";
        return Err(SettingsError(format!("the setting {PREFIX}HEARTBEAT__FRAME {why}")));
    }
    Ok(())
}

fn resolve(raw: Raw, (auth, keys_file): (AuthSettings, Option<PathBuf>)) -> Settings {
    let ms = Duration::from_millis;
    let retention = |records: u64, age: u64| Retention {
        records: size(records),
        bytes: size(raw.retention.room_bytes),
        age: ms(age),
    };
    let pong = raw.heartbeat.pong_timeout_ms;
    Settings {
        listen: raw.http.listen,
        head_max_bytes: size(raw.http.head_max_bytes),
        body_max_bytes: size(raw.http.body_max_bytes),
        head_timeout: ms(raw.http.head_timeout_ms),
        request_timeout: ms(raw.http.request_timeout_ms),
        auth,
        keys_file,
        node: Config {
            heartbeat: HeartbeatPolicy {
                interval: ms(raw.heartbeat.interval_ms),
                idle_timeout: ms(raw.heartbeat.idle_timeout_ms),
                pong_timeout: (pong > 0).then(|| ms(pong)),
            },
            heartbeat_frame: raw.heartbeat.frame,
            session_lifetime: ms(raw.session.lifetime_ms),
            hello_timeout: ms(raw.session.hello_timeout_ms),
            absent_max_bytes: size(raw.session.absent_max_bytes),
            rooms_max: size(raw.session.rooms_max),
            users: UserLimits {
                connected: size(raw.session.per_user_max),
                absent: size(raw.session.absent_per_user_max),
            },
            metadata_max_bytes: size(raw.session.metadata_max_bytes),
            message_max_bytes: size(raw.connection.message_max_bytes),
            pending_max_bytes: size(raw.connection.pending_max_bytes),
            stall_timeout: ms(raw.connection.stall_timeout_ms),
            in_flight_max: raw.connection.in_flight_max,
            retention: RetentionRules {
                room: retention(raw.retention.room_records, raw.retention.room_age_ms),
                own: retention(raw.retention.own_records, raw.retention.own_age_ms),
                total_bytes: size(raw.retention.total_bytes),
                id_age: ms(raw.publish.id_age_ms),
                id_bytes: size(raw.publish.id_max_bytes),
            },
            drain: DrainConfig { timeout: ms(raw.drain.timeout_ms), spread: ms(raw.drain.spread_ms) },
            ..Config::default()
        },
    }
}

/// A size that was checked against its range; a machine of 32 bits has its own largest.
fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the spec names every setting with its default.
    #[test]
    fn the_table_in_the_spec_equals_the_settings() {
        let spec = include_str!("../../../spec/protocol.md");
        let table = spec.split("## 10. Settings").nth(1).unwrap();
        let rows: Vec<(String, String)> = table
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
                (cells[1].to_owned(), cells[2].trim_end_matches(" (off)").trim_matches('`').to_owned())
            })
            .collect();
        let mut ours = Vec::new();
        for (section, fields) in serde_json::to_value(Raw::default()).unwrap().as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                ours.push((format!("{section}.{field}"), value.to_string().trim_matches('"').to_owned()));
            }
        }
        let sorted = |mut rows: Vec<(String, String)>| {
            rows.sort();
            rows
        };
        assert_eq!(sorted(rows), sorted(ours));
    }

    #[test]
    fn the_defaults_are_in_their_ranges_and_are_the_librarys() {
        let raw = Raw::default();
        check_ranges(&raw).unwrap();
        let ours = resolve(raw, auth::read(None).unwrap()).node;
        assert_eq!(format!("{ours:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let raw = Raw { session: RawSession { rooms_max: 0, ..RawSession::default() }, ..Raw::default() };
        let error = check_ranges(&raw).unwrap_err().to_string();
        assert!(error.contains("MOORLINE__SESSION__ROOMS_MAX") && error.contains("1 to 10000"), "{error}");
    }
}
