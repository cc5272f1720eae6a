//! Key sets from elsewhere: fetched on our own time, never because of what a token says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use http::{StatusCode, header};
use reqwest::{Client, Url, redirect};

use super::jwks::{self, JwksError};
use super::key::Key;
use crate::causes::causes;
use crate::settings::{Algorithm, SettingsError};

/// How long a fetch may take, from its first packet to the last.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The waits between tries until the first success, up to twice as long by chance.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(30);

/// A set that is fetched. Two are the same where their URL and algorithms are.
#[derive(Debug)]
pub(super) struct Source {
    url: Url,
    algorithms: Vec<Algorithm>,
    client: Client,
    /// Of a whole fetch.
    pub(super) timeout: Duration,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.algorithms == other.algorithms
    }
}

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it did not arrive in time")]
    Timeout,
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the answer is HTTP {}, not 200: redirects are not followed", .0.as_u16())]
    Status(StatusCode),
    #[error("it is larger than {} bytes", jwks::BYTES_MAX)]
    TooBig,
    #[error(transparent)]
    Jwks(#[from] JwksError),
}

impl FetchError {
    /// The label of the counter.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) => "status",
            Self::TooBig => "too_big",
            Self::Jwks(_) => "invalid",
        }
    }
}

impl Source {
    /// Checks where a set comes from.
    ///
    /// # Errors
    /// Strangers on the way could change the keys, or the URL holds a secret.
    pub(super) fn new(url: &str, algorithms: &[Algorithm]) -> Result<Self, SettingsError> {
        let wrong = |why: &str| SettingsError::new(format!("auth.jwks: its url {why}"));
        let url = fetchable(url).map_err(|why| wrong(&why))?;
        let client = client(&url)
            .map_err(|error| wrong(&format!("cannot be fetched from: {}", error.without_url())))?;
        Ok(Self { url, algorithms: algorithms.to_vec(), client, timeout: TIMEOUT })
    }

    /// The URL, without its query.
    pub(super) fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }

    /// Fetches the set once.
    ///
    /// # Errors
    /// It did not arrive, or is no set.
    pub(super) async fn fetch(&self) -> Result<Vec<Arc<Key>>, FetchError> {
        let text = tokio::time::timeout(self.timeout, self.read()).await;
        Ok(jwks::parse(&text.unwrap_or(Err(FetchError::Timeout))?, &self.algorithms)?)
    }

    /// The same; counts what came of it, and logs it.
    pub(super) async fn fetch_and_tell(&self) -> Option<Vec<Arc<Key>>> {
        let fetched = self.fetch().await;
        let outcome = fetched.as_ref().map_or_else(FetchError::outcome, |_keys| "fetched");
        metrics::counter!("moorline_jwks_fetches_total", "outcome" => outcome).increment(1);
        let url = self.shown();
        match &fetched {
            Ok(keys) if keys.is_empty() => tracing::warn!(url, "a key set has no key that counts here"),
            Ok(keys) => tracing::debug!(url, keys = keys.len(), "a key set was fetched"),
            Err(error) => {
                let error = causes(error);
                tracing::warn!(url, error, "a key set was not fetched; the keys of before stay");
            }
        }
        fetched.ok()
    }

    async fn read(&self) -> Result<Vec<u8>, FetchError> {
        let unreachable = |error: reqwest::Error| FetchError::Unreachable(error.without_url());
        let request = self.client.get(self.url.clone());
        let request = request.header(header::ACCEPT, "application/jwk-set+json, application/json");
        let mut response = request.send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if text.len() + chunk.len() > jwks::BYTES_MAX {
                return Err(FetchError::TooBig);
            }
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }
}

/// Reaches this one URL. Its TLS is rustls with aws-lc, where the process has chosen no other provider.
fn client(url: &Url) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("moorline/", env!("CARGO_PKG_VERSION")));
    // On this machine there is no proxy, and no certificate to be checked.
    let builder = if url.scheme() == "https" {
        builder.https_only(true)
    } else {
        builder.no_proxy().tls_certs_only([])
    };
    builder.build()
}

/// A URL that keys may be fetched from: what comes from there decides who comes in, so nobody between may change it.
///
/// # Errors
/// What is wrong with it, in words that hold nothing of it: it may be a secret.
pub(crate) fn fetchable(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("cannot be read: {error}"))?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    if !is_safe {
        return Err("must begin with https:// (http:// on this machine alone)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must hold no user name and no password".to_owned());
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The waits between tries until the first success. The chance in them keeps many servers from asking at once.
pub(super) fn waits(longest: Duration) -> impl Iterator<Item = Duration> {
    let longest = longest.min(LAST_WAIT);
    let builder = ExponentialBuilder::new()
        .with_min_delay(FIRST_WAIT.min(longest))
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter();
    builder.with_jitter_seed(seed()).build()
}

/// The wait between two refreshes: up to a tenth shorter, by chance.
pub(super) fn pause(refresh: Duration) -> Duration {
    let share = u32::try_from(seed() % 100).unwrap_or(0);
    refresh - refresh * share / 1000
}

/// Something that differs between servers. Where the operating system has no random numbers, nothing but politeness is lost.
fn seed() -> u64 {
    getrandom::u64().unwrap_or(0)
}
