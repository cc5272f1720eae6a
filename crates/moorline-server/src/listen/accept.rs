//! The loop that accepts. Nothing that a connection does, and no lack of the system's, ends it or makes it spin.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connection::{self, Service};
use super::places::Full;

/// How long to wait when the system has no descriptor for another connection: one must be closed first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How many connections in a row may be lost before that is taken for a lack as well, so that the loop never spins.
const LOST_IN_A_ROW: u32 = 64;
/// How often a lack may be logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What became of an accepted socket, for the metrics.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It is served.
    Accepted,
    /// It was gone before it was accepted.
    Aborted,
    /// There are as many as a limit lets in.
    Refused,
    /// The system had nothing left for it; it waits, or was dropped by the system.
    Exhausted,
    /// It spoke no TLS that is spoken here.
    TlsFailed,
    /// It did not end its TLS handshake in time.
    TlsTimeout,
}

impl Outcome {
    pub(super) fn count(self) {
        let outcome = match self {
            Self::Accepted => "accepted",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
            Self::TlsFailed => "tls_failed",
            Self::TlsTimeout => "tls_timeout",
        };
        metrics::counter!("moorline_accepts_total", "outcome" => outcome).increment(1);
    }
}

/// Accepts until the service is stopped.
pub(super) async fn run(listener: TcpListener, service: Arc<Service>, tracker: TaskTracker) {
    let (mut lacks, mut refusals, mut lost) = (Complaints::default(), Complaints::default(), 0_u32);
    loop {
        let accepted = tokio::select! {
            biased;
            () = service.stopped.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                lost = 0;
                match service.places.take(peer.ip()) {
                    Ok(place) => {
                        drop(tracker.spawn(connection::serve(stream, peer, place, Arc::clone(&service))));
                    }
                    Err(full) => refusals.refused(full, peer),
                }
            }
            Err(error) if is_of_the_connection(&error) && lost < LOST_IN_A_ROW => {
                lost += 1;
                Outcome::Aborted.count();
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                lost = 0;
                Outcome::Exhausted.count();
                lacks.lacking(&error);
                // A stop need not wait for this: the loop sees it next.
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Whether it was the one connection's trouble: the next may be accepted at once.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::HostUnreachable
            | Kind::PermissionDenied // a firewall's word on Linux
    )
}

/// Logs now and then what repeats many times a second.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    fn lacking(&mut self, error: &io::Error) {
        let Some(unsaid) = self.due(Instant::now()) else { return };
        tracing::warn!(
            %error,
            unsaid,
            "connections cannot be accepted: where files run out, raise the limit (LimitNOFILE, ulimit -n)"
        );
    }

    fn refused(&mut self, Full(limit): Full, peer: SocketAddr) {
        Outcome::Refused.count();
        metrics::counter!("moorline_refused_total", "limit" => limit.trim_start_matches("limits."))
            .increment(1);
        let Some(unsaid) = self.due(Instant::now()) else { return };
        let address = peer.ip();
        tracing::warn!(%address, limit, unsaid, "a connection was closed at once: too many are open that speak HTTP");
    }

    /// Where it is time to log again: how many were not logged since the last one that was.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < LOG_EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_lack_is_waited_out_and_a_lost_connection_is_not() {
        for (number, name, is_lost) in [
            (24, "EMFILE", false),
            (23, "ENFILE", false),
            (12, "ENOMEM", false),
            (105, "ENOBUFS", false),
            (22, "EINVAL", false),
            (103, "ECONNABORTED", true),
            (104, "ECONNRESET", true),
            (4, "EINTR", true),
            (1, "EPERM", true),
            (100, "ENETDOWN", true),
            (113, "EHOSTUNREACH", true),
        ] {
            assert_eq!(is_of_the_connection(&io::Error::from_raw_os_error(number)), is_lost, "{name}");
        }
    }

    #[test]
    fn a_lack_is_logged_now_and_then() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        let logged: Vec<u64> =
            (0..250).filter_map(|tick| complaints.due(start + ACCEPT_AGAIN * tick)).collect();
        assert_eq!(logged, [0, 99, 99]);
        assert_eq!(complaints.unsaid, 49);
    }
}
