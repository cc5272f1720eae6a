//! Samples, what they come to, and the table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    Floor,
    /// In memory.
    Server,
    /// With a store.
    Disk,
    /// Another server, by its number in the setup.
    Peer(usize),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Floor => f.write_str("the floor"),
            Self::Server => f.write_str("the server"),
            Self::Disk => f.write_str("the server with a store"),
            Self::Peer(index) => write!(f, "peer {index}"),
        }
    }
}

/// One server's figures of one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) subject: Subject,
    pub(crate) round: u32,
    pub(crate) connections: u32,
    pub(crate) handshake_us: f64,
    pub(crate) single_us: f64,
    pub(crate) burst_us: f64,
    /// The blocks in their order, of which the two above are the medians.
    pub(crate) single_blocks_us: Vec<f64>,
    pub(crate) burst_blocks_us: Vec<f64>,
    pub(crate) idle_bytes_per_connection: f64,
    pub(crate) after_bytes_per_connection: f64,
    pub(crate) rss_empty_bytes: u64,
    pub(crate) rss_idle_bytes: u64,
    pub(crate) rss_after_bytes: u64,
}

struct Figure {
    name: &'static str,
    of: fn(&Sample) -> f64,
    must: &'static str,
    digits: usize,
    /// Memory is compared with a bound, not with the floor, which needs next to none.
    has_ratio: bool,
}

const FIGURES: [Figure; 5] = [
    Figure {
        name: "single delivery, CPU µs",
        of: |sample| sample.single_us,
        must: "≤ 1.10 × floor",
        digits: 2,
        has_ratio: true,
    },
    Figure {
        name: "delivery in a burst of 100, CPU µs",
        of: |sample| sample.burst_us,
        must: "≤ 1.25 × floor",
        digits: 3,
        has_ratio: true,
    },
    Figure {
        name: "handshake, CPU µs",
        of: |sample| sample.handshake_us,
        must: "≤ 1.6 × floor",
        digits: 1,
        has_ratio: true,
    },
    Figure {
        name: "RSS per idle connection, bytes",
        of: |sample| sample.idle_bytes_per_connection,
        must: "≤ 1,536",
        digits: 0,
        has_ratio: false,
    },
    Figure {
        name: "RSS per connection after traffic, bytes",
        of: |sample| sample.after_bytes_per_connection,
        must: "≤ 1.05 × idle",
        digits: 0,
        has_ratio: false,
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    connections: u32,
    figure: &'static str,
    floor: Spread,
    server: Spread,
    /// Of the pairs of one round.
    ratio: Option<Spread>,
    must: &'static str,
    #[serde(skip)]
    digits: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// A second floor was measured in the server's place.
    self_check: bool,
    notes: BTreeSet<String>,
    summary: Vec<Row>,
    samples: Vec<Sample>,
}

impl Report {
    pub(crate) fn new(samples: Vec<Sample>, notes: BTreeSet<String>, self_check: bool) -> Self {
        let sizes: BTreeSet<u32> = samples.iter().map(|sample| sample.connections).collect();
        let summary = sizes
            .into_iter()
            .flat_map(|connections| {
                FIGURES.iter().filter_map(|figure| row(&samples, connections, figure)).collect::<Vec<_>>()
            })
            .collect();
        Self { self_check, notes, summary, samples }
    }

    pub(crate) fn markdown(&self) -> String {
        let server = if self.self_check { "second floor" } else { "moorline" };
        let mut text = format!(
            "| connections | figure | floor | {server} | ratio: median (min–max) | must |\n|--:|---|--:|--:|---|---|\n"
        );
        for row in &self.summary {
            let ratio = match row.ratio {
                Some(ratio) => format!("**{:.2}** ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max),
                None => format!("({:.*}–{:.*})", row.digits, row.server.min, row.digits, row.server.max),
            };
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "| {} | {} | {:.*} | {:.*} | {ratio} | {} |",
                row.connections,
                row.figure,
                row.digits,
                row.floor.median,
                row.digits,
                row.server.median,
                row.must
            );
        }
        for note in &self.notes {
            let _ = write!(text, "\nNote: {note}.");
        }
        text
    }
}

fn row(samples: &[Sample], connections: u32, figure: &Figure) -> Option<Row> {
    let of = |subject| {
        let mut found: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.connections == connections && sample.subject == subject)
            .collect();
        found.sort_by_key(|sample| sample.round);
        found.into_iter().map(figure.of).collect::<Vec<f64>>()
    };
    let (floor, server) = (of(Subject::Floor), of(Subject::Server));
    let ratios = server.iter().zip(&floor).map(|(server, floor)| server / floor).collect();
    Some(Row {
        connections,
        figure: figure.name,
        floor: spread(floor)?,
        server: spread(server)?,
        ratio: if figure.has_ratio { spread(ratios) } else { None },
        must: figure.must,
        digits: figure.digits,
    })
}

pub(crate) fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    Some(Spread { median, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(subject: Subject, round: u32, figure: f64) -> Sample {
        Sample {
            subject,
            round,
            connections: 1_000,
            handshake_us: figure,
            single_us: figure,
            burst_us: figure,
            single_blocks_us: Vec::new(),
            burst_blocks_us: Vec::new(),
            idle_bytes_per_connection: figure,
            after_bytes_per_connection: figure,
            rss_empty_bytes: 0,
            rss_idle_bytes: 0,
            rss_after_bytes: 0,
        }
    }

    #[test]
    fn spreads() {
        assert_eq!(spread(vec![]), None);
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(vec![4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn ratios_are_taken_within_a_round_whatever_the_order() {
        let samples = vec![
            sample(Subject::Floor, 0, 10.0),
            sample(Subject::Server, 0, 11.0),
            sample(Subject::Server, 1, 22.0),
            sample(Subject::Floor, 1, 20.0),
        ];
        let report = Report::new(samples, BTreeSet::from(["a note".to_owned()]), false);
        let single = &report.summary[0];
        assert_eq!(single.ratio, Some(Spread { median: 1.1, min: 1.1, max: 1.1 }));
        let text = report.markdown();
        assert!(
            text.contains("| 1000 | single delivery, CPU µs | 15.00 | 16.50 | **1.10** (1.10–1.10) |"),
            "{text}"
        );
        assert!(text.ends_with("Note: a note."));
    }
}
