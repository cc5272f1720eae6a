//! From what is written to what is meant.

use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use moorline::broker::{PrefixRetention, Retention, RetentionRules};
use moorline::{
    Compression, Config, DrainConfig, ExpiryConfig, HeartbeatPolicy, Limits, Names, Pattern, Rate, UserLimits,
};

use super::kind::{JwksTable, KeyTable};
use super::place::Place;
use super::raw::{self, Raw};
use super::{
    AuthSettings, JwksPlace, JwksSource, KeySource, LogSettings, Settings, SettingsError, StoreSettings,
    TlsSettings,
};

/// What is wrong with settings of which each alone is right. `place` says where one came from.
pub(super) fn mistakes(raw: &Raw, place: impl Fn(&str) -> Place) -> Vec<String> {
    let at = |name: &str| format!("{name} ({})", place(name));
    let mut mistakes = Vec::new();
    let (burst, message) = (raw.limits.connection_bytes_burst, raw.connection.message_max_bytes);
    if raw.limits.connection_bytes_per_s > 0 && burst < message {
        mistakes.push(format!(
            "{} is {burst}: it may be no less than {}, {message}, else such a message could never come",
            at("limits.connection_bytes_burst"),
            at("connection.message_max_bytes"),
        ));
    }
    if raw.tls.certificate.given().is_some() != raw.tls.key.given().is_some() {
        let (certificate, key) = (at("tls.certificate"), at("tls.key"));
        mistakes.push(format!("{certificate} and {key} belong together: set both or none"));
    }
    let ids: Vec<&str> = raw.auth.key.iter().filter_map(|key| key.id.as_deref()).collect();
    if let Some(id) = first_double(&ids) {
        mistakes.push(format!("{} has two keys with the id {id:?}: each has its own", at("auth.key")));
    }
    let prefixes: Vec<&str> = raw.retention.rule.iter().map(|rule| rule.prefix.as_str()).collect();
    if let Some(prefix) = first_double(&prefixes) {
        let rule = at("retention.rule");
        mistakes.push(format!("{rule} has two rules for the prefix {prefix:?}: one would count for nothing"));
    }
    mistakes
}

fn first_double<'a>(names: &[&'a str]) -> Option<&'a str> {
    names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)).map(|(_, name)| *name)
}

/// Settings that were checked, for the program. It fails only where a check and its use have come apart.
pub(super) fn resolve(raw: Raw) -> Result<Settings, SettingsError> {
    let networks = raw.http.trusted_proxies.iter().map(|text| {
        network(text)
            .ok_or_else(|| SettingsError::new(format!("http.trusted_proxies: {text:?} is no network")))
    });
    let tls = raw.tls.certificate.given().zip(raw.tls.key.given());
    Ok(Settings {
        listen: raw.http.listen,
        head_max_bytes: size(raw.http.head_max_bytes),
        body_max_bytes: size(raw.http.body_max_bytes),
        head_timeout: ms(raw.http.head_timeout_ms),
        request_timeout: ms(raw.http.request_timeout_ms),
        http_connections_max: size(raw.limits.http_connections_max),
        address_http_connections_max: size(raw.limits.address_http_connections_max),
        trusted_proxies: networks.collect::<Result<_, _>>()?,
        auth: auth(&raw.auth)?,
        keys_file: raw.keys.file.given(),
        key_requests: rate(raw.limits.key_requests_per_s, raw.limits.key_requests_burst),
        tls: tls.map(|(certificate, key)| TlsSettings { certificate, key }),
        log: LogSettings { format: raw.log.format, level: raw.log.level.clone() },
        store: StoreSettings {
            directory: raw.store.directory.given(),
            commit_every: ms(raw.store.commit_every_ms),
        },
        node: node(&raw),
        origins: raw.http.origins,
    })
}

fn node(raw: &Raw) -> Config {
    let pong = raw.heartbeat.pong_timeout_ms;
    Config {
        heartbeat: HeartbeatPolicy {
            interval: ms(raw.heartbeat.interval_ms),
            idle_timeout: ms(raw.heartbeat.idle_timeout_ms),
            pong_timeout: (pong > 0).then(|| ms(pong)),
        },
        heartbeat_frame: raw.heartbeat.frame.clone(),
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
        in_flight_max: count(raw.connection.in_flight_max),
        compression: compression(&raw.compression),
        limits: limits(&raw.limits),
        expiry: ExpiryConfig {
            notice: ms(raw.auth.notice_ms),
            leeway: ms(raw.auth.leeway_ms),
            lifetime_max: ms(raw.auth.lifetime_max_ms),
        },
        shard_rooms_max: size(raw.limits.rooms_max),
        retention: retention(&raw.retention, &raw.publish),
        drain: DrainConfig { timeout: ms(raw.drain.timeout_ms), spread: ms(raw.drain.spread_ms) },
        ..Config::default()
    }
}

