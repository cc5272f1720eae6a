//! All servers of one run beside each other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::targets::both;
use crate::report::{Sample, Spread, Subject, spread};

/// A server, and what it is called.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) subject: Subject,
    pub(super) title: String,
    pub(super) version: String,
}

/// A column of the table.
struct Column {
    name: &'static str,
    of: fn(&Sample) -> f64,
    digits: usize,
    /// Memory is not compared: the floor needs next to none.
    has_ratio: bool,
}

const COLUMNS: [Column; 4] = [
    Column {
        name: "CPU per single delivery, µs", of: |sample| sample.single_us, digits: 1, has_ratio: true
    },
    Column {
        name: "CPU per delivery in bursts of 100, µs",
        of: |sample| sample.burst_us,
        digits: 2,
        has_ratio: true,
    },
    Column {
        name: "RSS per idle connection, B",
        of: |sample| sample.idle_bytes_per_connection,
        digits: 0,
        has_ratio: false,
    },
    Column { name: "CPU per handshake, µs", of: |sample| sample.handshake_us, digits: 0, has_ratio: true },
];

/// What the picture shows of one server.
#[derive(Debug, Clone)]
pub(super) struct Bars {
    pub(super) title: String,
    /// × floor.
    pub(super) single: f64,
    pub(super) burst: f64,
    pub(super) idle_bytes: f64,
}

pub(super) fn table(samples: &[Sample], servers: &[Named]) -> String {
    let sizes: BTreeSet<u32> = samples.iter().map(|sample| sample.connections).collect();
    let mut text = "| connections | server |".to_owned();
    COLUMNS.iter().for_each(|column| text += &format!(" {} |", column.name));
    text += "\n|--:|---|";
    COLUMNS.iter().for_each(|_| text += "---|");
    text += "\n";
    for size in sizes {
        for server in servers {
            let cells: Option<Vec<String>> =
                COLUMNS.iter().map(|column| cell(column, samples, (size, server.subject))).collect();
            let Some(cells) = cells else { continue };
            // Writing to a String does not fail.
            let _ = writeln!(text, "| {size} | {} | {} |", server.title, cells.join(" | "));
        }
    }
    text
}

fn cell(column: &Column, samples: &[Sample], side: (u32, Subject)) -> Option<String> {
    let pairs = both(samples, [(side.0, Subject::Floor), side], column.of);
    let own = spread(pairs.iter().map(|pair| pair[1]).collect())?;
    let digits = column.digits;
    if !column.has_ratio {
        return Some(format!("{:.digits$} ({:.digits$}–{:.digits$})", own.median, own.min, own.max));
    }
    let ratio = spread(pairs.iter().map(|[floor, own]| own / floor).collect())?;
    Some(format!(
        "{:.digits$}: × **{}** ({}–{})",
        own.median,
        short(ratio.median),
        short(ratio.min),
        short(ratio.max)
    ))
}

/// A ratio with as many digits as mean something.
fn short(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 3.0 => format!("{ratio:.2}"),
        ratio if ratio < 10.0 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.0}"),
    }
}

/// Of the run with the fewest connections, the cheapest first; the floor is what all is divided by.
pub(super) fn bars(samples: &[Sample], servers: &[Named]) -> Vec<Bars> {
    let Some(size) = samples.iter().map(|sample| sample.connections).min() else { return Vec::new() };
    let median = |values: Vec<f64>| spread(values).map(|Spread { median, .. }| median);
    let mut bars: Vec<Bars> = servers
        .iter()
        .filter(|server| server.subject != Subject::Floor)
        .filter_map(|server| {
            let pairs = |of| both(samples, [(size, Subject::Floor), (size, server.subject)], of);
            let ratio = |of| median(pairs(of).iter().map(|[floor, own]| own / floor).collect());
            let idle = pairs(|sample| sample.idle_bytes_per_connection);
            Some(Bars {
                title: server.title.clone(),
                single: ratio(|sample| sample.single_us)?,
                burst: ratio(|sample| sample.burst_us)?,
                idle_bytes: median(idle.iter().map(|pair| pair[1]).collect())?,
            })
        })
        .collect();
    bars.sort_by(|a, b| a.single.total_cmp(&b.single));
    bars
}

#[cfg(test)]
mod tests {
    use super::super::targets::tests::sample;
    use super::*;

    #[test]
    fn servers_stand_beside_each_other_with_their_ratios_to_the_floor_of_the_same_round() {
        let mut samples = Vec::new();
        for (round, floor) in [(0, 10.0), (1, 20.0)] {
            samples.push(sample(Subject::Floor, (round, 1_000), floor));
            samples.push(sample(Subject::Peer(0), (round, 1_000), floor * 4.0));
            samples.push(sample(Subject::Server, (round, 1_000), floor * 1.1));
        }
        samples.push(sample(Subject::Floor, (0, 10_000), 10.0));
        let named = |subject, title: &str| Named { subject, title: title.to_owned(), version: String::new() };
        let servers = [
            named(Subject::Floor, "floor"),
            named(Subject::Peer(0), "other"),
            named(Subject::Server, "Moorline"),
        ];
        let text = table(&samples, &servers);
        assert!(
            text.contains(
                "| 1000 | other | 60.0: × **4.0** (4.0–4.0) | 6.00: × **4.0** (4.0–4.0) | 6000 (4000–8000) |"
            ),
            "{text}"
        );
        assert!(text.contains("| 1000 | Moorline | 16.5: × **1.10** (1.10–1.10) |"), "{text}");
        assert!(!text.contains("| 10000 | other"), "it was not measured there");
        let bars = bars(&samples, &servers);
        assert_eq!(bars.iter().map(|bar| bar.title.as_str()).collect::<Vec<_>>(), ["Moorline", "other"]);
        assert!((bars[1].burst - 4.0).abs() < 1e-9);
    }
}
