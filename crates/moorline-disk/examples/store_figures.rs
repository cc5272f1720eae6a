//! What a store does on this machine's disk: appends, the file's growth, opening. Run it with `--release`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use moorline_broker::{Broker as _, Keep, LocalBroker, LogStats, Publication, Published, Retention};
use moorline_disk::{Options, Store};
use moorline_proto::id::RoomName;
use moorline_proto::message::Message;
use tokio::time::MissedTickBehavior;

type Failure = Box<dyn Error + Send + Sync>;

/// Rooms, each with one publisher that waits for its answer.
const ROOMS: u32 = 1_000;
const MESSAGE_BYTES: usize = 200;
/// Appends that must be sustained, per second.
const PACE: u32 = 20_000;
const GROWTH_MAX: f64 = 3.0;
const OPEN_LIMIT: Duration = Duration::from_secs(2);
const OPENINGS: usize = 5;
const FILE: &str = "moorline.redb";
const MIB: f64 = 1024.0 * 1024.0;

/// Measures appending to a store, how its file grows, and opening it; says whether each figure is what it must be.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long records are appended, at a pace and then without one, seconds each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// What a room keeps while records are appended: few enough that it is exceeded several times
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    records: u32,
    /// The file that is opened, GiB; 0 leaves opening out
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=64))]
    gib: u64,
    /// Where the stores are made, in a directory that is removed afterwards [default: the system's for temporary files]
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Fill the store in `--directory` up to `--gib` and abort (started by this program)
    #[arg(long, hide = true)]
    fill: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let within = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
    let runtime = tokio::runtime::Runtime::new()?;
    if arguments.fill {
        return runtime.block_on(fill_and_abort(&within, arguments.gib << 30));
    }
    println!("| figure | measured | must | met |\n|---|--:|---|---|");
    let directory = tempfile::tempdir_in(&within)?;
    let (time, records) = (Duration::from_secs(arguments.seconds), usize::try_from(arguments.records)?);
    let appended = runtime.block_on(appends(directory.path(), time, records))?;
    directory.close()?;
    let opened = arguments.gib == 0 || openings(&within, arguments.gib)?;
    Ok(appended && opened)
}

/// One line of the table. `None` is a figure without a bar.
fn row(figure: &str, measured: &str, must: Option<(&str, bool)>) -> bool {
    let (must, met) = must.unwrap_or(("", true));
    let verdict = match (must, met) {
        ("", _) => "",
        (_, true) => "yes",
        (_, false) => "**no**",
    };
    println!("| {figure} | {measured} | {must} | {verdict} |");
    met
}

fn options(records: usize) -> Options {
    let mut options = Options::default();
    let room = Retention { records, bytes: usize::MAX, ..options.retention.room };
    options.retention.room = room;
    options.retention.total_bytes = usize::MAX;
    options
}

fn file_bytes(directory: &Path) -> Result<u64, Failure> {
    Ok(std::fs::metadata(directory.join(FILE))?.len())
}

async fn appends(directory: &Path, time: Duration, records: usize) -> Result<bool, Failure> {
    let store = Store::open(directory, &options(records))?;
    let mut paced = publish(&store.broker(), Pace::Steady(time)).await?;
    let rate = paced.per_second();
    let mut met = row(
        &format!("appends of {MESSAGE_BYTES} B over {ROOMS} rooms, {PACE} a second asked for"),
        &format!("{rate:.0} a second"),
        Some(("≥ 99 % of it", rate >= f64::from(PACE) * 0.99)),
    );
    row("publish to answer then, p50 / p99", &paced.quantiles(), None);
    met &= growth(directory, store.broker().stats(), paced.micros.len())?;
    let stop = Arc::new(AtomicBool::new(false));
    let timer = Arc::clone(&stop);
    let timer = tokio::spawn(async move {
        tokio::time::sleep(time).await;
        timer.store(true, Ordering::Relaxed);
    });
    let mut unpaced = publish(&store.broker(), Pace::Until(stop)).await?;
    timer.await?;
    let figure = format!("appends without a pace, {ROOMS} publishers");
    row(&figure, &format!("{:.0} a second", unpaced.per_second()), None);
    row("publish to answer then, p50 / p99", &unpaced.quantiles(), None);
    met &= growth(directory, store.broker().stats(), paced.micros.len() + unpaced.micros.len())?;
    store.close()?;
    Ok(met)
}

fn growth(directory: &Path, kept: LogStats, written: usize) -> Result<bool, Failure> {
    let file = std::fs::metadata(directory.join(FILE))?;
    let live = (kept.records * MESSAGE_BYTES) as f64;
    let churn = written as f64 / kept.records as f64;
    let of = |bytes: u64| format!("{:.2} ({:.1} MiB)", bytes as f64 / live, bytes as f64 / MIB);
    let after = format!("after {churn:.0} times as many ({:.1} MiB kept)", live / MIB);
    let met = taken_bytes(&file) as f64 / live <= GROWTH_MAX;
    row(&format!("disk space ÷ messages kept, {after}"), &of(taken_bytes(&file)), Some(("≤ 3", met)));
    row("length of the file ÷ messages kept then", &of(file.len()), None);
    Ok(met)
}

/// What it takes of the disk: the engine makes its file longer long before it writes there.
#[cfg(unix)]
fn taken_bytes(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(file) * 512
}

#[cfg(not(unix))]
fn taken_bytes(file: &std::fs::Metadata) -> u64 {
    file.len()
}

#[derive(Clone)]
enum Pace {
    /// So long, all rooms together at [`PACE`].
    Steady(Duration),
    /// As fast as answers come.
    Until(Arc<AtomicBool>),
}

