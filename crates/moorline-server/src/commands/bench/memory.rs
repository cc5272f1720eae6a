//! What memory a server's process has, where that is on this machine.

use serde_json::json;

/// With fewer connections their memory is less than what a server needs for anything, or has left from before.
pub(super) const CONNECTIONS_MIN: u64 = 1_000;

/// What each connection costs the server.
#[derive(Debug)]
pub(super) enum Memory {
    /// The process was watched: its memory before the connections came, when all were there, and after the traffic.
    Known { process: Process, before: u64, idle: Option<u64>, after: Option<u64> },
    /// Why it is not known.
    Unknown(String),
}

/// A process, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: String,
}

impl Memory {
    /// Looks at the process of that id, else at whatever listens at the port of this machine.
    pub(super) fn begin(pid: Option<u32>, port: Option<u16>) -> Self {
        match begin(pid, port) {
            Ok((process, before)) => Self::Known { process, before, idle: None, after: None },
            Err(why) => Self::Unknown(why),
        }
    }

    /// All connections are there, and nothing was published.
    pub(super) fn idle(&mut self) {
        if let Self::Known { process, idle, .. } = self {
            *idle = resident(process.pid);
        }
    }

    /// The traffic is over.
    pub(super) fn after(&mut self) {
        if let Self::Known { process, after, .. } = self {
            *after = resident(process.pid);
        }
    }

    /// The growth for each of so many connections that came after the first one, idle and after the traffic, in bytes. None
    /// where they are too few, or where there was no growth: a server that had as many before has their memory still.
    pub(super) fn per_connection(&self, connections: u64) -> (Option<u64>, Option<u64>) {
        let Self::Known { before, idle, after, .. } = self else { return (None, None) };
        if connections + 1 < CONNECTIONS_MIN {
            return (None, None);
        }
        let grown = |now: &Option<u64>| {
            now.and_then(|now| now.saturating_sub(*before).checked_div(connections)).filter(|each| *each > 0)
        };
        (grown(idle), grown(after))
    }

    pub(super) fn json(&self, connections: u64) -> serde_json::Value {
        let (idle, after) = self.per_connection(connections);
        match self {
            Self::Known { process, .. } => json!({
                "pid": process.pid,
                "process": process.name,
                "bytes_per_connection_idle": idle,
                "bytes_per_connection_after": after,
            }),
            Self::Unknown(why) => json!({ "unknown": why }),
        }
    }
}

fn begin(pid: Option<u32>, port: Option<u16>) -> Result<(Process, u64), String> {
    let process = match (pid, port) {
        (Some(pid), _) => named(pid),
        (None, Some(port)) => listener(port)?,
        (None, None) => return Err("the server is on another machine".to_owned()),
    };
    match resident(process.pid) {
        Some(before) => Ok((process, before)),
        None => Err(format!("the memory of process {} cannot be read here", process.pid)),
    }
}

#[cfg(target_os = "linux")]
use self::linux::{listener, named, resident};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use super::Process;

    const LISTENS: &str = "0A";

    pub(super) fn named(pid: u32) -> Process {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Process { pid, name: name.trim_end().to_owned() }
    }

    /// Bytes of memory that a process has now.
    pub(super) fn resident(pid: u32) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
        Some(kib * 1_024)
    }

    /// The one process that listens at a port.
    pub(super) fn listener(port: u16) -> Result<Process, String> {
        let tables =
            ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        let sockets: Vec<String> = tables
            .iter()
            .flat_map(|table| inodes(table, port))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        let mut found: Vec<Process> = processes().filter(|pid| holds(*pid, &sockets)).map(named).collect();
        // Whoever started it (systemd, say) may hold its socket too.
        if found.len() > 1 && found.iter().any(|process| process.name == "moorline") {
            found.retain(|process| process.name == "moorline");
        }
        match found.as_slice() {
            [process] => Ok(process.clone()),
            [] => Err(format!("no process of yours listens at port {port} here; --pid names the server's")),
            _ => Err(format!("several processes listen at port {port}; --pid names the server's")),
        }
    }

    /// Of the sockets that listen at a port, in a table of `/proc/net`.
    pub(super) fn inodes(table: &str, port: u16) -> Vec<&str> {
        let inode = |line| {
            let fields: Vec<&str> = str::split_whitespace(line).collect();
            let (local, state) = (fields.get(1)?, fields.get(3)?);
            let listens_at = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
            fields.get(9).copied().filter(|_| listens_at == port && *state == LISTENS)
        };
        table.lines().skip(1).filter_map(inode).collect()
    }

    fn processes() -> impl Iterator<Item = u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    fn holds(pid: u32, sockets: &[String]) -> bool {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    }
}

#[cfg(not(target_os = "linux"))]
fn named(pid: u32) -> Process {
    Process { pid, name: String::new() }
}

#[cfg(not(target_os = "linux"))]
fn resident(_pid: u32) -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn listener(_port: u16) -> Result<Process, String> {
    Err("the memory of other processes can be read on Linux alone".to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn whoever_listens_is_found_and_its_memory_read() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        let Memory::Known { process, before, .. } = Memory::begin(None, Some(port)) else {
            panic!("not found")
        };
        assert_eq!(process.pid, std::process::id());
        assert!(before > 100 * 1_024, "{before}");
        drop(listening);
        let Memory::Unknown(why) = Memory::begin(None, Some(port)) else { panic!("found") };
        assert!(why.contains("--pid"), "{why}");
    }

    #[test]
    fn the_table_of_sockets_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1\n\
             1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4343 1\n\
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4444 1\n";
        assert_eq!(linux::inodes(table, 8080), ["4242"]);
    }

    #[test]
    fn growth_is_shared_by_the_connections() {
        let process = Process { pid: 1, name: String::new() };
        let memory = Memory::Known { process, before: 1_000, idle: Some(200_800), after: Some(900) };
        assert_eq!(memory.per_connection(999), (Some(200), None));
        assert_eq!(memory.per_connection(998), (None, None));
    }
}
