//! TLS of the server's own: one certificate, which can be replaced while connections are open.

mod certificate;

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use self::certificate::{Certificate, is_open_to_others};
use crate::settings::{SettingsError, TlsSettings};

/// From when on a certificate's end is worth a warning at each start and reload.
pub(crate) const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// The only protocol that is spoken inside: a WebSocket handshake is HTTP/1.1.
const ALPN: &[u8] = b"http/1.1";

/// What makes a TLS stream of an accepted socket: TLS 1.2 and 1.3.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate and its key, and takes them into use.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and how to mend it.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Self, SettingsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = checked(settings, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certificate.key))));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| SettingsError::new(format!("TLS cannot be set up: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }

    /// Reads both files again. Handshakes from now on get the new certificate, open connections go on as they are.
    ///
    /// # Errors
    /// As [`Tls::load`]; then nothing was changed.
    pub(crate) fn reload(&self, settings: &TlsSettings) -> Result<(), SettingsError> {
        let certificate = checked(settings, self.acceptor.config().crypto_provider())?;
        self.current.replace(Arc::new(certificate.key));
        Ok(())
    }

    /// The handshake of one connection. Whoever calls limits its time.
    ///
    /// # Errors
    /// The other end does not speak TLS, or none that is spoken here.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}

/// Reads the certificate as of now, and makes its end known.
fn checked(settings: &TlsSettings, provider: &CryptoProvider) -> Result<Certificate, SettingsError> {
    let now = SystemTime::now();
    let certificate = Certificate::load(settings, provider, now)?;
    let left = certificate.left(now);
    if left < EXPIRES_SOON {
        let (file, days) = (settings.certificate.display(), left.as_secs() / 86_400);
        tracing::warn!(%file, days, "the TLS certificate expires soon: renew it, then reload");
    }
    if is_open_to_others(&settings.key) {
        let file = settings.key.display();
        tracing::warn!(%file, "every user of this machine can read the TLS key: chmod o-rwx it");
    }
    // Seconds of Unix time are exact in a float for as long as anybody cares.
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    metrics::gauge!("moorline_tls_certificate_expires_seconds").set(certificate.not_after as f64);
    Ok(certificate)
}

/// The certificate that handshakes get.
struct Current(RwLock<Arc<CertifiedKey>>);

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl Current {
    fn replace(&self, key: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
pub(crate) mod tests;
