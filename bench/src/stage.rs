//! What every trial on a server of its own needs, and the figures that it comes to.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use anyhow::Result;

use crate::bars::{Bar, Measured};
use crate::measure::{self, Cpu};

/// One figure of one trial.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) figure: String,
    value: f64,
    digits: usize,
    bar: Option<Bar>,
}

impl Reading {
    pub(crate) fn new(figure: impl Into<String>, value: f64, digits: usize) -> Self {
        Self { figure: figure.into(), value, digits, bar: None }
    }

    pub(crate) fn must(self, bar: Bar) -> Self {
        Self { bar: Some(bar), ..self }
    }
}

/// A running server, as a trial needs it.
pub(crate) struct Stage<'a> {
    pub(crate) address: SocketAddrV4,
    pub(crate) process: u32,
    pub(crate) notes: &'a mut BTreeSet<String>,
}

impl Stage<'_> {
    /// What the server spends of its processor meanwhile, in microseconds.
    pub(crate) fn cpu_us<T>(&mut self, act: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
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
    pub(crate) fn resident_bytes(&mut self) -> Result<f64> {
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

/// The trials have the same figures in the same order each time.
pub(crate) fn keep(figures: &mut Vec<Measured>, readings: Vec<Reading>, side: usize) {
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
