//! The HTTP server's sockets: accepts, serves, and stops.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::settings::Settings;

/// How long to wait when the system has no descriptor for another connection: one must be closed first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long requests that are being answered at the end may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A running HTTP server.
pub(crate) struct Server {
    stopped: CancellationToken,
    tracker: TaskTracker,
}

/// What every connection of a server shares.
struct Service {
    router: Router,
    head_max_bytes: usize,
    head_timeout: Duration,
    stopped: CancellationToken,
}

/// Stub.
pub(crate) fn open(
    address: std::net::SocketAddr,
    _inherited: Option<std::net::TcpListener>,
) -> anyhow::Result<TcpListener> {
    use anyhow::Context as _;
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!("listening on {address}: choose another address with --listen, or free it")
    })?;
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

impl Server {
    /// Begins to accept.
    pub(crate) fn start(
        listener: TcpListener,
        router: Router,
        _tls: Option<Arc<crate::tls::Tls>>,
        settings: &Settings,
    ) -> Self {
        let (stopped, tracker) = (CancellationToken::new(), TaskTracker::new());
        let service = Arc::new(Service {
            router,
            head_max_bytes: settings.head_max_bytes,
            head_timeout: settings.head_timeout,
            stopped: stopped.clone(),
        });
        tracker.spawn(accept(listener, service, tracker.clone()));
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

async fn accept(listener: TcpListener, service: Arc<Service>, tracker: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = service.stopped.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tracker.spawn(serve(stream, Arc::clone(&service)))),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, service: Arc<Service>) {
    let router = TowerToHyperService::new(service.router.clone());
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(service.head_timeout)
        .max_buf_size(service.head_max_bytes)
        .half_close(false);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), router).with_upgrades());
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = service.stopped.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

/// Resolves when the program is told to stop: SIGTERM or Ctrl-C.
///
/// # Errors
/// The system does not let us listen for signals.
#[cfg(unix)]
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Resolves when the program is told to stop: Ctrl-C.
///
/// # Errors
/// The system does not let us listen for signals.
#[cfg(not(unix))]
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
