//! Peers that are gone without a word: their connections stay open, and nobody reads or answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::peer::Peer;
use crate::report::{Bar, Verdict};
use crate::server::Server;
use crate::socket::Place;
use crate::world::Plan;

const SESSIONS: u32 = 5_000;
const INTERVAL_MS: u64 = 1_000;
const IDLE_TIMEOUT_MS: u64 = 3_000;
/// How much later than its timeout a peer may be found.
const GRACE: Duration = Duration::from_secs(1);
/// For looking: the figures are taken this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(60);
/// Handshakes under way at once.
const AT_ONCE: usize = 64;

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    let count = plan.sessions(SESSIONS);
    let setup = plan.setup().with("HEARTBEAT__INTERVAL_MS", INTERVAL_MS);
    let setup = setup.with("HEARTBEAT__IDLE_TIMEOUT_MS", IDLE_TIMEOUT_MS);
    let mut server = Server::start(setup, &plan.folder).await?;
    let begun = Instant::now();
    let peers =
        connect(&server, count, |number| (format!("u{number}"), json!({"session": format!("s{number}")})))
            .await?;
    // Nobody spoke after this.
    let silent = Instant::now();
    println!("  {count} peers fell silent, after {:.1?} of connecting", begun.elapsed());
    let mut reaped = None;
    while reaped.is_none() && silent.elapsed() < LIMIT {
        let stats = server.api().read("/v1/stats").await?;
        if stats["connections"].as_u64() == Some(0) {
            reaped = Some(silent.elapsed());
        } else {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    let stats = server.api().read("/v1/stats").await?;
    let absent = stats["absent"].as_u64().context("no `absent` in the figures")?;
    let tokens: Vec<String> = peers.iter().map(|peer| peer.greeting.resume_token.clone()).collect();
    // Only now do their descriptors go.
    drop(peers);
    let back = connect(&server, count, move |number| {
        (format!("u{number}"), json!({"session": format!("s{number}"), "resume_token": tokens[number]}))
    })
    .await?;
    let resumed = back.iter().filter(|peer| peer.greeting.resumed).count();
    server.ensure_alive()?;
    let within = Duration::from_millis(IDLE_TIMEOUT_MS) + GRACE;
    let shown = reaped.map_or("never".to_owned(), |after| format!("{after:.1?}"));
    Ok(Verdict {
        bars: vec![
            Bar::new(
                format!("all {count} are reaped within {within:.1?} of their last sign of life ({shown})"),
                reaped.is_some_and(|after| after <= within),
            ),
            Bar::new(format!("their sessions are kept, absent ({absent})"), absent == count as u64),
            Bar::new(format!("all of them are resumed ({resumed})"), resumed == count),
        ],
        skipped: None,
    })
}

/// Opens so many peers, a few at a time; in the order of their numbers.
pub(super) async fn connect(
    server: &Server,
    count: usize,
    who: impl Fn(usize) -> (String, serde_json::Value),
) -> Result<Vec<Peer>> {
    let place = Place::at(server.address());
    let free = Arc::new(Semaphore::new(AT_ONCE));
    let mut opening = JoinSet::new();
    for number in 0..count {
        let permit = Arc::clone(&free).acquire_owned().await?;
        let ((user, hello), place) = (who(number), place.clone());
        opening.spawn(async move {
            let opened = Peer::open(&place, Some(&user), &hello).await;
            drop(permit);
            (number, opened)
        });
    }
    let mut peers = Vec::with_capacity(count);
    while let Some(opened) = opening.join_next().await {
        let (number, opened) = opened?;
        peers.push((number, opened.with_context(|| format!("connecting peer {number}"))?));
    }
    peers.sort_by_key(|(number, _)| *number);
    Ok(peers.into_iter().map(|(_, peer)| peer).collect())
}
