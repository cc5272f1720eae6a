//! The crowd: many WebSocket clients in one thread, which count what they are sent and check its order.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::frame::{self, Scanner};
use crate::manners::{ACCEPT, Manners, Talk};

/// Between two looks at the sockets. Whoever sleeps in epoll makes the server pay for waking it at every write.
pub(crate) const NAP: Duration = Duration::from_micros(150);
/// Handshakes under way at once: far below any server's backlog.
const WINDOW: usize = 64;
/// The same of clients that come back all at once.
const RETURN_WINDOW: usize = 512;
/// From one source address; Linux hands out some 28,000 ports.
const PER_SOURCE: usize = 20_000;
const EVENTS: usize = 4096;
const BUFFER_BYTES: usize = 64 * 1024;
const ANSWER_MAX_BYTES: usize = 16 * 1024;
const CONNECT_LIMIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// Without any progress for this long, a wait is given up.
pub(crate) const STALL_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Peer {
    socket: OwnedFd,
    /// The beginning of the upgrade's answer, when it came in parts.
    answer: Vec<u8>,
    scanner: Scanner,
    talk: Talk,
}

pub(crate) struct Crowd {
    server: SocketAddrV4,
    manners: Manners,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    peers: Vec<Peer>,
    /// The last message of each client that left.
    left: Vec<u64>,
    open: usize,
    delivered: u64,
}

impl Crowd {
    pub(crate) fn new(server: SocketAddrV4, manners: Manners) -> Result<Self> {
        Ok(Self {
            server,
            manners,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; BUFFER_BYTES],
            peers: Vec::new(),
            left: Vec::new(),
            open: 0,
            delivered: 0,
        })
    }

    pub(crate) fn server(&self) -> SocketAddrV4 {
        self.server
    }

    pub(crate) fn manners(&self) -> Manners {
        self.manners
    }

    /// Clients that are established.
    pub(crate) fn open(&self) -> u64 {
        self.open as u64
    }

    /// Messages received since the beginning.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The number of the last message that anyone has.
    pub(crate) fn last_id(&self) -> Result<u64> {
        self.peers.iter().map(|peer| peer.talk.last_id).max().context("nobody is connected")
    }

    /// Opens connections until there are `total`, each established.
    pub(crate) fn grow(&mut self, total: usize) -> Result<()> {
        let mut progress = Progress::new(self.open as u64);
        let window = if self.left.is_empty() { WINDOW } else { RETURN_WINDOW };
        while self.open < total {
            while self.peers.len() < total && self.peers.len() - self.open < window {
                self.connect().with_context(|| format!("connecting client {}", self.peers.len()))?;
            }
            self.look(&mut |_| Ok(()))?;
            if progress.stalled(self.open as u64) {
                bail!("only {} of {total} connections were established; none for {STALL_LIMIT:?}", self.open);
            }
        }
        Ok(())
    }

    /// All clients go, without a word. Those that are opened next come back to their sessions.
    pub(crate) fn leave(&mut self) {
        self.left = self.peers.drain(..).map(|peer| peer.talk.last_id).collect();
        self.open = 0;
    }

    /// Waits until `total` messages have been received since the beginning.
    pub(crate) fn receive(&mut self, total: u64) -> Result<()> {
        let mut progress = Progress::new(self.delivered);
        while self.delivered < total {
            self.look(&mut |_| Ok(()))?;
            if progress.stalled(self.delivered) {
                bail!("{} of {total} deliveries arrived; none for {STALL_LIMIT:?}", self.delivered);
            }
        }
        ensure!(self.delivered == total, "{} deliveries where {total} were due", self.delivered);
        Ok(())
    }

    /// The first client says something.
    pub(crate) fn say(&mut self, frames: &[u8]) -> Result<()> {
        let peer = self.peers.first().context("nobody is connected")?;
        let sent = net::send(&peer.socket, frames, SendFlags::NOSIGNAL).context("publishing")?;
        ensure!(sent == frames.len(), "the first client's socket took {sent} of {} bytes", frames.len());
        Ok(())
    }

    fn connect(&mut self) -> Result<()> {
        let index = self.peers.len();
        let socket = dial(self.server, source(index)?)?;
        let last_id = self.left.get(index).copied();
        let request = self.manners.request(self.server, index, last_id);
        let sent =
            net::send(&socket, request.as_bytes(), SendFlags::NOSIGNAL).context("sending the upgrade")?;
        ensure!(sent == request.len(), "a new socket did not take the upgrade request");
        epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        self.peers.push(Peer {
            socket,
            answer: Vec::new(),
            scanner: Scanner::default(),
            talk: Talk::new(self.manners, last_id),
        });
        Ok(())
    }

    /// Reads what has arrived, and naps if that was not much. `each` is called with the number of every message.
    pub(crate) fn look(&mut self, each: &mut impl FnMut(u64) -> Result<()>) -> Result<()> {
        if !self.glance(each)? {
            thread::sleep(NAP);
        }
        Ok(())
    }

    /// Reads what has arrived. Whether that was so much that more may be there.
    pub(crate) fn glance(&mut self, each: &mut impl FnMut(u64) -> Result<()>) -> Result<bool> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        let busy = self.events.len() == EVENTS;
        let delivered = &mut self.delivered;
        let mut counted = |id| {
            *delivered += 1;
            each(id)
        };
        for event in self.events.drain(..) {
            let index = usize::try_from(event.data.u64())?;
            let peer = &mut self.peers[index];
            let was_open = peer.talk.is_open();
            peer.read(&mut self.buffer, &mut counted)
                .with_context(|| format!("client {index} of {}", self.server))?;
            self.open += usize::from(!was_open && peer.talk.is_open());
        }
        Ok(busy)
    }
}

