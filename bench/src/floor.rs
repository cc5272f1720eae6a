//! The floor: the least that a WebSocket server can do. One epoll loop, a minimal handshake, and per publication one
//! `send()` of prebuilt bytes to each socket. It checks nothing: it exists to be divided by. Publications are asked for on its
//! input, or by a client's text frame: either is `publish COUNT`.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sha1::{Digest as _, Sha1};

use crate::args::Floor as Options;
use crate::frame;
use crate::publish::Texts;

const LISTENER: u64 = u64::MAX;
const CONTROL: u64 = u64::MAX - 1;
const BACKLOG: i32 = 4096;
const EVENTS: usize = 1024;
/// How soon bytes that did not fit into a socket are tried again.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

pub(crate) fn run(options: &Options) -> Result<()> {
    Floor::new(listen(options.listen)?, options.payload)?.serve(std::io::stdin().as_fd())
}

fn listen(address: SocketAddrV4) -> Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    net::sockopt::set_socket_reuseaddr(&listener, true)?;
    net::bind(&listener, &address).with_context(|| format!("binding {address}"))?;
    net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

#[derive(Debug)]
struct Peer {
    socket: OwnedFd,
    open: bool,
}

#[derive(Debug)]
struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// By descriptor.
    peers: Vec<Option<Peer>>,
    /// Requests that came in parts, and bytes that a socket did not take. Both are rare.
    requests: BTreeMap<usize, Vec<u8>>,
    unsent: BTreeMap<usize, Vec<u8>>,
    buffer: Vec<u8>,
    texts: Texts,
}

impl Floor {
    fn new(listener: OwnedFd, payload: u32) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            peers: Vec::new(),
            requests: BTreeMap::new(),
            unsent: BTreeMap::new(),
            buffer: vec![0; 16 * 1024],
            texts: Texts::new(payload)?,
        })
    }

    /// Until `control` ends.
    fn serve(mut self, control: impl AsFd) -> Result<()> {
        epoll::add(&self.epoll, &control, EventData::new_u64(CONTROL), EventFlags::IN)?;
        let mut events = Vec::with_capacity(EVENTS);
        let mut line = Vec::new();
        loop {
            let timeout = if self.unsent.is_empty() { None } else { Some(&RETRY) };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("epoll"),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    CONTROL => {
                        if !self.control(&control, &mut line)? {
                            return Ok(());
                        }
                    }
                    peer => self.read(usize::try_from(peer)?),
                }
            }
            self.retry();
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
            {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error).context("accept"),
            };
            net::sockopt::set_tcp_nodelay(&socket, true)?;
            let index = usize::try_from(socket.as_raw_fd())?;
            epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            if self.peers.len() <= index {
                self.peers.resize_with(index + 1, || None);
            }
            self.peers[index] = Some(Peer { socket, open: false });
        }
    }

    /// The request of a new peer, or a publication.
    fn read(&mut self, index: usize) {
        let Some(Some(peer)) = self.peers.get_mut(index) else { return };
        let length = match net::recv(&peer.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => return self.forget(index),
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => return self.forget(index),
        };
        if peer.open {
            let counts = orders(&self.buffer[..length]);
            return counts.into_iter().for_each(|count| self.publish(count));
        }
        let mut request = self.requests.remove(&index).unwrap_or_default();
        let whole = if request.is_empty() {
            &self.buffer[..length]
        } else {
            request.extend_from_slice(&self.buffer[..length]);
            &request
        };
        if !whole.ends_with(b"\r\n\r\n") {
            let request = whole.to_vec();
            self.requests.insert(index, request);
            return;
        }
        let sent =
            answer(whole).map(|answer| net::send(&peer.socket, answer.as_bytes(), SendFlags::NOSIGNAL));
        match sent {
            Some(Ok(_)) => peer.open = true,
            _ => self.forget(index),
        }
    }

    fn forget(&mut self, index: usize) {
        self.peers[index] = None;
        self.requests.remove(&index);
        self.unsent.remove(&index);
    }

    /// Whether there may be more to come.
    fn control(&mut self, control: impl AsFd, line: &mut Vec<u8>) -> Result<bool> {
        let length = rustix::io::read(control, &mut self.buffer[..])?;
        line.extend_from_slice(&self.buffer[..length]);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let text: Vec<u8> = line.drain(..=end).collect();
            let text = std::str::from_utf8(&text)?.trim();
            let count = text.strip_prefix("publish ").with_context(|| format!("unknown order {text:?}"))?;
            self.publish(count.parse()?);
        }
        Ok(length > 0)
    }

    fn publish(&mut self, count: u32) {
        let mut batch = Vec::new();
        for _ in 0..count {
            frame::push_text(&mut batch, self.texts.next().as_bytes());
        }
        for index in 0..self.peers.len() {
            self.send(index, &batch);
        }
    }

    fn send(&mut self, index: usize, bytes: &[u8]) {
        let Some(Some(peer)) = self.peers.get(index) else { return };
        if !peer.open {
            return;
        }
        if let Some(waiting) = self.unsent.get_mut(&index) {
            waiting.extend_from_slice(bytes);
            return;
        }
        match net::send(&peer.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => {}
            Ok(sent) => drop(self.unsent.insert(index, bytes[sent..].to_vec())),
            Err(Errno::AGAIN | Errno::INTR) => drop(self.unsent.insert(index, bytes.to_vec())),
            Err(_) => self.forget(index),
        }
    }

    fn retry(&mut self) {
        for (index, bytes) in std::mem::take(&mut self.unsent) {
            self.send(index, &bytes);
        }
    }
}

