//! What came of it, for people and for programs.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};

use super::leftovers::Leftovers;
use super::memory::{CONNECTIONS_MIN, Memory};
use super::opening::Opening;
use super::plan::Load;
use super::run::Run;
use super::traffic::Traffic;
use super::watch::Faults;

/// A generator that is so late itself, in microseconds, measures itself.
const LATE: u64 = 10_000;

/// All that was found.
pub(super) struct Report<'a> {
    pub(super) run: &'a Run,
    pub(super) opening: Opening,
    pub(super) traffic: Traffic,
    pub(super) memory: Memory,
    pub(super) faults: Faults,
    pub(super) leftovers: Leftovers,
    /// Somebody stopped it.
    pub(super) interrupted: bool,
}

fn per_second(count: u64, took: std::time::Duration) -> f64 {
    let seconds = took.as_secs_f64();
    if seconds > 0.0 { (count as f64 / seconds).round() } else { 0.0 }
}

/// A number with a comma between each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something, which has another name where it is one.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

fn rate(count: u64, took: std::time::Duration) -> String {
    let digits = format!("{:.0}", per_second(count, took));
    digits.parse().map_or(digits, grouped)
}

fn listed(reasons: &[(String, u64)]) -> impl Iterator<Item = String> + '_ {
    reasons.iter().map(|(why, count)| format!("{} × {why}", grouped(*count)))
}

