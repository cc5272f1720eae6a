//! What the figures were measured on.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

const DAY_SECONDS: u64 = 86_400;

/// One line: cores, model, kernel.
pub(super) fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("/proc/sys/kernel/osrelease")?;
    let memory = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    // Not those that this process may run on: it is pinned.
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    Ok(format!(
        "{cores} cores of {}, {} of memory, Linux {}",
        model(&cpus),
        gibibytes(&memory).unwrap_or_else(|| "unknown size".to_owned()),
        kernel.trim()
    ))
}

fn model(cpus: &str) -> String {
    let value = |name: &str| {
        let line = cpus.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let name = value("model name").unwrap_or_else(|| "an unknown model".to_owned());
    match value("model") {
        Some(number) => format!("{name} (model {number})"),
        None => name,
    }
}

fn gibibytes(memory: &str) -> Option<String> {
    let line = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(format!("{:.0} GiB", kilobytes / 1_048_576.0))
}

/// The day, in UTC.
pub(super) fn today() -> Result<String> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / DAY_SECONDS;
    let (year, month, day) = date(days);
    Ok(format!("{year}-{month:02}-{day:02}"))
}

/// Of a day since 1 January 1970.
fn date(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

/// The versions of what was measured and of what measured it.
pub(super) fn version(program: &std::path::Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("starting {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_779), (2026, 11, 22));
        assert_eq!(date(20_818), (2026, 12, 31));
        assert_eq!(date(20_819), (2027, 1, 1));
    }

    #[test]
    fn a_machine_is_told_by_its_model_and_memory() {
        let cpus = "processor\t: 0\nmodel\t\t: 167\nmodel name\t: Some CPU @ 2.4GHz\n";
        assert_eq!(model(cpus), "Some CPU @ 2.4GHz (model 167)");
        assert_eq!(gibibytes("MemTotal:       25165824 kB\nMemFree: 1 kB\n").unwrap(), "24 GiB");
        assert!(machine().unwrap().contains("Linux"));
    }
}
