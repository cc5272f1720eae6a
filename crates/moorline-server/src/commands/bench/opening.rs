//! Opening all connections, several at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dial::{DialError, Dialed, Dialer};
use super::member::{Ended, Member};
use super::run::Run;

/// Connections that are established and wait to be read from.
const HANDED_OVER_MAX: usize = 64;

/// How the opening went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening {
    pub(super) opened: u64,
    pub(super) took: Duration,
}

/// The first connection alone: where nobody is let in, nothing else is tried.
///
/// # Errors
/// Why not.
pub(super) async fn first(dialer: &Dialer, members: &mut JoinSet<Ended>) -> Result<bool, DialError> {
    let dialed = tokio::select! {
        dialed = dialer.dial(0) => dialed?,
        () = dialer.run.interrupted.cancelled() => return Ok(false),
    };
    admit(&dialer.run, members, dialed);
    Ok(true)
}

/// All others.
pub(super) async fn rest(dialer: &Arc<Dialer>, members: &mut JoinSet<Ended>) -> Opening {
    let run = &dialer.run;
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(1));
    let (sender, mut dialed) = mpsc::channel(HANDED_OVER_MAX);
    let mut workers = JoinSet::new();
    for _ in 0..run.plan.opening.min(run.plan.connections) {
        workers.spawn(work(Arc::clone(dialer), Arc::clone(&next), sender.clone()));
    }
    drop(sender);
    let (mut opened, mut took) = (0, Duration::ZERO);
    loop {
        tokio::select! {
            dialed = dialed.recv() => match dialed {
                Some(dialed) => {
                    admit(run, members, dialed);
                    (opened, took) = (opened + 1, began.elapsed());
                }
                None => break,
            },
            () = run.interrupted.cancelled() => break,
        }
    }
    // What was not opened by now is dropped with its worker.
    Opening { opened, took }
}

async fn work(dialer: Arc<Dialer>, next: Arc<AtomicU64>, opened: mpsc::Sender<Dialed>) {
    loop {
        let index = next.fetch_add(1, SeqCst);
        if index >= dialer.run.plan.connections {
            return;
        }
        match dialer.dial(index).await {
            Ok(dialed) => {
                if opened.send(dialed).await.is_err() {
                    return;
                }
            }
            Err(error) => dialer.run.failed.count(error.told()),
        }
    }
}

fn admit(run: &Arc<Run>, members: &mut JoinSet<Ended>, dialed: Dialed) {
    run.handshakes.record(0, u64::try_from(dialed.took.as_micros()).unwrap_or(u64::MAX));
    run.opened.fetch_add(1, SeqCst);
    run.alive.fetch_add(1, SeqCst);
    members.spawn(Member::new(run, dialed).live());
}