/// What a client asks for: several frames may have come at once.
fn orders(mut bytes: &[u8]) -> Vec<u32> {
    let mut counts = Vec::new();
    while let Some((count, rest)) = said(bytes) {
        counts.push(count);
        bytes = rest;
    }
    counts
}

/// How many messages the next frame asks for, and what follows it. Frames come whole, and masked with nothing.
fn said(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let length = usize::from(bytes.get(1)? & 0x7F);
    let rest = bytes.strip_prefix(&[0x80 | frame::TEXT, *bytes.get(1)?, 0, 0, 0, 0])?;
    let (order, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(order).ok()?.strip_prefix("publish ")?.parse().ok()?, rest))
}

/// The upgrade's answer, if the request has a key.
fn answer(request: &[u8]) -> Option<String> {
    let name = memmem::find(request, b"Sec-WebSocket-Key: ")?;
    let rest = &request[name + b"Sec-WebSocket-Key: ".len()..];
    let key = &rest[..memmem::find(rest, b"\r\n")?];
    let digest =
        Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write as _};
    use std::thread;

    use super::*;
    use crate::client::Crowd;
    use crate::manners::Manners;

    fn start() -> (SocketAddrV4, PipeWriter, thread::JoinHandle<Result<()>>) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = net::getsockname(&listener).unwrap().try_into().unwrap();
        let (control, orders) = std::io::pipe().unwrap();
        (address, orders, thread::spawn(move || Floor::new(listener, 300)?.serve(control)))
    }

    #[test]
    fn every_client_gets_every_message_once_and_in_order() {
        let (address, mut orders, floor) = start();
        let mut crowd = Crowd::new(address, Manners::Silent).unwrap();
        crowd.grow(5).unwrap();
        crowd.grow(20).unwrap();
        writeln!(orders, "publish 1").unwrap();
        crowd.receive(20).unwrap();
        orders.write_all(b"publish 1").unwrap();
        orders.write_all(b"00\npublish 5000\n").unwrap();
        crowd.receive(20 + 20 * 100 + 20 * 5_000).unwrap();
        crowd.say(&Manners::Silent.publication(2, "").unwrap()).unwrap();
        crowd.receive(20 + 20 * 100 + 20 * 5_000 + 20 * 2).unwrap();
        assert!(crowd.receive(20).is_err(), "more than were due");
        drop(orders);
        floor.join().unwrap().unwrap();
    }

    #[test]
    fn a_client_is_told_when_the_server_goes() {
        let (address, orders, floor) = start();
        let mut crowd = Crowd::new(address, Manners::Silent).unwrap();
        crowd.grow(1).unwrap();
        drop(orders);
        floor.join().unwrap().unwrap();
        assert!(format!("{:#}", crowd.receive(1).unwrap_err()).contains("client 0"));
    }

    #[test]
    fn only_a_publication_is_understood() {
        let asked = |count| Manners::Silent.publication(count, "").unwrap();
        assert_eq!(orders(&[asked(100), asked(1), asked(7)].concat()), [100, 1, 7]);
        for other in [&b""[..], b"\x81", b"\x81\x84\0\0\0\0ping", b"\x8A\x80\0\0\0\0"] {
            assert_eq!(orders(other), [0; 0]);
        }
    }

    #[test]
    fn the_answer_is_that_of_the_standard() {
        let request = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        assert!(answer(request).unwrap().contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_eq!(answer(b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}
