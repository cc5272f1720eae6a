//! How it goes, while it goes: one line on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::plan::Load;
use super::run::Run;

const EVERY: Duration = Duration::from_millis(500);
/// Takes a terminal to the beginning of the line, and empties it.
const AGAIN: &str = "\r\x1b[K";

/// The line on standard error, until it is dropped. None where that is no terminal.
pub(super) struct Progress(Option<tokio::task::JoinHandle<()>>);

impl Progress {
    pub(super) fn begin(run: &Arc<Run>) -> Self {
        let run = Arc::clone(run);
        Self(io::stderr().is_terminal().then(|| tokio::spawn(show(run))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            line.abort();
            write("");
        }
    }
}

async fn show(run: Arc<Run>) {
    let mut ticks = tokio::time::interval(EVERY);
    let mut last = (Instant::now(), 0);
    loop {
        ticks.tick().await;
        let delivered = run.sum(|room| &room.received);
        let per_second = (delivered - last.1) as f64 / last.0.elapsed().as_secs_f64().max(f64::EPSILON);
        last = (Instant::now(), delivered);
        write(&line(&run, delivered, per_second));
    }
}

fn line(run: &Run, delivered: u64, per_second: f64) -> String {
    let (alive, plan) = (run.alive.load(SeqCst), &run.plan);
    if !run.go.is_cancelled() {
        let limits = run.limits.all().into_iter().next().map(|(why, _)| format!(" (the server: {why})"));
        return format!(
            "opened {} of {}{}",
            run.opened.load(SeqCst),
            plan.connections,
            limits.unwrap_or_default()
        );
    }
    let seconds = Duration::from_micros(run.now().saturating_sub(run.traffic_at())).as_secs();
    let of = plan.length.as_secs();
    if plan.load == Load::Idle {
        return format!("{seconds} of {of} s: {alive} connections");
    }
    if run.over.is_cancelled() {
        return format!("waiting for what is still to come: {delivered} deliveries");
    }
    format!("{seconds} of {of} s: {alive} connections, {delivered} deliveries, {per_second:.0} per second")
}

fn write(line: &str) {
    let mut err = io::stderr().lock();
    // Nobody is told where there is no terminal any more.
    let _shown = write!(err, "{AGAIN}{}", crate::text::escape(line)).and_then(|()| err.flush());
}
