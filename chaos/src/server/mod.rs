//! The server under test: a child process that can be killed, asked to end, stopped and started again.

mod find;
mod signal;

use std::fs::{self, File};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::find::{find_binary, free_address};
pub(crate) use self::signal::Signal;
use crate::http::Api;

/// A debug build under load takes its time to read what it kept.
const START_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOG_SHOWN_BYTES: usize = 3_000;

/// No bound of the server's is reached by the load itself: what is judged is what faults do.
const ROOMY: [(&str, &str); 11] = [
    ("MOORLINE__RETENTION__ROOM_RECORDS", "1000000"),
    ("MOORLINE__RETENTION__ROOM_BYTES", "1073741824"),
    ("MOORLINE__RETENTION__OWN_RECORDS", "100000"),
    ("MOORLINE__RETENTION__TOTAL_BYTES", "4294967296"),
    ("MOORLINE__SESSION__ABSENT_MAX_BYTES", "4294967296"),
    ("MOORLINE__PUBLISH__ID_MAX_BYTES", "1073741824"),
    ("MOORLINE__LIMITS__HTTP_CONNECTIONS_MAX", "200000"),
    ("MOORLINE__LIMITS__ADDRESS_HTTP_CONNECTIONS_MAX", "200000"),
    ("MOORLINE__LIMITS__UNESTABLISHED_MAX", "100000"),
    ("MOORLINE__LIMITS__ADDRESS_UNESTABLISHED_MAX", "100000"),
    ("MOORLINE__LOG__LEVEL", "warn"),
];

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) binary: PathBuf,
    /// Where it keeps messages and sessions; none: in memory.
    pub(crate) data: Option<PathBuf>,
    /// Settings, over those that make it roomy.
    pub(crate) environment: Vec<(String, String)>,
    /// A program that starts it, with its arguments.
    pub(crate) wrapper: Vec<String>,
}

impl Setup {
    /// Sets a setting: `HEARTBEAT__INTERVAL_MS`.
    #[must_use]
    pub(crate) fn with(mut self, setting: &str, value: u64) -> Self {
        self.environment.push((format!("MOORLINE__{setting}"), value.to_string()));
        self
    }
}

/// A server. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    setup: Setup,
    address: SocketAddrV4,
    api: Api,
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts one, its log in `folder`, and waits until it is ready.
    pub(crate) async fn start(setup: Setup, folder: &Path) -> Result<Self> {
        let address = free_address()?;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let (api, log) = (Api::new(address)?, folder.join("server.log"));
        let mut server = Self { setup, address, api, log, child: None };
        server.up().await?;
        Ok(server)
    }

    pub(crate) const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    pub(crate) const fn api(&self) -> &Api {
        &self.api
    }

    /// Starts the process, on the same address and data, and waits until it is ready.
    pub(crate) async fn up(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log).context("the server's log")?;
        let listen = self.address.to_string();
        let mut words: Vec<String> = self.setup.wrapper.clone();
        words.extend([
            self.setup.binary.display().to_string(),
            "dev".to_owned(),
            "--listen".to_owned(),
            listen,
        ]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if let Some(data) = &self.setup.data {
            command.arg("--data").arg(data);
        }
        command.envs(ROOMY).envs(self.setup.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("starting {}", words[0]))?);
        let begun = Instant::now();
        while !self.api.is_ready().await {
            self.ensure_alive()?;
            if begun.elapsed() > START_LIMIT {
                bail!("the server is not ready after {START_LIMIT:?}; {}", self.last_words());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Ends the process as kill -9 does.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.ensure_alive()?;
        if let Some(child) = &mut self.child {
            child.kill().context("killing the server")?;
        }
        self.ended().await.map(drop)
    }

    /// Asks the process to end, and wants it to end well.
    pub(crate) async fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::Terminate)?;
        match self.ended().await? {
            true => Ok(()),
            false => bail!("the server did not end well when it was asked to; {}", self.last_words()),
        }
    }

    /// Sends a signal, where the system has it.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        self.ensure_alive()?;
        self.child.as_ref().map_or(Ok(()), |child| signal::send(child, signal))
    }

    /// The memory that the process holds, in bytes; none where the system does not say.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// It runs, as far as one can tell.
    pub(crate) fn ensure_alive(&mut self) -> Result<()> {
        let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
        match ended {
            None => Ok(()),
            Some(status) => bail!("the server ended by itself ({status}); {}", self.last_words()),
        }
    }

    /// Whether it ended with exit code 0.
    async fn ended(&mut self) -> Result<bool> {
        let Some(mut child) = self.child.take() else { return Ok(true) };
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            if begun.elapsed() > END_LIMIT {
                self.child = Some(child);
                bail!("the server did not end within {END_LIMIT:?}; {}", self.last_words());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The end of what it wrote, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let end =
            String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN_BYTES)..]).trim().to_owned();
        if end.is_empty() { "it wrote nothing".to_owned() } else { format!("it wrote:\n{end}\n") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Each fails only when there is nothing left to do.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}
