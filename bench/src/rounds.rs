//! The measurement: floor and server side by side, in turns, through the same steps.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::args;
use crate::lane::{self, Lane};
use crate::process;
use crate::report::{Report, Sample, Subject};
use crate::server::{self, Setup};

/// Steps in which the connections are opened. Floor and server take turns at each, as at the blocks of deliveries, since
/// the machine's speed drifts within seconds.
const STEPS: u32 = 10;
const KINDS: [Kind; 2] = [
    Kind { count: 1, deliveries: 10_000, blocks: 41 },
    Kind { count: lane::BURST, deliveries: 400_000, blocks: 15 },
];
/// Descriptors that a process needs besides those of its connections.
pub(crate) const DESCRIPTORS_BESIDES: u64 = 100;

pub(crate) fn run(arguments: &args::Run) -> Result<()> {
    let binary =
        if arguments.self_check { None } else { Some(server::find_binary(arguments.bin.as_deref())?) };
    let mut notes = BTreeSet::new();
    let sizes = sizes(arguments, process::raise_descriptor_limit()?, &mut notes)?;
    let setup = setup(binary, &arguments.server_env, arguments.payload, &mut notes);
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 2 } else { 5 });

    let mut samples = Vec::new();
    for connections in sizes {
        for number in 0..rounds {
            eprintln!("{connections} connections, round {} of {rounds}", number + 1);
            let round = Round { setup: &setup, size: Size::full(connections), number, others: &[] };
            samples.extend(round.run(&mut notes)?);
        }
    }
    let report = Report::new(samples, notes, arguments.self_check);
    println!("{}", report.markdown());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Pins this process, and says what to start beside it.
pub(crate) fn setup(
    binary: Option<PathBuf>,
    environment: &[(String, String)],
    payload_bytes: u32,
    notes: &mut BTreeSet<String>,
) -> Setup {
    if cfg!(debug_assertions) {
        notes.insert("this benchmark is a debug build: run it with --release".to_owned());
    }
    let cores = process::pin().map_err(|error| notes.insert(format!("not pinned to cores: {error:#}"))).ok();
    if let Some(cores) = cores {
        notes.insert(format!("server on core {}, clients on core {}", cores.server, cores.client));
    }
    let core = cores.map(|cores| cores.server);
    Setup { binary, environment: environment.to_vec(), core, payload_bytes, peers: Vec::new() }
}

/// The numbers of connections for which there are descriptors enough.
fn sizes(arguments: &args::Run, limit: Option<u64>, notes: &mut BTreeSet<String>) -> Result<Vec<u32>> {
    let asked = match arguments.connections.as_slice() {
        [] if arguments.quick => &[1_000][..],
        [] => &[1_000, 10_000],
        asked => asked,
    };
    let fits = |size: &u32| limit.is_none_or(|limit| u64::from(*size) + DESCRIPTORS_BESIDES <= limit);
    for size in asked.iter().filter(|size| !fits(size)) {
        notes.insert(format!(
            "{size} connections left out: a process may open only {} descriptors",
            limit.unwrap_or(0)
        ));
    }
    let sizes: Vec<u32> = asked.iter().copied().filter(fits).collect();
    if sizes.is_empty() {
        bail!("the limit of open descriptors ({}) is too low: raise it with `ulimit -n`", limit.unwrap_or(0));
    }
    Ok(sizes)
}

/// A way of publishing; what a delivery costs is the median of the blocks.
struct Kind {
    /// Messages published at once.
    count: u32,
    /// In a block, if one publication does not already make more.
    deliveries: u32,
    blocks: u32,
}

/// How much of it is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) connections: u32,
    /// Of a kind's blocks one in so many.
    thinning: u32,
}

impl Size {
    pub(crate) fn full(connections: u32) -> Self {
        Self { connections, thinning: 1 }
    }

    /// A look, not a measurement.
    pub(crate) fn quick(connections: u32) -> Self {
        Self { connections, thinning: 5 }
    }
}

