//! More abandoned sessions, joins and rooms than there is memory for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::peer::{Peer, PeerError};
use crate::report::{Bar, Verdict};
use crate::server::Server;
use crate::socket::Place;
use crate::world::Plan;

const SESSIONS: u32 = 20_000;
/// Names of rooms: half as many as sessions, each of which joins two.
const ROOMS_PER_SESSIONS: usize = 2;
const METADATA_BYTES: usize = 3_500;
/// So that a fraction of the sessions fills it.
const CAP_BYTES: u64 = 16 * 1024 * 1024;
const LOG_CAP_BYTES: u64 = 16 * 1024 * 1024;
/// What a session costs beyond what is counted, the allocator's keep and the journal's cache.
const SLACK_BYTES: u64 = 160 * 1024 * 1024;
const AT_ONCE: usize = 64;
const SAMPLE: usize = 200;
const WAIT: Duration = Duration::from_secs(10);

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    let count = plan.sessions(SESSIONS);
    let setup = plan.setup().with("SESSION__ABSENT_MAX_BYTES", CAP_BYTES);
    let setup = setup.with("RETENTION__TOTAL_BYTES", LOG_CAP_BYTES);
    let mut server = Server::start(setup, &plan.folder).await?;
    let before = server.resident_bytes();
    let begun = Instant::now();
    let tokens = abandon(&server, count).await?;
    println!("  {count} sessions were made and abandoned in {:.0?}", begun.elapsed());
    let stats = settled(&server).await?;
    let after = server.resident_bytes();
    println!("  the server says {stats}");
    let absent = stats["absent"].as_u64().context("no `absent` in the figures")?;
    let log_bytes = stats["log_bytes"].as_u64().context("no `log_bytes` in the figures")?;
    let (first, last) =
        (sample(&server, &tokens, 0).await?, sample(&server, &tokens, count.saturating_sub(SAMPLE)).await?);
    server.ensure_alive()?;
    let grown = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    let shown = grown.map_or("not known here".to_owned(), |grown| format!("{} MiB", grown >> 20));
    let cap = CAP_BYTES + LOG_CAP_BYTES + SLACK_BYTES;
    let counted = absent * METADATA_BYTES as u64;
    Ok(Verdict {
        bars: vec![
            Bar::new(
                format!("{absent} absent sessions of {count} fit into {} MiB", CAP_BYTES >> 20),
                counted <= CAP_BYTES && absent > 0,
            ),
            Bar::new(
                format!("the log holds {} KiB of {} MiB", log_bytes >> 10, LOG_CAP_BYTES >> 20),
                log_bytes <= LOG_CAP_BYTES,
            ),
            Bar::new(
                format!("the server's memory grew by at most {} MiB ({shown})", cap >> 20),
                grown.is_none_or(|grown| grown <= cap),
            ),
            Bar::new(
                format!(
                    "who was away longest is told of the loss, who was away shortest goes on ({first:?}, {last:?})"
                ),
                first.untold == 0 && last.untold == 0 && last.resumed > 0,
            ),
        ],
        skipped: None,
    })
}

/// Makes sessions, each in two rooms and with much to remember, and leaves them; their tokens.
async fn abandon(server: &Server, count: usize) -> Result<Vec<String>> {
    let place = Place::at(server.address());
    let free = Arc::new(Semaphore::new(AT_ONCE));
    let rooms = count.div_ceil(ROOMS_PER_SESSIONS);
    let mut leaving = JoinSet::new();
    let mut tokens = vec![String::new(); count];
    for number in 0..count {
        let permit = Arc::clone(&free).acquire_owned().await?;
        let (place, room) = (place.clone(), number % rooms);
        leaving.spawn(async move {
            let token = visit(&place, number, [room, (room + 1) % rooms]).await;
            drop(permit);
            (number, token)
        });
        while let Some(left) = leaving.try_join_next() {
            let (number, token) = left?;
            tokens[number] = token.with_context(|| format!("session {number}"))?;
        }
    }
    while let Some(left) = leaving.join_next().await {
        let (number, token) = left?;
        tokens[number] = token.with_context(|| format!("session {number}"))?;
    }
    Ok(tokens)
}

async fn visit(place: &Place, number: usize, rooms: [usize; 2]) -> Result<String, PeerError> {
    let metadata = json!({"note": "x".repeat(METADATA_BYTES)});
    let hello = json!({"session": format!("s{number}"), "metadata": metadata});
    let mut peer = Peer::open(place, Some(&format!("u{number}")), &hello).await?;
    for (reference, room) in rooms.into_iter().enumerate() {
        let frame = json!({"type": "join", "room": format!("room-{room}"), "ref": reference});
        peer.socket.text(&frame.to_string()).await?;
    }
    let publish = json!({"type": "publish", "to": {"room": format!("room-{}", rooms[0])},
        "message": {"type": "chaos", "pad": "x".repeat(500)}, "ref": 2});
    peer.socket.text(&publish.to_string()).await?;
    // Answered in order: with this one all are.
    peer.texts(WAIT, |text| text.starts_with(r#"{"type":"reply","ref":2"#)).await;
    Ok(peer.greeting.resume_token)
}

/// The figures, once no connection is left.
async fn settled(server: &Server) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let stats = server.api().read("/v1/stats").await?;
        if stats["connections"].as_u64() == Some(0) || begun.elapsed() > WAIT {
            return Ok(stats);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What became of some sessions.
#[derive(Debug, Default)]
struct Sample {
    resumed: usize,
    /// Told that the session is gone, and what it missed in its room.
    told: usize,
    untold: usize,
}

/// Comes back as some of the sessions.
async fn sample(server: &Server, tokens: &[String], from: usize) -> Result<Sample> {
    let place = Place::at(server.address());
    let mut sample = Sample::default();
    for (number, token) in tokens.iter().enumerate().skip(from).take(SAMPLE) {
        let room = format!("room-{}", number % tokens.len().div_ceil(ROOMS_PER_SESSIONS));
        let hello = json!({"session": format!("s{number}"), "resume_token": token,
            "positions": {room: {"epoch": "0000000000000001", "message_id": 0}}});
        let mut peer = Peer::open(&place, Some(&format!("u{number}")), &hello).await?;
        if peer.greeting.resumed {
            sample.resumed += 1;
            continue;
        }
        let (_, heard) = peer.texts(WAIT, |text| text.starts_with(r#"{"type":"reset""#)).await;
        *if heard == crate::peer::Heard::Last { &mut sample.told } else { &mut sample.untold } += 1;
    }
    Ok(sample)
}
