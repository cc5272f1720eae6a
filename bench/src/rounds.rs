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
            let round = Round { setup: &setup, connections, number };
            samples.extend(round.run(&mut notes).with_context(|| format!("with {connections} connections"))?);
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
    Setup { binary, environment: environment.to_vec(), core: cores.map(|cores| cores.server), payload_bytes }
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

struct Round<'a> {
    setup: &'a Setup,
    connections: u32,
    number: u32,
}

impl Round<'_> {
    fn run(&self, notes: &mut BTreeSet<String>) -> Result<[Sample; 2]> {
        let start = |subject| Lane::start(self.setup, subject, self.connections).context(subject);
        let mut lanes = if self.number.is_multiple_of(2) {
            [start(Subject::Floor)?, start(Subject::Server)?]
        } else {
            let server = start(Subject::Server)?;
            [start(Subject::Floor)?, server]
        };
        for step in 2..=STEPS {
            let connections =
                self.connections / STEPS * step + if step == STEPS { self.connections % STEPS } else { 0 };
            self.take_turns(step, &mut lanes, |lane| lane.grow(connections))?;
        }
        for Kind { count, deliveries, blocks } in KINDS {
            let times = (deliveries / count / self.connections).max(1);
            self.take_turns(0, &mut lanes, |lane| lane.block(1, count).map(drop))?;
            for block in 0..blocks {
                self.take_turns(block, &mut lanes, |lane| lane.measure_block(times, count))?;
            }
        }
        for lane in &mut lanes {
            notes.append(&mut lane.notes);
        }
        let [floor, server] = lanes;
        Ok([floor.finish(self.number)?, server.finish(self.number)?])
    }

    /// Who goes first changes from turn to turn and from round to round.
    fn take_turns(
        &self,
        turn: u32,
        lanes: &mut [Lane; 2],
        mut each: impl FnMut(&mut Lane) -> Result<()>,
    ) -> Result<()> {
        let order = if (self.number + turn).is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for index in order {
            each(&mut lanes[index]).with_context(|| [Subject::Floor, Subject::Server][index])?;
        }
        Ok(())
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
