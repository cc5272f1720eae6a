//! Keys made for one run, the files with them, and tokens of any shape.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use moorline::{Names, Pattern, Timestamp};
use secrecy::SecretSlice;

use crate::auth::Verifier;
use crate::auth::key::Key;
use crate::settings::{Algorithm, AuthSettings, KeySource};

/// The moment of every test, in seconds.
pub(super) const NOW_S: u64 = 1_800_000_000;

pub(super) fn now() -> Timestamp {
    Timestamp(NOW_S * 1000)
}

/// A private key and its public part, in PEM; the public part as a set writes it.
pub(super) struct Made {
    pub(super) private: String,
    pub(super) public: String,
    pub(super) jwk: String,
}

pub(super) fn pem(tag: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n", lines.join("\n"))
}

pub(super) fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) static RSA: LazyLock<Made> = LazyLock::new(make_rsa);
pub(super) static OTHER_RSA: LazyLock<Made> = LazyLock::new(make_rsa);

fn make_rsa() -> Made {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (modulus, exponent) = (pair.public_key().modulus(), pair.public_key().exponent());
    let (n, e) =
        (part(modulus.big_endian_without_leading_zero()), part(exponent.big_endian_without_leading_zero()));
    Made {
        private: pem("PRIVATE KEY", AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref()),
        public: pem("PUBLIC KEY", AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref()),
        jwk: format!(r#""kty":"RSA","n":"{n}","e":"{e}""#),
    }
}

fn ec_pair() -> (Vec<u8>, EcdsaKeyPair) {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
    (document.as_ref().to_vec(), pair)
}

pub(super) static EC: LazyLock<Made> = LazyLock::new(|| {
    let (document, pair) = ec_pair();
    let point = pair.public_key().as_ref();
    let (x, y) = (part(&point[1..33]), part(&point[33..]));
    Made {
        private: pem("PRIVATE KEY", &document),
        public: pem("PUBLIC KEY", AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref()),
        jwk: format!(r#""kty":"EC","crv":"P-256","x":"{x}","y":"{y}""#),
    }
});

/// An EC key in the form of before PKCS #8.
pub(super) fn old_ec_private() -> String {
    let (_document, pair) = ec_pair();
    pem("EC PRIVATE KEY", AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&pair.private_key()).unwrap().as_ref())
}

pub(super) static ED: LazyLock<Made> = LazyLock::new(|| {
    let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    Made {
        private: pem("PRIVATE KEY", document.as_ref()),
        public: pem("PUBLIC KEY", AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref()),
        jwk: format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, part(pair.public_key().as_ref())),
    }
});

/// A secret as long as the hash wants it, the same in every test.
pub(super) fn secret(algorithm: Algorithm) -> String {
    let bytes = match algorithm {
        Algorithm::HS256 => 32,
        Algorithm::HS384 => 48,
        _ => 64,
    };
    "s".repeat(bytes)
}

/// The ids of the keys in [`Folder::settings`]; each is for one algorithm.
pub(super) const KEYS: [(&str, Algorithm); 6] = [
    ("hs", Algorithm::HS256),
    ("hs384", Algorithm::HS384),
    ("hs512", Algorithm::HS512),
    ("rs", Algorithm::RS256),
    ("es", Algorithm::ES256),
    ("ed", Algorithm::EdDSA),
];

pub(super) fn private(algorithm: Algorithm) -> String {
    match algorithm {
        Algorithm::RS256 => RSA.private.clone(),
        Algorithm::ES256 => EC.private.clone(),
        Algorithm::EdDSA => ED.private.clone(),
        secrets => secret(secrets),
    }
}

pub(super) fn public(algorithm: Algorithm) -> String {
    match algorithm {
        Algorithm::RS256 => RSA.public.clone(),
        Algorithm::ES256 => EC.public.clone(),
        Algorithm::EdDSA => ED.public.clone(),
        secrets => secret(secrets),
    }
}

/// A folder of its own, gone with the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("moorline-auth-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Settings with one key.
    pub(super) fn one(&self, id: Option<&str>, algorithm: Algorithm, content: &str) -> AuthSettings {
        let file = self.file(&uuid::Uuid::new_v4().to_string(), content);
        AuthSettings { keys: vec![KeySource { id: id.map(str::to_owned), algorithm, file }], ..settings() }
    }

    /// Settings with the public keys of every algorithm, and the secrets.
    pub(super) fn settings(&self) -> AuthSettings {
        let keys = KEYS.map(|(id, algorithm)| KeySource {
            id: Some(id.to_owned()),
            algorithm,
            file: self.file(id, public(algorithm)),
        });
        AuthSettings { keys: keys.to_vec(), ..settings() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Settings without keys.
pub(super) fn settings() -> AuthSettings {
    AuthSettings {
        keys: Vec::new(),
        jwks: Vec::new(),
        jwks_refresh: Duration::from_secs(300),
        audience: vec!["moorline".to_owned(), "other".to_owned()],
        issuer: vec!["https://issuer.example".to_owned()],
        user_claim: "sub".to_owned(),
        grants_claim: "moorline".to_owned(),
        join: Names::Matching(vec![Pattern::new("lobby").unwrap()]),
        publish: Names::NONE,
        cookie: None,
        leeway: Duration::from_secs(30),
        lifetime_max: Duration::from_secs(24 * 3600),
    }
}

pub(super) fn verifier(settings: &AuthSettings) -> Verifier {
    Verifier::with_clock(settings, now).unwrap()
}

/// Signs a header and claims of any shape with the private key of that algorithm.
pub(super) fn forge(algorithm: Algorithm, header: &str, claims: impl AsRef<[u8]>) -> String {
    forge_with(&key(algorithm), header, claims)
}

pub(super) fn key(algorithm: Algorithm) -> Key {
    Key::from_file(None, algorithm, &SecretSlice::from(private(algorithm).into_bytes())).unwrap()
}

pub(super) fn forge_with(key: &Key, header: &str, claims: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", part(signature))
}

/// A header with that `alg` and the `kid` of its key.
pub(super) fn header(algorithm: Algorithm) -> String {
    let id = KEYS.iter().find(|(_, other)| *other == algorithm).unwrap().0;
    format!(r#"{{"typ":"JWT","alg":"{algorithm:?}","kid":"{id}"}}"#)
}

/// Claims that are accepted, and then `more` of them.
pub(super) fn claims(more: &str) -> String {
    let exp = NOW_S + 60;
    let iss = "https://issuer.example";
    format!(r#"{{"sub":"ann","iat":{NOW_S},"exp":{exp},"aud":"moorline","iss":"{iss}"{more}}}"#)
}

/// Those claims, with one of them as `value`, or without it.
pub(super) fn claims_with(name: &str, value: Option<&str>) -> String {
    let (iat, exp) = (NOW_S.to_string(), (NOW_S + 60).to_string());
    let all = [
        ("sub", "\"ann\""),
        ("iat", &iat),
        ("exp", &exp),
        ("aud", "\"moorline\""),
        ("iss", "\"https://issuer.example\""),
    ];
    let others = all.iter().filter(|(other, _)| *other != name);
    let mut members: Vec<String> = others.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    members.extend(value.map(|value| format!("\"{name}\":{value}")));
    format!("{{{}}}", members.join(","))
}
