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

/// A certificate's key, and when it ends, in seconds of Unix time.
#[derive(Clone)]
struct Serving {
    key: Arc<CertifiedKey>,
    not_after: i64,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate and its key, and makes its end known where it is near.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and how to mend it.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Self, SettingsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let Certificate { key, not_after } = checked(settings, &provider)?;
        let current = Arc::new(Current(RwLock::new(Serving { key: Arc::new(key), not_after })));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| SettingsError::new(format!("TLS cannot be set up: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }

    /// Serves from now on what another one has loaded: handshakes get the new certificate, open connections go on as they are.
    pub(crate) fn take_over(&self, prepared: &Self) {
        self.current.replace(prepared.current.get());
        self.measure();
    }

    /// Puts the end of the certificate into the metrics.
    pub(crate) fn measure(&self) {
        // Seconds of Unix time are exact in a float for as long as anybody cares.
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let ends = self.current.get().not_after as f64;
        metrics::gauge!("moorline_tls_certificate_expires_seconds").set(ends);
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
    Ok(certificate)
}

/// The certificate that handshakes get.
struct Current(RwLock<Serving>);

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl Current {
    fn get(&self) -> Serving {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, serving: Serving) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = serving;
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get().key)
    }
}

#[cfg(test)]
pub(crate) mod tests;
