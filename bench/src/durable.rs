//! What keeping on disk costs: a server with a store against one without, in turns, and then the return of many sessions.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::args;
use crate::bars::{Bar, Row, table};
use crate::lane::{self, Lane};
use crate::process;
use crate::report::Subject;
use crate::rounds;
use crate::server::{self, Setup};
use crate::storm::{self, Flow, Storm};

const RECEIVERS: u32 = 100;
const BAR: Bar = Bar::AtMost(1.3);
const KINDS: [Kind; 3] = [
    Kind { name: "one sender", senders: 1, count: 1, times: 50, blocks: 21 },
    Kind { name: "ten senders", senders: 10, count: 1, times: 10, blocks: 21 },
    Kind { name: "bursts of 100", senders: 1, count: lane::BURST, times: 5, blocks: 21 },
];

/// A way of publishing; what a publish costs is the median of the blocks.
struct Kind {
    name: &'static str,
    /// Who publish at the same time.
    senders: u32,
    /// What each sends at once.
    count: u32,
    times: u32,
    blocks: u32,
}

/// One server's figures of one kind.
struct Publishing {
    cpu_us: f64,
    waits_us: Vec<f64>,
}

/// Everything that was measured, as lines of tables.
#[derive(Default)]
pub(crate) struct Durability {
    /// In memory and on disk; the first is one sender's CPU, which has the bar.
    pub(crate) publishing: Vec<Row>,
    /// Live and replayed; the second is the rate beyond the handshakes.
    pub(crate) returning: Vec<Row>,
}

pub(crate) fn run(options: &args::Durable) -> Result<()> {
    let binary = server::find_binary(options.bin.as_deref())?;
    let mut notes = BTreeSet::new();
    let setup = rounds::setup(Some(binary), &options.server_env, options.payload, &mut notes);
    let durability = measure(&setup, (options.rounds, options.sessions), &mut notes)?;
    println!("{}", table(["in memory", "on disk"], &durability.publishing));
    println!("{}", table(["live", "replayed"], &durability.returning));
    notes.iter().for_each(|note| println!("Note: {note}."));
    Ok(())
}

/// So many rounds, with so many sessions that come back.
pub(crate) fn measure(
    setup: &Setup,
    (rounds, sessions): (u32, u32),
    notes: &mut BTreeSet<String>,
) -> Result<Durability> {
    let sessions = fitting(sessions, process::raise_descriptor_limit()?, notes);
    let mut publishings: [Vec<[Publishing; 2]>; KINDS.len()] = Default::default();
    let mut storms = Vec::new();
    for number in 0..rounds {
        eprintln!("keeping on disk, round {} of {rounds}", number + 1);
        let mut lanes = start(setup, number)?;
        for (kind, rounds) in KINDS.iter().zip(&mut publishings) {
            rounds.push(publish((kind, setup), number, &mut lanes)?);
        }
        lanes.iter_mut().for_each(|lane| notes.append(&mut lane.notes));
        drop(lanes);
        storms.push(storm::run(setup, sessions, notes).context("sessions that come back")?);
    }
    let publishing = KINDS.iter().zip(&publishings).flat_map(|(kind, rounds)| rows(kind, rounds)).collect();
    Ok(Durability { publishing, returning: storm_rows(&storms, sessions) })
}

/// As many sessions as there are descriptors for.
fn fitting(asked: u32, limit: Option<u64>, notes: &mut BTreeSet<String>) -> u32 {
    let most = limit.map_or(u64::from(asked), |limit| limit.saturating_sub(rounds::DESCRIPTORS_BESIDES));
    let sessions = asked.min(u32::try_from(most).unwrap_or(asked));
    if sessions < asked {
        notes.insert(format!("{sessions} sessions instead of {asked}: there are no descriptors for more"));
    }
    sessions
}

