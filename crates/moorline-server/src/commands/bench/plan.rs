//! What is to be measured, checked before anything is done.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use moorline::{Pattern, RoomName};

use super::Bench;
use super::schedule::Schedule;
use crate::client::TokenSource;
use crate::exit::UsageError;

/// Open files beside those of connections: the runtime's, standard streams, requests over HTTP, `/proc`.
const FILES_SPARE: u64 = 128;
/// More source addresses than that make no sense: 64 of them reach 1.8 million connections.
const SOURCES_MAX: usize = 64;
/// Around the names of users and rooms: `bench:` + 8 digits + `:` + a number.
const PREFIX_MAX: usize = 200;

/// How messages are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Road {
    /// By a member of the room, over its WebSocket.
    #[default]
    Socket,
    /// By requests to /v1/publish and /v1/batch, as a backend does.
    Http,
}

/// What the connections do once they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Nothing.
    Idle,
    /// In each room a burst, and the next one as soon as everyone has it.
    Closed,
    /// Bursts at fixed moments.
    Open(Schedule),
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) connections: u64,
    pub(super) rooms: u64,
    pub(super) load: Load,
    pub(super) length: Duration,
    pub(super) payload: usize,
    pub(super) burst: u64,
    pub(super) road: Road,
    /// Connections that are opened at the same time.
    pub(super) opening: u64,
    pub(super) from: Vec<IpAddr>,
    /// The room names' first part.
    pub(super) prefix: String,
    /// Eight random digits: what tells the names of this run from those of others.
    pub(super) run: String,
}

impl Plan {
    /// # Errors
    /// Options that do not fit one another.
    pub(super) fn new(arguments: &Bench) -> anyhow::Result<Self> {
        let rooms = u64::from(arguments.rooms);
        let connections = u64::from(arguments.connections);
        if rooms > connections {
            let why = format!("--rooms {rooms} needs as many --connections: there are {connections}");
            return Err(UsageError::new(why).into());
        }
        if arguments.from.len() > SOURCES_MAX {
            return Err(UsageError::new(format!("--from takes up to {SOURCES_MAX} addresses")).into());
        }
        let burst = u64::from(arguments.burst);
        let load = match (arguments.idle, arguments.rate) {
            (Some(_), _) => Load::Idle,
            (None, None) => Load::Closed,
            (None, Some(rate)) => Load::Open(Schedule { per_second: u64::from(rate), burst, rooms }),
        };
        let plan = Self {
            connections,
            rooms,
            load,
            length: Duration::from_secs(arguments.idle.unwrap_or(arguments.seconds).into()),
            payload: arguments.payload as usize,
            burst,
            road: arguments.publish,
            opening: u64::from(arguments.opening),
            from: arguments.from.clone(),
            prefix: arguments.prefix.clone(),
            run: format!("{:08x}", getrandom::u32()?),
        };
        plan.check_name()?;
        Ok(plan)
    }

    pub(super) fn room(&self, index: u64) -> String {
        format!("{}{}:{index}", self.prefix, self.run)
    }

    /// Each connection has a user of its own: a user may have few.
    pub(super) fn user(&self, index: u64) -> String {
        format!("bench-{}-{index}", self.run)
    }

    /// How long tokens have to count; none where as long as a server gives by itself (15 minutes) will do. Nobody knows
    /// how long the opening takes; no server gives more than a day unless it is told to.
    pub(super) fn token_lifetime(&self) -> Option<Duration> {
        const SHORT: Duration = Duration::from_secs(600);
        const OPENING: Duration = Duration::from_secs(1_800);
        const DAY: Duration = Duration::from_secs(86_400);
        (self.length > SHORT).then(|| DAY.min(self.length + OPENING))
    }

    fn check_name(&self) -> Result<(), UsageError> {
        let wrong = |why: String| UsageError::new(format!("--prefix {why}"));
        if self.prefix.len() > PREFIX_MAX {
            return Err(wrong(format!("has up to {PREFIX_MAX} bytes")));
        }
        RoomName::new(&self.room(0)).map(drop).map_err(|why| wrong(why.to_string()))
    }

    /// In a token a room's name is a pattern.
    ///
    /// # Errors
    /// It would stand for other rooms too.
    pub(super) fn check_pattern(&self, tokens: &TokenSource) -> Result<(), UsageError> {
        let is_many = Pattern::new(&self.room(0)).is_ok_and(|name| name.is_many());
        if matches!(tokens, TokenSource::Minted) && is_many {
            let why = "--prefix with a `*` would stand for other rooms too, in the tokens that are asked for";
            return Err(UsageError::new(why));
        }
        Ok(())
    }

