//! Which program, and where it listens.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Below the ports that systems hand out: a client that tries again while the server is down must not take its place.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The binary that was asked for, else `MOORLINE_BIN`'s, else the one beside this program.
pub(crate) fn find_binary(asked: Option<&Path>) -> Result<PathBuf> {
    let named = asked.map(Path::to_owned).or_else(|| std::env::var_os("MOORLINE_BIN").map(PathBuf::from));
    let path = match named {
        Some(path) => path,
        None => beside(&std::env::current_exe()?),
    };
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(path),
        _ => bail!(
            "{} does not exist: build it with `cargo build -p moorline-server`, or name one with --bin",
            path.display()
        ),
    }
}

/// Programs lie in the target folder, those of tests one below.
fn beside(program: &Path) -> PathBuf {
    let beside = program.with_file_name("moorline").with_extension(std::env::consts::EXE_EXTENSION);
    let above = program.parent().and_then(Path::parent).map(|folder| folder.join("moorline"));
    if beside.is_file() { beside } else { above.filter(|path| path.is_file()).unwrap_or(beside) }
}

/// An address that nothing listens on.
pub(crate) fn free_address() -> Result<SocketAddrV4> {
    let ports = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(61) % ports;
    for step in 0..ports {
        let port = PORTS.start + u16::try_from((first + step * 7) % ports)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        }
    }
    bail!("no free port in {PORTS:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_is_told_with_the_remedy() {
        let error = find_binary(Some(Path::new("/nowhere/moorline"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/moorline") && error.contains("cargo build -p moorline-server"));
    }

    #[test]
    fn ports_of_the_system_are_left_to_clients() {
        assert!(PORTS.contains(&free_address().unwrap().port()));
    }
}
