//! What a run found, for people.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::content::Content;
use crate::history::{self, History, Outcome, Violation, What};
use crate::world::Aftermath;

/// Violations shown in full.
const SHOWN: usize = 5;
/// Events shown of the session and room of each.
const EVENTS_SHOWN: usize = 40;

/// One thing that a case promised.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) met: bool,
}

impl Bar {
    pub(crate) fn new(what: impl Into<String>, met: bool) -> Self {
        Self { what: what.into(), met }
    }
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) bars: Vec<Bar>,
    /// Why nothing was tested.
    pub(crate) skipped: Option<String>,
}

impl Verdict {
    pub(crate) fn is_red(&self) -> bool {
        self.bars.iter().any(|bar| !bar.met)
    }

    /// Prints the bars and the result.
    pub(crate) fn print(&self, seed: u64) {
        for Bar { what, met } in &self.bars {
            println!("  {} {what}", if *met { "met   " } else { "MISSED" });
        }
        match &self.skipped {
            Some(why) => println!("SKIPPED: NOTHING WAS TESTED: {why}"),
            None if self.is_red() => println!("RED: repeat with --seed {seed}"),
            None => println!("GREEN"),
        }
    }
}

/// Judges the history, prints its figures and what broke the rules, and returns that as a bar.
pub(crate) fn judge(aftermath: &Aftermath) -> Bar {
    let history = &aftermath.history;
    let violations = history::check(history);
    figures(aftermath, &violations);
    for violation in violations.iter().take(SHOWN) {
        println!("\nVIOLATION {violation}");
        events(history, violation);
    }
    if violations.len() > SHOWN {
        println!("\n… and {} more violations", violations.len() - SHOWN);
    }
    let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in &violations {
        *by_rule.entry(violation.rule).or_default() += 1;
    }
    let allowed = history.resets_allowed.map_or("any number of".to_owned(), |allowed| allowed.to_string());
    let what = match violations.len() {
        0 => format!("the history breaks no rule ({allowed} resets expected)"),
        _ => format!("the history breaks no rule ({allowed} resets expected): {by_rule:?}"),
    };
    Bar::new(what, violations.is_empty())
}

fn figures(aftermath: &Aftermath, violations: &[Violation]) {
    let history = &aftermath.history;
    let entries = || history.sessions.iter().flat_map(|session| &session.entries);
    let number = |is: fn(&What) -> bool| entries().filter(|entry| is(&entry.what)).count();
    let accepted =
        history.publications.iter().filter(|one| matches!(one.outcome, Outcome::Accepted { .. })).count();
    println!(
        "  {} sessions, {} of {} publishes accepted, {} stops of the server",
        history.sessions.len(),
        accepted,
        history.publications.len(),
        history.stops.len()
    );
    println!(
        "  deliveries checked {}, lost {}, dropped by clients as duplicates {}, resumed {}, resets {}",
        number(|what| matches!(what, What::Message { fresh: true, .. })),
        violations.iter().filter(|violation| violation.rule == "lost").count(),
        number(|what| matches!(what, What::Message { fresh: false, .. })),
        number(|what| matches!(what, What::Established { resumed: true })),
        number(|what| matches!(what, What::Reset { .. })),
    );
    if !history.streams.is_empty() {
        println!(
            "  {} streams, {} parts of their texts and {} ends checked",
            history.streams.len(),
            number(|what| matches!(what, What::Text { .. })),
            number(|what| matches!(what, What::StreamEnded { .. })),
        );
    }
    println!("  time until back: {}", spread(&aftermath.backs));
}

/// Of sorted durations.
pub(crate) fn spread(sorted: &[Duration]) -> String {
    match sorted.last() {
        None => "nothing was away".to_owned(),
        Some(max) => format!(
            "p50 {:.0?}, p99 {:.0?}, max {max:.0?} ({} times)",
            quantile(sorted, 50),
            quantile(sorted, 99),
            sorted.len()
        ),
    }
}

/// So many in a hundred of the sorted durations are at most this.
pub(crate) fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// The events of the session and room that a violation is about.
fn events(history: &History, violation: &Violation) {
    let Some(session) = violation.session.and_then(|number| history.sessions.get(number)) else { return };
    let concerns =
        |what: &What| what.room().is_none_or(|room| violation.room.as_ref().is_none_or(|of| of == room));
    let entries: Vec<_> = session.entries.iter().filter(|entry| concerns(&entry.what)).collect();
    if entries.len() > EVENTS_SHOWN {
        println!("  … {} earlier events of {}", entries.len() - EVENTS_SHOWN, session.name);
    }
    for entry in entries.iter().skip(entries.len().saturating_sub(EVENTS_SHOWN)) {
        let ms = entry.at.elapsed().as_millis();
        println!("  {ms:>8} ms  connection {:<3} {}", entry.connection, shown(&entry.what));
    }
    for stop in &history.stops {
        let (at, back) = (stop.at.elapsed().as_millis(), stop.back.elapsed().as_millis());
        println!(
            "  {at:>8} ms  the server {}, back at {back} ms",
            if stop.clean { "ended" } else { "was killed" }
        );
    }
}

fn shown(what: &What) -> String {
    match what {
        What::Message { room, epoch, offset, content, fresh } => {
            let content = match content {
                Content::Whole(key) => key.to_string(),
                Content::Torn(text) => text.clone(),
            };
            let epoch = epoch.map_or("?".to_owned(), |epoch| epoch.to_string());
            let again = if *fresh { "" } else { " (dropped)" };
            format!("{content} as {} of {room} in {epoch}{again}", offset.0)
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_there_is() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(quantile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(quantile(&sorted[..1], 99), Duration::from_millis(1));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn a_missed_bar_is_red() {
        let mut verdict = Verdict { bars: vec![Bar::new("a", true)], skipped: None };
        assert!(!verdict.is_red());
        verdict.bars.push(Bar::new("b", false));
        assert!(verdict.is_red());
    }
}
