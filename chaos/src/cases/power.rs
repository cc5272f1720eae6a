//! Power cuts: the file system under the server loses everything that was not on its device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use moorline_proto::id::RoomName;

use super::audit::audit;
use super::mount::{Mount, obstacle};
use super::room;
use super::weather::Crowd;
use crate::random::Random;
use crate::report::{Bar, Verdict, judge};
use crate::world::{Plan, World};

const SESSIONS: u32 = 40;
const ROOMS: usize = 8;
const PUBLISHERS: u32 = 4;
const DISK_MEBIBYTES: u64 = 512;
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    if let Some(why) = obstacle() {
        return Ok(Verdict { skipped: Some(why), ..Verdict::default() });
    }
    let disk = Mount::disk(plan.folder.join("disk"), DISK_MEBIBYTES)?;
    let proof = Bar::new("a cut loses what was not synced, and nothing else", disk.proves_itself()?);
    let mut setup = plan.setup();
    setup.data = setup.data.map(|_| disk.at.join("data"));
    let rooms: Vec<RoomName> = (0..ROOMS).map(|number| room(&format!("room-{number}"))).collect();
    let mut world = World::start(plan, setup).await?;
    let count = plan.sessions(SESSIONS);
    world
        .fill(count, |mut seat| {
            seat.rooms = vec![rooms[seat.number % ROOMS].clone()];
            seat.forgetful = seat.number.is_multiple_of(2);
            seat.acks_every = 8;
            seat
        })
        .await?;
    let mut crowd = Crowd::new(Arc::clone(&world.run), rooms.clone(), count);
    let publishers: Vec<_> = (1..=PUBLISHERS).map(|number| crowd.publish(world.publisher(number))).collect();
    let mut random = Random::part(world.run.seed, 1);
    let (begun, mut cuts) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(plan.arguments.seconds) {
        tokio::time::sleep(random.millis(500, 3_000)).await;
        let cut = world.run.now();
        disk.cut_power()?;
        world.kill_and(cut, || disk.restore_power()).await?;
        cuts += 1;
    }
    crowd.stop();
    for publisher in publishers {
        world.publications.extend(publisher.await?);
    }
    let back = world.all_back(LIMIT).await;
    world.settle(rooms).await?;
    let kept = audit(world.server.api(), &world.publications).await?;
    let aftermath = world.finish().await?;
    let back = Bar::new(format!("all sessions are back after the last of {cuts} cuts"), back);
    let bars = vec![proof, back, kept, judge(&aftermath)];
    Ok(Verdict { bars, skipped: None })
}
