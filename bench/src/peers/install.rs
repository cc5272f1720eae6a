//! Installing a peer into the target directory: never anywhere else, and only once for the same files.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use sha1::{Digest as _, Sha1};

use super::{Description, Need};

/// Beside the peer: what it was installed from.
const STAMP: &str = "installed-from";
const LOG: &str = "install.log";

/// Where it is now.
pub(super) fn install(source: &Path, description: &Description) -> Result<PathBuf> {
    description.needs.iter().try_for_each(need)?;
    let name = source.file_name().context("a peer's folder has no name")?;
    let here = folder()?.join(name);
    let digest = digest(source)?;
    if fs::read_to_string(here.join(STAMP)).is_ok_and(|stamp| stamp == digest) {
        return Ok(here);
    }
    copy(source, &here)?;
    for words in &description.install {
        run(words, &here)?;
    }
    fs::write(here.join(STAMP), digest)?;
    Ok(here)
}

/// `bench-peers` in the target directory that this program was built in.
fn folder() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let target = this.ancestors().nth(2).context("this program is in no target directory")?;
    Ok(target.join("bench-peers"))
}

fn need(Need { path, package }: &Need) -> Result<()> {
    let is_there = path.is_file()
        || env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join(path).is_file());
    ensure!(is_there, "{} is missing: `apt-get install {package}`", path.display());
    Ok(())
}

/// Of the names and contents of its files.
fn digest(source: &Path) -> Result<String> {
    let mut digest = Sha1::new();
    for path in files(source)? {
        digest.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// In a fixed order.
fn files(source: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(source).with_context(|| format!("reading {}", source.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

fn copy(source: &Path, here: &Path) -> Result<()> {
    fs::create_dir_all(here).with_context(|| format!("creating {}", here.display()))?;
    for path in files(source)? {
        let name = path.file_name().context("a file has no name")?;
        fs::copy(&path, here.join(name)).with_context(|| format!("copying {}", path.display()))?;
    }
    Ok(())
}

fn run(words: &[String], here: &Path) -> Result<()> {
    let mut words = words.iter().map(|word| word.replace("{here}", &here.to_string_lossy()));
    let program = words.next().context("an empty command")?;
    let log = here.join(LOG);
    let output = File::create(&log)?;
    let status = Command::new(&program)
        .args(words)
        .current_dir(here)
        .env("GOBIN", here)
        .env("CARGO_TARGET_DIR", here.join("target"))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .with_context(|| format!("starting {program}"))?;
    if !status.success() {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim();
        bail!("installing it failed ({program}, {status}): {last}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_its_package() {
        let there = Need { path: "sh".into(), package: "dash".to_owned() };
        need(&there).unwrap();
        let missing = Need { path: "/nowhere/module.so".into(), package: "libnginx-x".to_owned() };
        assert!(need(&missing).unwrap_err().to_string().contains("apt-get install libnginx-x"));
    }

    #[test]
    fn a_failed_step_quotes_the_end_of_its_log() {
        let here = env::temp_dir().join(format!("moorline-bench-install-{}", std::process::id()));
        fs::create_dir_all(&here).unwrap();
        let words = |script: &str| ["sh", "-c", script].map(str::to_owned);
        run(&words("test \"$GOBIN\" = {here}"), &here).unwrap();
        let error = run(&words("echo first; echo no such module; exit 3"), &here).unwrap_err().to_string();
        assert!(error.ends_with("no such module"), "{error}");
        fs::remove_dir_all(&here).unwrap();
    }
}
