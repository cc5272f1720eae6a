//! File systems of a case's own. Root and Linux only.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// The shutdown that ext4 has for tests of crashes (`EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`): from then on nothing more
/// reaches the device, not even what a journal has waiting. Python, since it takes an `ioctl`.
const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
    fd = os.open(sys.argv[1], os.O_RDONLY)\n\
    fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))\n";

/// Why there can be none here; `None` where there can.
pub(super) fn obstacle() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("it needs Linux".to_owned());
    }
    match run("id", &["-u"]) {
        Ok(id) if id.trim() == "0" => None,
        _ => Some("it needs root, to mount".to_owned()),
    }
}

/// A mounted file system. It is unmounted when this is dropped.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) at: PathBuf,
    device: Option<String>,
}

impl Mount {
    /// One in memory, of so many mebibytes.
    pub(super) fn memory(at: PathBuf, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(&at).with_context(|| format!("creating {}", at.display()))?;
        let size = format!("size={mebibytes}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "moorline-chaos", text(&at)?])?;
        Ok(Self { at, device: None })
    }

    /// ext4 on a loop device over a new image beside `at`.
    pub(super) fn disk(at: PathBuf, mebibytes: u64) -> Result<Self> {
        std::fs::create_dir_all(&at).with_context(|| format!("creating {}", at.display()))?;
        let image = at.with_extension("img");
        std::fs::File::create(&image)?.set_len(mebibytes << 20)?;
        run("mkfs.ext4", &["-q", "-F", text(&image)?])?;
        let device = run("losetup", &["--find", "--show", text(&image)?])?.trim().to_owned();
        let disk = Self { at, device: Some(device) };
        disk.mount()?;
        Ok(disk)
    }

    /// Whether a cut does what it is for: what was synced is there after it, what was not is not.
    pub(super) fn proves_itself(&self) -> Result<bool> {
        let (synced, lost) = (self.at.join("synced"), self.at.join("lost"));
        std::fs::write(&synced, "kept")?;
        std::fs::File::open(&synced)?.sync_all()?;
        std::fs::File::open(&self.at)?.sync_all()?;
        std::fs::write(&lost, "lost")?;
        self.cut_power()?;
        self.restore_power()?;
        Ok(std::fs::read(&synced)? == b"kept" && std::fs::read(&lost).map_or(true, |bytes| bytes.is_empty()))
    }

    fn mount(&self) -> Result<()> {
        let device = self.device.as_deref().context("a file system in memory is mounted once")?;
        run("mount", &["-t", "ext4", device, text(&self.at)?]).map(drop)
    }

    /// The power goes: what did not reach the device never will.
    pub(super) fn cut_power(&self) -> Result<()> {
        run("python3", &["-c", SHUTDOWN, text(&self.at)?]).map(drop)
    }

    /// The power comes back: only what is on the device is there. Nobody may use the file system any more.
    pub(super) fn restore_power(&self) -> Result<()> {
        run("umount", &[text(&self.at)?])?;
        self.mount()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.at.display().to_string();
        if let Err(error) = run("umount", &[&at]) {
            eprintln!("warning: {at} stays mounted: {error:#}");
        }
        if let Some(Err(error)) = self.device.as_ref().map(|device| run("losetup", &["--detach", device])) {
            eprintln!("warning: a loop device stays: {error:#}");
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// Runs a program of the system; its output.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let Ok(output) = output else { bail!("there is no `{program}` here") };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program} {}` failed: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
