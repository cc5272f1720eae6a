//! One key, which is for one algorithm.
//!
//! The crypto provider is named in every call. jsonwebtoken's own functions ask for the process's default, which
//! panics where features of other crates make it ambiguous.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::settings::Algorithm;

/// The sizes of RSA keys, in bits: a smaller one is weak, a larger one lets strangers make us work.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key that checks signatures of one algorithm, and may make them.
pub(super) struct Key {
    /// The `kid` by which tokens name it.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    verifying: DecodingKey,
    signing: Option<EncodingKey>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error("a secret for this algorithm has at least {0} bytes: make one with `openssl rand -base64 {0}`")]
    ShortSecret(usize),
    #[error("it holds a PEM key, which is no secret: set the algorithm that the key is for")]
    PemSecret,
    #[error("it holds no PEM public or private key (PKCS #8 or SPKI) for this algorithm")]
    Pem(#[source] jsonwebtoken::errors::Error),
    #[error("it holds no PEM public or private key")]
    NotPem,
    #[error("convert it to PKCS #8: `openssl pkcs8 -topk8 -nocrypt`")]
    OldForm,
    #[error("an RSA key for tokens has {} to {} bits, and this one has {bits}", RSA_BITS.start(), RSA_BITS.end())]
    RsaBits { bits: usize },
    #[error("it is not a key of this algorithm")]
    Rejected,
}

/// A signature could not be made.
#[derive(Debug, thiserror::Error)]
#[error("signing has failed")]
pub(super) struct SigningFailed;

/// The parts of a public key that sets of keys consist of, decoded.
pub(super) enum PublicKey {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256 { x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

impl Key {
    /// A key as it stands in a file: a secret, or PEM.
    pub(super) fn from_file(
        id: Option<String>,
        algorithm: Algorithm,
        content: &SecretSlice<u8>,
    ) -> Result<Self, KeyError> {
        let bytes = content.expose_secret();
        let (verifying, signing) = match algorithm {
            Algorithm::HS256 => secret(bytes, 32)?,
            Algorithm::HS384 => secret(bytes, 48)?,
            Algorithm::HS512 => secret(bytes, 64)?,
            Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA => pem(algorithm, bytes)?,
        };
        Ok(Self { id, algorithm, verifying, signing })
    }

    /// A public key.
    pub(super) fn public(id: String, key: &PublicKey) -> Result<Self, KeyError> {
        let (algorithm, verifying) = match key {
            PublicKey::Rsa { modulus, exponent } => (Algorithm::RS256, rsa(modulus, exponent)?),
            PublicKey::P256 { x, y } if x.len() == 32 && y.len() == 32 => {
                (Algorithm::ES256, p256(&[&[4], x.as_slice(), y.as_slice()].concat())?)
            }
            PublicKey::P256 { .. } => return Err(KeyError::Rejected),
            PublicKey::Ed25519 { x } => (Algorithm::EdDSA, ed25519(x)?),
        };
        Ok(Self { id: Some(id), algorithm, verifying, signing: None })
    }

    pub(super) fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    /// Whether the signature is this key's.
    pub(super) fn verify(&self, signed: &[u8], signature: &Vec<u8>) -> bool {
        (DEFAULT_PROVIDER.verifier_factory)(&library(self.algorithm), &self.verifying)
            .is_ok_and(|verifier| verifier.verify(signed, signature).is_ok())
    }

    /// Signs.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SigningFailed> {
        let signing = self.signing.as_ref().ok_or(SigningFailed)?;
        let signer = (DEFAULT_PROVIDER.signer_factory)(&library(self.algorithm), signing)
            .map_err(|_key| SigningFailed)?;
        signer.try_sign(text).map_err(|_key| SigningFailed)
    }
}

type Pair = (DecodingKey, Option<EncodingKey>);

fn secret(bytes: &[u8], bytes_min: usize) -> Result<Pair, KeyError> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    // Whoever knows a public key could sign with it, were it taken for a secret.
    if contains(bytes, "-----BEGIN ") {
        return Err(KeyError::PemSecret);
    }
    if bytes.len() < bytes_min {
        return Err(KeyError::ShortSecret(bytes_min));
    }
    Ok((DecodingKey::from_secret(bytes), Some(EncodingKey::from_secret(bytes))))
}

