//! The servers that are measured, each a child process: the floor, Moorline as it is shipped, and others.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::manners::Manners;
use crate::peers::Peer;
use crate::process::{Launch, Output, Running};
use crate::publish::{self, Moorline, Publisher};

const START_LIMIT: Duration = Duration::from_secs(20);
const START_LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to start, and how.
#[derive(Debug)]
pub(crate) struct Setup {
    /// `None` measures a second floor in Moorline's place.
    pub(crate) binary: Option<PathBuf>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) core: Option<usize>,
    pub(crate) payload_bytes: u32,
    pub(crate) peers: Vec<Peer>,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Running,
    pub(crate) address: SocketAddrV4,
    pub(crate) manners: Manners,
    pub(crate) publisher: Publisher,
    /// Who publishes at the same time.
    pub(crate) others: Vec<Publisher>,
}

impl Server {
    /// All who publish.
    pub(crate) fn publishers(&mut self) -> impl Iterator<Item = &mut Publisher> {
        std::iter::once(&mut self.publisher).chain(&mut self.others)
    }
}

impl Setup {
    pub(crate) fn start_floor(&self) -> Result<Server> {
        let address = free_address()?;
        let this = std::env::current_exe()?.into_os_string();
        let arguments =
            ["floor", "--listen", &address.to_string(), "--payload", &self.payload_bytes.to_string()];
        let command: Vec<OsString> = std::iter::once(this).chain(arguments.map(OsString::from)).collect();
        let mut process = self.launch(command, &[])?;
        wait_until_up(&mut process, address).context("starting the floor")?;
        let publisher = Publisher::Floor(process.take_stdin()?);
        Ok(Server { process, address, manners: Manners::Silent, publisher, others: Vec::new() })
    }

    pub(crate) fn start_server(&self) -> Result<Server> {
        match &self.binary {
            Some(binary) => self.start(binary, &[], Manners::Greets),
            None => self.start_floor(),
        }
    }

    /// With a store on disk, in the process's directory.
    pub(crate) fn start_with_store(&self, manners: Manners) -> Result<Server> {
        let binary = self.binary.as_ref().context("the floor has no store")?;
        self.start(binary, &["--data", "data"], manners)
    }

    pub(crate) fn start_peer(&self, index: usize) -> Result<Server> {
        let peer = self.peers.get(index).context("no such peer")?;
        let (address, second) = (free_address()?, free_address()?);
        let mut process = self.launch(peer.command(address, second), &[])?;
        wait_until_up(&mut process, address)
            .with_context(|| format!("starting {}", peer.description.title))?;
        let to = if peer.description.second_port { second } else { address };
        let publisher = Publisher::connect(peer.description.publishes, to, self.payload_bytes)?;
        Ok(Server { process, address, manners: peer.description.manners, publisher, others: Vec::new() })
    }

    fn start(&self, binary: &Path, options: &[&str], manners: Manners) -> Result<Server> {
        let address = free_address()?;
        let arguments = ["dev", "--listen", &address.to_string()].map(OsString::from);
        let command: Vec<OsString> = std::iter::once(binary.into())
            .chain(arguments)
            .chain(options.iter().map(OsString::from))
            .collect();
        let mut process = self.launch(command, &self.environment)?;
        wait_until_up(&mut process, address).with_context(|| format!("starting {}", binary.display()))?;
        let publisher = self.publisher(address)?;
        Ok(Server { process, address, manners, publisher, others: Vec::new() })
    }

    /// Another one who publishes to a server of ours.
    pub(crate) fn publisher(&self, address: SocketAddrV4) -> Result<Publisher> {
        Ok(Publisher::Moorline(Moorline::connect(address, &publish::data(self.payload_bytes)?)?))
    }

    fn launch(&self, command: Vec<OsString>, environment: &[(String, String)]) -> Result<Running> {
        Running::start(&Launch { command, environment, core: self.core, output: Output::Log })
    }
}

/// The binary that was asked for, else the one beside this program.
pub(crate) fn find_binary(asked: Option<&Path>) -> Result<PathBuf> {
    let path = match asked {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("moorline"),
    };
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(path),
        _ => bail!(
            "{} does not exist: build it with `cargo build --release`, or name one with --bin",
            path.display()
        ),
    }
}

fn free_address() -> Result<SocketAddrV4> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()))
}

fn wait_until_up(process: &mut Running, address: SocketAddrV4) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect_timeout(&address.into(), START_LIMIT).is_err() {
        if let Err(error) = process.ensure_alive() {
            bail!("{error}; {}", process.last_words());
        }
        if begun.elapsed() > START_LIMIT {
            bail!("it does not listen on {address} after {START_LIMIT:?}; {}", process.last_words());
        }
        thread::sleep(START_LOOK_EVERY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_is_told_with_the_remedy() {
        let error = find_binary(Some(Path::new("/nowhere/moorline"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/moorline") && error.contains("cargo build --release"));
    }
}
