//! Many rooms, from outside: what memberships take, publications spread over rooms as they are in life, heartbeats, joining and leaving.

mod hall;
mod plan;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::hall::Hall;
use self::plan::Plan;
use crate::args;
use crate::bars::{Bar, Measured, measured};
use crate::manners::Manners;
use crate::measure::Cpu;
use crate::process;
use crate::rounds;
use crate::server::{self, Setup};
use crate::stage::{self, Reading, Stage};
use crate::streams::SIDES;

const PUBLICATIONS_PER_SECOND: u32 = 2_000;
const CHURN_PER_SECOND: u32 = 10_000;
/// As often as pings may come, so that what one costs is seen in seconds.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    plan: Plan,
    length: Duration,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        plan: Plan { sessions: 2_000, per_session: 50, per_room: 10 },
        length: Duration::from_secs(10),
    };
    /// A look, not a measurement.
    pub(crate) const QUICK: Self =
        Self { plan: Plan { sessions: 200, per_session: 50, per_room: 10 }, length: Duration::from_secs(1) };
}

pub(crate) fn run(options: &args::Rooms) -> Result<()> {
    let binary = server::find_binary(options.bin.as_deref())?;
    let mut notes = BTreeSet::new();
    process::raise_descriptor_limit()?;
    let setup = rounds::setup(Some(binary), &options.server_env, 0, &mut notes);
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    let figures =
        measure(&setup, scale, options.rounds.unwrap_or(if options.quick { 1 } else { 3 }), &mut notes)?;
    println!("{}", measured(SIDES, &figures));
    notes.iter().for_each(|note| println!("Note: {note}."));
    Ok(())
}

/// In memory and on disk, in turns.
pub(crate) fn measure(
    setup: &Setup,
    scale: Scale,
    rounds: u32,
    notes: &mut BTreeSet<String>,
) -> Result<Vec<Measured>> {
    let mut figures = Vec::new();
    for number in 0..rounds {
        let order = if number.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for side in order {
            eprintln!("many rooms, round {} of {rounds}, {}", number + 1, SIDES[side]);
            let mut readings = perform(setup, side, notes, |stage| busy(stage, scale))?;
            let beating = with_heartbeats(setup);
            readings.extend(perform(&beating, side, notes, |stage| quiet(stage, scale))?);
            stage::keep(&mut figures, readings, side);
        }
    }
    Ok(figures)
}

/// On a server of its own.
fn perform(
    setup: &Setup,
    side: usize,
    notes: &mut BTreeSet<String>,
    act: impl FnOnce(&mut Stage<'_>) -> Result<Vec<Reading>>,
) -> Result<Vec<Reading>> {
    let server = if side == 0 { setup.start_server()? } else { setup.start_with_store(Manners::Greets)? };
    let mut stage = Stage { address: server.address, process: server.process.id(), notes };
    let done = act(&mut stage).map_err(|error| error.context(server.process.last_words()));
    done.with_context(|| format!("many rooms, {}", SIDES[side]))
}

fn with_heartbeats(setup: &Setup) -> Setup {
    let interval = ("MOORLINE__HEARTBEAT__INTERVAL_MS".to_owned(), HEARTBEAT.as_millis().to_string());
    let environment = setup.environment.iter().cloned().chain([interval]).collect();
    Setup {
        binary: setup.binary.clone(),
        environment,
        core: setup.core,
        payload_bytes: setup.payload_bytes,
        peers: Vec::new(),
    }
}

/// Connects, joins, publishes, leaves and joins.
fn busy(stage: &mut Stage<'_>, scale: Scale) -> Result<Vec<Reading>> {
    let Scale { plan, length } = scale;
    let mut hall = Hall::new(stage.address, plan)?;
    let tenth = plan.sessions / 10;
    hall.connect(0..tenth)?;
    let warm = stage.resident_bytes()?;
    hall.connect(tenth..plan.sessions)?;
    let connected = stage.resident_bytes()?;
    hall.join(|is_first| is_first)?;
    let opened = stage.resident_bytes()?;
    let (joins, join_us) = stage.cpu_us(|| hall.join(|is_first| !is_first))?;
    let joined = stage.resident_bytes()?;
    let (published, publish_us) = stage.cpu_us(|| hall.publish(PUBLICATIONS_PER_SECOND, length))?;
    let (churned, churn_us) = stage.cpu_us(|| hall.churn(CHURN_PER_SECOND, length))?;
    let name = |figure: &str| format!("{} rooms of {}: {figure}", plan.rooms(), plan.per_room);
    let joins = joins as f64;
    Ok(vec![
        Reading::new(
            name("resident bytes per session, in no room"),
            (connected - warm) / (plan.sessions - tenth) as f64,
            0,
        ),
        Reading::new(
            name("resident bytes per room, with its first member"),
            (opened - connected) / plan.rooms() as f64,
            0,
        ),
        Reading::new(name("resident bytes per membership besides"), (joined - opened) / joins, 0),
        Reading::new(name("server CPU per join, µs"), join_us / joins, 1),
        Reading::new(
            name("Zipf, 2,000 publications per second: delivered before the last was due ÷ all"),
            published.in_time,
            4,
        )
        .must(Bar::AtLeast(0.99)),
        Reading::new(name("server CPU per delivery, µs"), publish_us / published.count as f64, 2),
        Reading::new(name("due until a member has it, p50, ms"), hall.wait_us(50.0) / 1e3, 2),
        Reading::new(name("due until a member has it, p99, ms"), hall.wait_us(99.0) / 1e3, 2),
        Reading::new(
            name("10,000 joins and leaves per second: answered before the last was due ÷ asked"),
            churned.in_time,
            4,
        )
        .must(Bar::AtLeast(0.99)),
        Reading::new(name("server CPU per join or leave, µs"), churn_us / churned.count as f64, 1),
        Reading::new(
            name("server CPU of 10,000 joins and leaves per second, % of its core"),
            churn_us / churned.count as f64 * f64::from(CHURN_PER_SECOND) / 1e4,
            0,
        ),
    ])
}

/// Sessions that are members of everything, and say nothing.
fn quiet(stage: &mut Stage<'_>, scale: Scale) -> Result<Vec<Reading>> {
    let mut hall = Hall::new(stage.address, scale.plan)?;
    hall.connect(0..scale.plan.sessions)?;
    hall.join(|_| true)?;
    // The first round of pings is not counted: positions of rooms go with it.
    hall.idle(HEARTBEAT * 2)?;
    let before = Cpu::of(stage.process)?;
    let pings = hall.idle(scale.length.max(HEARTBEAT * 3))?;
    let spent = Cpu::of(stage.process)?.since(&before);
    let us = spent.ns as f64 / 1e3 / pings.max(1) as f64;
    Ok(vec![Reading::new("server CPU per heartbeat, its answers included, µs", us, 2)])
}
