//! The producer of a stream, over HTTP.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use moorline::RoomName;
use moorline_proto::id::StreamName;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::causes::causes;
use crate::client::{ClientError, Server};
use crate::output;

/// The lease is renewed when nothing came for so long. Its answer tells whether a reader asks to stop.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Readers are told that we are gone when we are silent for so long: longer than a server takes to start again.
const LEASE_MS: u64 = 30_000;
/// How long a request is repeated. A stream whose lease ran out meanwhile has ended.
const TRY_FOR: Duration = Duration::from_secs(60);
/// How long the end may take once somebody wants us to stop.
const END_WITHIN: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Writes one stream. Every request but the first is repeated until it is answered: none of them does harm twice.
pub(super) struct Producer<'a> {
    server: &'a Server,
    room: &'a str,
    stream: &'a str,
    fence: u64,
    /// The length of the text that the server has, in code points.
    at: u64,
}

/// What an append was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// There may be more.
    More,
    /// A reader asks to stop.
    Cancel,
}

#[derive(Deserialize)]
struct Opened {
    fence: u64,
    at: u64,
}

#[derive(Deserialize)]
struct Length {
    at: u64,
    #[serde(default)]
    cancel: bool,
}

#[derive(Deserialize)]
struct Ended {
    message_id: u64,
}

impl<'a> Producer<'a> {
    pub(super) fn new(server: &'a Server, room: &'a RoomName, stream: &'a StreamName) -> Self {
        Self { server, room: room.as_str(), stream: stream.as_str(), fence: 0, at: 0 }
    }

    /// The length of the text that the server has, in code points.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Opens the stream, or takes over what is left of it. Returns its length.
    ///
    /// # Errors
    /// Why it cannot be, at once: there is nothing to save yet.
    pub(super) async fn open(&mut self) -> Result<u64, ClientError> {
        let body = json!({ "stream": self.stream, "lease_ms": LEASE_MS });
        let answer = self.server.send(&["v1", "rooms", self.room, "streams"], body.to_string()).await?;
        let opened: Opened = self.server.parse(&answer)?;
        (self.fence, self.at) = (opened.fence, opened.at);
        Ok(self.at)
    }

    /// Adds text, and renews the lease.
    ///
    /// # Errors
    /// The server refused it, or did not answer for too long.
    pub(super) async fn append(&mut self, content: &str) -> Result<Appended, ClientError> {
        let body = json!({ "fence": self.fence, "at": self.at, "content": content }).to_string();
        let answer = self.persist("append", body).await?;
        let length: Length = self.server.parse(&answer)?;
        self.at = length.at;
        Ok(if length.cancel { Appended::Cancel } else { Appended::More })
    }

    /// Ends the stream. Returns the terminal record's id.
    ///
    /// # Errors
    /// As [`Producer::append`].
    pub(super) async fn end(&self, mut outcome: Value) -> Result<u64, ClientError> {
        outcome["fence"] = self.fence.into();
        let answer = self.persist("end", outcome.to_string()).await?;
        Ok(self.server.parse::<Ended>(&answer)?.message_id)
    }

    /// The same for who does not wait long. A stream that is not ended then is orphaned when its lease runs out.
    ///
    /// # Errors
    /// As [`Producer::end`], or it took too long.
    pub(super) async fn end_soon(&self, outcome: Value) -> anyhow::Result<u64> {
        match tokio::time::timeout(END_WITHIN, self.end(outcome)).await {
            Ok(ended) => Ok(ended?),
            Err(_) => anyhow::bail!("the server did not answer: the stream ends when its lease runs out"),
        }
    }

    /// Ends what a refusal left open, so that readers need not wait for the lease. One that is not ours any more is not touched.
    pub(super) async fn give_up(&self, error: &ClientError) {
        if matches!(error, ClientError::Refused(_)) {
            let outcome = json!({ "outcome": "error", "error": "producer_failed" });
            // What was refused is told in any case.
            let _ended = self.end_soon(outcome).await;
        }
    }

    /// Repeats a request until it is answered, or has been for too long.
    async fn persist(&self, act: &str, body: String) -> Result<String, ClientError> {
        let path = ["v1", "rooms", self.room, "streams", self.stream, act];
        let (until, mut waits) = (Instant::now() + TRY_FOR, waits());
        let mut was_lost = false;
        loop {
            let error = match self.server.send(&path, body.clone()).await {
                Ok(answer) => {
                    if was_lost {
                        output::say("going on");
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let wait = waits.next().unwrap_or(LONGEST_WAIT);
            let wait = error.retry_in_ms().map_or(wait, |asked| wait.max(Duration::from_millis(asked)));
            if !error.may_pass() || Instant::now() + wait > until {
                return Err(error);
            }
            if !was_lost {
                let (why, seconds) = (why(&error), TRY_FOR.as_secs());
                output::say(format_args!("no answer ({why}); trying again for up to {seconds} s"));
            }
            was_lost = true;
            tokio::time::sleep(wait).await;
        }
    }
}

/// What went wrong with a server that answered before: that it was found says the rest.
fn why(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { source, .. } => causes(source),
        other => other.to_string(),
    }
}

/// Longer and longer, by chance, so that those who lost the same server do not all come back at once.
fn waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .without_max_times()
        .with_jitter()
        .build()
}
