//! A token's outer form, checked before any key is looked for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline::Token;

use super::object::Object;
use super::refusal::Refusal;
use crate::settings::Algorithm;

/// The longest `kid`, in bytes.
const KEY_ID_MAX_BYTES: usize = 256;

/// Parameters that would have us take a key from the token or from a place that it names, unwrap another token, or
/// understand an extension.
const REFUSED: [&str; 9] = ["crit", "jwk", "jku", "x5u", "x5c", "enc", "zip", "cty", "b64"];

/// A token in its parts. Nothing of it is believed yet.
pub(super) struct Compact<'a> {
    /// What the signature covers.
    pub(super) signed: &'a [u8],
    pub(super) claims: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) header: Header,
}

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    /// The `kid`.
    pub(super) key_id: Option<String>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Its form or its header is not accepted.
    pub(super) fn parse(token: &'a str) -> Result<Self, Refusal> {
        let parts = Parts::split(token)?;
        let header = Header::parse(&decode(parts.header, "header")?)?;
        Ok(Self {
            signed: parts.signed.as_bytes(),
            claims: decode(parts.claims, "payload")?,
            signature: decode(parts.signature, "signature")?,
            header,
        })
    }
}

/// A token's parts as they are written.
pub(super) struct Parts<'a> {
    signed: &'a str,
    pub(super) header: &'a str,
    pub(super) claims: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > Token::MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Parts)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Parts)?;
        if claims.contains('.') {
            return Err(Refusal::Parts);
        }
        Ok(Self { signed, header, claims, signature })
    }
}

/// Decodes a part: base64url without padding, and no bits left over.
pub(super) fn decode(part: &str, name: &'static str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_alphabet| Refusal::Encoding(name))
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let header = Object::parse(text).map_err(Refusal::Header)?;
        if let Some(name) = REFUSED.into_iter().find(|name| header.has(name)) {
            return Err(Refusal::Parameter(name));
        }
        let kind: Option<String> = header.value("typ", Refusal::Kind)?;
        if kind.is_some_and(|kind| {
            !["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known))
        }) {
            return Err(Refusal::Kind);
        }
        let key_id: Option<String> = header.value("kid", Refusal::KeyId)?;
        if key_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > KEY_ID_MAX_BYTES) {
            return Err(Refusal::KeyId);
        }
        let algorithm: String = header.value("alg", Refusal::Algorithm)?.ok_or(Refusal::Algorithm)?;
        Ok(Self { algorithm: algorithm.parse().map_err(|_other| Refusal::Algorithm)?, key_id })
    }
}
