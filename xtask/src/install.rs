//! What the gate needs beyond cargo, put under `target/tools` where it is not there already. Nothing is skipped in
//! silence: what cannot be installed is an error that names the command to type.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::job;
use crate::shop::Shop;

/// Something that stages need.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    CargoDeny,
    /// A virtual environment with what `tests/wire/requirements.txt` pins.
    Python,
    /// Node, and the packages that `tests/wire/package-lock.json` pins.
    Node,
    Chromium,
    /// The reverse proxy of `docs/nginx.md`.
    Nginx,
}

pub(crate) const TOOLS: [Tool; 5] = [Tool::CargoDeny, Tool::Python, Tool::Node, Tool::Chromium, Tool::Nginx];

/// The version that is installed where none as new is on the search path.
const CARGO_DENY: &str = "0.20.2";
const CHROMIUM_NAMES: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const NODE_MAJOR: u32 = 20;

/// Sees to it that the tool can be used.
pub(crate) fn ready(shop: &Shop, tool: Tool) -> Result<(), String> {
    match tool {
        Tool::CargoDeny => cargo_deny(shop),
        Tool::Python => python(shop),
        Tool::Node => node(shop),
        Tool::Chromium => browser(shop),
        Tool::Nginx => proxy(shop),
    }
}

fn browser(shop: &Shop) -> Result<(), String> {
    const WHAT: &str = "Chromium (or its path in MOORLINE_CHROMIUM)";
    match (chromium(shop), env::var_os("MOORLINE_CHROMIUM")) {
        (Some(_), _) => return Ok(()),
        (None, Some(named)) => {
            return Err(format!("MOORLINE_CHROMIUM names {}, which is no file", named.display()));
        }
        (None, None) => apt(shop, WHAT, "chromium")?,
    }
    chromium(shop).map(drop).ok_or_else(|| format!("{WHAT} is missing, even after installing it"))
}

/// The browser: the one that `MOORLINE_CHROMIUM` names, or the first on the search path.
pub(crate) fn chromium(shop: &Shop) -> Option<PathBuf> {
    match env::var_os("MOORLINE_CHROMIUM") {
        Some(named) => Some(PathBuf::from(named)).filter(|path| path.is_file()),
        None => shop.find(&CHROMIUM_NAMES),
    }
}

fn proxy(shop: &Shop) -> Result<(), String> {
    const WHAT: &str = "nginx (it need not run as a service)";
    if nginx(shop).is_none() {
        apt(shop, WHAT, "nginx")?;
    }
    nginx(shop).map(drop).ok_or_else(|| format!("{WHAT} is missing, even after installing it"))
}

/// The first nginx on the search path, or where Debian puts it, which is not on everybody's.
pub(crate) fn nginx(shop: &Shop) -> Option<PathBuf> {
    shop.find(&["nginx"]).or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.is_file()))
}

fn cargo_deny(shop: &Shop) -> Result<(), String> {
    if let Some(found) = shop.find(&["cargo-deny"])
        && version(&said(shop.command(found).arg("--version"))) >= version(CARGO_DENY)
    {
        return Ok(());
    }
    let mut command = shop.command("cargo");
    command.args(["install", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"]);
    command.arg(&shop.tools).env_remove("CARGO_TARGET_DIR");
    // It runs for a second: built quickly it saves more than built to be quick.
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    job::run(&mut command, job::LIMIT).result()
}

fn python(shop: &Shop) -> Result<(), String> {
    let requirements = shop.wire().join("requirements.txt");
    let venv = shop.tools.join("venv");
    let stamp = Stamp { of: requirements.clone(), kept: venv.join("installed.txt") };
    if !requirements.is_file() || (stamp.is_fresh() && works(shop, &shop.venv_python())) {
        return Ok(()); // where there is no suite, its stage says so
    }
    if !works(shop, Path::new("python3")) {
        apt(shop, "Python 3.11 or later", "python3 python3-venv")?;
    }
    let make =
        || job::run(shop.command("python3").args(["-m", "venv", "--clear"]).arg(&venv), job::LIMIT).result();
    if make().is_err() {
        apt(shop, "Python's venv", "python3-venv")?;
        make()?;
    }
    let mut pip = shop.command(shop.venv_python());
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]).arg(&requirements);
    job::run(&mut pip, job::LIMIT).result()?;
    stamp.renew()
}

fn node(shop: &Shop) -> Result<(), String> {
    let found = said(shop.command("node").arg("--version"));
    if version(&found).first().is_none_or(|major| *major < NODE_MAJOR) || shop.find(&["npm"]).is_none() {
        let found = if found.is_empty() { "none" } else { found.trim() };
        return Err(format!(
            "Node {NODE_MAJOR} or later with npm is missing (found: {found}); install it from your \
                            system's packages or https://nodejs.org, so that `node` and `npm` are on PATH"
        ));
    }
    let wire = shop.wire();
    let stamp =
        Stamp { of: wire.join("package-lock.json"), kept: wire.join("node_modules").join(".installed.json") };
    if !stamp.of.is_file() || stamp.is_fresh() {
        return Ok(());
    }
    let mut npm = shop.command("npm");
    npm.args(["ci", "--no-audit", "--no-fund"])
        .current_dir(&wire)
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    job::run(&mut npm, job::LIMIT).result()?;
    stamp.renew()
}

/// Installs Debian's packages, or says what to type where this may not be done here.
fn apt(shop: &Shop, what: &str, packages: &str) -> Result<(), String> {
    let is_root = said(shop.command("id").arg("-u")).trim() == "0";
    if !is_root || shop.find(&["apt-get"]).is_none() {
        return Err(format!(
            "{what} is missing; install it with: sudo apt-get update && sudo apt-get install -y {packages}"
        ));
    }
    let get = |args: &str| {
        let mut command = shop.command("apt-get");
        command.args(args.split_whitespace()).env("DEBIAN_FRONTEND", "noninteractive");
        // In single-user mode no service is started by its package.
        command.env("RUNLEVEL", "1");
        job::run(&mut command, job::LIMIT).result()
    };
    get("update -q")?;
    get(&format!("install -y -q --no-install-recommends {packages}"))
}

/// What a program prints; nothing where it does not run.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.stderr(std::process::Stdio::null()).output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn works(shop: &Shop, program: &Path) -> bool {
    !said(shop.command(program).arg("--version")).is_empty()
}

/// The numbers of the first version in a text, `[]` where there is none.
fn version(text: &str) -> Vec<u32> {
    let word = text.split_whitespace().map(|word| word.trim_start_matches('v'));
    let mut word = word.filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    word.next().unwrap_or_default().split('.').map_while(|number| number.parse().ok()).collect()
}

/// A file from which something was installed, and the copy that was kept then.
pub(crate) struct Stamp {
    pub(crate) of: PathBuf,
    pub(crate) kept: PathBuf,
}

impl Stamp {
    pub(crate) fn is_fresh(&self) -> bool {
        fs::read(&self.kept).is_ok_and(|kept| fs::read(&self.of).is_ok_and(|of| of == kept))
    }

    pub(crate) fn renew(&self) -> Result<(), String> {
        let copied = fs::create_dir_all(self.kept.parent().unwrap_or(&self.kept))
            .and_then(|()| fs::copy(&self.of, &self.kept));
        copied.map(drop).map_err(|why| format!("{}: {why}", self.kept.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_found_and_ordered() {
        assert_eq!(version("cargo-deny 0.20.2\n"), [0, 20, 2]);
        assert_eq!(version("v20.20.2"), [20, 20, 2]);
        assert!(version("") < version("0.18.9") && version("0.18.9") < version("0.20.2"));
    }
}
