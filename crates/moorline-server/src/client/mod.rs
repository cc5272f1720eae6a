//! The command line's client of a running server.

mod error;
pub(crate) mod follow;
mod place;
pub(crate) mod socket;
mod token;
mod told;
mod unreachable;

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

pub(crate) use self::error::ClientError;
use self::error::{Credential, Refusal};
pub(crate) use self::place::ServerArgs;
pub(crate) use self::token::{Grant, TokenError, TokenSource};
use crate::exit::UsageError;

/// The largest answer that is read, in bytes.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than a server takes by default to answer that it took too long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);

/// A server, and what it takes to be let in.
pub(crate) struct Server {
    http: reqwest::Client,
    base: Url,
    /// What gave its address.
    named: &'static str,
    /// The address of this machine that its connections come from; none where the system chooses.
    from: Option<IpAddr>,
    key: Option<SecretString>,
}

impl Server {
    /// Reads the arguments, the variables and the files that they name. Connects to nothing yet.
    ///
    /// # Errors
    /// Names the argument or variable, and what it may be.
    pub(crate) fn new(arguments: &ServerArgs) -> Result<Self, UsageError> {
        Self::reached_from(arguments, None)
    }

    /// As [`Server::new`], by connections from that address of this machine; none lets the system choose.
    ///
    /// # Errors
    /// As [`Server::new`].
    pub(crate) fn reached_from(arguments: &ServerArgs, from: Option<IpAddr>) -> Result<Self, UsageError> {
        let (base, named) = arguments.base()?;
        let certificates = arguments.certificates(&base)?;
        let key = arguments.key()?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("moorline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .local_address(from)
            // The system's own resolver, which knows this machine's names.
            .no_hickory_dns()
            // A key is for the server that was named, and for nobody in between.
            .no_proxy()
            .http1_only();
        if let Some(certificates) = certificates {
            http = http.tls_certs_only(certificates);
        }
        let http = http.build().map_err(|error| {
            UsageError::new(format!(
                "TLS cannot be set up ({error}): name the trusted certificates with --ca"
            ))
        })?;
        Ok(Self { http, base, named, from, key })
    }

    /// Where it is.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Whether requests carry an API key.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Asks for what is at the path.
    ///
    /// # Errors
    /// As [`Server::request`].
    pub(crate) async fn read(&self, path: &[&str], query: &[(&str, String)]) -> Result<String, ClientError> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.request(Method::GET, url, None).await
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// As [`Server::request`].
    pub(crate) async fn send(&self, path: &[&str], body: String) -> Result<String, ClientError> {
        self.request(Method::POST, self.url(path)?, Some(body)).await
    }

    /// Removes what is at the path.
    ///
    /// # Errors
    /// As [`Server::request`].
    pub(crate) async fn remove(&self, path: &[&str]) -> Result<(), ClientError> {
        self.request(Method::DELETE, self.url(path)?, None).await.map(drop)
    }

    /// The address of a resource, its parts percent-encoded.
    fn url(&self, path: &[&str]) -> Result<Url, ClientError> {
        if let Some(part) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(ClientError::NoPath((*part).to_owned()));
        }
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    /// One request and its whole answer.
    async fn request(&self, method: Method, url: Url, body: Option<String>) -> Result<String, ClientError> {
        let mut request = self.http.request(method, url).timeout(REQUEST_TIMEOUT);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, bearer(key)?);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let shown = if self.has_key() { Credential::Key } else { Credential::NoKey };
        self.answer(response, shown).await
    }

    /// The text of a good answer; what a bad one says.
    async fn answer(&self, response: Response, shown: Credential) -> Result<String, ClientError> {
        if response.status().is_success() {
            return self.text(response).await;
        }
        let head = Refusal::of_head(&response, self.named);
        let text = self.text(response).await?;
        Err(ClientError::Refused(Box::new(head.with_problem(&text, shown))))
    }

    async fn text(&self, mut response: Response) -> Result<String, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if bytes.len() + chunk.len() > ANSWER_MAX {
                return Err(ClientError::AnswerTooBig { max: ANSWER_MAX });
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| self.stranger("its answer is not UTF-8"))
    }

    fn unreachable(&self, error: reqwest::Error) -> ClientError {
        let advice = unreachable::advice(&error, self.named, self.from);
        ClientError::Unreachable { base: self.base.to_string(), advice, source: error.without_url() }
    }

    /// Whoever answers there is no server of ours.
    fn stranger(&self, why: &'static str) -> ClientError {
        ClientError::Stranger { base: self.base.to_string(), why, named: self.named }
    }

    /// Reads an answer that is JSON.
    ///
    /// # Errors
    /// It is not, or is of another shape than the protocol's.
    pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(&self, text: &'a str) -> Result<T, ClientError> {
        serde_json::from_str(text).map_err(|_| self.stranger("its answer is not what the protocol says"))
    }

    /// Asks for a token that allows as much.
    ///
    /// # Errors
    /// As [`Server::request`].
    async fn mint(&self, grant: Grant<'_>) -> Result<SecretString, ClientError> {
        let mut body = serde_json::json!({ "user": grant.user, "join": [grant.room] });
        if grant.publishes {
            body["publish"] = serde_json::json!([grant.room]);
        }
        if let Some(lifetime) = grant.lifetime {
            body["ttl_ms"] = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).into();
        }
        let answer: Value = self.parse(&self.send(&["v1", "tokens"], body.to_string()).await?)?;
        let token = answer["token"].as_str();
        token.map(SecretString::from).ok_or_else(|| self.stranger("its answer has no token"))
    }
}

/// The value of an `Authorization` header, which no log shows.
fn bearer(secret: &SecretString) -> Result<HeaderValue, ClientError> {
    let value = format!("Bearer {}", secret.expose_secret());
    let mut value = HeaderValue::from_str(&value).map_err(|_| ClientError::Secret)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Runs a command that is to keep a server busy, on as many threads as there are cores.
///
/// # Errors
/// As [`block_on`].
pub(crate) fn block_on_all_cores<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use anyhow::Context as _;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let result = runtime.block_on(work);
    // A name that is being looked up is not waited for.
    runtime.shutdown_background();
    result
}

/// Runs a command's requests, on this thread alone.
///
/// # Errors
/// The command's, or that the runtime cannot be started.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use anyhow::Context as _;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(work)
}
