//! Faults and publishes by chance, from the seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use moorline_proto::id::RoomName;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::content::Key;
use crate::history::Publication;
use crate::proxy::Flow;
use crate::publisher::{Letter, Publisher};
use crate::random::Random;
use crate::run::Run;
use crate::session::{Command, Sending};
use crate::world::World;

/// How long a publish is tried before its outcome counts as unknown.
const PUBLISH_LIMIT: Duration = Duration::from_secs(60);
/// Sessions publish as publishers of these numbers and up.
const FIRST_SESSION: u32 = 1_000;

/// Whoever publishes.
pub(super) struct Crowd {
    run: Arc<Run>,
    rooms: Vec<RoomName>,
    sessions: usize,
    stop: watch::Sender<bool>,
    random: Random,
    /// The next message of each session.
    numbers: BTreeMap<usize, u32>,
}

impl Crowd {
    pub(super) fn new(run: Arc<Run>, rooms: Vec<RoomName>, sessions: usize) -> Self {
        let (stop, _) = watch::channel(false);
        let random = Random::part(run.seed, 10);
        Self { run, rooms, sessions, stop, random, numbers: BTreeMap::new() }
    }

    /// Publishes by HTTP until it is stopped.
    pub(super) fn publish(&mut self, mut publisher: Publisher) -> JoinHandle<Vec<Publication>> {
        let mut random = Random::new(self.random.draw());
        let (rooms, sessions, mut stopped) = (self.rooms.clone(), self.sessions, self.stop.subscribe());
        tokio::spawn(async move {
            while !*stopped.borrow_and_update() {
                let mut letter = Letter::to_room(&target(&mut random, &rooms, sessions));
                letter.except = exception(&mut random, sessions);
                letter.is_refused = random.one_in(40);
                publisher.publish(letter, PUBLISH_LIMIT).await;
                tokio::time::sleep(random.millis(2, 20)).await;
            }
            publisher.publications
        })
    }

    /// A message for a session to publish: which, and what.
    fn sending(&mut self) -> (usize, Command) {
        let session = self.random.index(self.sessions);
        let number = self.numbers.entry(session).or_insert(0);
        *number += 1;
        let key = Key { publisher: FIRST_SESSION + u32::try_from(session).unwrap_or(0), number: *number };
        let room = target(&mut self.random, &self.rooms, self.sessions);
        let Letter { room, to, .. } = Letter::to_room(&room);
        let except = exception(&mut self.random, self.sessions);
        (session, Command::Publish(Sending { key, room, to, except }))
    }

    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// How long into the run it is.
    fn elapsed(&self) -> Duration {
        self.run.now().elapsed()
    }
}

/// Mostly a room, sometimes a session, a user or everyone.
fn target(random: &mut Random, rooms: &[RoomName], sessions: usize) -> RoomName {
    let someone = random.index(sessions);
    let own = match random.below(40) {
        0..3 => format!("@session/s{someone}"),
        3..6 => format!("@user/u{someone}"),
        6 => "@all".to_owned(),
        _ => return rooms[random.index(rooms.len())].clone(),
    };
    RoomName::stored(&own).unwrap_or_else(|_| rooms[0].clone())
}

/// Some publishes are not for everyone.
pub(super) fn exception(random: &mut Random, sessions: usize) -> Option<(Vec<usize>, Value)> {
    if !random.one_in(5) {
        return None;
    }
    let (one, other) = (random.index(sessions), random.index(sessions));
    let except = json!({"sessions": [format!("s{one}")], "users": [format!("u{other}")]});
    Some((vec![one, other], except))
}

/// Whatever happens to the server and its clients.
pub(super) struct Weather {
    random: Random,
    passing: Vec<RoomName>,
    /// Whether the server may be restarted.
    restarts: bool,
    /// What happened how often.
    counts: BTreeMap<&'static str, usize>,
}

impl Weather {
    pub(super) fn new(run: &Run, passing: Vec<RoomName>, restarts: bool) -> Self {
        Self { random: Random::part(run.seed, 20), passing, restarts, counts: BTreeMap::new() }
    }

    pub(super) fn told(&self) -> String {
        self.counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// Lets faults come for so long; the sessions publish between them.
    pub(super) async fn pass(&mut self, world: &mut World, crowd: &mut Crowd, span: Duration) -> Result<()> {
        let over = crowd.elapsed() + span;
        while crowd.elapsed() < over {
            let calm = crowd.elapsed() + self.random.millis(200, 1_000);
            while crowd.elapsed() < calm.min(over) {
                let (session, publish) = crowd.sending();
                if let Some(session) = world.sessions.get(session) {
                    session.offer(publish);
                }
                tokio::time::sleep(self.random.millis(1, 12)).await;
            }
            self.strike(world).await?;
        }
        Ok(())
    }

    async fn strike(&mut self, world: &mut World) -> Result<()> {
        let fault = match self.random.below(20) {
            0..3 if self.restarts => {
                world.kill().await?;
                "kill -9"
            }
            3 | 4 if self.restarts && cfg!(unix) => {
                world.restart().await?;
                "restart"
            }
            5 | 6 if cfg!(unix) => {
                world.pause(self.random.millis(100, 2_500)).await?;
                "stop"
            }
            _ => self.gust(world),
        };
        *self.counts.entry(fault).or_default() += 1;
        Ok(())
    }

    /// The same fault for some of the sessions.
    fn gust(&mut self, world: &World) -> &'static str {
        let kind = self.random.below(9);
        let hit = 1 + self.random.index(world.sessions.len().div_ceil(4));
        for _ in 0..hit {
            let session = &world.sessions[self.random.index(world.sessions.len())];
            let command = self.fault(kind);
            session.offer(command);
        }
        ["switch", "freeze", "reset", "cut", "half-close", "slice", "throttle", "hold", "join/leave"]
            [usize::try_from(kind).unwrap_or(0)]
    }

    fn fault(&mut self, kind: u64) -> Command {
        let random = &mut self.random;
        match kind {
            0 => Command::Switch { held: random.millis(50, 3_000) },
            1 => Command::Freeze(random.millis(50, 3_000)),
            2 => Command::Link(Flow::Reset, Flow::Reset),
            3 => Command::Link(Flow::Pass, Flow::Cut(random.index(2_000))),
            4 => Command::Link(Flow::Pass, Flow::HalfClose),
            5 => {
                let bytes = 1 + random.index(50);
                Command::Link(Flow::Slice(bytes), Flow::Slice(bytes))
            }
            6 => Command::Link(Flow::Pass, Flow::Throttle(2_000 + random.index(50_000))),
            7 => Command::Link(Flow::Hold, Flow::Hold),
            _ => {
                let room = self.passing[random.index(self.passing.len())].clone();
                if random.one_in(2) { Command::Join(room) } else { Command::Leave(room) }
            }
        }
    }
}
