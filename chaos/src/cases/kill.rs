//! kill -9 with many sessions, each with messages that it has not acknowledged.

use std::time::Duration;

use anyhow::Result;
use moorline_proto::id::RoomName;

use super::room;
use crate::history::What;
use crate::publisher::Letter;
use crate::report::{Bar, Verdict, judge, quantile, spread};
use crate::run::read;
use crate::world::{Aftermath, Plan, World};

const SESSIONS: u32 = 10_000;
const PER_ROOM: usize = 100;
const UNACKED: usize = 20;
/// While the sessions come back.
const MEANWHILE: usize = 3;
const LIMIT: Duration = Duration::from_secs(60);
const BACK_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    let count = plan.sessions(SESSIONS);
    let rooms: Vec<RoomName> =
        (0..count.div_ceil(PER_ROOM)).map(|number| room(&format!("room-{number}"))).collect();
    let mut world = World::start(plan, plan.setup()).await?;
    world
        .fill(count, |mut seat| {
            seat.rooms = vec![rooms[seat.number / PER_ROOM].clone()];
            // Every other one lets the server remember where it was.
            seat.forgetful = seat.number.is_multiple_of(2);
            seat
        })
        .await?;
    println!("  {count} sessions are connected");
    let mut publisher = world.publisher(1);
    for _ in 0..UNACKED {
        for room in &rooms {
            publisher.publish(Letter::to_room(room), LIMIT).await;
        }
    }
    let due = u64::try_from(count * UNACKED)?;
    let all =
        world.run.until(LIMIT, |progress| progress.fresh.load(std::sync::atomic::Ordering::Relaxed) >= due);
    let delivered = all.await;
    println!("  {due} messages are delivered and not acknowledged; kill -9");
    world.kill().await?;
    for _ in 0..MEANWHILE {
        for room in &rooms {
            publisher.publish(Letter::to_room(room), LIMIT).await;
        }
    }
    let back = world.all_back(LIMIT).await;
    let resumed = read(&world.run.progress.resumed);
    let killed = world.last_stop();
    world.publications.append(&mut publisher.publications);
    world.settle(rooms).await?;
    let aftermath = world.finish().await?;
    let waits = killed.map(|stop| since(&aftermath, stop.at)).unwrap_or_default();
    println!("  from the kill until resumed: {}", spread(&waits));
    let within = waits.iter().filter(|wait| **wait <= BACK_WITHIN).count();
    Ok(Verdict {
        bars: vec![
            Bar::new("everything was delivered before the kill", delivered),
            Bar::new(
                format!("all {count} sessions are back and resumed ({resumed})"),
                back && resumed >= count,
            ),
            Bar::new(
                format!(
                    "99 % are back within {BACK_WITHIN:?} of the kill (p99 {:.1?})",
                    quantile(&waits, 99)
                ),
                within * 100 >= count * 99,
            ),
            judge(&aftermath),
        ],
        skipped: None,
    })
}

/// How long after that moment each session was resumed, sorted.
fn since(aftermath: &Aftermath, at: moorline_proto::time::Instant) -> Vec<Duration> {
    let first = |session: &crate::history::Session| {
        let mut later = session.entries.iter().filter(|entry| entry.at > at);
        let entry = later.find(|entry| matches!(entry.what, What::Established { resumed: true }))?;
        Some(entry.at.since(at))
    };
    let mut waits: Vec<Duration> = aftermath.history.sessions.iter().filter_map(first).collect();
    waits.sort_unstable();
    waits
}
