//! What the system allows: files, queues, memory.

use super::Check;

/// From here on a limit of open files is nothing to think about on one machine.
#[cfg(unix)]
const FILES_ENOUGH: u64 = 65_536;
/// Below this not even a test run fits.
#[cfg(unix)]
const FILES_FEW: u64 = 1_024;

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![open_files()];
    checks.extend(kernel());
    checks
}

#[cfg(unix)]
fn open_files() -> Check {
    match rlimit::getrlimit(rlimit::Resource::NOFILE) {
        Ok((soft, hard)) => judge_files(soft, hard),
        Err(error) => Check::warn("open files", format!("not known: {error}"), "see `ulimit -n`"),
    }
}

#[cfg(unix)]
fn judge_files(soft: u64, hard: u64) -> Check {
    let found = format!("{soft} (up to {hard}); every connection takes one");
    let mend = "LimitNOFILE=1048576 in the unit, or `ulimit -n 1048576` before the start";
    match soft {
        FILES_ENOUGH.. => Check::ok("open files", found),
        FILES_FEW.. => Check::warn("open files", found, mend),
        _ => Check::bad("open files", found, mend),
    }
}

#[cfg(not(unix))]
fn open_files() -> Check {
    Check::ok("open files", "not checked here")
}

#[cfg(target_os = "linux")]
fn kernel() -> Vec<Check> {
    linux::checks()
}

#[cfg(not(target_os = "linux"))]
fn kernel() -> Vec<Check> {
    vec![Check::ok("kernel", "not checked here")]
}

#[cfg(target_os = "linux")]
mod linux {
    use super::Check;

    /// A number of the kernel's that should not be too small, and what happens where it is.
    struct Least {
        name: &'static str,
        least: u64,
        why: &'static str,
    }

    const LEAST: [Least; 3] = [
        Least {
            name: "net.core.somaxconn",
            least: 4_096,
            why: "a crowd that reconnects at once is turned away",
        },
        Least { name: "net.ipv4.tcp_max_syn_backlog", least: 1_024, why: "the same, one step before" },
        Least {
            name: "net.netfilter.nf_conntrack_max",
            least: 262_144,
            why: "when the table of tracked connections is full, packets of new ones are dropped",
        },
    ];

    pub(super) fn checks() -> Vec<Check> {
        let mut checks: Vec<Check> =
            LEAST.iter().filter_map(|least| Some(judge(least, number(&read(least.name)?)?))).collect();
        checks.extend(read("net.ipv4.tcp_mem").and_then(|text| memory(&text)));
        checks.extend(read("net.ipv4.ip_local_port_range").map(|range| {
            let note = "for connections that this machine opens (a proxy to us, 28 thousand to one address)";
            Check::ok("net.ipv4.ip_local_port_range", format!("{}: {note}", words(&range)))
        }));
        if checks.is_empty() {
            checks.push(Check::ok("kernel", "not checked: its settings cannot be read here"));
        }
        checks
    }

    /// A setting of the kernel; None where it has none of that name, or not in this container.
    fn read(name: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()
    }

    fn number(text: &str) -> Option<u64> {
        text.trim().parse().ok()
    }

    fn words(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn judge(least: &Least, value: u64) -> Check {
        if value >= least.least {
            return Check::ok(least.name, value.to_string());
        }
        let mend = format!("sysctl -w {}={}, and a line in /etc/sysctl.d/", least.name, least.least);
        Check::warn(least.name, format!("{value}: {}", least.why), mend)
    }

    /// `tcp_mem` is in pages: low, pressure, high. Beyond the third, sockets are dropped.
    fn memory(text: &str) -> Option<Check> {
        const PAGE_BYTES: u64 = 4_096;
        const LEAST_MIB: u64 = 256;
        let pages = number(text.split_whitespace().nth(2)?)?;
        let mib = pages.saturating_mul(PAGE_BYTES) / 1_048_576;
        let found = format!("{}: all TCP buffers together may take {mib} MiB", words(text));
        Some(match mib {
            LEAST_MIB.. => Check::ok("net.ipv4.tcp_mem", found),
            _ => {
                Check::warn("net.ipv4.tcp_mem", found, "raise its third number (pages of 4 KiB) with sysctl")
            }
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::commands::doctor::Verdict;

        #[test]
        fn small_numbers_are_warned_of() {
            let few = judge(&LEAST[0], 128);
            assert_eq!(few.verdict, Verdict::Warn);
            assert!(few.mend.unwrap().contains("net.core.somaxconn=4096"));
            assert_eq!(judge(&LEAST[0], 4_096).verdict, Verdict::Ok);
            assert_eq!(memory("190632\t254178\t381264\n").unwrap().verdict, Verdict::Ok);
            assert_eq!(memory("1\t2\t3\n").unwrap().verdict, Verdict::Warn);
            assert!(memory("").is_none());
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::commands::doctor::Verdict;

    #[test]
    fn few_open_files_are_warned_of_and_too_few_are_bad() {
        assert_eq!(judge_files(1_048_576, 1_048_576).verdict, Verdict::Ok);
        assert_eq!(judge_files(1_024, 524_288).verdict, Verdict::Warn);
        assert_eq!(judge_files(256, 524_288).verdict, Verdict::Bad);
    }
}
