//! Pairs of figures with a bar for their ratio, and the table.

use std::fmt::Write as _;

use crate::report::{Spread, spread};

/// What a ratio must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(bar) => ratio <= bar,
            Self::AtLeast(bar) => ratio >= bar,
        }
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(bar) => write!(f, "≤ {bar}"),
            Self::AtLeast(bar) => write!(f, "≥ {bar}"),
        }
    }
}

/// A figure, of two sides in each round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) rounds: Vec<[f64; 2]>,
    pub(crate) digits: usize,
    /// For the median of the second side ÷ the first.
    pub(crate) bar: Option<Bar>,
}

/// A table of the medians. Ratios are taken within rounds.
pub(crate) fn table(sides: [&str; 2], rows: &[Row]) -> String {
    let [first, second] = sides;
    let mut text = format!(
        "| figure | {first} | {second} | ratio: median (min–max) | must | met |\n|---|--:|--:|---|---|---|\n"
    );
    for Row { figure, rounds, digits, bar } in rows {
        let side = |index: usize| spread(rounds.iter().map(|round| round[index]).collect());
        let ratios = spread(rounds.iter().map(|[first, second]| second / first).collect());
        let (Some(first), Some(second), Some(ratio)) = (side(0), side(1), ratios) else { continue };
        let must = bar.map(|bar| bar.to_string()).unwrap_or_default();
        let met = bar.map_or("", |bar| if bar.is_met(ratio.median) { "yes" } else { "**no**" });
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {figure} | {:.digits$} | {:.digits$} | **{:.2}** ({:.2}–{:.2}) | {must} | {met} |",
            first.median, second.median, ratio.median, ratio.min, ratio.max
        );
    }
    text
}

/// A figure of two sides, each compared with the bar itself.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) figure: String,
    /// Of each side, the rounds.
    pub(crate) sides: [Vec<f64>; 2],
    pub(crate) digits: usize,
    /// For the median of each side.
    pub(crate) bar: Option<Bar>,
}

/// A table of the medians.
pub(crate) fn measured(sides: [&str; 2], figures: &[Measured]) -> String {
    let [first, second] = sides;
    let mut text =
        format!("| figure | {first}: median (min–max) | {second} | must | met |\n|---|---|---|---|---|\n");
    for Measured { figure, sides, digits, bar } in figures {
        let [Some(first), Some(second)] = sides.clone().map(spread) else { continue };
        let must = bar.map(|bar| bar.to_string()).unwrap_or_default();
        let is_met = |bar: Bar| bar.is_met(first.median) && bar.is_met(second.median);
        let met = bar.map_or("", |bar| if is_met(bar) { "yes" } else { "**no**" });
        let shown =
            |side: Spread| format!("{:.digits$} ({:.digits$}–{:.digits$})", side.median, side.min, side.max);
        // Writing to a String does not fail.
        let _ = writeln!(text, "| {figure} | {} | {} | {must} | {met} |", shown(first), shown(second));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_for_the_median_of_the_ratios() {
        let row = |bar| Row {
            figure: "x".to_owned(),
            rounds: vec![[1.0, 1.0], [2.0, 2.4], [4.0, 20.0]],
            digits: 1,
            bar: Some(bar),
        };
        let text = table(["a", "b"], &[row(Bar::AtMost(1.3)), row(Bar::AtLeast(1.3))]);
        assert!(text.contains("| x | 2.0 | 2.4 | **1.20** (1.00–5.00) | ≤ 1.3 | yes |"), "{text}");
        assert!(text.contains("| ≥ 1.3 | **no** |"), "{text}");
    }
    #[test]
    fn a_bar_may_be_for_either_side() {
        let figure = |second: f64| Measured {
            figure: "x".to_owned(),
            sides: [vec![1.0, 2.0, 9.0], vec![second]],
            digits: 1,
            bar: Some(Bar::AtMost(3.0)),
        };
        let text = measured(["a", "b"], &[figure(3.0), figure(3.1)]);
        assert!(text.contains("| x | 2.0 (1.0–9.0) | 3.0 (3.0–3.0) | ≤ 3 | yes |"), "{text}");
        assert!(text.contains("| 3.1 (3.1–3.1) | ≤ 3 | **no** |"), "{text}");
    }
}
