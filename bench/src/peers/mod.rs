//! Other servers that are measured the same way. Each is a folder of `bench/peers` with a `peer.toml`, which says how it is
//! installed, started and talked with.

mod install;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::manners::Manners;
use crate::publish::Way;

/// What cannot be measured here although one would expect it, and why.
pub(crate) const LEFT_OUT: [&str; 1] =
    ["Centrifugo is left out: the Go module proxy does not offer github.com/centrifugal/centrifugo/v6"];

/// A peer's `peer.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) title: String,
    /// As its installation pins it; absent where the system's packages decide.
    version: Option<String>,
    /// Programs that print versions, one line each.
    #[serde(default)]
    versions: Vec<Vec<String>>,
    /// Programs or files that must be there.
    #[serde(default)]
    needs: Vec<Need>,
    /// Commands, run in the folder that it is installed in.
    #[serde(default)]
    install: Vec<Vec<String>>,
    /// `{here}` is that folder, `{port}` where clients connect, `{second_port}` a free one besides.
    command: Vec<String>,
    pub(crate) manners: Manners,
    pub(crate) publishes: Way,
    /// Publications go to the second port.
    #[serde(default)]
    pub(crate) second_port: bool,
}

/// A program or a file of the system, and the package of Debian that has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Need {
    path: PathBuf,
    package: String,
}

/// A peer that can be started.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) description: Description,
    /// Where it is installed.
    here: PathBuf,
    /// Its own, and those of what runs it.
    pub(crate) version: String,
}

impl Peer {
    pub(crate) fn command(&self, address: SocketAddrV4, second: SocketAddrV4) -> Vec<OsString> {
        let here = self.here.to_string_lossy();
        let filled = self.description.command.iter().map(|word| {
            word.replace("{here}", &here)
                .replace("{port}", &address.port().to_string())
                .replace("{second_port}", &second.port().to_string())
        });
        filled.map(OsString::from).collect()
    }
}

/// The names of all peers.
pub(crate) fn names() -> Result<BTreeSet<String>> {
    let folder = sources();
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Installs those that were asked for; what is not to be had here becomes a note.
pub(crate) fn prepare(asked: &[String], notes: &mut BTreeSet<String>) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for name in asked {
        ensure!(names()?.contains(name), "no peer {name:?}: there are {:?}", names()?);
        let description = describe(name)?;
        eprintln!("installing {}", description.title);
        match install::install(&sources().join(name), &description) {
            Ok(here) => {
                let version = version(&description, &here);
                peers.push(Peer { description, here, version });
            }
            Err(error) => {
                notes.insert(format!("{} is left out: {error:#}", description.title));
            }
        }
    }
    Ok(peers)
}

fn describe(name: &str) -> Result<Description> {
    let path = sources().join(name).join("peer.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// What was pinned, then the first line of what each program says of itself.
fn version(description: &Description, here: &Path) -> String {
    let said = description.versions.iter().filter_map(|words| {
        let mut words = words.iter().map(|word| word.replace("{here}", &here.to_string_lossy()));
        let program = words.next()?;
        let output = Command::new(&program).args(words).output().ok()?;
        // nginx says it where errors go.
        let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        let line = String::from_utf8_lossy(&text).lines().next()?.trim().to_owned();
        // `node --version` does not say whose.
        Some(if line.starts_with('v') { format!("{program} {line}") } else { line })
    });
    description.version.iter().cloned().chain(said).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_describes_a_peer_and_its_version_is_the_one_it_pins() {
        for name in names().unwrap() {
            let description = describe(&name).unwrap();
            assert!(!description.title.is_empty() && !description.command.is_empty(), "{name}");
            let Some(version) = &description.version else { continue };
            let folder = sources().join(&name);
            let pinned = fs::read_dir(&folder).unwrap().any(|entry| {
                let path = entry.unwrap().path();
                let text = fs::read_to_string(&path).unwrap_or_default();
                path.file_name().unwrap() != "peer.toml" && text.contains(version.as_str())
            });
            let ordered = description.install.iter().flatten().any(|word| word.contains(version.as_str()));
            assert!(pinned || ordered, "{name} is installed as something else than {version}");
        }
    }

    #[test]
    fn a_command_knows_its_folder_and_ports() {
        let description: Description = toml::from_str(
            r#"title = "x"
               command = ["{here}/x", "--port={port}", "{second_port}"]
               manners = "socket-io"
               publishes = "lines""#,
        )
        .unwrap();
        let peer = Peer { description, here: "/a".into(), version: String::new() };
        let command = peer.command("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        assert_eq!(command, ["/a/x", "--port=1", "2"]);
        assert_eq!(peer.description.manners, Manners::SocketIo);
    }

    #[test]
    fn an_unknown_peer_is_refused() {
        let error = prepare(&["nobody".to_owned()], &mut BTreeSet::new()).unwrap_err().to_string();
        assert!(error.contains("nobody") && error.contains("\"ws\""), "{error}");
    }
}
