//! How long a message takes from its publisher to each client: the floor and the server in turns, with all clients on each.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::args;
use crate::bars::{Bar, Row, table};
use crate::lane::Lane;
use crate::pace::{Pace, Voice, Waits};
use crate::process;
use crate::report::Subject;
use crate::rounds;
use crate::server::{self, Setup};

const BAR: Bar = Bar::AtMost(1.15);

/// A way of publishing. What the server gets over HTTP, the floor gets from a client.
struct Kind {
    name: &'static str,
    voice: Voice,
    burst: u32,
    per_second: Option<u32>,
    bar: Option<Bar>,
}

const KINDS: [Kind; 4] = [
    Kind { name: "50 per second", voice: Voice::Socket, burst: 1, per_second: Some(50), bar: Some(BAR) },
    Kind { name: "one after the other", voice: Voice::Socket, burst: 1, per_second: None, bar: None },
    Kind {
        name: "10 bursts of 10 per second",
        voice: Voice::Socket,
        burst: 10,
        per_second: Some(10),
        bar: None,
    },
    Kind { name: "50 per second over HTTP", voice: Voice::Http, burst: 1, per_second: Some(50), bar: None },
];

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) connections: u32,
    pub(crate) rounds: u32,
    /// Of each kind, on each side of a round.
    pub(crate) length: Duration,
}

/// Of each kind the rounds, each of floor and server.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Vec<[Waits; 2]>>);

pub(crate) fn run(options: &args::Latency) -> Result<()> {
    let binary = server::find_binary(options.bin.as_deref())?;
    let mut notes = BTreeSet::new();
    process::raise_descriptor_limit()?;
    let setup = rounds::setup(Some(binary), &options.server_env, options.payload, &mut notes);
    let length = Duration::from_secs(if options.quick { 1 } else { 5 });
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 9 });
    let scale = Scale { connections: options.connections, rounds, length };
    let latencies = measure(&setup, scale, &mut notes)?;
    println!("{}", table(["floor", "moorline"], &latencies.rows()));
    notes.iter().for_each(|note| println!("Note: {note}."));
    Ok(())
}

/// All rounds on the same two servers.
pub(crate) fn measure(setup: &Setup, scale: Scale, notes: &mut BTreeSet<String>) -> Result<Latencies> {
    let start = |subject: Subject| -> Result<Lane> {
        let mut lane = Lane::start(setup, subject, scale.connections).context(subject)?;
        lane.grow(scale.connections).context(subject)?;
        Ok(lane)
    };
    let mut lanes = [start(Subject::Floor)?, start(Subject::Server)?];
    let mut latencies: Vec<Vec<[Waits; 2]>> = KINDS.iter().map(|_| Vec::new()).collect();
    for number in 0..scale.rounds {
        eprintln!("latency, round {} of {}", number + 1, scale.rounds);
        for (kind, rounds) in KINDS.iter().zip(&mut latencies) {
            let second_first = !number.is_multiple_of(2);
            let [floor, server] = &mut lanes;
            let waits = if second_first {
                let server = kind.pace(server, scale.length)?;
                [kind.pace(floor, scale.length)?, server]
            } else {
                [kind.pace(floor, scale.length)?, kind.pace(server, scale.length)?]
            };
            rounds.push(waits);
        }
    }
    lanes.iter_mut().for_each(|lane| notes.append(&mut lane.notes));
    Ok(Latencies(latencies))
}

impl Kind {
    fn pace(&self, lane: &mut Lane, length: Duration) -> Result<Waits> {
        let voice = if lane.subject == Subject::Floor { Voice::Socket } else { self.voice };
        let every = self.per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
        // Without a pace as many as of the first kind.
        let rate = self.per_second.or(KINDS[0].per_second).unwrap_or(1);
        let publications = rate * u32::try_from(length.as_secs())?;
        let pace = Pace { voice, publications, burst: self.burst, every };
        lane.pace(pace).with_context(|| format!("{}, {}", self.name, lane.subject))
    }
}

impl Latencies {
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (kind, rounds) in KINDS.iter().zip(&self.0) {
            let mut row = |figure: &str, bar, of: fn(&Waits) -> f64| {
                let rounds =
                    rounds.iter().map(|[floor, server]| [of(floor) / 1e3, of(server) / 1e3]).collect();
                rows.push(Row { figure: format!("{}: {figure}, ms", kind.name), rounds, digits: 2, bar });
            };
            row("p50", None, |waits| waits.p50_us);
            row("p99", kind.bar, |waits| waits.p99_us);
            row("p99.9", None, |waits| waits.p999_us);
        }
        rows
    }

    /// The p99 that has a bar, in milliseconds.
    pub(crate) fn p99_ms(&self) -> Vec<[f64; 2]> {
        let first = self.0.first().map(Vec::as_slice).unwrap_or_default();
        first.iter().map(|round| [round[0].p99_us / 1e3, round[1].p99_us / 1e3]).collect()
    }
}
