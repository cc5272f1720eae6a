//! Streams under faults: producers over sockets and HTTP, some of which die, and readers, whose connections break, while the server is killed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use moorline_proto::id::RoomName;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::room;
use super::weather::{Crowd, Weather, exception};
use crate::history::Written;
use crate::producer::{Draft, Producer, Road};
use crate::random::Random;
use crate::report::{Bar, Verdict, judge};
use crate::run::Run;
use crate::world::{Plan, World};

const SESSIONS: u32 = 40;
const ROOMS: usize = 4;
const LENGTH_MAX: usize = 2_000;
const LIMIT: Duration = Duration::from_secs(20);
/// Those of the dead run out before the end is waited for.
const LEASES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(5)];

/// Whoever writes streams, until they are stopped.
pub(super) struct Writers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Vec<Written>>>,
}

impl Writers {
    /// As many over sockets as over HTTP.
    pub(super) fn start(world: &World, rooms: &[RoomName], sessions: usize, count: usize) -> Self {
        let (stop, _) = watch::channel(false);
        let writer = |number: usize| {
            let random = Random::part(world.run.seed, 40 + number as u64);
            let road = if number.is_multiple_of(2) {
                Road::Http(world.server.api().clone())
            } else {
                Road::Socket { place: world.seat().place, user: format!("writer-{number}"), peer: None }
            };
            let producer = (Arc::clone(&world.run), road);
            tokio::spawn(write((number, sessions), producer, rooms.to_vec(), (random, stop.subscribe())))
        };
        let tasks = (0..count).map(writer).collect();
        Self { stop, tasks }
    }

    /// Waits until each has ended its last one, and those of the dead are orphaned.
    pub(super) async fn finish(self, world: &mut World, rooms: &[RoomName]) -> Result<usize> {
        self.stop.send_replace(true);
        for task in self.tasks {
            world.streams.extend(task.await?);
        }
        let until = std::time::Instant::now() + LIMIT;
        loop {
            let mut open = 0;
            for room in rooms {
                let list = world.server.api().read(&format!("/v1/rooms/{room}/streams")).await?;
                open += list["streams"].as_array().map_or(0, Vec::len);
            }
            if open == 0 || std::time::Instant::now() > until {
                return Ok(open);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn write(
    (number, sessions): (usize, usize),
    (run, road): (Arc<Run>, Road),
    rooms: Vec<RoomName>,
    (mut random, mut stopped): (Random, watch::Receiver<bool>),
) -> Vec<Written> {
    let mut producer = Producer::new(run, road, Random::new(random.draw()));
    let mut written = Vec::new();
    while !*stopped.borrow_and_update() {
        let draft = Draft {
            room: rooms[random.index(rooms.len())].clone(),
            stream: format!("w{number}-{}", written.len()),
            length: 1 + random.index(LENGTH_MAX),
            lease: LEASES[random.index(LEASES.len())],
            except: exception(&mut random, sessions),
            dies: random.one_in(5),
        };
        written.push(producer.write(draft).await);
    }
    written
}

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    let count = plan.sessions(SESSIONS);
    let rooms: Vec<RoomName> = (0..ROOMS).map(|number| room(&format!("streams-{number}"))).collect();
    let setup = plan.setup().with("HEARTBEAT__INTERVAL_MS", 1_000).with("HEARTBEAT__IDLE_TIMEOUT_MS", 4_000);
    let setup = setup.with("DRAIN__SPREAD_MS", 300).with("DRAIN__TIMEOUT_MS", 3_000);
    let mut world = World::start(plan, setup).await?.with_proxy().await?;
    world
        .fill(count, |mut seat| {
            seat.rooms = vec![rooms[seat.number % ROOMS].clone()];
            seat.forgetful = seat.number.is_multiple_of(2);
            seat.acks_every = [0, 1, 8][seat.number % 3];
            seat
        })
        .await?;
    println!("  {count} sessions are connected; {} s of faults", plan.arguments.seconds);
    let writers = Writers::start(&world, &rooms, count, 12);
    let mut crowd = Crowd::new(Arc::clone(&world.run), rooms.clone(), count);
    let mut weather = Weather::new(&world.run, vec![room("passing")], !plan.arguments.memory);
    let half = Duration::from_secs(plan.arguments.seconds) / 2;
    weather.pass(&mut world, &mut crowd, half).await?;
    if !plan.arguments.memory {
        world.kill().await?;
    }
    weather.pass(&mut world, &mut crowd, half).await?;
    crowd.stop();
    println!("  the faults are over: {}", weather.told());
    let back = world.all_back(LIMIT).await;
    let open = writers.finish(&mut world, &rooms).await?;
    world.settle(rooms).await?;
    let aftermath = world.finish().await?;
    Ok(Verdict {
        bars: vec![
            Bar::new("all sessions are back after the last fault", back),
            Bar::new(format!("all streams have ended ({open} have not)"), open == 0),
            judge(&aftermath),
        ],
        skipped: None,
    })
}
