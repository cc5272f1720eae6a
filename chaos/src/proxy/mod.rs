//! A TCP proxy that does to each connection what a network can do to it, on demand. Needs no rights.

mod pump;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of the bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Pass,
    /// Nothing is read, and no end is told: a cable that was pulled, or a reader that is frozen.
    Hold,
    /// In pieces of at most so many bytes.
    Slice(usize),
    /// So many bytes in a second.
    Throttle(usize),
    /// After so many more bytes both sides get RST.
    Cut(usize),
    /// Both sides get RST.
    Reset,
    /// This direction ends with FIN; the other goes on.
    HalfClose,
}

/// One connection through the proxy.
#[derive(Debug)]
pub(crate) struct Link {
    up: watch::Sender<Flow>,
    down: watch::Sender<Flow>,
}

impl Link {
    /// From the client to the server, and back.
    pub(crate) fn set(&self, up: Flow, down: Flow) {
        self.up.send_replace(up);
        self.down.send_replace(down);
    }
}

type Links = Arc<Mutex<HashMap<SocketAddr, Arc<Link>>>>;

/// A listener in front of the server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddrV4,
    links: Links,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddrV4) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the proxy's listener")?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port());
        let links = Links::default();
        let task = tokio::spawn(accept(listener, server, Arc::clone(&links)));
        Ok(Self { address, links, task })
    }

    pub(crate) const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The connection that a client has opened from this address.
    pub(crate) fn link(&self, client: SocketAddr) -> Option<Arc<Link>> {
        lock(&self.links).get(&client).cloned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(links: &Links) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<Link>>> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, server: SocketAddrV4, links: Links) {
    loop {
        match listener.accept().await {
            Ok((client, address)) => {
                let (up, from_client) = watch::channel(Flow::Pass);
                let (down, from_server) = watch::channel(Flow::Pass);
                lock(&links).insert(address, Arc::new(Link { up, down }));
                let links = Arc::clone(&links);
                tokio::spawn(async move {
                    carry(client, server, from_client, from_server).await;
                    lock(&links).remove(&address);
                });
            }
            // Out of descriptors: some are given back soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn carry(
    client: TcpStream,
    server: SocketAddrV4,
    mut up: watch::Receiver<Flow>,
    mut down: watch::Receiver<Flow>,
) {
    let Ok(server) = TcpStream::connect(server).await else { return reset(&client) };
    for stream in [&client, &server] {
        // Without it the proxy is only slower.
        let _slower = stream.set_nodelay(true);
    }
    let carried =
        tokio::try_join!(pump::pump(&client, &server, &mut up), pump::pump(&server, &client, &mut down));
    if carried.is_err() {
        reset(&client);
        reset(&server);
    }
}

/// Lets the connection end with RST as soon as it is dropped.
fn reset(stream: &TcpStream) {
    // Where it fails the connection is gone already.
    let _gone = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
