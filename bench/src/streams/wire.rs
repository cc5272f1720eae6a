//! The connections of producers and readers, in this thread.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};

use super::heard::Frame;
use crate::client::{self, NAP};
use crate::frame::{self, Scanner, shown};
use crate::manners::{ACCEPT, KEY, closing};

const EVENTS: usize = 4096;
const BUFFER_BYTES: usize = 256 * 1024;
const GREETING_LIMIT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

struct Link {
    socket: OwnedFd,
    scanner: Scanner,
    /// What is not sent yet.
    out: Vec<u8>,
    /// It is among those that have something to send.
    queued: bool,
    /// Heartbeats that came.
    pings: u64,
}

pub(crate) struct Wire {
    server: SocketAddrV4,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    links: Vec<Link>,
    unsent: Vec<usize>,
}

impl Wire {
    pub(crate) fn new(server: SocketAddrV4) -> Result<Self> {
        Ok(Self {
            server,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; BUFFER_BYTES],
            links: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// Opens a connection; the number that it has from now on. `receive_bytes` bounds what the kernel keeps for it.
    pub(crate) fn connect(&mut self, user: &str, receive_bytes: Option<usize>) -> Result<usize> {
        let socket = client::unconnected()?;
        if let Some(bytes) = receive_bytes {
            net::sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        client::connect(&socket, self.server)?;
        let request = format!(
            "GET /ws?user={user} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            self.server
        );
        let sent = net::send(&socket, request.as_bytes(), SendFlags::NOSIGNAL).context("the upgrade")?;
        ensure!(sent == request.len(), "a new socket did not take the upgrade request");
        let mut link = Link { socket, scanner: Scanner::default(), out: Vec::new(), queued: false, pings: 0 };
        link.greet(&mut self.buffer).with_context(|| format!("connecting {user}"))?;
        let number = self.links.len();
        self.links.push(link);
        self.wake(number)?;
        Ok(number)
    }

    /// Heartbeats that came, of all connections.
    pub(crate) fn pings(&self) -> u64 {
        self.links.iter().map(|link| link.pings).sum()
    }

    /// Sends a text frame; it leaves with the next look.
    pub(crate) fn say(&mut self, link: usize, text: &str) {
        let Link { out, queued, .. } = &mut self.links[link];
        frame::push_said(out, text.as_bytes());
        if !std::mem::replace(queued, true) {
            self.unsent.push(link);
        }
    }

    /// From now on nothing is read from it.
    pub(crate) fn sleep(&mut self, link: usize) -> Result<()> {
        epoll::delete(&self.epoll, &self.links[link].socket).context("epoll")
    }

    pub(crate) fn wake(&mut self, link: usize) -> Result<()> {
        let data = EventData::new_u64(link as u64);
        epoll::add(&self.epoll, &self.links[link].socket, data, EventFlags::IN).context("epoll")
    }

    /// Sends what waits, hands over whatever has arrived, and naps.
    pub(crate) fn look(&mut self, mut each: impl FnMut(usize, &Frame<'_>) -> Result<()>) -> Result<()> {
        self.flush()?;
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in self.events.drain(..) {
            let number = usize::try_from(event.data.u64())?;
            let link = &mut self.links[number];
            link.read(&mut self.buffer, |frame| each(number, frame))
                .with_context(|| format!("connection {number}"))?;
            if !link.out.is_empty() && !std::mem::replace(&mut link.queued, true) {
                self.unsent.push(number);
            }
        }
        thread::sleep(NAP);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let links = &mut self.links;
        let mut failed = Ok(());
        self.unsent.retain(|number| {
            let link = &mut links[*number];
            if let Err(error) = link.flush() {
                failed = Err(error).with_context(|| format!("connection {number}"));
            }
            link.queued = !link.out.is_empty();
            link.queued
        });
        failed
    }
}

impl Link {
    /// Waits for the answer to the upgrade and for `connection_established`.
    fn greet(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut answer = Vec::new();
        let mut upgraded = false;
        loop {
            let ready = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&GREETING_LIMIT))?;
            ensure!(ready == 1, "no greeting within {} s", GREETING_LIMIT.tv_sec);
            let length = self.receive(buffer)?;
            answer.extend_from_slice(&buffer[..length]);
            if !upgraded {
                let Some(end) = memmem::find(&answer, b"\r\n\r\n") else { continue };
                upgraded = answer.starts_with(b"HTTP/1.1 101 ") && memmem::find(&answer, ACCEPT).is_some();
                ensure!(upgraded, "the upgrade was answered by {}", shown(&answer));
                answer.drain(..end + 4);
            }
            let mut greeted = false;
            self.scanner.feed(&std::mem::take(&mut answer), |_, payload| {
                greeted = Frame::parse(payload)?.kind == "connection_established";
                ensure!(greeted, "the server began with {}", shown(payload));
                Ok(())
            })?;
            if greeted {
                return Ok(());
            }
        }
    }

    /// 0 where there is nothing now.
    fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        match net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => bail!("the server ended the connection"),
            Ok((length, _)) => Ok(length),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error).context("receiving"),
        }
    }

    /// Answers pings, and hands over the other frames.
    fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(&Frame<'_>) -> Result<()>) -> Result<()> {
        let length = self.receive(buffer)?;
        let Self { scanner, out, pings, .. } = self;
        scanner.feed(&buffer[..length], |opcode, payload| {
            match opcode {
                frame::TEXT => {
                    let frame = Frame::parse(payload)?;
                    if frame.kind == "ping" {
                        *pings += 1;
                        frame::push_said(out, br#"{"type":"pong"}"#);
                        return Ok(());
                    }
                    return each(&frame).with_context(|| shown(payload));
                }
                frame::PING => out.extend_from_slice(&frame::pong(payload)),
                frame::PONG => {}
                frame::CLOSE => bail!("the server closed: {}", closing(payload)),
                _ => bail!("a frame with opcode {opcode}"),
            }
            Ok(())
        })
    }

    /// Sends as much as the socket takes.
    fn flush(&mut self) -> Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match net::send(&self.socket, &self.out[sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(length) => sent += length,
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error).context("sending"),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }
}