pub(crate) struct Round<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) size: Size,
    pub(crate) number: u32,
    /// Beside the floor and the server.
    pub(crate) others: &'a [Subject],
}

impl Round<'_> {
    /// A sample of the floor, of the server and of each other.
    pub(crate) fn run(&self, notes: &mut BTreeSet<String>) -> Result<Vec<Sample>> {
        let subjects: Vec<Subject> =
            [Subject::Floor, Subject::Server].into_iter().chain(self.others.iter().copied()).collect();
        let done = self.measure(&subjects, notes);
        done.with_context(|| format!("with {} connections", self.size.connections))
    }

    fn measure(&self, subjects: &[Subject], notes: &mut BTreeSet<String>) -> Result<Vec<Sample>> {
        let Size { connections: total, thinning } = self.size;
        let mut lanes = Vec::new();
        for subject in subjects {
            let started = Lane::start(self.setup, *subject, total);
            lanes.extend(self.spared(*subject, started, notes)?);
        }
        for step in 2..=STEPS {
            let connections = total / STEPS * step + if step == STEPS { total % STEPS } else { 0 };
            self.take_turns((step, notes), &mut lanes, |lane| lane.grow(connections))?;
        }
        for Kind { count, deliveries, blocks } in KINDS {
            let times = (deliveries / count / total).max(1);
            self.take_turns((0, notes), &mut lanes, |lane| lane.begin(times, count))?;
            for block in 0..blocks / thinning {
                self.take_turns((block, notes), &mut lanes, |lane| lane.measure_block(count))?;
            }
        }
        lanes.iter_mut().for_each(|lane| notes.append(&mut lane.notes));
        lanes.into_iter().map(|lane| lane.finish(self.number)).collect()
    }

    /// Who goes first changes from turn to turn and from round to round.
    fn take_turns(
        &self,
        (turn, notes): (u32, &mut BTreeSet<String>),
        lanes: &mut Vec<Lane>,
        mut each: impl FnMut(&mut Lane) -> Result<()>,
    ) -> Result<()> {
        let first = (self.number + turn) as usize % lanes.len();
        let mut failed = BTreeSet::new();
        for index in (first..lanes.len()).chain(0..first) {
            let lane = &mut lanes[index];
            let done = each(lane);
            if self.spared(lane.subject, done, notes)?.is_none() {
                failed.insert(index);
            }
        }
        let mut index = 0..;
        lanes.retain(|_| index.next().is_some_and(|index| !failed.contains(&index)));
        Ok(())
    }

    /// Where another server fails the others go on without it, with a note.
    fn spared<T>(
        &self,
        subject: Subject,
        done: Result<T>,
        notes: &mut BTreeSet<String>,
    ) -> Result<Option<T>> {
        match (done, subject) {
            (Ok(done), _) => Ok(Some(done)),
            (Err(error), Subject::Peer(_)) => {
                let text = format!("{error:#}").replace(['\n', '\r'], " ");
                let (name, connections) = (self.name(subject), self.size.connections);
                notes.insert(format!("{name} with {connections} connections is left out in a round: {text}"));
                Ok(None)
            }
            (Err(error), subject) => Err(error.context(subject)),
        }
    }

    fn name(&self, subject: Subject) -> String {
        match subject {
            Subject::Peer(index) => self.setup.peers[index].description.title.clone(),
            subject => subject.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn sizes_that_do_not_fit_are_left_out_with_a_note() {
        let arguments = args::Arguments::parse_from(["bench"]).run;
        let mut notes = BTreeSet::new();
        assert_eq!(sizes(&arguments, None, &mut notes).unwrap(), [1_000, 10_000]);
        assert!(notes.is_empty());
        assert_eq!(sizes(&arguments, Some(4_096), &mut notes).unwrap(), [1_000]);
        assert_eq!(notes.len(), 1);
        assert!(sizes(&arguments, Some(1_024), &mut notes).is_err());
    }
}
