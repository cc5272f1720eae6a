//! The trials, each on a server of its own.

use anyhow::{Result, ensure};

use super::scene::{Paced, Scene};
use super::schedule::Plan;
use super::{Reading, Stage};
use crate::args;
use crate::bars::Bar;
use crate::measure;
use crate::publish::Http;

/// The most readers that a trial has.
pub(crate) const READERS: usize = 1_000;
/// As long as a word with its space, or somewhat longer.
const TOKEN_BYTES: usize = 9;
/// 200 of them are 10 KiB.
const LONG_TOKEN_BYTES: usize = 51;
/// What a sleeper is to miss: 10,000 appends in one room, each stream slow enough that every append is a chunk to who is awake.
const SLEPT: Plan =
    Plan { rooms: 1, streams_per_room: 50, appends: 200, token_bytes: 500, per_second: Some(20) };
/// What the sleeper's kernel keeps for it. It would keep megabytes of unread frames otherwise, and the server could not know.
const SLEEPER_BYTES: usize = 64 * 1024;
/// A text as long as may be, 1 MiB.
const LONGEST: Plan =
    Plan { rooms: 1, streams_per_room: 1, appends: 1_024, token_bytes: 1_024, per_second: None };
/// Streams of a room where the memory of open ones is measured; there may be 64.
const PER_ROOM: u32 = 50;
const OPENERS: usize = 16;

pub(crate) enum Trial {
    /// Appends at a rate, and readers of so many rooms each.
    Rate(Plan, usize),
    /// Open streams without text, in so many rooms.
    Empty(u32),
    /// Open streams with text.
    Grown(Plan),
    /// A reader that slept.
    Slept,
    /// So many join a long stream at its end.
    Joined(usize),
}

/// What is measured, in this order.
pub(crate) fn all(options: &args::Streams) -> Vec<Trial> {
    let tenth = if options.quick { 10 } else { 1 };
    let seconds = options.seconds.unwrap_or(if options.quick { 2 } else { 10 });
    let rate = |rooms: u32, rate: u32| {
        let plan = Plan {
            rooms: rooms / tenth,
            streams_per_room: 1,
            appends: rate * seconds,
            token_bytes: TOKEN_BYTES,
            per_second: Some(rate),
        };
        Trial::Rate(plan, options.rooms_per_reader as usize)
    };
    let grown = Plan {
        rooms: 20 / tenth,
        streams_per_room: PER_ROOM,
        appends: 200,
        token_bytes: LONG_TOKEN_BYTES,
        per_second: Some(20),
    };
    vec![
        rate(1_000, 20),
        rate(50, 200),
        Trial::Empty(400 / tenth),
        Trial::Grown(grown),
        Trial::Slept,
        Trial::Joined(READERS / tenth as usize),
    ]
}

impl Trial {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Rate(plan, _) => {
                format!("{} rooms × {} per second", plan.rooms, plan.per_second.unwrap_or_default())
            }
            Self::Empty(rooms) => format!("{} open streams without text", rooms * PER_ROOM),
            Self::Grown(plan) => {
                format!("{} open streams of {} appends, 10 KiB", plan.streams(), plan.appends)
            }
            Self::Slept => format!("a reader that slept through {} appends", SLEPT.total()),
            Self::Joined(readers) => format!("{readers} join 1 MiB at its end"),
        }
    }

    pub(super) fn run(&self, stage: &mut Stage<'_>) -> Result<Vec<Reading>> {
        let mut readings = match self {
            Self::Rate(plan, rooms_per_reader) => rate(stage, *plan, *rooms_per_reader),
            Self::Empty(rooms) => empty(stage, *rooms),
            Self::Grown(plan) => grown(stage, *plan),
            Self::Slept => slept(stage),
            Self::Joined(readers) => joined(stage, *readers),
        }?;
        for reading in &mut readings {
            reading.figure = format!("{}: {}", self.name(), reading.figure);
        }
        Ok(readings)
    }
}

