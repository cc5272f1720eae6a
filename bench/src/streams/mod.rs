//! Streams, from outside: the rate, the memory of open ones, and readers that slept or join late; in memory and on disk.

mod acts;
pub(crate) mod heard;
mod scene;
mod schedule;
mod script;
mod tally;
mod trials;
pub(crate) mod wire;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

pub(crate) use self::trials::Subject;
use self::trials::Trial;
use crate::args;
use crate::bars::{Measured, measured};
use crate::manners::Manners;
use crate::process;
use crate::rounds::{self, DESCRIPTORS_BESIDES};
use crate::server::{self, Setup};
use crate::stage::{self, Reading, Stage};

pub(crate) const SIDES: [&str; 2] = ["in memory", "on disk"];

pub(crate) fn run(options: &args::Streams) -> Result<()> {
    let binary = server::find_binary(options.bin.as_deref())?;
    let mut notes = BTreeSet::new();
    let limit = process::raise_descriptor_limit()?;
    if limit.is_some_and(|limit| limit < trials::READERS as u64 + DESCRIPTORS_BESIDES) {
        notes.insert("too few descriptors for all readers: raise the limit with `ulimit -n`".to_owned());
    }
    let setup = rounds::setup(Some(binary), &options.server_env, 0, &mut notes);
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let trials = trials::all(options);
    let mut figures: Vec<Measured> = Vec::new();
    for number in 0..rounds {
        let order = if number.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for side in order {
            eprintln!("round {} of {rounds}, {}", number + 1, SIDES[side]);
            let mut readings = Vec::new();
            for trial in &trials {
                let done = perform(trial, &setup, side, &mut notes);
                readings.extend(done.with_context(|| format!("{}, {}", trial.name(), SIDES[side]))?);
            }
            stage::keep(&mut figures, readings, side);
        }
    }
    println!("{}", measured(SIDES, &figures));
    notes.iter().for_each(|note| println!("Note: {note}."));
    Ok(())
}

/// On a server of its own.
fn perform(trial: &Trial, setup: &Setup, side: usize, notes: &mut BTreeSet<String>) -> Result<Vec<Reading>> {
    let server = if side == 0 { setup.start_server()? } else { setup.start_with_store(Manners::Greets)? };
    let mut stage = Stage { address: server.address, process: server.process.id(), notes };
    trial.run(&mut stage).map_err(|error| error.context(server.process.last_words()))
}