struct Answers {
    /// From publish to answer.
    micros: Vec<u32>,
    took: Duration,
}

impl Answers {
    fn per_second(&self) -> f64 {
        self.micros.len() as f64 / self.took.as_secs_f64()
    }

    fn quantiles(&mut self) -> String {
        self.micros.sort_unstable();
        let at = |share: usize| self.micros.get(self.micros.len() * share / 100).copied().unwrap_or(0);
        format!("{:.1} / {:.1} ms", f64::from(at(50)) / 1e3, f64::from(at(99)) / 1e3)
    }
}

/// Publishes to all rooms at once.
async fn publish(broker: &Arc<LocalBroker>, pace: Pace) -> Result<Answers, Failure> {
    let begun = Instant::now();
    let publishers: Vec<_> =
        (0..ROOMS).map(|number| tokio::spawn(publish_to(Arc::clone(broker), number, pace.clone()))).collect();
    let mut micros = Vec::new();
    for publisher in publishers {
        micros.append(&mut publisher.await??);
    }
    Ok(Answers { micros, took: begun.elapsed() })
}

async fn publish_to(broker: Arc<LocalBroker>, number: u32, pace: Pace) -> Result<Vec<u32>, Failure> {
    let room = RoomName::new(&format!("figures:{number}"))?;
    let message = message()?;
    let every = Duration::from_secs(1) * ROOMS / PACE;
    let offset = every * number / ROOMS;
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, every);
    // Who was kept waiting catches up.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut micros = Vec::new();
    loop {
        match &pace {
            Pace::Steady(time) if every * u32::try_from(micros.len())? >= *time => return Ok(micros),
            Pace::Steady(_) => {
                ticks.tick().await;
            }
            Pace::Until(stop) if stop.load(Ordering::Relaxed) => return Ok(micros),
            Pace::Until(_) => {}
        }
        micros.push(publish_one(&broker, &room, &message).await?);
    }
}

/// How long its answer took, in microseconds.
async fn publish_one(broker: &LocalBroker, room: &RoomName, message: &Message) -> Result<u32, Failure> {
    let keep = Keep::Record { key: None, durability: None };
    let publication = Publication { room: room.clone(), message: message.clone(), except: None, keep };
    let begun = Instant::now();
    match broker.publish(publication).await? {
        Published::Stored { .. } => Ok(u32::try_from(begun.elapsed().as_micros())?),
        Published::Ephemeral => Err("a record was not kept".into()),
    }
}

fn message() -> Result<Message, Failure> {
    let frame = r#"{"type":"m","data":""}"#;
    let data = "x".repeat(MESSAGE_BYTES - frame.len());
    Message::parse(frame.replace(r#""""#, &format!(r#""{data}""#)).into())
        .map_err(|error| error.message.into())
}

/// Runs as a child. What is full already is only opened, and left as the others.
async fn fill_and_abort(directory: &Path, bytes: u64) -> Result<bool, Failure> {
    let store = Store::open(directory, &options(usize::MAX))?;
    let broker = store.broker();
    // With names, numbers and rounding to pages three quarters fill the file.
    while broker.stats().records as u64 * MESSAGE_BYTES as u64 / 3 * 4 < bytes {
        let stop = Arc::new(AtomicBool::new(false));
        let publishing = publish(&broker, Pace::Until(Arc::clone(&stop)));
        let watching = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.store(true, Ordering::Relaxed);
        };
        tokio::join!(publishing, watching).0?;
    }
    std::process::abort()
}

fn openings(within: &Path, gib: u64) -> Result<bool, Failure> {
    let directory = tempfile::tempdir_in(within)?;
    let (mut unclean, mut clean) = (Vec::new(), Vec::new());
    let mut records = 0;
    for _ in 0..OPENINGS {
        let mut child = Command::new(std::env::current_exe()?);
        child.arg("--fill").args(["--gib", &gib.to_string()]).arg("--directory").arg(directory.path());
        if child.status()?.code().is_some() {
            return Err("the store could not be filled".into());
        }
        let (took, found) = open(directory.path(), false)?;
        if found < records {
            return Err(format!("{found} records where there were {records}").into());
        }
        records = found;
        unclean.push(took);
        clean.push(open(directory.path(), true)?.0);
    }
    let size = file_bytes(directory.path())? as f64 / MIB;
    directory.close()?;
    let what = format!("{size:.0} MiB, {records} records");
    let met = opening(&format!("opening after an abort, {what}"), unclean);
    Ok(opening(&format!("opening after a close, {what}"), clean) && met)
}

/// Opens and closes: how long the first took, and how many records there are.
fn open(directory: &Path, is_clean: bool) -> Result<(Duration, usize), Failure> {
    let begun = Instant::now();
    let store = Store::open(directory, &options(usize::MAX))?;
    let took = begun.elapsed();
    let opened = store.opened();
    if opened.was_clean != is_clean {
        return Err(format!("a store was found clean: {}", opened.was_clean).into());
    }
    store.close()?;
    Ok((took, opened.records))
}

fn opening(figure: &str, mut took: Vec<Duration>) -> bool {
    took.sort_unstable();
    let seconds: Vec<f64> = took.iter().map(Duration::as_secs_f64).collect();
    let (median, last) = (seconds[seconds.len() / 2], seconds.len() - 1);
    let measured = format!("{median:.2} s ({:.2}–{:.2})", seconds[0], seconds[last]);
    row(figure, &measured, Some(("< 2 s", took[took.len() / 2] < OPEN_LIMIT)))
}