fn rate(stage: &mut Stage<'_>, plan: Plan, rooms_per_reader: usize) -> Result<Vec<Reading>> {
    let mut scene = Scene::new(stage.address, plan)?;
    let rooms = plan.rooms as usize;
    scene.add_readers(rooms.div_ceil(rooms_per_reader), None)?;
    (0..rooms).for_each(|room| scene.join(room / rooms_per_reader, room));
    scene.settle()?;
    scene.open()?;
    let (paced, cpu_us) = stage.cpu_us(|| scene.pace(0))?;
    let readings = rate_readings(&scene, plan, &paced, cpu_us);
    scene.end()?;
    Ok(readings)
}

fn rate_readings(scene: &Scene, plan: Plan, paced: &Paced, cpu_us: f64) -> Vec<Reading> {
    let seconds = plan.length().as_secs_f64();
    let total = plan.total() as f64;
    let chunks: u32 = scene.tally.copies().map(|copy| copy.chunks).sum();
    let most = scene.tally.copies().map(|copy| copy.chunks).max().unwrap_or_default();
    vec![
        Reading::new("answered before the last was due ÷ asked", paced.in_time as f64 / total, 4)
            .must(Bar::AtLeast(0.99)),
        Reading::new("append to reader, p50, ms", paced.wait_ms(50), 1),
        Reading::new("append to reader, p99, ms", paced.wait_ms(99), 1),
        Reading::new("last append until all have everything, ms", paced.tail.as_secs_f64() * 1e3, 0),
        Reading::new("server CPU per append, µs", cpu_us / total, 1),
        Reading::new("server CPU, % of its core", cpu_us / seconds / 1e4, 0),
        Reading::new("chunks per append", f64::from(chunks) / total, 3),
        Reading::new("chunks per second, the stream that has most", f64::from(most) / seconds, 1)
            .must(Bar::AtMost(21.0)),
    ]
}

/// The first of each room's are opened before anything is counted, so that what a room takes is not in the figure.
fn empty(stage: &mut Stage<'_>, rooms: u32) -> Result<Vec<Reading>> {
    let mut openers: Vec<Http> =
        (0..OPENERS).map(|_| Http::connect(stage.address, 0)).collect::<Result<_>>()?;
    for room in 0..rooms {
        open_over_http(&mut openers, &[(room, 0)])?;
    }
    let before = stage.resident_bytes()?;
    let names: Vec<(u32, u32)> =
        (1..PER_ROOM).flat_map(|stream| (0..rooms).map(move |room| (room, stream))).collect();
    let ((), cpu_us) =
        stage.cpu_us(|| names.chunks(OPENERS).try_for_each(|names| open_over_http(&mut openers, names)))?;
    let grown = stage.resident_bytes()? - before;
    let count = names.len() as f64;
    Ok(vec![
        Reading::new("resident bytes per stream", grown / count, 0),
        Reading::new("server CPU per opening over HTTP, µs", cpu_us / count, 1),
    ])
}

