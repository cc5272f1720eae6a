//! A disk that is full for a while, and one that fails to write for a while.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use moorline_proto::id::RoomName;

use super::audit::audit;
use super::mount::{self, Mount, obstacle};
use super::room;
use super::weather::Crowd;
use crate::content::BULK;
use crate::http::Api;
use crate::report::{Bar, Verdict, judge};
use crate::server::Setup;
use crate::world::{Plan, World};

const SESSIONS: u32 = 40;
const ROOMS: usize = 4;
const PUBLISHERS: u32 = 3;
const DISK_MEBIBYTES: u32 = 48;
const LIMIT: Duration = Duration::from_secs(30);
/// How long it stays full once the server has told.
const FULL: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Each thread's syncs of these numbers fail.
const FAILING: &str = "inject=fsync,fdatasync:error=EIO:when=200..204";

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    if let Some(why) = obstacle() {
        return Ok(Verdict { skipped: Some(why), ..Verdict::default() });
    }
    let mut bars = full(plan).await?;
    if mount::run("strace", &["-V"]).is_ok() {
        bars.extend(failing(plan).await?);
    } else {
        println!("  SKIPPED: NOTHING WAS TESTED of syncs that fail: there is no `strace` here");
    }
    Ok(Verdict { bars, skipped: None })
}

async fn full(plan: &Plan) -> Result<Vec<Bar>> {
    let disk = Mount::memory(plan.folder.join("full"), DISK_MEBIBYTES)?;
    let (mut world, rooms) = world(plan, plan.setup(), disk.at.join("data")).await?;
    let api = world.server.api().clone();
    let mut crowd = Crowd::new(Arc::clone(&world.run), rooms.clone(), world.sessions.len());
    // Large messages: room that the store has in hand does not last.
    let numbers = (1..=PUBLISHERS).chain([BULK]);
    let publishers: Vec<_> = numbers.map(|number| crowd.publish(world.publisher(number))).collect();
    let mut bars = Vec::new();
    let filler = disk.at.join("filler");
    fill(&filler)?;
    let reasons = wait(&api, |status, _| status == 503).await;
    println!("  full: /readyz says {}", reasons.as_deref().unwrap_or("nothing of it"));
    bars.push(Bar::new(
        "while the disk is full /readyz says why",
        reasons.is_some_and(|text| text.contains("reasons")),
    ));
    tokio::time::sleep(FULL).await;
    world.server.ensure_alive()?;
    fs::remove_file(&filler).context("removing the filler")?;
    let again = wait(&api, |status, _| status == 200).await;
    bars.push(Bar::new("it goes on once there is room again", again.is_some()));
    // Full once more, and killed in that state.
    fill(&filler)?;
    let told = wait(&api, |status, _| status == 503).await;
    bars.push(Bar::new("it says so a second time", told.is_some()));
    let full_at = world.run.now();
    world.kill_and(full_at, || fs::remove_file(&filler).context("removing the filler")).await?;
    crowd.stop();
    for publisher in publishers {
        world.publications.extend(publisher.await?);
    }
    bars.push(Bar::new("all sessions are back", world.all_back(LIMIT).await));
    world.settle(rooms).await?;
    world.kill().await?;
    bars.push(audit(world.server.api(), &world.publications).await?);
    bars.push(judge(&world.finish().await?));
    Ok(bars)
}

/// Some syncs fail, as on a disk with a bad block; then they work again.
async fn failing(plan: &Plan) -> Result<Vec<Bar>> {
    let mut setup = plan.setup();
    // The tracer is the child's child, so that signals reach the server itself.
    setup.wrapper =
        ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", FAILING]
            .map(str::to_owned)
            .to_vec();
    let (mut world, rooms) = world(plan, setup, plan.folder.join("failing")).await?;
    let api = world.server.api().clone();
    let mut crowd = Crowd::new(Arc::clone(&world.run), rooms.clone(), world.sessions.len());
    let publishers: Vec<_> = (1..=PUBLISHERS).map(|number| crowd.publish(world.publisher(number))).collect();
    let failed = wait(&api, |status, _| status == 503).await;
    println!("  failing: /readyz says {}", failed.as_deref().unwrap_or("nothing of it"));
    let again = wait(&api, |status, _| status == 200).await;
    crowd.stop();
    for publisher in publishers {
        world.publications.extend(publisher.await?);
    }
    world.settle(rooms).await?;
    world.kill().await?;
    let bars = vec![
        Bar::new("a sync that fails is told by /readyz", failed.is_some()),
        Bar::new("it goes on once syncs work again", again.is_some()),
        audit(world.server.api(), &world.publications).await?,
        judge(&world.finish().await?),
    ];
    Ok(bars)
}

async fn world(plan: &Plan, mut setup: Setup, data: PathBuf) -> Result<(World, Vec<RoomName>)> {
    let rooms: Vec<RoomName> = (0..ROOMS).map(|number| room(&format!("room-{number}"))).collect();
    setup.data = setup.data.map(|_| data);
    let mut world = World::start(plan, setup).await?;
    world
        .fill(plan.sessions(SESSIONS), |mut seat| {
            seat.rooms = vec![rooms[seat.number % ROOMS].clone()];
            seat
        })
        .await?;
    Ok((world, rooms))
}

/// Writes until there is no room left.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path).context("the filler")?;
    let mut piece = vec![0; 1 << 20];
    while !piece.is_empty() {
        if file.write_all(&piece).is_err() {
            piece.truncate(piece.len() / 2);
        }
    }
    Ok(())
}

/// What `/readyz` says once it is as wanted; none within the limit.
async fn wait(api: &Api, is_it: impl Fn(u16, &str) -> bool) -> Option<String> {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        if let Some((status, text)) = api.readiness().await
            && is_it(status.as_u16(), &text)
        {
            return Some(text);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    None
}
