//! The figures that have a target: the floor's beside ours, what is compared, and whether that is enough.

use std::fmt::Write as _;

use crate::bars::Row;
use crate::report::{Sample, Spread, Subject, spread};

/// What a figure must be, and what it should be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    must: f64,
    aim: Option<f64>,
    direction: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    AtMost,
    AtLeast,
}

impl Target {
    const fn at_most(must: f64, aim: f64) -> Self {
        Self { must, aim: Some(aim), direction: Direction::AtMost }
    }

    const fn at_least(must: f64, aim: f64) -> Self {
        Self { must, aim: Some(aim), direction: Direction::AtLeast }
    }

    fn met(self, value: f64) -> &'static str {
        let reaches = |bar: f64| match self.direction {
            Direction::AtMost => value <= bar,
            Direction::AtLeast => value >= bar,
        };
        match self.aim {
            _ if !reaches(self.must) => "**no**",
            Some(aim) if !reaches(aim) => "must",
            Some(_) => "aim",
            None => "yes",
        }
    }

    fn sign(self) -> &'static str {
        if self.direction == Direction::AtMost { "≤" } else { "≥" }
    }
}

const SINGLE: Target = Target::at_most(1.10, 1.05);
const BURST: Target = Target::at_most(1.25, 1.1);
const HANDSHAKE: Target = Target::at_most(1.6, 1.3);
const P99: Target = Target::at_most(1.15, 1.05);
/// 1.5 and 1.1 KiB.
const IDLE_BYTES: Target = Target::at_most(1536.0, 1126.0);
const AFTER_TRAFFIC: Target = Target { must: 1.05, aim: None, direction: Direction::AtMost };
const GROWTH_CPU: Target = Target { must: 1.3, aim: None, direction: Direction::AtMost };
/// Flat, as far as pages of memory let one see it.
const GROWTH_MEMORY: Target = Target { must: 1.05, aim: None, direction: Direction::AtMost };
const DURABLE: Target = Target::at_most(1.3, 1.1);
const REPLAY: Target = Target::at_least(0.5, 1.0);

/// One line of the table.
#[derive(Debug)]
pub(super) struct Figure {
    name: String,
    /// What ours is compared with, and ours, as they are shown.
    beside: String,
    ours: String,
    compared: Spread,
    digits: usize,
    target: Target,
}

/// Everything that targets are about.
pub(super) struct Measured<'a> {
    pub(super) samples: &'a [Sample],
    /// The fewest and the most connections that growth is reckoned between.
    pub(super) growth: [u32; 2],
    pub(super) p99_ms: &'a [[f64; 2]],
    /// One sender's publishes, in memory and on disk.
    pub(super) durable: &'a [Row],
    /// Live and replayed.
    pub(super) replay: &'a [Row],
}

pub(super) fn figures(measured: &Measured<'_>) -> Vec<Figure> {
    let [few, many] = measured.growth;
    let mut sizes: Vec<u32> = measured.samples.iter().map(|sample| sample.connections).collect();
    sizes.sort_unstable();
    sizes.dedup();
    // There it is growth that counts.
    sizes.retain(|size| *size != many);
    let mut figures = Vec::new();
    for (name, target, digits, of) in COSTS {
        for size in &sizes {
            figures.extend(against_floor((measured.samples, *size), (name, target, digits), of));
        }
    }
    figures.extend(sizes.iter().flat_map(|size| memory(measured.samples, *size)));
    let p99 = Row {
        figure: "p99 from publish to received, ms".to_owned(),
        rounds: measured.p99_ms.to_vec(),
        digits: 2,
        bar: None,
    };
    figures.extend(pair(&p99, ["floor", "Moorline"], P99));
    let growth = |name: &str, target: Target, digits: usize, of: Of| {
        let rounds = both(measured.samples, [(few, Subject::Server), (many, Subject::Server)], of);
        let row = Row { figure: format!("{name}, {few} → {many} connections"), rounds, digits, bar: None };
        pair(&row, ["at first", "at last"], target)
    };
    figures.extend(growth("CPU per single delivery, µs", GROWTH_CPU, 2, |sample| sample.single_us));
    figures.extend(growth("RSS per idle connection, B", GROWTH_MEMORY, 0, |sample| {
        sample.idle_bytes_per_connection
    }));
    figures.extend(measured.durable.iter().filter_map(|row| pair(row, ["in memory", "on disk"], DURABLE)));
    figures.extend(measured.replay.iter().filter_map(|row| pair(row, ["live", "replayed"], REPLAY)));
    figures
}

