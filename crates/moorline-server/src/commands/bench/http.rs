//! Publishing by HTTP, as a backend does.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Semaphore;

use super::frame::{self, Kind, Refused};
use super::member::said;
use super::publisher::Publisher;
use super::room::{Answer, NO_ID, Room};
use super::run::Run;
use crate::client::{ClientError, Server};

/// Requests at the same time: a server lets one address have 256 connections that speak HTTP.
pub(super) const AT_ONCE: usize = 64;

/// What a request brought, for one of its messages.
#[derive(Deserialize)]
struct Outcome<'a> {
    message_id: Option<u64>,
    #[serde(borrow)]
    error: Option<Refused<'a>>,
}

#[derive(Deserialize)]
struct Outcomes<'a> {
    #[serde(borrow)]
    results: Vec<Outcome<'a>>,
}

/// Publishes what a room's publisher has, one request after another, until the traffic is over.
pub(super) async fn publish(run: Arc<Run>, room: Arc<Room>, server: Arc<Server>, at_once: Arc<Semaphore>) {
    let mut publisher = Publisher::new(&run, &room);
    run.go.cancelled().await;
    loop {
        let publishes = tokio::select! {
            biased;
            () = run.over.cancelled() => return,
            publishes = publisher.next() => publishes,
        };
        // It is never closed.
        let _turn = at_once.acquire().await;
        if let Err(error) = send(&run, &room, &server, &publishes).await {
            refused(&run, &room, publishes.len(), error);
        }
    }
}

async fn send(run: &Run, room: &Room, server: &Server, publishes: &[String]) -> Result<(), ClientError> {
    if let [publish] = publishes {
        let answer = server.send(&["v1", "publish"], format!("{{{publish}")).await?;
        answered(run, room, &server.parse(&answer)?);
        return Ok(());
    }
    let body = format!(r#"{{"publishes":[{{{}]}}"#, publishes.join(",{"));
    let answer = server.send(&["v1", "batch"], body).await?;
    let Outcomes { results } = server.parse(&answer)?;
    for outcome in results.iter().take(publishes.len()) {
        answered(run, room, outcome);
    }
    // One result for each, says the protocol.
    for _ in results.len()..publishes.len() {
        no_answer(run, room);
    }
    Ok(())
}

/// The server says neither that it is accepted nor that it is not.
fn no_answer(run: &Run, room: &Room) {
    run.refused.count(NO_ID);
    room.answered(&Answer::Refused, run.now());
}

fn answered(run: &Run, room: &Room, outcome: &Outcome<'_>) {
    let answer = match (&outcome.error, outcome.message_id) {
        (Some(refused), _) => {
            said(run, &refused.code, &refused.message);
            refused.answer()
        }
        (None, Some(id)) => Answer::Accepted(id),
        (None, None) => return no_answer(run, room),
    };
    room.answered(&answer, run.now());
}

/// A whole request that brought nothing: so many messages.
fn refused(run: &Run, room: &Room, messages: usize, error: ClientError) {
    let wait = frame::later(error.retry_in_ms());
    let limit = error.said().filter(|(code, _)| frame::kind(code) == Kind::Limit);
    let may_pass = error.may_pass();
    for _ in 0..messages {
        room.answered(&if may_pass { Answer::Later(wait) } else { Answer::Refused }, run.now());
    }
    match limit {
        Some((_, why)) => run.limits.count(why),
        None => {
            let error = anyhow::Error::new(error);
            run.refused.count(format!("{error:#}"));
            if !may_pass {
                run.fail(error.context("publishing by HTTP"));
            }
        }
    }
}
