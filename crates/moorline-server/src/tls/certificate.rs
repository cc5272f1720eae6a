//! A certificate chain and its private key, read from PEM files and checked before anybody sees them.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::settings::{SettingsError, TlsSettings};

/// The longest file that is read. A chain has a few kilobytes.
const FILE_MAX_BYTES: u64 = 1_048_576;
/// Certificates in a chain; a real one has three or four.
const CHAIN_MAX: usize = 32;
/// What a private key under a passphrase says of itself, in either of its two forms.
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

/// A certificate that can be served.
pub(crate) struct Certificate {
    pub(crate) key: CertifiedKey,
    /// When it ends, in seconds of Unix time.
    pub(crate) not_after: i64,
}

impl Certificate {
    /// Reads both files, and checks that they belong together and count at `now`.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and how to mend it.
    pub(crate) fn load(
        settings: &TlsSettings,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Self, SettingsError> {
        let chain = chain(&settings.certificate)?;
        let not_after = validity(&settings.certificate, &chain, unix(now))?;
        let key = private_key(&settings.key)?;
        let key = provider.key_provider.load_private_key(key).map_err(|error| {
            let wanted =
                "an RSA key of 2048 bits or more, an ECDSA key over P-256, P-384 or P-521, or Ed25519";
            wrong(&settings.key, format_args!("the key cannot be used ({error}): it must be {wanted}"))
        })?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|error| {
            let what = format_args!(
                "the key is not that of {}, whose first certificate must be the server's own ({error})",
                settings.certificate.display()
            );
            wrong(&settings.key, what)
        })?;
        Ok(Self { key, not_after })
    }

    /// How long it counts from `now` on.
    pub(crate) fn left(&self, now: SystemTime) -> Duration {
        Duration::from_secs(u64::try_from(self.not_after.saturating_sub(unix(now))).unwrap_or_default())
    }
}

/// Whether users other than the file's own and its group may read it.
#[cfg(unix)]
pub(crate) fn is_open_to_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0)
}

/// Permissions are not looked at here.
#[cfg(not(unix))]
pub(crate) fn is_open_to_others(_file: &Path) -> bool {
    false
}

fn wrong(file: &Path, what: impl Display) -> SettingsError {
    SettingsError::new(format!("the TLS file {}: {what}", file.display()))
}

fn unix(time: SystemTime) -> i64 {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn read(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let unreadable = |error: std::io::Error| wrong(path, format_args!("it cannot be read: {error}"));
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(wrong(path, "it is no file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(wrong(path, format_args!("it is over {FILE_MAX_BYTES} bytes, so it is none of PEM")));
    }
    Ok(bytes)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let bytes = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).take(CHAIN_MAX + 1).collect();
    let chain = chain.map_err(|error| wrong(path, format_args!("it is no PEM: {}", plain(&error))))?;
    match chain.len() {
        0 => Err(wrong(path, "it holds no certificate (-----BEGIN CERTIFICATE-----)")),
        1..=CHAIN_MAX => Ok(chain),
        _ => Err(wrong(path, format_args!("it holds more than {CHAIN_MAX} certificates"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, SettingsError> {
    let bytes = read(path)?;
    if ENCRYPTED.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == *mark)) {
        let mend = "write it without one: openssl pkey -in FILE -out FILE.plain";
        return Err(wrong(path, format_args!("the key is encrypted under a passphrase; {mend}")));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => wrong(path, "it holds no private key (-----BEGIN PRIVATE KEY-----)"),
        error => wrong(path, format_args!("it is no PEM: {}", plain(&error))),
    })
}

/// What is wrong with PEM, without the line in which it is: that may be a part of a key.
fn plain(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section begins wrongly",
        pem::Error::Base64Decode(_) => "a section is not in Base64",
        _ => "it cannot be read",
    }
}

/// Checks that the leaf counts at `now`; when it ends.
fn validity(path: &Path, chain: &[CertificateDer<'_>], now: i64) -> Result<i64, SettingsError> {
    let leaf = chain.first().map(|leaf| X509Certificate::from_der(leaf));
    let Some(Ok((_, leaf))) = leaf else { return Err(wrong(path, "its first certificate is no X.509")) };
    let (not_before, not_after) = (leaf.validity().not_before, leaf.validity().not_after);
    if now > not_after.timestamp() {
        let mend = "put a renewed one in its place";
        return Err(wrong(path, format_args!("the certificate expired at {}: {mend}", day(not_after))));
    }
    if now < not_before.timestamp() {
        let mend = "use one that counts already, or set this machine's clock";
        return Err(wrong(path, format_args!("the certificate counts from {} on: {mend}", day(not_before))));
    }
    Ok(not_after.timestamp())
}

fn day(time: ASN1Time) -> impl Display {
    time.to_rfc2822().unwrap_or_else(|_| format!("{} s of Unix time", time.timestamp()))
}