type Of = fn(&Sample) -> f64;

const COSTS: [(&str, Target, usize, Of); 3] = [
    ("CPU per single delivery, µs", SINGLE, 2, |sample| sample.single_us),
    ("CPU per delivery in bursts of 100, µs", BURST, 3, |sample| sample.burst_us),
    ("CPU per accepted connection, µs", HANDSHAKE, 1, |sample| sample.handshake_us),
];

fn against_floor(
    (samples, size): (&[Sample], u32),
    (name, target, digits): (&str, Target, usize),
    of: Of,
) -> Option<Figure> {
    let rounds = both(samples, [(size, Subject::Floor), (size, Subject::Server)], of);
    let row = Row { figure: format!("{name}, {size} connections"), rounds, digits, bar: None };
    pair(&row, ["floor", "Moorline"], target)
}

fn memory(samples: &[Sample], size: u32) -> Vec<Figure> {
    let of = |of: Of| both(samples, [(size, Subject::Server); 2], of).iter().map(|pair| pair[1]).collect();
    let Some(idle) = spread(of(|sample| sample.idle_bytes_per_connection)) else { return Vec::new() };
    let Some(after) =
        spread(of(|sample| sample.after_bytes_per_connection / sample.idle_bytes_per_connection))
    else {
        return Vec::new();
    };
    vec![
        Figure {
            name: format!("RSS per idle connection, B, {size} connections"),
            beside: String::new(),
            ours: format!("{:.0}", idle.median),
            compared: idle,
            digits: 0,
            target: IDLE_BYTES,
        },
        Figure {
            name: format!("RSS after traffic ÷ idle, {size} connections"),
            beside: String::new(),
            ours: format!("{:.2}", after.median),
            compared: after,
            digits: 2,
            target: AFTER_TRAFFIC,
        },
    ]
}

/// A figure of two sides, by round.
pub(super) fn both(samples: &[Sample], sides: [(u32, Subject); 2], of: Of) -> Vec<[f64; 2]> {
    let find = |round: u32, (size, subject): (u32, Subject)| {
        let is_it = |sample: &&Sample| {
            sample.round == round && sample.connections == size && sample.subject == subject
        };
        samples.iter().find(is_it).map(of)
    };
    let rounds = samples.iter().map(|sample| sample.round).max().map_or(0, |last| last + 1);
    (0..rounds).filter_map(|round| Some([find(round, sides[0])?, find(round, sides[1])?])).collect()
}

/// The second side ÷ the first.
fn pair(row: &Row, sides: [&str; 2], target: Target) -> Option<Figure> {
    let digits = row.digits;
    let side = |index: usize| spread(row.rounds.iter().map(|round| round[index]).collect());
    let compared = spread(row.rounds.iter().map(|[first, second]| second / first).collect())?;
    let shown = |name: &str, value: f64| match name {
        "floor" | "Moorline" => format!("{value:.digits$}"),
        name => format!("{name} {value:.digits$}"),
    };
    Some(Figure {
        name: row.figure.clone(),
        beside: shown(sides[0], side(0)?.median),
        ours: shown(sides[1], side(1)?.median),
        compared,
        digits: 2,
        target,
    })
}

