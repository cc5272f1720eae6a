//! Clients change their network without a word: the old connection neither ends nor answers.

use std::time::Duration;

use anyhow::Result;
use moorline_proto::id::RoomName;

use super::room;
use crate::history::{Ending, What};
use crate::publisher::Letter;
use crate::random::Random;
use crate::report::{Bar, Verdict, judge, quantile};
use crate::session::Command;
use crate::world::{Plan, World};

const SESSIONS: u32 = 1_000;
const PER_ROOM: usize = 50;
const SWITCHES: usize = 5;
/// Between two clients: a crowd that leaves a train, not one that is counted down.
const APART: Duration = Duration::from_millis(4);
const LIMIT: Duration = Duration::from_secs(30);
const BACK_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    let count = plan.sessions(SESSIONS);
    let rooms: Vec<RoomName> =
        (0..count.div_ceil(PER_ROOM)).map(|number| room(&format!("room-{number}"))).collect();
    let mut world = World::start(plan, plan.setup()).await?.with_proxy().await?;
    world
        .fill(count, |mut seat| {
            seat.rooms = vec![rooms[seat.number / PER_ROOM].clone()];
            seat.forgetful = seat.number.is_multiple_of(2);
            seat
        })
        .await?;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let (mut publisher, letters) = (world.publisher(1), rooms.clone());
    let mut random = Random::part(world.run.seed, 1);
    let publishing = tokio::spawn(async move {
        while !*stopped.borrow_and_update() {
            let room = &letters[random.index(letters.len())];
            publisher.publish(Letter::to_room(room), LIMIT).await;
            tokio::time::sleep(random.millis(1, 10)).await;
        }
        publisher.publications
    });
    let mut random = Random::part(world.run.seed, 2);
    for round in 1..=SWITCHES {
        for session in &world.sessions {
            session.tell(Command::Switch { held: random.millis(100, 3_000) }).await;
            tokio::time::sleep(APART).await;
        }
        let back = world.all_back(LIMIT).await;
        println!(
            "  round {round} of {SWITCHES}: {}",
            if back { "all are back" } else { "some are not back" }
        );
    }
    stop.send_replace(true);
    world.publications.extend(publishing.await?);
    world.settle(rooms).await?;
    let aftermath = world.finish().await?;
    let endings = |of: fn(&Ending) -> bool| {
        let entries = aftermath.history.sessions.iter().flat_map(|session| &session.entries);
        entries.filter(|entry| matches!(&entry.what, What::Closed(ending) if of(ending))).count()
    };
    let replaced = endings(|ending| *ending == Ending::Code(4001));
    let (due, p99) = (count * SWITCHES, quantile(&aftermath.backs, 99));
    Ok(Verdict {
        bars: vec![
            Bar::new(
                format!("all {due} take-overs succeed ({})", aftermath.backs.len()),
                aftermath.backs.len() == due,
            ),
            Bar::new(format!("each loser is closed with 4001 ({replaced} of {due})"), replaced == due),
            Bar::new(
                format!("p99 of the time until back is under {BACK_WITHIN:?} ({p99:.0?})"),
                p99 < BACK_WITHIN,
            ),
            judge(&aftermath),
        ],
        skipped: None,
    })
}
