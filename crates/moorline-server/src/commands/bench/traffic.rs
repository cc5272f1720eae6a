//! The time in which messages are published.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::http;
use super::plan::{Load, Road};
use super::run::Run;
use super::schedule::Schedule;
use crate::client::Server;

/// How often it is looked whether everything has come.
const LOOK: Duration = Duration::from_millis(20);
/// So long without any delivery: what has not come does not come.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How long the rest may take at all.
const REST_MAX: Duration = Duration::from_secs(60);
/// The longest that the thread which keeps the time sleeps before it looks whether it is over.
const NAP: Duration = Duration::from_millis(50);

/// What was counted at the end of the traffic, before the rest came: for rates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) took: Duration,
    pub(super) published: u64,
    pub(super) delivered: u64,
    /// Due by then, and not sent.
    pub(super) unsent: u64,
}

/// Lets the publishers publish for as long as planned, and waits for the rest.
///
/// # Errors
/// There cannot be another thread.
pub(super) async fn traffic(run: &Arc<Run>, server: &Arc<Server>) -> std::io::Result<Traffic> {
    let mut publishers = JoinSet::new();
    if run.plan.road == Road::Http && run.plan.load != Load::Idle {
        let at_once = Arc::new(Semaphore::new(http::AT_ONCE));
        for room in &run.rooms {
            publishers.spawn(http::publish(
                Arc::clone(run),
                Arc::clone(room),
                Arc::clone(server),
                Arc::clone(&at_once),
            ));
        }
    }
    let began = run.begin_traffic();
    if let Load::Open(schedule) = run.plan.load {
        keep_time(run, schedule, began)?;
    }
    if run.alive.load(SeqCst) > 0 {
        tokio::select! {
            () = tokio::time::sleep(run.plan.length) => {}
            () = run.over.cancelled() => {}
            () = run.interrupted.cancelled() => {}
        }
    }
    run.over.cancel();
    let took = began.elapsed();
    let unsent: usize = run.rooms.iter().map(|room| room.due.available_permits()).sum();
    let traffic = Traffic {
        took,
        published: run.sum(|room| &room.accepted),
        delivered: run.sum(|room| &room.received),
        unsent: unsent as u64 * run.plan.burst,
    };
    // The requests that are under way are answered, so that it is known what there is to wait for.
    let answered = async { while publishers.join_next().await.is_some() {} };
    tokio::select! {
        () = answered => {}
        () = run.hurried.cancelled() => {}
    }
    rest(run).await;
    Ok(traffic)
}

/// Waits until everyone has everything, or nothing comes any more.
async fn rest(run: &Run) {
    let (began, mut last, mut count) = (Instant::now(), Instant::now(), 0);
    loop {
        if run.rooms.iter().all(|room| room.is_complete()) || run.alive.load(SeqCst) == 0 {
            return;
        }
        let now = run.sum(|room| &room.received) + run.sum(|room| &room.answered);
        if now != count {
            (count, last) = (now, Instant::now());
        }
        if last.elapsed() > QUIET_MAX || began.elapsed() > REST_MAX {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = run.hurried.cancelled() => return,
        }
    }
}

/// Tells the rooms when their bursts are due, from a thread of its own: the runtime's clock has steps of a millisecond.
fn keep_time(run: &Arc<Run>, schedule: Schedule, began: Instant) -> std::io::Result<()> {
    let run = Arc::clone(run);
    let bursts = schedule.bursts_before(run.plan.length);
    let work = move || {
        for burst in 0..bursts {
            let due = schedule.due(burst);
            loop {
                if run.over.is_cancelled() {
                    return;
                }
                match due.checked_sub(began.elapsed()) {
                    None | Some(Duration::ZERO) => break,
                    Some(wait) => thread::sleep(wait.min(NAP)),
                }
            }
            let room = usize::try_from(schedule.room(burst)).ok().and_then(|room| run.rooms.get(room));
            room.iter().for_each(|room| room.due.add_permits(1));
        }
    };
    // It ends when the traffic is over.
    thread::Builder::new().name("schedule".to_owned()).spawn(work).map(drop)
}
