//! Everything that has a target, and other servers beside it, from one run: the tables and the picture of `docs/performance.md`.

mod document;
mod machine;
mod picture;
mod servers;
mod targets;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::servers::Named;
use crate::args;
use crate::bars::{Measured, measured};
use crate::durable::{self, Durability};
use crate::latency::{self, Latencies};
use crate::peers;
use crate::process;
use crate::report::{Sample, Subject};
use crate::rooms;
use crate::rounds::{self, DESCRIPTORS_BESIDES, Round, Size};
use crate::server::{self, Setup};
use crate::streams::SIDES;

const OURS: &str = "Moorline";
const DOCUMENT: &str = "docs/performance.md";
const PICTURE: &str = "docs/performance.svg";
/// Length of the text in each message, and where it is kept on disk, bytes.
const PAYLOAD_BYTES: u32 = 64;
const DURABLE_PAYLOAD_BYTES: u32 = 200;

/// How much of everything.
struct Scale {
    rounds: u32,
    size: fn(u32) -> Size,
    /// With all servers.
    sizes: &'static [u32],
    /// With the floor and ours alone.
    grown: u32,
    latency: latency::Scale,
    rooms: rooms::Scale,
    /// That come back at once.
    sessions: u32,
}

impl Scale {
    fn of(options: &args::Figures) -> Self {
        let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 5 });
        let latency = |connections, seconds| latency::Scale {
            connections,
            rounds,
            length: Duration::from_secs(seconds),
        };
        if options.quick {
            return Self {
                rounds,
                size: Size::quick,
                sizes: &[200],
                grown: 2_000,
                latency: latency(200, 1),
                rooms: rooms::Scale::QUICK,
                sessions: 500,
            };
        }
        Self {
            rounds,
            size: Size::full,
            sizes: &[1_000, 10_000],
            grown: 18_000,
            latency: latency(1_000, 5),
            rooms: rooms::Scale::FULL,
            sessions: 10_000,
        }
    }
}

/// What was measured.
struct Results {
    servers: Vec<Named>,
    samples: Vec<Sample>,
    latencies: Latencies,
    durability: Durability,
    rooms: Vec<Measured>,
    notes: BTreeSet<String>,
    /// A part of it: its figures are missing.
    failed: bool,
}

pub(crate) fn run(options: &args::Figures) -> Result<()> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the benchmark is in no workspace")?;
    let binary = server::find_binary(options.bin.as_deref())?;
    let scale = Scale::of(options);
    let results = measure(options, &scale, binary)?;
    let text = markdown(&results, &scale, &command(options))?;
    println!("{text}");
    ensure!(!results.failed, "a part failed, see the notes: nothing was written");
    let picture = picture::svg(&servers::bars(&results.samples, &results.servers), OURS);
    if options.write {
        write(folder, (&text, &picture))?;
    }
    Ok(())
}

fn write(folder: &Path, (text, picture): (&str, &str)) -> Result<()> {
    let path = folder.join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    fs::write(&path, document::replaced(&document, text)?)
        .with_context(|| format!("writing {}", path.display()))?;
    let path = folder.join(PICTURE);
    fs::write(&path, picture).with_context(|| format!("writing {}", path.display()))
}

fn measure(options: &args::Figures, scale: &Scale, binary: PathBuf) -> Result<Results> {
    let mut notes = BTreeSet::new();
    let limit = process::raise_descriptor_limit()?;
    // Before anything is pinned to a core, so that what must be built is built on all of them.
    let peers = peers::prepare(&asked(options)?, &mut notes)?;
    notes.extend(peers::LEFT_OUT.map(str::to_owned));
    let version = machine::version(&binary)?;
    let mut setup = rounds::setup(Some(binary), &options.server_env, PAYLOAD_BYTES, &mut notes);
    setup.peers = peers;
    let servers = named(&setup, version);
    let samples = sample(&setup, (scale, limit), &mut notes)?;
    let mut failed = false;
    let latencies = latency::measure(&setup, scale.latency, &mut notes);
    let latencies = kept(latencies, (&mut failed, &mut notes));
    let rooms = rooms::measure(&setup, scale.rooms, scale.rounds, &mut notes);
    let rooms = kept(rooms, (&mut failed, &mut notes));
    setup.payload_bytes = DURABLE_PAYLOAD_BYTES;
    let durability = durable::measure(&setup, (scale.rounds, scale.sessions), &mut notes);
    let durability = kept(durability, (&mut failed, &mut notes));
    Ok(Results { servers, samples, latencies, durability, rooms, notes, failed })
}

/// A part that failed is told, and does not take the others' figures with it.
fn kept<T: Default>(done: Result<T>, (failed, notes): (&mut bool, &mut BTreeSet<String>)) -> T {
    done.unwrap_or_else(|error| {
        *failed = true;
        notes.insert(format!("failed: {error:#}").replace(['\n', '\r'], " "));
        T::default()
    })
}

