//! The server's HTTP interface, as far as it is needed.

use std::net::SocketAddrV4;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use moorline_proto::position::{Epoch, Offset, Position};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

/// A stopped server is left alone after this, and asked again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const READY_TIMEOUT: Duration = Duration::from_millis(500);

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted(Position),
    /// For good.
    Refused,
    /// No answer, or one that says to try again.
    Unknown,
}

/// A client of one server.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    pub(crate) fn new(address: SocketAddrV4) -> Result<Self> {
        let http =
            reqwest::Client::builder().no_hickory_dns().no_proxy().http1_only().timeout(REQUEST_TIMEOUT);
        Ok(Self { http: http.build().context("the HTTP client")?, base: format!("http://{address}") })
    }

    /// Publishes; `body` is that of `POST /v1/publish`.
    pub(crate) async fn publish(&self, body: String) -> Answer {
        let request = self.http.post(format!("{}/v1/publish", self.base));
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let Ok(response) = request.send().await else { return Answer::Unknown };
        let status = response.status();
        let Ok(text) = response.text().await else { return Answer::Unknown };
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
            return Answer::Refused;
        }
        let position = status.is_success().then(|| position(&text)).flatten();
        position.map_or(Answer::Unknown, Answer::Accepted)
    }

    /// Asks for something: whether it was done, and the answer or the problem; none where it is not known.
    pub(crate) async fn post(&self, path: &str, body: String) -> Option<(bool, Value)> {
        let request = self.http.post(format!("{}{path}", self.base));
        let response = request.header(CONTENT_TYPE, "application/json").body(body).send().await.ok()?;
        let status = response.status();
        let answer = serde_json::from_str(&response.text().await.ok()?).ok()?;
        (!status.is_server_error()).then_some((status.is_success(), answer))
    }

    /// Whether it is there and ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.readiness().await.is_some_and(|(status, _)| status == StatusCode::OK)
    }

    /// What `/readyz` says, where anything answers.
    pub(crate) async fn readiness(&self) -> Option<(StatusCode, String)> {
        let request = self.http.get(format!("{}/readyz", self.base)).timeout(READY_TIMEOUT);
        let response = request.send().await.ok()?;
        Some((response.status(), response.text().await.ok()?))
    }

    /// Reads a resource.
    pub(crate) async fn read(&self, path: &str) -> Result<Value> {
        let response = self.http.get(format!("{}{path}", self.base)).send().await?;
        let (status, text) = (response.status(), response.text().await?);
        ensure!(status.is_success(), "{path} is answered by {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("the answer to {path}"))
    }
}

/// The place in a publish's answer.
fn position(text: &str) -> Option<Position> {
    let answer: Value = serde_json::from_str(text).ok()?;
    let epoch = Epoch::from_str(answer["epoch"].as_str()?).ok()?;
    Some(Position { epoch, offset: Offset(answer["message_id"].as_u64()?) })
}
