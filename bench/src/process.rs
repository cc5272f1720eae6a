//! Child processes: pinned to a core, with as many descriptors as there may be, and never left behind.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

use crate::args;

const LOG_SHOWN_BYTES: usize = 2_000;

/// Which cores the server and the clients run on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

/// Pins this process to one core and keeps another for the server.
pub(crate) fn pin() -> Result<Cores> {
    let allowed = rustix::thread::sched_getaffinity(None).context("sched_getaffinity")?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let (Some(server), Some(client)) = (cores.next(), cores.next_back()) else {
        bail!("only one core may be used");
    };
    pin_to(client)?;
    Ok(Cores { server, client })
}

fn pin_to(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("sched_setaffinity to core {core}"))
}

/// Raises the limit of open descriptors as far as it goes, for this process and its children; `None` is no limit.
pub(crate) fn raise_descriptor_limit() -> Result<Option<u64>> {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).context("raising the limit of open descriptors")?;
    Ok(maximum)
}

/// Runs as a child: prepares itself, then becomes the program.
pub(crate) fn become_child(child: &args::Child) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("prctl")?;
    if let Some(core) = child.cpu {
        pin_to(core)?;
    }
    let (program, rest) = child.command.split_first().context("no program")?;
    Err(Command::new(program).args(rest).exec()).with_context(|| format!("starting {}", program.display()))
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The program first.
    pub(crate) command: Vec<OsString>,
    pub(crate) environment: &'a [(String, String)],
    /// Pinned to; `None` is where this process may run.
    pub(crate) core: Option<usize>,
    pub(crate) output: Output,
}

/// Where a child's output goes; errors always go to its log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output {
    Log,
    Pipe,
}

/// A child process. It is killed when this is dropped, and by the kernel when the benchmark dies.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Its working directory, with its log; removed with it.
    folder: PathBuf,
}

impl Running {
    pub(crate) fn start(launch: &Launch<'_>) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("moorline-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let log = File::create(folder.join("log"))?;
        let mut child = Command::new(std::env::current_exe()?);
        child.arg("child");
        if let Some(core) = launch.core {
            child.args(["--cpu", &core.to_string()]);
        }
        child.arg("--").args(&launch.command).envs(launch.environment.iter().cloned()).current_dir(&folder);
        let output = match launch.output {
            Output::Log => Stdio::from(log.try_clone()?),
            Output::Pipe => Stdio::piped(),
        };
        child.stdin(Stdio::piped()).stdout(output).stderr(log);
        let child = child.spawn().context("starting a child process")?;
        Ok(Self { child, folder })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn take_stdin(&mut self) -> Result<ChildStdin> {
        self.child.stdin.take().context("the child's input is taken")
    }

    pub(crate) fn take_stdout(&mut self) -> Result<ChildStdout> {
        self.child.stdout.take().context("the child's output is not piped")
    }

    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended by itself ({status})"),
        }
    }

    /// The end of what it wrote, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let end =
            String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN_BYTES)..]).trim().to_owned();
        if end.is_empty() { "it wrote nothing".to_owned() } else { format!("it wrote:\n{end}\n") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Each fails only when there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
