//! Pure parts of the server for fuzz targets, which see what they answer and nothing of how.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use moorline::{AuthenticateError, Identity, Names, Timestamp};

use crate::auth::Verifier;
use crate::http::origin::{self, OriginVerdict, Origins};
use crate::proxy::ClientOrigin;
use crate::settings::{Algorithm, AuthSettings, JwksPlace, JwksSource, KeySource};

/// How far clocks may be apart.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// Checks tokens by fixed keys at a fixed moment: a secret in a file for HS256, and a key set in a file for ES256. Tokens are for
/// the audience `moorline` and name their user as `sub`.
pub struct Tokens(Verifier);

impl Tokens {
    /// Reads the keys; `hs` is the id of the secret.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn load(secret: PathBuf, key_set: PathBuf, now: fn() -> Timestamp) -> Result<Self, String> {
        let settings = AuthSettings {
            keys: vec![KeySource { id: Some("hs".to_owned()), algorithm: Algorithm::HS256, file: secret }],
            jwks: vec![JwksSource { from: JwksPlace::File(key_set), algorithms: vec![Algorithm::ES256] }],
            jwks_refresh: Duration::from_secs(300),
            audience: vec!["moorline".to_owned()],
            issuer: Vec::new(),
            user_claim: "sub".to_owned(),
            grants_claim: "moorline".to_owned(),
            join: Names::NONE,
            publish: Names::NONE,
            cookie: None,
            leeway: LEEWAY,
            lifetime_max: Duration::from_secs(24 * 3600),
        };
        Verifier::with_clock(&settings, now).map(Self).map_err(|error| error.to_string())
    }

    /// Whom a token speaks for.
    ///
    /// # Errors
    /// It is refused.
    pub fn check(&self, token: &str) -> Result<Identity, AuthenticateError> {
        self.0.check(token)
    }
}

/// Whose page a request comes from, where these origins are allowed and it called `host`: `none`, `own`, `listed` or `foreign`.
///
/// # Errors
/// One of the origins is none.
pub fn page(allowed: &[String], headers: &HeaderMap, host: Option<&str>) -> Result<&'static str, String> {
    let origins = Origins::parse(allowed).map_err(|error| error.to_string())?;
    let client =
        ClientOrigin { address: std::net::Ipv4Addr::LOCALHOST.into(), host: host.map(str::to_owned) };
    Ok(match origins.judge(headers, &client) {
        OriginVerdict::None => "none",
        OriginVerdict::Own => "own",
        OriginVerdict::Listed => "listed",
        OriginVerdict::Foreign => "foreign",
    })
}

/// Whether a request with these headers may come in development: from a page of this machine, under a name of this machine.
#[must_use]
pub fn is_local(headers: &HeaderMap) -> bool {
    origin::allowed(headers).is_ok()
}
