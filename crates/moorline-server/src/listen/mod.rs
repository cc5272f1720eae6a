//! The HTTP server's sockets: accepts, serves, and stops.

mod accept;
mod connection;
mod descriptors;
mod places;
mod signals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{Head, Service};
pub(crate) use self::descriptors::raise as raise_descriptors;
pub(crate) use self::places::Most;
use self::places::Places;
pub(crate) use self::signals::stop_signal;
use crate::http::Front;
use crate::settings::Settings;
use crate::tls::Tls;

/// How many connections may wait to be accepted: a crowd that comes back at once. The system may allow fewer.
const BACKLOG: u32 = 4_096;
/// How long requests that are being answered at the end may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A running HTTP server.
pub(crate) struct Server {
    stopped: CancellationToken,
    tracker: TaskTracker,
}

/// The socket to accept on: the one that was handed down to this process, or else one on `address`.
///
/// # Errors
/// The address is taken, or not this machine's.
pub(crate) fn open(
    address: SocketAddr,
    inherited: Option<std::net::TcpListener>,
) -> anyhow::Result<TcpListener> {
    if let Some(listener) = inherited {
        listener.set_nonblocking(true).context("taking the inherited socket over")?;
        return TcpListener::from_std(listener).context("taking the inherited socket over");
    }
    bind(address).with_context(|| {
        format!("cannot listen on {address}: choose another address with --listen, or free it")
    })
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart old connections may still hold the address. On Windows the same option would let others take it.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Begins to accept: TLS where `tls` is given, else plain TCP.
    pub(crate) fn start(
        listener: TcpListener,
        front: Front,
        tls: Option<Arc<Tls>>,
        settings: &Settings,
        most: Most,
    ) -> Self {
        let head = Head { max_bytes: settings.head_max_bytes, timeout: settings.head_timeout };
        let places = Places::new(most, settings.trusted_proxies.clone());
        Self::within(head, listener, front, tls, places)
    }

    fn within(
        head: Head,
        listener: TcpListener,
        front: Front,
        tls: Option<Arc<Tls>>,
        places: Arc<Places>,
    ) -> Self {
        let (stopped, tracker) = (CancellationToken::new(), TaskTracker::new());
        let service = Arc::new(Service { front, tls, head, places, stopped: stopped.clone() });
        tracker.spawn(accept::run(listener, service, tracker.clone()));
        Self { stopped, tracker }
    }

    /// Stops accepting, and lets what is being answered be answered.
    pub(crate) async fn stop(self) {
        self.stopped.cancel();
        self.tracker.close();
        // Whoever has not been answered by then sees the connection end.
        let _late = tokio::time::timeout(LAST_ANSWERS, self.tracker.wait()).await;
    }
}

#[cfg(test)]
mod tests;
