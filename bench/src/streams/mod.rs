//! Streams, from outside: the rate, the memory of open ones, and readers that slept or join late; in memory and on disk.

mod acts;
mod heard;
mod scene;
mod schedule;
mod script;
mod tally;
mod trials;
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result};

pub(crate) use self::trials::Subject;
use self::trials::Trial;
use crate::args;
use crate::bars::{Bar, Measured, measured};
use crate::manners::Manners;
use crate::measure::{self, Cpu};
use crate::process;
use crate::rounds::{self, DESCRIPTORS_BESIDES};
use crate::server::{self, Setup};

const SIDES: [&str; 2] = ["in memory", "on disk"];

/// One figure of one trial.
#[derive(Debug)]
pub(crate) struct Reading {
    figure: String,
    value: f64,
    digits: usize,
    bar: Option<Bar>,
}

impl Reading {
    fn new(figure: impl Into<String>, value: f64, digits: usize) -> Self {
        Self { figure: figure.into(), value, digits, bar: None }
    }

    fn must(self, bar: Bar) -> Self {
        Self { bar: Some(bar), ..self }
    }
}

/// A running server, as a trial needs it.
struct Stage<'a> {
    address: SocketAddrV4,
    process: u32,
    notes: &'a mut BTreeSet<String>,
}

impl Stage<'_> {
    /// What the server spends of its processor meanwhile, in microseconds.
    fn cpu_us<T>(&mut self, act: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        let before = self.at_rest()?;
        let done = act()?;
        let spent = self.at_rest()?.since(&before);
        if spent.threads_ended > 0 {
            self.notes
                .insert("a server's thread ended while it was measured: figures may be too low".to_owned());
        }
        // Less than 2^53 nanoseconds.
        Ok((done, spent.ns as f64 / 1e3))
    }

    /// What the server's resident memory has once it rests, bytes.
    fn resident_bytes(&mut self) -> Result<f64> {
        self.at_rest()?;
        // Less than 2^53 bytes.
        Ok(measure::resident_bytes(self.process)? as f64)
    }

    fn at_rest(&mut self) -> Result<Cpu> {
        let cpu = Cpu::at_rest(self.process)?;
        if cpu.restless {
            self.notes
                .insert("a server did not come to rest before a reading: figures may be too high".to_owned());
        }
        Ok(cpu)
    }
}

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
            keep(&mut figures, readings, side);
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

/// The trials have the same figures in the same order each time.
fn keep(figures: &mut Vec<Measured>, readings: Vec<Reading>, side: usize) {
    for (index, Reading { figure, value, digits, bar }) in readings.into_iter().enumerate() {
        if figures.len() == index {
            figures.push(Measured { figure, sides: Default::default(), digits, bar });
        }
        figures[index].sides[side].push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_all_rounds_come_together_by_figure_and_side() {
        let mut figures = Vec::new();
        for (side, value) in [(0, 1.0), (1, 2.0), (1, 4.0), (0, 3.0)] {
            let readings =
                vec![Reading::new("a", value, 0), Reading::new("b", -value, 1).must(Bar::AtMost(2.0))];
            keep(&mut figures, readings, side);
        }
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0].sides, [vec![1.0, 3.0], vec![2.0, 4.0]]);
        assert_eq!(figures[1].sides, [vec![-1.0, -3.0], vec![-2.0, -4.0]]);
        assert!(figures[0].bar.is_none() && figures[1].bar.is_some());
    }
}