pub(super) fn table(figures: &[Figure]) -> String {
    let mut text = "| figure | floor, or what else it is divided by | Moorline | compared: median (min–max) | must | aim | met |\n\
                    |---|--:|--:|---|---|---|---|\n"
        .to_owned();
    for Figure { name, beside, ours, compared, digits, target } in figures {
        let aim = target.aim.map(|aim| format!("{} {aim}", target.sign())).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {name} | {beside} | {ours} | **{:.digits$}** ({:.digits$}–{:.digits$}) | {} {} | {aim} | {} |",
            compared.median,
            compared.min,
            compared.max,
            target.sign(),
            target.must,
            target.met(compared.median)
        );
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn sample(subject: Subject, (round, connections): (u32, u32), figure: f64) -> Sample {
        Sample {
            subject,
            round,
            connections,
            handshake_us: figure,
            single_us: figure,
            burst_us: figure / 10.0,
            single_blocks_us: Vec::new(),
            burst_blocks_us: Vec::new(),
            idle_bytes_per_connection: figure * 100.0,
            after_bytes_per_connection: figure * 110.0,
            rss_empty_bytes: 0,
            rss_idle_bytes: 0,
            rss_after_bytes: 0,
        }
    }

    #[test]
    fn what_is_met_is_the_aim_the_must_or_nothing() {
        assert_eq!([1.0, 1.05, 1.07, 1.2].map(|value| SINGLE.met(value)), ["aim", "aim", "must", "**no**"]);
        assert_eq!([1.2, 0.7, 0.4].map(|value| REPLAY.met(value)), ["aim", "must", "**no**"]);
        assert_eq!([1.0, 1.2].map(|value| AFTER_TRAFFIC.met(value)), ["yes", "**no**"]);
    }

    #[test]
    fn every_target_has_its_line() {
        let mut samples = Vec::new();
        for round in 0..2 {
            samples.push(sample(Subject::Floor, (round, 1_000), 10.0));
            samples.push(sample(Subject::Server, (round, 1_000), 10.6));
            samples.push(sample(Subject::Floor, (round, 18_000), 12.0));
            samples.push(sample(Subject::Server, (round, 18_000), 15.9));
        }
        let row =
            |figure: &str| Row { figure: figure.to_owned(), rounds: vec![[1.0, 1.2]], digits: 1, bar: None };
        let measured = Measured {
            samples: &samples,
            growth: [1_000, 18_000],
            p99_ms: &[[2.0, 2.2]],
            durable: &[row("one sender")],
            replay: &[row("records per second")],
        };
        let text = table(&figures(&measured));
        for line in [
            "| CPU per single delivery, µs, 1000 connections | 10.00 | 10.60 | **1.06** (1.06–1.06) | ≤ 1.1 | ≤ 1.05 | must |",
            "| CPU per accepted connection, µs, 1000 connections | 10.0 | 10.6 | **1.06** (1.06–1.06) | ≤ 1.6 | ≤ 1.3 | aim |",
            "| RSS per idle connection, B, 1000 connections |  | 1060 | **1060** (1060–1060) | ≤ 1536 | ≤ 1126 | aim |",
            "| RSS after traffic ÷ idle, 1000 connections |  | 1.10 | **1.10** (1.10–1.10) | ≤ 1.05 |  | **no** |",
            "| p99 from publish to received, ms | 2.00 | 2.20 | **1.10** (1.10–1.10) | ≤ 1.15 | ≤ 1.05 | must |",
            "| CPU per single delivery, µs, 1000 → 18000 connections | at first 10.60 | at last 15.90 | **1.50** (1.50–1.50) | ≤ 1.3 |  | **no** |",
            "| one sender | in memory 1.0 | on disk 1.2 | **1.20** (1.20–1.20) | ≤ 1.3 | ≤ 1.1 | must |",
            "| records per second | live 1.0 | replayed 1.2 | **1.20** (1.20–1.20) | ≥ 0.5 | ≥ 1 | aim |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