fn start(setup: &Setup, number: u32) -> Result<[Lane; 2]> {
    let subjects = [Subject::Server, Subject::Disk];
    let start = |subject: Subject| -> Result<Lane> {
        let mut lane = Lane::start(setup, subject, RECEIVERS).context(subject)?;
        lane.grow(RECEIVERS).context(subject)?;
        Ok(lane)
    };
    if number.is_multiple_of(2) {
        return Ok([start(subjects[0])?, start(subjects[1])?]);
    }
    let disk = start(subjects[1])?;
    Ok([start(subjects[0])?, disk])
}

/// In turns; who goes first changes from block to block.
fn publish((kind, setup): (&Kind, &Setup), number: u32, lanes: &mut [Lane; 2]) -> Result<[Publishing; 2]> {
    let mut costs = [Vec::new(), Vec::new()];
    for lane in &mut *lanes {
        lane.set_senders(setup, kind.senders)?;
        lane.block(kind.times, kind.count)?;
        lane.waits_us.clear();
    }
    for block in 0..kind.blocks {
        let order = if (number + block).is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for index in order {
            let delivery_us = lanes[index].block(kind.times, kind.count)?;
            costs[index].push(delivery_us * f64::from(RECEIVERS));
        }
    }
    let [memory, disk] = lanes;
    let [memory_us, disk_us] = costs;
    Ok([publishing(memory, &memory_us)?, publishing(disk, &disk_us)?])
}

fn publishing(lane: &mut Lane, costs_us: &[f64]) -> Result<Publishing> {
    let mut waits_us = std::mem::take(&mut lane.waits_us);
    waits_us.sort_by(f64::total_cmp);
    Ok(Publishing { cpu_us: lane::median(costs_us)?, waits_us })
}

fn rows(kind: &Kind, rounds: &[[Publishing; 2]]) -> Vec<Row> {
    let row = |figure: &str, bar, of: &dyn Fn(&Publishing) -> f64| Row {
        figure: format!("{}: {figure}", kind.name),
        rounds: rounds.iter().map(|round| [of(&round[0]), of(&round[1])]).collect(),
        digits: 0,
        bar,
    };
    let wait = |share: usize| {
        move |publishing: &Publishing| {
            let waits = &publishing.waits_us;
            waits.get(waits.len() * share / 100).copied().unwrap_or(f64::NAN)
        }
    };
    vec![
        row("server CPU per publish, µs", Some(BAR), &|publishing| publishing.cpu_us),
        row("until all 100 have it, p50, µs", None, &wait(50)),
        row("until all 100 have it, p99, µs", None, &wait(99)),
    ]
}

fn storm_rows(storms: &[Storm], sessions: u32) -> Vec<Row> {
    let row = |figure: &str, bar, digits, of: &dyn Fn(&Storm) -> [f64; 2]| Row {
        figure: format!("{sessions} sessions: {figure}"),
        rounds: storms.iter().map(of).collect(),
        digits,
        bar,
    };
    let both = |of: fn(Flow) -> f64| move |storm: &Storm| [of(storm.live), of(storm.replay)];
    let net =
        |of: fn(Flow) -> f64| move |storm: &Storm| [of(storm.live), of(storm.replay.without(storm.empty))];
    let (half, twice) = (Some(Bar::AtLeast(0.5)), Some(Bar::AtMost(2.0)));
    vec![
        row("records per second, handshakes included", half, 0, &both(Flow::per_second)),
        row("records per second beyond the handshakes", half, 0, &net(Flow::per_second)),
        row("server CPU per record, handshakes included, µs", twice, 3, &both(Flow::cpu_us)),
        row("server CPU per record beyond the handshakes, µs", twice, 3, &net(Flow::cpu_us)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_as_many_as_descriptors_allow() {
        let mut notes = BTreeSet::new();
        assert_eq!(fitting(10_000, None, &mut notes), 10_000);
        assert_eq!(fitting(10_000, Some(20_000), &mut notes), 10_000);
        assert!(notes.is_empty());
        assert_eq!(fitting(10_000, Some(4_096), &mut notes), 3_996);
        assert_eq!(notes.len(), 1);
    }
}
