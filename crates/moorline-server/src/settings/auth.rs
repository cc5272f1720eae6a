//! Who connects: the settings of tokens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline::{Names, Pattern};
use serde::Deserialize;

use super::SettingsError;

/// What signs tokens, by the words of RFC 7518 and RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    ES256,
    EdDSA,
}

impl std::str::FromStr for Algorithm {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        Ok(match text {
            "HS256" => Self::HS256,
            "HS384" => Self::HS384,
            "HS512" => Self::HS512,
            "RS256" => Self::RS256,
            "ES256" => Self::ES256,
            "EdDSA" => Self::EdDSA,
            _ => return Err(SettingsError::new("it may be HS256, HS384, HS512, RS256, ES256 or EdDSA")),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeySource {
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) file: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JwksPlace {
    Url(String),
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JwksSource {
    pub(crate) from: JwksPlace,
    pub(crate) algorithms: Vec<Algorithm>,
}

#[derive(Clone, Debug)]
pub(crate) struct AuthSettings {
    pub(crate) keys: Vec<KeySource>,
    pub(crate) jwks: Vec<JwksSource>,
    pub(crate) jwks_refresh: Duration,
    pub(crate) audience: Vec<String>,
    pub(crate) issuer: Vec<String>,
    pub(crate) user_claim: String,
    pub(crate) grants_claim: String,
    pub(crate) join: Names,
    pub(crate) publish: Names,
    pub(crate) cookie: Option<String>,
    pub(crate) leeway: Duration,
    pub(crate) lifetime_max: Duration,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFile {
    auth: RawAuth,
    keys: RawKeys,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawKeys {
    file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAuth {
    key: Vec<KeySource>,
    jwks: Vec<RawJwks>,
    audience: Option<Vec<String>>,
    issuer: Vec<String>,
    user_claim: Option<String>,
    grants_claim: Option<String>,
    join: Vec<String>,
    publish: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJwks {
    url: Option<String>,
    file: Option<PathBuf>,
    algorithms: Vec<Algorithm>,
}

pub(super) fn read(path: Option<&Path>) -> Result<(AuthSettings, Option<PathBuf>), SettingsError> {
    let wrong = |error: &dyn std::fmt::Display| SettingsError::new(error.to_string());
    let text = path.map(std::fs::read_to_string).transpose().map_err(|error| wrong(&error))?;
    let raw: RawFile = toml::from_str(&text.unwrap_or_default()).map_err(|error| wrong(&error))?;
    let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
    let names = |list: &[String]| -> Result<Names, SettingsError> {
        let patterns: Result<Vec<Pattern>, _> = list.iter().map(|text| Pattern::new(text)).collect();
        patterns.map(Names::Matching).map_err(|error| wrong(&error))
    };
    let keys = raw.auth.key.into_iter().map(|key| KeySource { file: folder.join(key.file), ..key }).collect();
    let place = |set: &RawJwks| match (&set.url, &set.file) {
        (Some(url), None) => Ok(JwksPlace::Url(url.clone())),
        (None, Some(file)) => Ok(JwksPlace::File(folder.join(file))),
        _ => Err(SettingsError::new("auth.jwks: either url or file")),
    };
    let jwks: Result<Vec<JwksSource>, _> = raw
        .auth
        .jwks
        .into_iter()
        .map(|set| Ok(JwksSource { from: place(&set)?, algorithms: set.algorithms }))
        .collect();
    let auth = AuthSettings {
        keys,
        jwks: jwks?,
        jwks_refresh: Duration::from_secs(300),
        audience: raw.auth.audience.unwrap_or_else(|| vec!["moorline".to_owned()]),
        issuer: raw.auth.issuer,
        user_claim: raw.auth.user_claim.unwrap_or_else(|| "sub".to_owned()),
        grants_claim: raw.auth.grants_claim.unwrap_or_else(|| "moorline".to_owned()),
        join: names(&raw.auth.join)?,
        publish: names(&raw.auth.publish)?,
        cookie: None,
        leeway: Duration::from_secs(30),
        lifetime_max: Duration::from_secs(24 * 3600),
    };
    Ok((auth, raw.keys.file.map(|file| folder.join(file))))
}
