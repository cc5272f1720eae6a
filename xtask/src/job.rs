//! One command of a stage: its output streamed and kept, its time limited, and nothing of it left running.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::leftovers;

/// How long any one command may take. The slowest, a first build of everything on two cores, takes a quarter of it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long output may trail behind the end of its command.
const TRAILING: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// What became of a command.
pub(crate) struct Done {
    /// Standard output, complete; it has been shown already.
    pub(crate) stdout: String,
    /// Why it does not count as a success.
    pub(crate) failure: Option<String>,
}

impl Done {
    pub(crate) fn result(self) -> Result<(), String> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// Runs `command` to its end, or to `limit`, with no standard input. Whatever it started ends with it.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Done {
    let shown = shown(command);
    println!("$ {shown}");
    let mark = next_mark();
    command.env(leftovers::MARK, &mark).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(why) => {
            return Done { stdout: String::new(), failure: Some(format!("`{shown}` did not start: {why}")) };
        }
    };
    let stdout = child.stdout.take().map(|pipe| copy(pipe, std::io::stdout()));
    let stderr = child.stderr.take().map(|pipe| copy(pipe, std::io::stderr()));
    let ended = wait(&mut child, limit);
    if ended.is_none() {
        leftovers::kill(&mark, Some(child.id()));
        let _ = child.kill();
        let _ = child.wait();
    }
    settle(&mark, [&stdout, &stderr]);
    let stdout = stdout.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Done { stdout: String::from_utf8_lossy(&stdout).into_owned(), failure: failure(&shown, ended, limit) }
}

fn next_mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The command as one would type it, nearly.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Shows what comes as it comes, so that a hang is seen where it happens, and keeps it.
fn copy(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut kept, mut piece) = (Vec::new(), [0; 8192]);
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let _ = to.write_all(&piece[..length]).and_then(|()| to.flush());
            kept.extend_from_slice(&piece[..length]);
        }
        kept
    })
}

/// Waits for the end; `None` when the limit came first.
fn wait(child: &mut Child, limit: Duration) -> Option<std::io::Result<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < limit {
        match child.try_wait() {
            Ok(None) => thread::sleep(POLL),
            Ok(Some(status)) => return Some(Ok(status)),
            Err(why) => return Some(Err(why)),
        }
    }
    None
}

/// Gives what the command started a moment to end by itself, then ends it; until then it may hold our pipes open.
fn settle(mark: &str, readers: [&Option<JoinHandle<Vec<u8>>>; 2]) {
    let start = Instant::now();
    let reading = || readers.iter().any(|reader| reader.as_ref().is_some_and(|reader| !reader.is_finished()));
    while reading() || leftovers::any(mark) {
        if start.elapsed() > TRAILING {
            let killed = leftovers::kill(mark, None);
            eprintln!("warning: the command above left {killed} processes behind; they were killed");
            return;
        }
        thread::sleep(POLL);
    }
}

fn failure(shown: &str, ended: Option<std::io::Result<ExitStatus>>, limit: Duration) -> Option<String> {
    match ended {
        None => Some(format!("`{shown}` was killed: it took more than {} s", limit.as_secs())),
        Some(Err(why)) => Some(format!("`{shown}` was lost: {why}")),
        Some(Ok(status)) => (!status.success()).then(|| format!("`{shown}` ended with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit_ms: u64) -> Done {
        run(Command::new("sh").args(["-c", script]), Duration::from_millis(limit_ms))
    }

    #[test]
    fn output_is_kept_and_the_exit_code_judged() {
        let done = sh("echo one; echo two >&2", 5_000);
        assert_eq!((done.stdout.as_str(), done.failure), ("one\n", None));
        assert!(sh("exit 3", 5_000).failure.is_some_and(|why| why.contains("exit status: 3")));
        assert!(run(&mut Command::new("/nowhere/at-all"), LIMIT).failure.is_some());
    }

    #[test]
    fn a_hang_ends_with_everything_it_started() {
        let start = Instant::now();
        let done = sh("setsid sleep 50 & sleep 50", 300);
        assert!(done.failure.is_some_and(|why| why.contains("killed")));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_process_left_behind_does_not_hold_the_gate() {
        let start = Instant::now();
        let done = sh("sleep 50 & echo done", 20_000);
        assert_eq!((done.stdout.as_str(), done.failure), ("done\n", None));
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