/// Over a connection each.
fn open_over_http(openers: &mut [Http], names: &[(u32, u32)]) -> Result<()> {
    ensure!(names.len() <= openers.len(), "more streams than connections to open them");
    for (opener, (room, stream)) in openers.iter_mut().zip(names) {
        let body = format!(r#"{{"stream":"s{stream}","lease_ms":600000}}"#);
        opener.post(&format!("/v1/rooms/r{room}/streams"), &body)?;
    }
    openers.iter_mut().take(names.len()).try_for_each(|opener| opener.confirm().map(drop))
}

/// Nobody reads meanwhile; a reader checks the texts when all is measured.
fn grown(stage: &mut Stage<'_>, plan: Plan) -> Result<Vec<Reading>> {
    let mut scene = Scene::new(stage.address, plan)?;
    let before = stage.resident_bytes()?;
    scene.open()?;
    scene.pace(0)?;
    let grown = stage.resident_bytes()? - before;
    scene.add_readers(1, None)?;
    (0..plan.rooms as usize).for_each(|room| scene.join(0, room));
    scene.catch_up()?;
    scene.end()?;
    Ok(vec![Reading::new("resident bytes per stream", grown / plan.streams() as f64, 0)])
}

/// One reader is awake, one is not.
fn slept(stage: &mut Stage<'_>) -> Result<Vec<Reading>> {
    let mut scene = Scene::new(stage.address, SLEPT)?;
    scene.add_readers(1, None)?;
    scene.add_readers(1, Some(SLEEPER_BYTES))?;
    (0..2).for_each(|reader| scene.join(reader, 0));
    scene.settle()?;
    scene.open()?;
    scene.sleep(1)?;
    scene.pace(SLEPT.streams())?;
    scene.wake(1)?;
    let took = scene.catch_up()?;
    let frames = |reader: usize| f64::from(scene.tally.readers[reader].frames);
    let (awake, slept) = (frames(0), frames(1));
    scene.end()?;
    let appends = SLEPT.total() as f64;
    Ok(vec![
        Reading::new("frames of one that was awake", awake, 0),
        Reading::new("its frames ÷ appends", slept / appends, 3).must(Bar::AtMost(0.1)),
        Reading::new("until it has everything, ms", took.as_secs_f64() * 1e3, 0),
    ])
}

fn joined(stage: &mut Stage<'_>, readers: usize) -> Result<Vec<Reading>> {
    let mut scene = Scene::new(stage.address, LONGEST)?;
    scene.open()?;
    scene.pace(0)?;
    scene.add_readers(readers, None)?;
    let before = stage.resident_bytes()?;
    measure::forget_peak(stage.process)?;
    let (took, cpu_us) = stage.cpu_us(|| {
        (0..readers).for_each(|reader| scene.join(reader, 0));
        scene.catch_up()
    })?;
    let grown = measure::peak_bytes(stage.process)? as f64 - before;
    scene.end()?;
    let most = scene.tally.readers.iter().map(|reader| reader.frames).max().unwrap_or_default();
    let count = readers as f64;
    Ok(vec![
        Reading::new("frames per reader, the most, with the end", f64::from(most), 0).must(Bar::AtMost(20.0)),
        Reading::new("until all have it, s", took.as_secs_f64(), 2),
        Reading::new("server CPU per reader, µs", cpu_us / count, 0),
        Reading::new("growth of resident memory at its peak, MiB", grown / 1_048_576.0, 1),
    ])
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn names(arguments: &[&str]) -> Vec<String> {
        match args::Arguments::parse_from(arguments).command {
            Some(args::Command::Streams(options)) => all(&options).iter().map(Trial::name).collect(),
            _ => panic!(),
        }
    }

    #[test]
    fn sizes_are_those_that_were_asked_for() {
        let full = names(&["bench", "streams"]);
        assert_eq!(full[0], "1000 rooms × 20 per second");
        assert_eq!(full[1], "50 rooms × 200 per second");
        assert_eq!(full[2], "20000 open streams without text");
        assert_eq!(full[4], "a reader that slept through 10000 appends");
        let quick = names(&["bench", "streams", "--quick"]);
        assert_eq!(quick[1], "5 rooms × 200 per second");
        assert_eq!(quick[3], "100 open streams of 200 appends, 10 KiB");
        assert_eq!(quick[5], "100 join 1 MiB at its end");
    }

    #[test]
    fn texts_are_as_long_as_the_names_say() {
        assert_eq!(LONGEST.appends as usize * LONGEST.token_bytes, 1 << 20);
        assert_eq!(SLEPT.total(), 10_000);
        assert_eq!(200 * LONG_TOKEN_BYTES / 1_000, 10);
    }
}