    /// Makes room for so many open files.
    ///
    /// # Errors
    /// There cannot be so many.
    #[cfg(unix)]
    pub(super) fn check_files(&self) -> anyhow::Result<()> {
        use anyhow::Context as _;
        let needed = self.connections + FILES_SPARE;
        let most = rlimit::increase_nofile_limit(needed).context("raising the limit of open files")?;
        if most >= needed {
            return Ok(());
        }
        let why = format!(
            "{} connections need {needed} open files, and this shell allows {most}: `ulimit -n {needed}` before the start \
             (as root, or in /etc/security/limits.conf, where it says that this is not permitted), or fewer with --connections",
            self.connections
        );
        Err(UsageError::new(why).into())
    }

    /// What cannot be asked for here shows when connections are opened.
    #[cfg(not(unix))]
    pub(super) fn check_files(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// # Errors
    /// One address of this machine has not so many ports.
    pub(super) fn check_ports(&self) -> Result<(), UsageError> {
        let Some(ports) = local_ports() else { return Ok(()) };
        let sources = (self.from.len() as u64).max(1);
        if self.connections <= ports * sources {
            return Ok(());
        }
        let needed = self.connections.div_ceil(ports);
        Err(UsageError::new(format!(
            "this machine has {ports} ports for connections from each of its addresses to one server: name {needed} addresses \
             with --from (on Linux every address of 127.0.0.0/8 leads to this machine: --from 127.0.0.1,127.0.0.2,…), \
             or widen net.ipv4.ip_local_port_range"
        )))
    }
}

/// Ports that the system chooses from; none where it does not say.
#[cfg(target_os = "linux")]
fn local_ports() -> Option<u64> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u64>);
    let (low, high) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some(high.saturating_sub(low) + 1)
}

#[cfg(not(target_os = "linux"))]
fn local_ports() -> Option<u64> {
    None
}

/// The address as other commands take it: WebSockets are below it, at `/ws` and `/ws/{room}`. That of a room, as
/// `moorline dev` prints it, is taken for its server's: the benchmark has rooms and users of its own.
///
/// # Errors
/// It is of another kind than what `named` may give.
pub(super) fn over_http(address: &str, named: &str) -> Result<String, UsageError> {
    let after = |scheme: &str| {
        let head = address.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &address[scheme.len()..])
    };
    for (scheme, http) in [("ws://", "http://"), ("wss://", "https://")] {
        if let Some(rest) = after(scheme) {
            return Ok(format!("{http}{}", without_socket(rest)));
        }
    }
    if after("http://").is_some() || after("https://").is_some() {
        return Ok(address.to_owned());
    }
    // The text is not repeated: it may hold a password.
    let why = "must begin with ws://, wss://, http:// or https://, as in ws://127.0.0.1:8080";
    Err(UsageError::new(format!("{named} {why}")))
}

/// What is before `/ws`, `/ws/{room}` and `?user={user}`. Another query stays, and is refused: a token has no place there.
fn without_socket(address: &str) -> &str {
    let plain = match address.split_once('?') {
        Some((path, query)) if query.starts_with("user=") && !query.contains('&') => path,
        Some(_) => return address,
        None => address,
    };
    let plain = plain.trim_end_matches('/');
    let above_room = plain.rsplit_once('/').and_then(|(above, _room)| above.strip_suffix("/ws"));
    above_room.or_else(|| plain.strip_suffix("/ws")).unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_websockets_are_those_of_their_servers() {
        for (given, expected) in [
            ("ws://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("ws://127.0.0.1:8080/ws", "http://127.0.0.1:8080"),
            ("WSS://a.example/below/ws/", "https://a.example/below"),
            ("wss://a.example/", "https://a.example"),
            ("ws://127.0.0.1:8080/ws/lobby?user=ann", "http://127.0.0.1:8080"),
            ("wss://a/below/ws/a%2Fb", "https://a/below"),
            ("ws://a/ws/ws", "http://a"),
            ("ws://ws/lobby", "http://ws/lobby"),
            ("ws://a/ws/lobby?user=ann&token=t", "http://a/ws/lobby?user=ann&token=t"),
            ("http://a/ws", "http://a/ws"),
            ("https://a/", "https://a/"),
        ] {
            assert_eq!(over_http(given, "the URL").unwrap(), expected, "{given}");
        }
        for wrong in ["", "a.example", "ftp://hunter2@a", "ws", "wsé//"] {
            assert!(!over_http(wrong, "the URL").unwrap_err().to_string().contains("hunter2"));
        }
    }
}
