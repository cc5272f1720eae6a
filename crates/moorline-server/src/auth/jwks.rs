//! Key sets (RFC 7517).

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::key::{Key, PublicKey};
use crate::settings::Algorithm;

/// The largest set, in bytes.
pub(super) const BYTES_MAX: usize = 256 * 1024;
/// The most keys in one set, those that are left out included.
const KEYS_MAX: usize = 64;

/// Why a set was refused as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum JwksError {
    #[error("it is not a key set: a JSON object with an array `keys`")]
    NotASet(#[source] serde_json::Error),
    #[error("it is nested too deep")]
    TooDeep,
    #[error("it has more than {KEYS_MAX} keys")]
    TooManyKeys,
    #[error("two of its keys have the same kid")]
    SameId,
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// A key as it stands in a set. Names that are not known are not looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part: a key of which everybody knows it shows nothing.
    d: Option<serde::de::IgnoredAny>,
}

/// The keys of a set that check signatures of one of `algorithms`; others are left out.
///
/// # Errors
/// The set is refused as a whole.
pub(super) fn parse(text: &[u8], algorithms: &[Algorithm]) -> Result<Vec<Arc<Key>>, JwksError> {
    moorline::check_depth(text).map_err(|_deep| JwksError::TooDeep)?;
    let set: Set<'_> = serde_json::from_slice(text).map_err(JwksError::NotASet)?;
    if set.keys.len() > KEYS_MAX {
        return Err(JwksError::TooManyKeys);
    }
    let keys: Vec<Arc<Key>> =
        set.keys.iter().filter_map(|text| usable(text.get(), algorithms)).map(Arc::new).collect();
    let ids: HashSet<Option<&str>> = keys.iter().map(|key| key.id.as_deref()).collect();
    if ids.len() < keys.len() { Err(JwksError::SameId) } else { Ok(keys) }
}

/// A key that counts here. RFC 7517, section 5: one that cannot be understood does not spoil the set.
fn usable(text: &str, algorithms: &[Algorithm]) -> Option<Key> {
    let jwk: Jwk = serde_json::from_str(text).ok()?;
    let is_for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
    if !is_for_signatures || jwk.d.is_some() {
        return None;
    }
    let public = jwk.public()?;
    let key = Key::public(jwk.kid.filter(|id| !id.is_empty())?, &public).ok()?;
    let is_wanted = algorithms.contains(&key.algorithm);
    let says_so = jwk.alg.is_none_or(|alg| alg.parse().is_ok_and(|alg: Algorithm| alg == key.algorithm));
    (is_wanted && says_so).then_some(key)
}

impl Jwk {
    fn public(&self) -> Option<PublicKey> {
        Some(match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => PublicKey::Rsa { modulus: bytes(&self.n)?, exponent: bytes(&self.e)? },
            ("EC", Some("P-256")) => PublicKey::P256 { x: bytes(&self.x)?, y: bytes(&self.y)? },
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519 { x: bytes(&self.x)? },
            _ => return None,
        })
    }
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_ref()?).ok()
}
