//! Everything at random: restarts and stops of the server, and all that a network does to clients, while all publish.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use moorline_proto::id::RoomName;

use super::room;
use super::streams::Writers;
use super::weather::{Crowd, Weather};
use crate::report::{Bar, Verdict, judge};
use crate::session::own_rooms;
use crate::world::{Plan, World};

const SESSIONS: u32 = 200;
const HTTP_PUBLISHERS: u32 = 3;
const WRITERS: usize = 4;
const PER_ROOM: usize = 10;
const LIMIT: Duration = Duration::from_secs(20);

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    let count = plan.sessions(SESSIONS);
    let home: Vec<RoomName> =
        (0..count.div_ceil(PER_ROOM)).map(|number| room(&format!("home-{number}"))).collect();
    let passing: Vec<RoomName> = (0..4).map(|number| room(&format!("passing-{number}"))).collect();
    let setup = plan.setup().with("HEARTBEAT__INTERVAL_MS", 1_000).with("HEARTBEAT__IDLE_TIMEOUT_MS", 4_000);
    let setup = setup.with("DRAIN__SPREAD_MS", 300).with("DRAIN__TIMEOUT_MS", 3_000);
    let mut world = World::start(plan, setup).await?.with_proxy().await?;
    world
        .fill(count, |mut seat| {
            let own = seat.number / PER_ROOM;
            seat.rooms = vec![home[own].clone(), home[(own + 1) % home.len()].clone()];
            seat.rooms.dedup();
            seat.forgetful = seat.number.is_multiple_of(2);
            seat.acks_every = [0, 1, 8][seat.number % 3];
            seat
        })
        .await?;
    println!("  {count} sessions are connected; {} s of faults", plan.arguments.seconds);
    let mut rooms = [home.clone(), passing.clone()].concat();
    let mut crowd = Crowd::new(Arc::clone(&world.run), rooms.clone(), count);
    let publishers =
        (1..=HTTP_PUBLISHERS).map(|number| crowd.publish(world.publisher(number))).collect::<Vec<_>>();
    let writers = Writers::start(&world, &home, count, WRITERS);
    let span = Duration::from_secs(plan.arguments.seconds);
    let mut weather = Weather::new(&world.run, passing, !plan.arguments.memory);
    weather.pass(&mut world, &mut crowd, span).await?;
    crowd.stop();
    for publisher in publishers {
        world.publications.extend(publisher.await?);
    }
    println!("  the faults are over: {}", weather.told());
    let back = world.all_back(LIMIT).await;
    let open = writers.finish(&mut world, &home).await?;
    rooms.extend(own_rooms(&world.seat()).pop());
    world.settle(rooms).await?;
    let aftermath = world.finish().await?;
    let bars = vec![
        Bar::new("all sessions are back after the last fault", back),
        Bar::new(format!("all streams have ended ({open} have not)"), open == 0),
        judge(&aftermath),
    ];
    Ok(Verdict { bars, skipped: None })
}