impl Peer {
    fn read(&mut self, buffer: &mut [u8], each: &mut impl FnMut(u64) -> Result<()>) -> Result<()> {
        let length = match net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => bail!("the server ended the connection"),
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("receiving"),
        };
        if !self.talk.is_upgrading() {
            return self.frames(&buffer[..length], each);
        }
        self.answer.extend_from_slice(&buffer[..length]);
        let Some(end) = memmem::find(&self.answer, b"\r\n\r\n") else {
            ensure!(self.answer.len() < ANSWER_MAX_BYTES, "an endless answer to the upgrade");
            return Ok(());
        };
        let answer = std::mem::take(&mut self.answer);
        let (head, rest) = answer.split_at(end + 4);
        let upgraded = head.starts_with(b"HTTP/1.1 101 ") && memmem::find(head, ACCEPT).is_some();
        ensure!(upgraded, "the upgrade was answered by {}", frame::shown(&answer));
        self.talk.upgraded();
        self.frames(rest, each)
    }

    fn frames(&mut self, bytes: &[u8], each: &mut impl FnMut(u64) -> Result<()>) -> Result<()> {
        let Self { socket, scanner, talk, .. } = self;
        let mut said = Vec::new();
        scanner.feed(bytes, |opcode, payload| talk.hear((opcode, payload), &mut said, each))?;
        if !said.is_empty() {
            let sent = net::send(&*socket, &said, SendFlags::NOSIGNAL).context("answering")?;
            ensure!(sent == said.len(), "a socket took {sent} of {} bytes", said.len());
        }
        Ok(())
    }
}

/// `None` while the kernel's choice has ports enough.
fn source(index: usize) -> Result<Option<Ipv4Addr>> {
    Ok(match u8::try_from(index / PER_SOURCE)? {
        0 => None,
        number => Some(Ipv4Addr::new(127, 0, 0, number.checked_add(1).context("too many connections")?)),
    })
}

/// A socket that does not block, and that leaves no port behind when it is closed.
pub(crate) fn unconnected() -> Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    net::sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

/// The same, connected.
fn dial(server: SocketAddrV4, source: Option<Ipv4Addr>) -> Result<OwnedFd> {
    let socket = unconnected()?;
    if let Some(source) = source {
        net::bind(&socket, &SocketAddrV4::new(source, 0)).with_context(|| format!("binding {source}"))?;
    }
    connect(&socket, server)?;
    Ok(socket)
}

pub(crate) fn connect(socket: &OwnedFd, server: SocketAddrV4) -> Result<()> {
    match net::connect(socket, &server) {
        Ok(()) => return Ok(()),
        Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error).context("connect"),
    }
    let ready = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&CONNECT_LIMIT))?;
    ensure!(ready == 1, "the server did not accept within {} s", CONNECT_LIMIT.tv_sec);
    net::sockopt::socket_error(socket)?.context("connect")
}

/// When something was last seen to move.
#[derive(Debug)]
pub(crate) struct Progress {
    last: u64,
    at: Instant,
}

impl Progress {
    pub(crate) fn new(value: u64) -> Self {
        Self { last: value, at: Instant::now() }
    }

    pub(crate) fn stalled(&mut self, value: u64) -> bool {
        if value != self.last {
            *self = Self::new(value);
        }
        self.at.elapsed() > STALL_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_addresses_change_before_ports_run_out() {
        assert_eq!(source(19_999).unwrap(), None);
        assert_eq!(source(20_000).unwrap(), Some(Ipv4Addr::new(127, 0, 0, 2)));
        assert_eq!(source(60_000).unwrap(), Some(Ipv4Addr::new(127, 0, 0, 4)));
    }

    #[test]
    fn a_wait_ends_only_without_progress() {
        let mut progress = Progress::new(0);
        assert!(!progress.stalled(0));
        progress.at = Instant::now().checked_sub(STALL_LIMIT * 2).unwrap();
        assert!(!progress.stalled(1), "it moved");
        progress.at = Instant::now().checked_sub(STALL_LIMIT * 2).unwrap();
        assert!(progress.stalled(1));
    }
}
