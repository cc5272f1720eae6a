//! Where things are, and how commands are made there.

use std::cell::Cell;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What makes a program that needs no library of the system.
pub(crate) const STATIC: &str = "-Ctarget-feature=+crt-static";

/// The places that the chores work in.
pub(crate) struct Shop {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// What the gate installs for itself, under `target`.
    pub(crate) tools: PathBuf,
    /// Cargo's name of the machine that this runs on.
    pub(crate) host: String,
    /// Set once the server was built by this run: a suite never tests an older one.
    pub(crate) has_server: Cell<bool>,
}

impl Shop {
    pub(crate) fn open() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default();
        let metadata = metadata(&root, &["--no-deps"])?;
        let target =
            metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
        let target = PathBuf::from(target);
        Ok(Self { tools: target.join("tools"), target, root, host: host()?, has_server: Cell::new(false) })
    }

    /// The program under test.
    pub(crate) fn server(&self) -> PathBuf {
        self.built("debug").join("moorline")
    }

    /// Where [`cargo`](Self::cargo) puts what it builds: `debug`, or `release`.
    pub(crate) fn built(&self, profile: &str) -> PathBuf {
        let target = if self.is_static() { self.target.join(&self.host) } else { self.target.clone() };
        target.join(profile)
    }

    /// Whether the server is built without any library of the system: where that can be done.
    pub(crate) fn is_static(&self) -> bool {
        self.host.ends_with("-linux-gnu")
    }

    pub(crate) fn venv_python(&self) -> PathBuf {
        self.tools.join("venv").join("bin").join("python")
    }

    /// The folder of the black-box suites.
    pub(crate) fn wire(&self) -> PathBuf {
        self.root.join("tests").join("wire")
    }

    /// A command at the repository's root, which also finds what the gate installed.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", self.path()).env("PYTHONUNBUFFERED", "1");
        if env::var_os("CARGO_TERM_COLOR").is_none() {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
            command.env("CARGO_TERM_COLOR", if is_terminal { "always" } else { "never" });
        }
        command
    }

    /// Every stage builds in the one way in which the program under test is built, so that what it is made of is compiled once.
    /// `packaging/README.md` says the same in words to type. The target is named, so that what runs at build time is built
    /// as ever: a procedural macro has to be a library.
    pub(crate) fn cargo(&self, args: &str) -> Command {
        let mut command = self.command("cargo");
        command.args(args.split_whitespace());
        if self.is_static() {
            let name = self.host.to_uppercase().replace('-', "_");
            command.env("CARGO_BUILD_TARGET", &self.host);
            command.env(format!("CARGO_TARGET_{name}_RUSTFLAGS"), STATIC);
        }
        command
    }

    /// The first of these programs that the search path has.
    pub(crate) fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let path = self.path();
        let folders: Vec<PathBuf> = env::split_paths(&path).collect();
        let places = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        places.into_iter().find(|place| place.is_file())
    }

    fn path(&self) -> OsString {
        let present = env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.tools.join("bin")).chain(env::split_paths(&present));
        env::join_paths(all).unwrap_or(present)
    }
}

/// The machine's name, as the compiler that cargo uses has it.
fn host() -> Result<String, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().map_err(|why| format!("rustc -vV: {why}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

/// What `cargo metadata` says about the workspace.
pub(crate) fn metadata(root: &Path, more: &[&str]) -> Result<Value, String> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--locked"]).args(more).current_dir(root);
    let output = command.output().map_err(|why| format!("cargo metadata: {why}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|why| format!("cargo metadata: {why}"))
}