fn pem(algorithm: Algorithm, bytes: &[u8]) -> Result<Pair, KeyError> {
    if contains(bytes, "-----BEGIN EC PRIVATE KEY-----") || contains(bytes, "-----BEGIN ENCRYPTED") {
        return Err(KeyError::OldForm);
    }
    let is_private = contains(bytes, "PRIVATE KEY-----");
    if !is_private && !contains(bytes, "PUBLIC KEY-----") {
        return Err(KeyError::NotPem);
    }
    match (algorithm, is_private) {
        (Algorithm::RS256, true) => private(EncodingKey::from_rsa_pem(bytes), |der| {
            let (modulus, exponent) = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_private_key)(der)
                .map_err(KeyError::Pem)?;
            rsa(&modulus, &exponent)
        }),
        (Algorithm::RS256, false) => public(DecodingKey::from_rsa_pem(bytes), |der| {
            let (modulus, exponent) = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der)
                .map_err(KeyError::Pem)?;
            rsa(&modulus, &exponent)
        }),
        (Algorithm::ES256, true) => private(EncodingKey::from_ec_pem(bytes), |der| {
            let parts = DEFAULT_PROVIDER.key_utils.ec_pub_components_from_private_key;
            let (_p256, x, y) = parts(der, library(algorithm)).map_err(KeyError::Pem)?;
            p256(&[&[4], x.as_slice(), y.as_slice()].concat())
        }),
        (Algorithm::ES256, false) => public(DecodingKey::from_ec_pem(bytes), p256),
        (_, true) => private(EncodingKey::from_ed_pem(bytes), |der| {
            let part = DEFAULT_PROVIDER.key_utils.ed_pub_components_from_private_key;
            let x = part(der, &jsonwebtoken::jwk::EllipticCurve::Ed25519).map_err(KeyError::Pem)?;
            ed25519(&x)
        }),
        (_, false) => public(DecodingKey::from_ed_pem(bytes), ed25519),
    }
}

type Parsed<T> = Result<T, jsonwebtoken::errors::Error>;

fn private(
    key: Parsed<EncodingKey>,
    verifying: impl Fn(&[u8]) -> Result<DecodingKey, KeyError>,
) -> Result<Pair, KeyError> {
    let key = key.map_err(KeyError::Pem)?;
    Ok((verifying(key.as_bytes())?, Some(key)))
}

fn public(
    key: Parsed<DecodingKey>,
    verifying: impl Fn(&[u8]) -> Result<DecodingKey, KeyError>,
) -> Result<Pair, KeyError> {
    let key = key.map_err(KeyError::Pem)?;
    Ok((verifying(key.try_get_as_bytes().map_err(KeyError::Pem)?)?, None))
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, KeyError> {
    let trim = |number: &[u8]| number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let (modulus, exponent) = (&modulus[trim(modulus)..], &exponent[trim(exponent)..]);
    let zeros = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = modulus.len() * 8 - zeros;
    if !RSA_BITS.contains(&bits) {
        return Err(KeyError::RsaBits { bits });
    }
    // One and even exponents sign nothing; beyond 33 bits nobody has one, and each costs us.
    let is_odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !is_odd || exponent == [1] || exponent.len() > 5 {
        return Err(KeyError::Rejected);
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// A point in its uncompressed form.
fn p256(point: &[u8]) -> Result<DecodingKey, KeyError> {
    let is_point = point.len() == 65 && ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok();
    is_point.then(|| DecodingKey::from_ec_der(point)).ok_or(KeyError::Rejected)
}

fn ed25519(point: &[u8]) -> Result<DecodingKey, KeyError> {
    let is_point = point.len() == 32 && ParsedPublicKey::new(&ED25519, point).is_ok();
    is_point.then(|| DecodingKey::from_ed_der(point)).ok_or(KeyError::Rejected)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

const fn library(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::HS384 => jsonwebtoken::Algorithm::HS384,
        Algorithm::HS512 => jsonwebtoken::Algorithm::HS512,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}
