//! What the kernel knows of a process: processor time by the nanosecond, and resident memory.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often a process is looked at until it has come to rest, and what counts as rest.
const SETTLE_EVERY: Duration = Duration::from_millis(5);
const SETTLED_BELOW_NS: u64 = 100_000;
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Time on a processor so far, by thread, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Cpu {
    by_thread: BTreeMap<u32, u64>,
    /// It never came to rest: what it does besides is in the figures.
    pub(crate) restless: bool,
}

impl Cpu {
    pub(crate) fn of(process: u32) -> Result<Self> {
        let mut by_thread = BTreeMap::new();
        let folder = format!("/proc/{process}/task");
        for entry in fs::read_dir(&folder).with_context(|| format!("{folder}: has the process ended?"))? {
            let entry = entry?;
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let thread = entry.file_name().to_string_lossy().parse().context("thread id")?;
            by_thread.insert(thread, parse_schedstat(&text)?);
        }
        if by_thread.is_empty() {
            bail!("{folder}/*/schedstat cannot be read: is the kernel built with CONFIG_SCHED_INFO?");
        }
        Ok(Self { by_thread, restless: false })
    }

    /// Reads when the process has come to rest: a running thread's time is brought up to date only at ticks.
    pub(crate) fn at_rest(process: u32) -> Result<Self> {
        let begun = Instant::now();
        let mut last = Self::of(process)?;
        loop {
            thread::sleep(SETTLE_EVERY);
            let mut now = Self::of(process)?;
            if now.since(&last).ns < SETTLED_BELOW_NS {
                return Ok(now);
            }
            if begun.elapsed() > SETTLE_LIMIT {
                now.restless = true;
                return Ok(now);
            }
            last = now;
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Spent {
        let ns = self
            .by_thread
            .iter()
            .map(|(thread, ns)| ns.saturating_sub(before.by_thread.get(thread).copied().unwrap_or(0)))
            .sum();
        let threads_ended =
            before.by_thread.keys().filter(|thread| !self.by_thread.contains_key(thread)).count();
        Spent { ns, threads_ended }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) ns: u64,
    /// Threads that ended in between: what they used since the first reading is lost.
    pub(crate) threads_ended: usize,
}

/// Resident memory, bytes.
pub(crate) fn resident_bytes(process: u32) -> Result<u64> {
    memory_of(process, "VmRSS:")
}

/// The most resident memory since `forget_peak`, bytes.
pub(crate) fn peak_bytes(process: u32) -> Result<u64> {
    memory_of(process, "VmHWM:")
}

/// From now on the peak counts anew.
pub(crate) fn forget_peak(process: u32) -> Result<()> {
    let path = format!("/proc/{process}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("{path}: has the process ended?"))
}

fn memory_of(process: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("{path}: has the process ended?"))?;
    parse_memory(&text, name).with_context(|| path)
}

fn parse_schedstat(text: &str) -> Result<u64> {
    let first = text.split_ascii_whitespace().next().context("an empty schedstat")?;
    first.parse().with_context(|| format!("schedstat begins with {first:?}"))
}

fn parse_memory(text: &str, name: &str) -> Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name} (a process that ended)"))?;
    let kilobytes: u64 = match line.trim().strip_suffix(" kB") {
        Some(number) => number.trim().parse().with_context(|| format!("{name} {number:?}"))?,
        None => bail!("{name} in an unknown unit: {line:?}"),
    };
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_begins_with_the_time_on_a_processor() {
        assert_eq!(parse_schedstat("83837 12 1\n").unwrap(), 83_837);
        assert!(parse_schedstat("").is_err());
        assert!(parse_schedstat("x 1 2").is_err());
    }

    #[test]
    fn resident_memory_is_in_kilobytes() {
        let status = "Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    1204 kB\nThreads:\t1\n";
        assert_eq!(parse_memory(status, "VmRSS:").unwrap(), 1204 * 1024);
        assert_eq!(parse_memory(status, "VmHWM:").unwrap(), 9 * 1024);
        assert!(parse_memory("Name:\tx\nState:\tZ (zombie)\n", "VmRSS:").is_err());
        assert!(parse_memory("VmRSS:\t 12 MB\n", "VmRSS:").is_err());
    }

    #[test]
    fn new_threads_count_and_ended_ones_are_told() {
        let cpu =
            |threads: &[(u32, u64)]| Cpu { by_thread: threads.iter().copied().collect(), restless: false };
        let spent = cpu(&[(1, 150), (3, 7)]).since(&cpu(&[(1, 100), (2, 50)]));
        assert_eq!(spent, Spent { ns: 57, threads_ended: 1 });
    }

    #[test]
    fn this_process_can_be_read() {
        let process = std::process::id();
        assert!(!Cpu::of(process).unwrap().by_thread.is_empty());
        assert!(resident_bytes(process).unwrap() > 0);
        forget_peak(process).unwrap();
        assert!(peak_bytes(process).unwrap() > 0);
    }
}
