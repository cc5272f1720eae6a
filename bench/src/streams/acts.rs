//! What is done in each trial, and the figures that it gives.

use anyhow::{Result, ensure};

use super::scene::{Paced, Scene};
use super::schedule::Plan;
use super::trials::{Buffers, LONGEST, PER_ROOM};

use crate::bars::Bar;
use crate::http::Http;
use crate::measure;
use crate::stage::{Reading, Stage};

/// What the sleeper's kernel keeps for it. It would keep megabytes of unread frames otherwise, and the server could not know.
const SLEEPER_BYTES: usize = 64 * 1024;
/// Messages that fill its buffers before: 2 MB, less than a room keeps.
const FILLINGS: u32 = 32;
const FILLING_BYTES: usize = 60_000;
const OPENERS: usize = 16;

pub(super) fn rate(stage: &mut Stage<'_>, plan: Plan, rooms_per_reader: usize) -> Result<Vec<Reading>> {
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
pub(super) fn empty(stage: &mut Stage<'_>, rooms: u32) -> Result<Vec<Reading>> {
    let mut openers: Vec<Http> = (0..OPENERS).map(|_| Http::connect(stage.address)).collect::<Result<_>>()?;
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
pub(super) fn grown(stage: &mut Stage<'_>, plan: Plan) -> Result<Vec<Reading>> {
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
pub(super) fn slept(stage: &mut Stage<'_>, plan: Plan, buffers: Buffers) -> Result<Vec<Reading>> {
    let mut scene = Scene::new(stage.address, plan)?;
    scene.add_readers(1, None)?;
    scene.add_readers(1, Some(SLEEPER_BYTES))?;
    (0..2).for_each(|reader| scene.join(reader, 0));
    scene.settle()?;
    scene.open()?;
    scene.sleep(1)?;
    if buffers == Buffers::Full {
        fill(stage, &mut scene)?;
    }
    scene.pace(plan.streams())?;
    scene.wake(1)?;
    let took = scene.catch_up()?;
    let frames = |reader: usize| f64::from(scene.tally.readers[reader].frames);
    let (awake, slept) = (frames(0), frames(1));
    scene.end()?;
    let slept = Reading::new(format!("its frames, of {} appends", plan.total()), slept, 0);
    let tenth = Bar::AtMost(plan.total() as f64 / 10.0);
    let slept = if buffers == Buffers::Full { slept.must(tenth) } else { slept };
    Ok(vec![
        Reading::new("frames of one that was awake", awake, 0),
        slept,
        Reading::new("until it has everything, ms", took.as_secs_f64() * 1e3, 0),
    ])
}

/// Publishes more to the room than anything holds for who does not read.
fn fill(stage: &Stage<'_>, scene: &mut Scene) -> Result<()> {
    let mut http = Http::connect(stage.address)?;
    let data = "x".repeat(FILLING_BYTES);
    for _ in 0..FILLINGS {
        http.post(
            "/v1/publish",
            &format!(r#"{{"to":{{"room":"r0"}},"message":{{"type":"m","data":"{data}"}}}}"#),
        )?;
        http.confirm()?;
    }
    scene.filled(FILLINGS)
}

pub(super) fn joined(stage: &mut Stage<'_>, readers: usize) -> Result<Vec<Reading>> {
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