/// The names of the peers.
fn asked(options: &args::Figures) -> Result<Vec<String>> {
    Ok(match options.peers.as_slice() {
        [] => peers::names()?.into_iter().collect(),
        [none] if none == "none" => Vec::new(),
        asked => asked.to_vec(),
    })
}

fn named(setup: &Setup, version: String) -> Vec<Named> {
    let floor = Named { subject: Subject::Floor, title: "floor".to_owned(), version: String::new() };
    let ours = Named { subject: Subject::Server, title: OURS.to_owned(), version };
    let peers = setup.peers.iter().enumerate().map(|(index, peer)| Named {
        subject: Subject::Peer(index),
        title: peer.description.title.clone(),
        version: peer.version.clone(),
    });
    [floor, ours].into_iter().chain(peers).collect()
}

/// All servers side by side; at last the floor and ours alone.
fn sample(
    setup: &Setup,
    (scale, limit): (&Scale, Option<u64>),
    notes: &mut BTreeSet<String>,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let others: Vec<Subject> = (0..setup.peers.len()).map(Subject::Peer).collect();
    let sizes = scale.sizes.iter().map(|size| (*size, others.as_slice()));
    for (connections, others) in sizes.chain([(scale.grown, &[][..])]) {
        if limit.is_some_and(|limit| u64::from(connections) + DESCRIPTORS_BESIDES > limit) {
            notes.insert(format!("{connections} connections are left out: raise the limit with `ulimit -n`"));
            continue;
        }
        for number in 0..scale.rounds {
            eprintln!("{connections} connections, round {} of {}", number + 1, scale.rounds);
            samples.extend(Round { setup, size: (scale.size)(connections), number, others }.run(notes)?);
        }
    }
    Ok(samples)
}

/// What to type for the same again.
fn command(options: &args::Figures) -> String {
    let mut command = "cargo run --release -p moorline-bench -- figures".to_owned();
    if options.quick {
        command += " --quick";
    }
    // Writing to a String does not fail.
    if let Some(rounds) = options.rounds {
        let _ = write!(command, " --rounds {rounds}");
    }
    if !options.peers.is_empty() {
        let _ = write!(command, " --peers {}", options.peers.join(","));
    }
    for (name, value) in &options.server_env {
        let _ = write!(command, " --server-env {name}={value}");
    }
    command + " --write"
}

fn markdown(results: &Results, scale: &Scale, command: &str) -> Result<String> {
    let Results { servers, samples, latencies, durability, rooms, notes, .. } = results;
    let few = scale.sizes.first().copied().unwrap_or_default();
    let figures = targets::figures(&targets::Measured {
        samples,
        growth: [few, scale.grown],
        p99_ms: &latencies.p99_ms(),
        durable: durability.publishing.get(..1).unwrap_or_default(),
        replay: durability.returning.get(1..2).unwrap_or_default(),
    });
    let versions: Vec<String> = servers
        .iter()
        .filter(|server| !server.version.is_empty())
        .map(|server| format!("{} ({})", server.title, server.version))
        .collect();
    let mut text =
        format!("{}, {}. Rounds: {}; `{command}`.\n\n", machine::today()?, machine::machine()?, scale.rounds);
    // Writing to a String does not fail.
    let _ = writeln!(text, "## Targets\n\n{}", targets::table(&figures));
    let _ = writeln!(
        text,
        "## Beside others\n\n![What servers cost](performance.svg)\n\n{}",
        servers::table(samples, servers)
    );
    let _ = writeln!(text, "Versions: {}.\n", versions.join("; "));
    let _ = writeln!(
        text,
        "## Latency, {} clients\n\n{}",
        scale.latency.connections,
        crate::bars::table(["floor", OURS], &latencies.rows())
    );
    let _ = writeln!(text, "## Many rooms\n\n{}", measured(SIDES, rooms));
    notes.iter().for_each(|note| text += &format!("- {note}.\n"));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn options(arguments: &[&str]) -> args::Figures {
        match args::Arguments::parse_from(arguments).command {
            Some(args::Command::Figures(options)) => options,
            _ => panic!(),
        }
    }

    #[test]
    fn the_command_is_told_as_it_was_given() {
        let options = options(&["bench", "figures", "--quick", "--peers", "ws,nats", "--server-env", "A=b"]);
        let said = command(&options);
        assert_eq!(
            said,
            "cargo run --release -p moorline-bench -- figures --quick --peers ws,nats --server-env A=b --write"
        );
        assert_eq!(asked(&options).unwrap(), ["ws", "nats"]);
    }

    #[test]
    fn all_peers_are_measured_unless_told_otherwise() {
        assert!(asked(&options(&["bench", "figures", "--peers", "none"])).unwrap().is_empty());
        assert_eq!(asked(&options(&["bench", "figures"])).unwrap().len(), peers::names().unwrap().len());
    }
}
