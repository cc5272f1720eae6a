//! A server, what stands before it, its sessions and publishers; and how a run with them ends.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use moorline_proto::id::RoomName;
use moorline_proto::time::Instant;

use crate::args::Arguments;
use crate::content::LAST;
use crate::history::{History, Publication, Session as Seen, Stop, Written};
use crate::proxy::Proxy;
use crate::publisher::{Letter, Publisher};
use crate::run::{Plant, Run, read};
use crate::server::{Server, Setup, Signal, find_binary};
use crate::session::{Command, Seat, Session, own_rooms};
use crate::socket::Place;

/// Sessions that connect from one address.
const PER_SOURCE: usize = 5_000;
/// How long sessions may take to connect, or to come to rest, each time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sessions of one start come in steps, so that the first attempts do not fail.
const STEP: usize = 250;

/// What is asked for on the command line, made ready.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) arguments: Arguments,
    pub(crate) binary: PathBuf,
    /// For everything that this run writes; removed at its end.
    pub(crate) folder: PathBuf,
    pub(crate) run: Arc<Run>,
}

impl Plan {
    pub(crate) fn new(arguments: Arguments, seed: u64) -> Result<Self> {
        let binary = find_binary(arguments.bin.as_deref())?;
        let folder = std::env::temp_dir().join(format!("moorline-chaos-{}", std::process::id()));
        let run = Arc::new(Run::new(seed, arguments.plant));
        Ok(Self { arguments, binary, folder, run })
    }

    pub(crate) fn sessions(&self, default: u32) -> usize {
        self.arguments.sessions.unwrap_or(default) as usize
    }

    /// A server that keeps what it acknowledges, where nothing else was asked for.
    pub(crate) fn setup(&self) -> Setup {
        let in_memory = self.arguments.memory || self.run.plant == Some(Plant::AckBeforeCommit);
        let data = (!in_memory).then(|| self.folder.join("data"));
        Setup { binary: self.binary.clone(), data, environment: Vec::new(), wrapper: Vec::new() }
    }
}

/// Everything of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) run: Arc<Run>,
    pub(crate) server: Server,
    proxy: Option<Arc<Proxy>>,
    seats: Vec<Seat>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) publications: Vec<Publication>,
    pub(crate) streams: Vec<Written>,
    stops: Vec<Stop>,
    pauses: Vec<(Instant, Instant)>,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Aftermath {
    pub(crate) history: History,
    /// How long each loss of a connection lasted, sorted.
    pub(crate) backs: Vec<Duration>,
}

impl World {
    pub(crate) async fn start(plan: &Plan, setup: Setup) -> Result<Self> {
        let server = Server::start(setup, &plan.folder).await?;
        let run = Arc::clone(&plan.run);
        let (seats, sessions, publications, stops) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (streams, pauses) = (Vec::new(), Vec::new());
        Ok(Self { run, server, proxy: None, seats, sessions, publications, streams, stops, pauses })
    }

    /// Puts the proxy before the server, for the sessions that are seated from now on.
    pub(crate) async fn with_proxy(mut self) -> Result<Self> {
        self.proxy = Some(Arc::new(Proxy::start(self.server.address()).await?));
        Ok(self)
    }

    /// The next seat, in no room.
    pub(crate) fn seat(&self) -> Seat {
        let number = self.seats.len();
        let server = self.proxy.as_ref().map_or(self.server.address(), |proxy| proxy.address());
        let mut place = Place::at(server);
        // 127.0.0.2 and up: not where the server is called from by HTTP.
        let host = u8::try_from(2 + number / PER_SOURCE).unwrap_or(u8::MAX);
        place.source = Some(Ipv4Addr::new(127, 0, 0, host)).filter(|_| cfg!(target_os = "linux"));
        Seat {
            number,
            name: format!("s{number}"),
            user: format!("u{number}"),
            place,
            proxy: self.proxy.clone(),
            rooms: Vec::new(),
            forgetful: false,
            acks_every: 0,
        }
    }

