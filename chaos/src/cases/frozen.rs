//! Some of the readers of a room stand still: the others must not notice, nor the server's memory.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use moorline_proto::id::RoomName;
use moorline_proto::time::Instant;

use super::room;
use crate::content::{BULK, Content, Key};
use crate::history::{History, What};
use crate::publisher::{Letter, Publisher};
use crate::report::{Bar, Verdict, judge, quantile, spread};
use crate::run::{Run, read};
use crate::session::Command;
use crate::world::{Plan, World};

const SESSIONS: u32 = 1_000;
/// One in so many is frozen.
const FROZEN_IN: usize = 10;
const SPAN: Duration = Duration::from_secs(8);
/// Between two messages to everyone, and between two of 32 kB to those that are to be frozen.
const EVERY: Duration = Duration::from_millis(50);
const STALL_TIMEOUT_MS: u64 = 4_000;
const STALL_TIMEOUT: Duration = Duration::from_millis(STALL_TIMEOUT_MS);
/// Small, so that the server's side fills up.
const RECEIVE_BYTES: u32 = 4_096;
const LIMIT: Duration = Duration::from_secs(60);
/// A baseline below this is the machine's noise.
const NOISE: Duration = Duration::from_millis(20);
/// What a frozen connection may cost the server: what it lets wait for one (128 KiB), twice.
const PER_FROZEN_BYTES: u64 = 2 * 128 * 1024;
/// What the log keeps of the room meanwhile, and the allocator of what was used.
const SLACK_BYTES: u64 = 96 * 1024 * 1024;

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    let count = plan.sessions(SESSIONS);
    let (common, heavy) = (room("everyone"), room("heavy"));
    let mut world =
        World::start(plan, plan.setup().with("CONNECTION__STALL_TIMEOUT_MS", STALL_TIMEOUT_MS)).await?;
    world
        .fill(count, |mut seat| {
            seat.rooms = vec![common.clone()];
            if is_frozen(seat.number) {
                seat.rooms.push(heavy.clone());
            }
            seat.place.receive_bytes = is_frozen(seat.number).then_some(RECEIVE_BYTES);
            seat
        })
        .await?;
    let (mut publisher, mut bulk) = (world.publisher(1), world.publisher(BULK));
    // The same load in both halves: only the freezing differs.
    let (baseline, _) =
        tokio::join!(publish(&world.run, &mut publisher, &common), publish(&world.run, &mut bulk, &heavy));
    let before = world.server.resident_bytes();
    for (number, session) in world.sessions.iter().enumerate() {
        if is_frozen(number) {
            session.tell(Command::Freeze(SPAN + STALL_TIMEOUT)).await;
        }
    }
    println!("  {} of {count} readers are frozen", count.div_ceil(FROZEN_IN));
    let (disturbed, _) =
        tokio::join!(publish(&world.run, &mut publisher, &common), publish(&world.run, &mut bulk, &heavy));
    let after = world.server.resident_bytes();
    tokio::time::sleep(STALL_TIMEOUT).await;
    world.publications.append(&mut publisher.publications);
    world.publications.append(&mut bulk.publications);
    let back = world.all_back(LIMIT).await;
    world.run.until(LIMIT, |progress| read(&progress.resumed) >= count.div_ceil(FROZEN_IN)).await;
    let resumed = read(&world.run.progress.resumed);
    world.settle(vec![common, heavy]).await?;
    let aftermath = world.finish().await?;
    let calm = latencies(&aftermath.history, baseline);
    let busy = latencies(&aftermath.history, disturbed);
    println!("  before: {}\n  with frozen readers, the others: {}", spread(&calm), spread(&busy));
    let bound = quantile(&calm, 99).max(NOISE) * 2;
    let cap = count.div_ceil(FROZEN_IN) as u64 * PER_FROZEN_BYTES + SLACK_BYTES;
    let grown = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    let shown = grown.map_or("not known here".to_owned(), |grown| format!("{} MiB", grown >> 20));
    Ok(Verdict {
        bars: vec![
            Bar::new(
                format!(
                    "the others' p99 is at most twice that before ({:.1?} of {bound:.1?})",
                    quantile(&busy, 99)
                ),
                quantile(&busy, 99) <= bound,
            ),
            Bar::new(
                format!("the server's memory grew by at most {} MiB ({shown})", cap >> 20),
                grown.is_none_or(|grown| grown <= cap),
            ),
            Bar::new(
                format!("the server closed the frozen ones, and they are back, resumed ({resumed})"),
                back && resumed >= count.div_ceil(FROZEN_IN),
            ),
            judge(&aftermath),
        ],
        skipped: None,
    })
}

const fn is_frozen(number: usize) -> bool {
    number.is_multiple_of(FROZEN_IN)
}

/// Publishes at an even pace; from when to when.
async fn publish(run: &Run, publisher: &mut Publisher, room: &RoomName) -> (Instant, Instant) {
    let begun = run.now();
    let mut beat = tokio::time::interval(EVERY);
    while run.now().since(begun) < SPAN {
        beat.tick().await;
        publisher.publish(Letter::to_room(room), LIMIT).await;
    }
    (begun, run.now())
}

/// From sending to receiving, for what was sent within the span and the readers that never freeze; sorted.
fn latencies(history: &History, (from, to): (Instant, Instant)) -> Vec<Duration> {
    let sent: HashMap<Key, Instant> = history.publications.iter().map(|one| (one.key, one.sent)).collect();
    let readers = history.sessions.iter().enumerate().filter(|(number, _)| !is_frozen(*number));
    let mut latencies: Vec<Duration> = readers
        .flat_map(|(_, session)| &session.entries)
        .filter_map(|entry| match &entry.what {
            What::Message { content: Content::Whole(key), fresh: true, .. } => {
                let sent = sent.get(key).filter(|sent| from <= **sent && **sent < to)?;
                Some(entry.at.since(*sent))
            }
            _ => None,
        })
        .collect();
    latencies.sort_unstable();
    latencies
}
