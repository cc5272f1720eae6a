//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::run::Plant;

/// Breaks what a Moorline server stands on while it runs, and judges what its clients saw.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// What to do to it
    #[arg(long, value_enum, default_value_t = Case::Mixed)]
    pub(crate) case: Case,
    /// How long faults come, in seconds (mixed, streams, power)
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Repeats the choices of a run; printed by each [default: by chance]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How many client sessions [default: the case's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sessions: Option<u32>,
    /// The server's binary [default: MOORLINE_BIN, or `moorline` beside this program]
    #[arg(long)]
    pub(crate) bin: Option<PathBuf>,
    /// Puts a defect in: the verdict must be red
    #[arg(long, value_enum)]
    pub(crate) plant: Option<Plant>,
    /// The server keeps nothing on disk, and is not restarted (mixed and the cases that never restart it)
    #[arg(long)]
    pub(crate) memory: bool,
}

/// What is done to the server and its clients. `README.md` has the bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Everything, at random
    Mixed,
    /// kill -9 with many sessions, and a restart on the same data
    Kill,
    /// Producers and readers of streams, under everything
    Streams,
    /// Clients change their network without a word
    Switch,
    /// Peers that are gone without a word
    HalfOpen,
    /// Some readers stand still among many
    Frozen,
    /// One session, claimed by everyone
    Resume,
    /// More sessions, joins and rooms than there is memory for
    Exhaust,
    /// Power cuts, on a file system of their own (root, Linux)
    Power,
    /// A full disk, and one that fails (root, Linux)
    DiskFull,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
        let arguments = Arguments::parse_from(["chaos", "--case", "half-open", "--plant", "drop-997"]);
        assert_eq!((arguments.case, arguments.plant), (Case::HalfOpen, Some(Plant::Drop997)));
    }
}
