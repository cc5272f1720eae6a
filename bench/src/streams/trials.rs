//! The trials, each on a server of its own.

use anyhow::Result;

use super::acts;
use super::schedule::Plan;
use crate::args;
use crate::stage::{Reading, Stage};

/// The most readers that a trial has.
pub(crate) const READERS: usize = 1_000;
/// As long as a word with its space, or somewhat longer.
const TOKEN_BYTES: usize = 9;
/// 200 of them are 10 KiB.
const LONG_TOKEN_BYTES: usize = 51;
/// What a sleeper is to miss, 10,000 appends of one room: of one answer that comes fast, and of many at once, each so slow that every
/// append is a chunk to who is awake.
const SLEPT_ONE: Plan =
    Plan { rooms: 1, streams_per_room: 1, appends: 10_000, token_bytes: 9, per_second: Some(1_000) };
const SLEPT_MANY: Plan =
    Plan { rooms: 1, streams_per_room: 25, appends: 400, token_bytes: 51, per_second: Some(20) };
/// A text as long as may be, 1 MiB.
pub(super) const LONGEST: Plan =
    Plan { rooms: 1, streams_per_room: 1, appends: 1_024, token_bytes: 1_024, per_second: None };
/// Streams of a room where the memory of open ones is measured; one client may have 32.
pub(super) const PER_ROOM: u32 = 25;

/// What may be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    /// Appends at a rate.
    Rate,
    /// The memory of open streams.
    Memory,
    /// A reader that slept.
    Slept,
    /// Many who join late.
    Joined,
}

/// What the server and the kernel may hold for a reader, when it begins to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffers {
    /// What fits into them comes as it was to one who is awake.
    Empty,
    /// Nothing fits any more: all of it is read from the log.
    Full,
}

pub(crate) enum Trial {
    /// Appends at a rate, and readers of so many rooms each.
    Rate(Plan, usize),
    /// Open streams without text, in so many rooms.
    Empty(u32),
    /// Open streams with text.
    Grown(Plan),
    /// A reader that slept meanwhile.
    Slept(Plan, Buffers),
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
        rooms: 40 / tenth,
        streams_per_room: PER_ROOM,
        appends: 200,
        token_bytes: LONG_TOKEN_BYTES,
        per_second: Some(20),
    };
    let mut trials = vec![
        rate(1_000, 20),
        rate(50, 200),
        Trial::Empty(800 / tenth),
        Trial::Grown(grown),
        Trial::Slept(SLEPT_ONE, Buffers::Full),
        Trial::Slept(SLEPT_MANY, Buffers::Full),
        Trial::Slept(SLEPT_MANY, Buffers::Empty),
        Trial::Joined(READERS / tenth as usize),
    ];
    trials.retain(|trial| options.only.is_empty() || options.only.contains(&trial.subject()));
    trials
}

impl Trial {
    fn subject(&self) -> Subject {
        match self {
            Self::Rate(..) => Subject::Rate,
            Self::Empty(_) | Self::Grown(_) => Subject::Memory,
            Self::Slept(..) => Subject::Slept,
            Self::Joined(_) => Subject::Joined,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Rate(plan, _) => {
                format!("{} rooms × {} per second", plan.rooms, plan.per_second.unwrap_or_default())
            }
            Self::Empty(rooms) => format!("{} open streams without text", rooms * PER_ROOM),
            Self::Grown(plan) => {
                format!("{} open streams of {} appends, 10 KiB", plan.streams(), plan.appends)
            }
            Self::Slept(plan, buffers) => {
                let buffers = if *buffers == Buffers::Full { "full" } else { "empty" };
                format!(
                    "slept through {} × {} appends, buffers {buffers} before",
                    plan.streams(),
                    plan.appends
                )
            }
            Self::Joined(readers) => format!("{readers} join 1 MiB at its end"),
        }
    }

    pub(super) fn run(&self, stage: &mut Stage<'_>) -> Result<Vec<Reading>> {
        let mut readings = match self {
            Self::Rate(plan, rooms_per_reader) => acts::rate(stage, *plan, *rooms_per_reader),
            Self::Empty(rooms) => acts::empty(stage, *rooms),
            Self::Grown(plan) => acts::grown(stage, *plan),
            Self::Slept(plan, buffers) => acts::slept(stage, *plan, *buffers),
            Self::Joined(readers) => acts::joined(stage, *readers),
        }?;
        for reading in &mut readings {
            reading.figure = format!("{}: {}", self.name(), reading.figure);
        }
        Ok(readings)
    }
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
        assert_eq!(full[4], "slept through 1 × 10000 appends, buffers full before");
        let memory = names(&["bench", "streams", "--only", "memory"]);
        assert_eq!(memory, full[2..4]);
        let quick = names(&["bench", "streams", "--quick"]);
        assert_eq!(quick[1], "5 rooms × 200 per second");
        assert_eq!(quick[3], "100 open streams of 200 appends, 10 KiB");
        assert_eq!(quick[7], "100 join 1 MiB at its end");
    }

    #[test]
    fn texts_are_as_long_as_the_names_say() {
        assert_eq!(LONGEST.appends as usize * LONGEST.token_bytes, 1 << 20);
        assert_eq!((SLEPT_ONE.total(), SLEPT_MANY.total()), (10_000, 10_000));
        assert_eq!(200 * LONG_TOKEN_BYTES / 1_000, 10);
    }
}
