//! Settings: as they are written (`raw`), where they come from (`load`), and as they are meant (`Settings`).

mod advice;
mod bound;
mod environment;
mod file;
mod init;
mod kind;
mod layers;
mod load;
mod nearest;
mod place;
mod raw;
mod resolve;
mod show;
mod table;
#[cfg(test)]
pub(crate) mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use moorline::{Config, Names, Rate};
use serde::{Deserialize, Serialize};

pub(crate) use self::init::init;
pub(crate) use self::load::{Loaded, Sources, load_file};

/// Settings that cannot be: one line for each mistake. Nothing was started, or nothing was changed.
#[derive(Clone, Debug)]
pub(crate) struct SettingsError(String);

impl SettingsError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

/// What the program works with. What each is for, its default and its range: `raw`.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) head_max_bytes: usize,
    pub(crate) body_max_bytes: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) http_connections_max: usize,
    pub(crate) address_http_connections_max: usize,
    /// Checked by `http::origin`.
    pub(crate) origins: Vec<String>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) auth: AuthSettings,
    pub(crate) keys_file: Option<PathBuf>,
    /// None is no limit.
    pub(crate) key_requests: Option<Rate>,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) log: LogSettings,
    pub(crate) store: StoreSettings,
    pub(crate) node: Config,
}

/// Whose tokens are accepted, and what they say.
#[derive(Clone, Debug)]
pub(crate) struct AuthSettings {
    pub(crate) keys: Vec<KeySource>,
    pub(crate) jwks: Vec<JwksSource>,
    pub(crate) jwks_refresh: Duration,
    /// At least one.
    pub(crate) audience: Vec<String>,
    /// Empty: any.
    pub(crate) issuer: Vec<String>,
    pub(crate) user_claim: String,
    pub(crate) grants_claim: String,
    /// For tokens without this grant.
    pub(crate) join: Names,
    /// For tokens without this grant.
    pub(crate) publish: Names,
    pub(crate) cookie: Option<String>,
    pub(crate) leeway: Duration,
    pub(crate) lifetime_max: Duration,
}

/// One key, in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeySource {
    /// What a token's `kid` says.
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) file: PathBuf,
}

/// A set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JwksSource {
    pub(crate) from: JwksPlace,
    pub(crate) algorithms: Vec<Algorithm>,
}

/// Where a set of keys is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JwksPlace {
    /// https, or http on this machine.
    Url(String),
    File(PathBuf),
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    ES256,
    EdDSA,
}

impl Algorithm {
    /// As it is written in settings and in tokens.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = SettingsError;

    fn from_str(word: &str) -> Result<Self, SettingsError> {
        let all = [Self::HS256, Self::HS384, Self::HS512, Self::RS256, Self::ES256, Self::EdDSA];
        let names = || all.map(Self::word).join(", ");
        all.into_iter()
            .find(|algorithm| algorithm.word() == word)
            .ok_or_else(|| SettingsError::new(format!("an algorithm is one of {}", names())))
    }
}

/// The server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// PEM, the chain.
    pub(crate) certificate: PathBuf,
    /// PEM, its private key.
    pub(crate) key: PathBuf,
}

/// Where messages and sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreSettings {
    /// None is in memory.
    pub(crate) directory: Option<PathBuf>,
    /// The least time between the beginnings of two commits.
    pub(crate) commit_every: Duration,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    /// The least important level that is shown, where the variable `RUST_LOG` does not say.
    pub(crate) level: String,
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// An address to listen on, as it is typed.
///
/// # Errors
/// Says what it is like.
pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "it is an address and a port, like 127.0.0.1:8080 or [::1]:8080, and no name")
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
    Err(SettingsError::new(format!(
        "the address {listen} is reachable from other machines, and in development {why}"
    )))
}