fn compression(raw: &raw::Compression) -> Option<Compression> {
    let threshold_bytes = size(raw.threshold_bytes);
    // It was checked against its range, which ends far below.
    let level = u8::try_from(raw.level).unwrap_or(u8::MAX);
    raw.enabled.then_some(Compression { threshold_bytes, level })
}

fn limits(raw: &raw::Limits) -> Limits {
    Limits {
        connection_messages: rate(raw.connection_messages_per_s, raw.connection_messages_burst),
        connection_bytes: rate(raw.connection_bytes_per_s, raw.connection_bytes_burst),
        user_messages: rate(raw.user_messages_per_s, raw.user_messages_burst),
        address_messages: rate(raw.address_messages_per_s, raw.address_messages_burst),
        address_handshakes: rate(raw.address_handshakes_per_s, raw.address_handshakes_burst),
        user_handshakes: rate(raw.user_handshakes_per_s, raw.user_handshakes_burst),
        unestablished_max: size(raw.unestablished_max),
        address_unestablished_max: size(raw.address_unestablished_max),
    }
}

fn retention(raw: &raw::Retention, publish: &raw::Publish) -> RetentionRules {
    let keep = |records, bytes, age| Retention { records: size(records), bytes: size(bytes), age: ms(age) };
    let rules = raw.rule.iter().map(|rule| PrefixRetention {
        prefix: rule.prefix.as_str().into(),
        keep: keep(
            rule.records.unwrap_or(raw.room_records),
            rule.bytes.unwrap_or(raw.room_bytes),
            rule.age_ms.unwrap_or(raw.room_age_ms),
        ),
    });
    RetentionRules {
        room: keep(raw.room_records, raw.room_bytes, raw.room_age_ms),
        own: keep(raw.own_records, raw.room_bytes, raw.own_age_ms),
        prefixes: rules.collect(),
        total_bytes: size(raw.total_bytes),
        id_age: ms(publish.id_age_ms),
        id_bytes: size(publish.id_max_bytes),
    }
}

fn auth(raw: &raw::Auth) -> Result<AuthSettings, SettingsError> {
    Ok(AuthSettings {
        keys: raw.key.iter().map(key).collect::<Result<_, _>>()?,
        jwks: raw.jwks.iter().map(jwks).collect::<Result<_, _>>()?,
        jwks_refresh: ms(raw.jwks_refresh_ms),
        audience: raw.audience.clone(),
        issuer: raw.issuer.clone(),
        user_claim: raw.user_claim.clone(),
        grants_claim: raw.grants_claim.clone(),
        join: names(&raw.join)?,
        publish: names(&raw.publish)?,
        cookie: (!raw.cookie.is_empty()).then(|| raw.cookie.clone()),
        leeway: ms(raw.leeway_ms),
        lifetime_max: ms(raw.lifetime_max_ms),
    })
}

fn key(table: &KeyTable) -> Result<KeySource, SettingsError> {
    let file = table.file.given().ok_or_else(|| SettingsError::new("auth.key names no file"))?;
    Ok(KeySource { id: table.id.clone(), algorithm: table.algorithm, file })
}

fn jwks(table: &JwksTable) -> Result<JwksSource, SettingsError> {
    let from = match (&table.url, table.file.as_ref().and_then(super::kind::File::given)) {
        (Some(url), None) => JwksPlace::Url(url.clone()),
        (None, Some(file)) => JwksPlace::File(file),
        _ => return Err(SettingsError::new("auth.jwks has a url or a file, one of the two")),
    };
    Ok(JwksSource { from, algorithms: table.algorithms.clone() })
}

fn names(patterns: &[String]) -> Result<Names, SettingsError> {
    let patterns = patterns.iter().map(|text| {
        Pattern::new(text).map_err(|error| SettingsError::new(format!("the pattern {text:?} {error}")))
    });
    Ok(Names::Matching(patterns.collect::<Result<_, _>>()?))
}

/// A network, or an address alone.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

fn rate(per_s: u64, burst: u64) -> Option<Rate> {
    Some(Rate { per_s: NonZeroU32::new(count(per_s))?, burst: NonZeroU32::new(count(burst))? })
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A number that was checked against its range, which ends far below.
fn count(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A size that was checked against its range; a machine of 32 bits has its own largest.
fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