impl Report<'_> {
    fn opened(&self) -> u64 {
        self.run.opened.load(SeqCst)
    }

    /// Messages were to be published, and none was.
    fn published_nothing(&self) -> bool {
        let is_planned = self.run.plan.load != Load::Idle && !self.interrupted;
        is_planned && self.run.sum(|room| &room.accepted) == 0
    }

    /// Connections that were not there to the end.
    fn lost_connections(&self) -> u64 {
        self.run.ended.all().iter().map(|(_, count)| count).sum()
    }

    /// What a program that looks at the exit code has to know of; empty where all was as it should be.
    pub(super) fn failures(&self) -> Vec<String> {
        let Faults { lost, announced, duplicates, disordered, strays, .. } = self.faults;
        let failed: u64 = self.run.failed.all().iter().map(|(_, count)| count).sum();
        let refused: u64 = self.run.refused.all().iter().map(|(_, count)| count).sum();
        let (delivery, deliveries) = ("delivery", "deliveries");
        // Whoever stops it does not wait for answers.
        let unanswered =
            if self.interrupted { 0 } else { self.run.rooms.iter().map(|room| room.in_flight()).sum() };
        let nothing = u64::from(self.published_nothing());
        let all = [
            (failed, "connection", "connections", "could not be opened"),
            (self.lost_connections(), "connection was", "connections were", "lost"),
            (refused, "publish or frame was", "publishes or frames were", "refused"),
            (unanswered, "publish was", "publishes were", "never answered"),
            (nothing, "run", "runs", "in which nothing was accepted, and so nothing was checked"),
            (lost, "delivery was", "deliveries were", "lost"),
            (announced, "delivery was", "deliveries were", "lost, as the server announced (retention)"),
            (duplicates, delivery, deliveries, "came twice"),
            (disordered, delivery, deliveries, "came out of order"),
            (strays, "delivery was", "deliveries were", "for somebody else"),
        ];
        let wrong = all.into_iter().filter(|(count, ..)| *count > 0);
        wrong.map(|(count, one, many, what)| format!("{} {what}", counted(count, one, many))).collect()
    }

    /// Names and values for people, in order.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("connections", self.connections())];
        if let Some(handshakes) = self.run.handshakes.quantiles() {
            fields.push(("until established", handshakes.to_string()));
        }
        if self.run.plan.load != Load::Idle {
            fields.extend(self.deliveries());
        }
        fields.push(("server memory", self.memory_shown()));
        fields.extend(listed(&self.run.failed.all()).map(|why| ("not opened", why)));
        fields.extend(listed(&self.run.ended.all()).map(|why| ("connection lost", why)));
        fields.extend(listed(&self.run.refused.all()).map(|why| ("refused", why)));
        fields.extend(listed(&self.run.limits.all()).map(|why| ("limited", why)));
        fields.extend(self.notes());
        fields
    }

    fn connections(&self) -> String {
        let Opening { opened, took } = self.opening;
        let all = grouped(self.run.plan.connections);
        let mut text = format!("{} of {all} opened", grouped(self.opened()));
        if opened > 0 {
            text.push_str(&format!(" in {:.2} s, {} per second", took.as_secs_f64(), rate(opened, took)));
        }
        text
    }

    fn deliveries(&self) -> Vec<(&'static str, String)> {
        let Traffic { took, published, delivered, .. } = self.traffic;
        let rooms = self.run.plan.rooms;
        let messages = format!(
            "{} published in {:.1} s, {} per second, in {}",
            grouped(self.run.sum(|room| &room.accepted)),
            took.as_secs_f64(),
            rate(published, took),
            counted(rooms, "room", "rooms"),
        );
        let Faults { lost, announced, duplicates, disordered, strays, unchecked } = self.faults;
        let mut checked = format!(
            "{lost} lost, {}, {disordered} out of order",
            counted(duplicates, "duplicate", "duplicates")
        );
        let rare = [
            (announced, "lost and announced"),
            (strays, "for somebody else"),
            (unchecked, "not checked, since their connections were lost"),
        ];
        for (count, what) in rare {
            if count > 0 {
                checked.push_str(&format!(", {} {what}", grouped(count)));
            }
        }
        let all = self.run.sum(|room| &room.received);
        let mut fields = vec![
            ("messages", messages),
            ("deliveries", format!("{}, {} per second", grouped(all), rate(delivered, took))),
        ];
        if let Some(latency) = self.run.latency.quantiles() {
            fields.push(("publish to received", latency.to_string()));
        }
        fields.push((if unchecked > 0 { "deliveries checked" } else { "every delivery checked" }, checked));
        fields
    }

    fn memory_shown(&self) -> String {
        let opened = self.opening.opened;
        let (idle, after) = self.memory.per_connection(opened);
        let (process, idle) = match (&self.memory, idle) {
            (Memory::Unknown(why), _) => return format!("not known: {why}"),
            (Memory::Known { .. }, _) if opened + 1 < CONNECTIONS_MIN => {
                return format!("not known: it takes {} connections to tell", grouped(CONNECTIONS_MIN));
            }
            (Memory::Known { process, idle: Some(_), .. }, None) => {
                return format!(
                    "not known: process {} has not grown; it had as many connections before, start it anew",
                    process.pid
                );
            }
            (Memory::Known { process, .. }, Some(idle)) => (process, idle),
            (Memory::Known { process, .. }, None) => {
                return format!("not known: process {} could not be watched", process.pid);
            }
        };
        let mut text = format!("{} bytes per idle connection", grouped(idle));
        if let (Some(after), true) = (after, self.run.plan.load != Load::Idle) {
            text.push_str(&format!(", {} after the traffic", grouped(after)));
        }
        text.push_str(&format!(" (process {}, {})", process.pid, process.name));
        text
    }

    /// What has to be known to read the figures.
    fn notes(&self) -> Vec<(&'static str, String)> {
        let mut notes = Vec::new();
        let limited = self.run.sum(|room| &room.limited);
        if limited > 0 {
            let why = format!(
                "{} not published, since the server limits that: raise what it names above, or ask for less",
                counted(limited, "message was", "messages were")
            );
            notes.push(("note", why));
        }
        if self.traffic.unsent > 0 {
            let unsent = counted(self.traffic.unsent, "message was", "messages were");
            notes
                .push(("note", format!("{unsent} due and not sent: the rate is more than is possible here")));
        }
        if self.run.lateness.quantiles().is_some_and(|late| late.p99 > LATE) {
            notes.push(("note", "messages were sent late by this program, which counts as if the server was slow: see `sent late`".to_owned()));
        }
        if let Some(late) = self.run.lateness.quantiles() {
            notes.push(("sent late", late.to_string()));
        }
        if let Leftovers::Kept { sessions, why } = &self.leftovers {
            let left = format!(
                "{}, and what the rooms keep, stay in the server until session.lifetime_ms and \
                 retention.room_age_ms are over; they could not be removed: {why}",
                counted(*sessions, "absent session", "absent sessions")
            );
            notes.push(("left behind", left));
        }
        if self.interrupted {
            notes.push(("note", "it was stopped before its end".to_owned()));
        }
        notes
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let run = self.run;
        let reasons = |all: Vec<(String, u64)>| Value::from_iter(all);
        let quantiles = |latency: &super::latency::Latency| latency.quantiles().map(|all| all.json());
        let Faults { lost, announced, duplicates, disordered, strays, unchecked } = self.faults;
        let Traffic { took, published, delivered, unsent } = self.traffic;
        let kept = match &self.leftovers {
            Leftovers::Nothing => 0,
            Leftovers::Kept { sessions, .. } => *sessions,
        };
        json!({
            "connections": {
                "wanted": run.plan.connections,
                "opened": self.opened(),
                "seconds": self.opening.took.as_secs_f64(),
                "per_second": per_second(self.opening.opened, self.opening.took),
                "established_ms": quantiles(&run.handshakes),
                "failed": reasons(run.failed.all()),
                "lost": reasons(run.ended.all()),
            },
            "traffic": {
                "seconds": took.as_secs_f64(),
                "rooms": run.plan.rooms,
                "published": run.sum(|room| &room.accepted),
                "published_per_second": per_second(published, took),
                "deliveries": run.sum(|room| &room.received),
                "deliveries_per_second": per_second(delivered, took),
                "latency_ms": quantiles(&run.latency),
                "sent_late_ms": quantiles(&run.lateness),
                "not_sent": unsent,
                "limited": run.sum(|room| &room.limited),
                "refused": reasons(run.refused.all()),
            },
            "checked": {
                "lost": lost,
                "lost_announced": announced,
                "duplicates": duplicates,
                "out_of_order": disordered,
                "for_others": strays,
                "not_checked": unchecked,
            },
            "limits": reasons(run.limits.all()),
            "memory": self.memory.json(self.opening.opened),
            "sessions_left": kept,
            "interrupted": self.interrupted,
            "ok": self.failures().is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