    /// Starts a session on each seat that is made, and waits until all are connected and in their rooms.
    pub(crate) async fn fill(&mut self, count: usize, make: impl Fn(Seat) -> Seat) -> Result<()> {
        let mut memberships = read(&self.run.progress.joined);
        for number in 1..=count {
            let seat = make(self.seat());
            memberships += seat.rooms.len();
            self.seats.push(seat.clone());
            self.sessions.push(Session::start(Arc::clone(&self.run), seat));
            if number % STEP == 0 || number == count {
                let (total, due) = (self.sessions.len(), memberships);
                let there = self.run.until(PATIENCE, |progress| {
                    read(&progress.established) >= total && read(&progress.joined) >= due
                });
                if !there.await {
                    let (up, joined) =
                        (read(&self.run.progress.established), read(&self.run.progress.joined));
                    bail!("only {up} of {total} sessions are connected, with {joined} of {due} memberships");
                }
            }
        }
        Ok(())
    }

    pub(crate) fn publisher(&self, number: u32) -> Publisher {
        Publisher::new(Arc::clone(&self.run), self.server.api().clone(), number)
    }

    /// kill -9 and a start on the same data.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.kill_and(self.run.now(), || Ok(())).await
    }

    /// kill -9, something that is done while the server is down, and a start. From `at` on nothing was kept.
    pub(crate) async fn kill_and(&mut self, at: Instant, between: impl FnOnce() -> Result<()>) -> Result<()> {
        self.server.kill().await?;
        between()?;
        self.back(at, false).await
    }

    /// An orderly end, and a start on the same data.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        let at = self.run.now();
        self.server.terminate().await?;
        self.back(at, true).await
    }

    async fn back(&mut self, at: Instant, clean: bool) -> Result<()> {
        self.server.up().await.context("starting the server again")?;
        self.stops.push(Stop { at, back: self.run.now(), clean });
        Ok(())
    }

    /// Keeps the server from running for so long.
    pub(crate) async fn pause(&mut self, time: Duration) -> Result<()> {
        let at = self.run.now();
        self.server.signal(Signal::Stop)?;
        tokio::time::sleep(time).await;
        self.server.signal(Signal::Continue)?;
        self.pauses.push((at, self.run.now()));
        Ok(())
    }

    /// When the process ended last.
    pub(crate) fn last_stop(&self) -> Option<Stop> {
        self.stops.last().copied()
    }

    /// Waits until every session is connected. Whether they were, within the limit.
    pub(crate) async fn all_back(&self, limit: Duration) -> bool {
        let total = self.sessions.len();
        self.run.until(limit, |progress| read(&progress.established) >= total).await
    }

    /// Lets everything come to rest: a last message to each of the rooms, after which a member has what is its own.
    /// Whether all got there is what the history shows.
    pub(crate) async fn settle(&mut self, rooms: Vec<RoomName>) -> Result<()> {
        self.server.ensure_alive()?;
        let wanted: Arc<HashSet<RoomName>> = Arc::new(rooms.iter().cloned().collect());
        for session in &self.sessions {
            session.tell(Command::Settle(Arc::clone(&wanted))).await;
        }
        let total = self.sessions.len();
        if !self.run.until(PATIENCE, |progress| read(&progress.settled) >= total).await {
            let settled = read(&self.run.progress.settled);
            println!("  only {settled} of {total} sessions came to rest; the history tells of the others");
        }
        let mut publisher = self.publisher(LAST);
        for room in &rooms {
            publisher.publish(Letter::to_room(room), PATIENCE).await;
        }
        self.publications.append(&mut publisher.publications);
        if !self.run.until(PATIENCE, |progress| read(&progress.last) >= read(&progress.due)).await {
            let (last, due) = (read(&self.run.progress.last), read(&self.run.progress.due));
            println!("  only {last} of {due} last messages arrived; the history tells which did not");
        }
        Ok(())
    }

    /// Ends the sessions and puts together what everyone saw.
    pub(crate) async fn finish(mut self) -> Result<Aftermath> {
        let mut history =
            History { resets_allowed: Some(0), stops: self.stops, pauses: self.pauses, ..History::default() };
        let mut backs = Vec::new();
        // All at once: each may have a connection left to wait for.
        for session in &self.sessions {
            session.tell(Command::Stop).await;
        }
        for (session, seat) in self.sessions.into_iter().zip(&self.seats) {
            let record = session.stop().await.with_context(|| format!("the task of {} broke", seat.name))?;
            if record.truncated {
                bail!("{} saw more than this program keeps: choose a shorter run", seat.name);
            }
            self.publications.extend(record.publications);
            backs.extend(record.backs);
            history.sessions.push(Seen {
                name: seat.name.clone(),
                own: own_rooms(seat),
                entries: record.entries,
            });
        }
        backs.sort_unstable();
        history.publications = self.publications;
        history.streams = self.streams;
        Ok(Aftermath { history, backs })
    }
}
