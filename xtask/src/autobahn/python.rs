//! Python 2.7, on which alone the suite runs, and the suite, installed where no other Python sees it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::install::{Stamp, said};
use crate::job;
use crate::shop::Shop;

/// What to do where it is missing.
pub(super) const MISSING: &str = "there is no Python 2.7 with pip here, on which alone the Autobahn test suite runs; with \
                                  pyenv it is installed by `pyenv install 2.7.18`, and found without being made the default";

/// A Python 2.7 that can install packages.
pub(super) struct Python {
    pub(super) program: PathBuf,
    pub(super) version: String,
}

/// The first that works: of those on the search path, then of pyenv's.
pub(super) fn find(shop: &Shop) -> Option<Python> {
    let named = ["python2.7", "python2"].into_iter().filter_map(|name| shop.find(&[name]));
    named.chain(pyenvs()).find_map(|program| {
        let check = "import sys, pip; print('%d.%d.%d' % sys.version_info[:3])";
        let version = said(shop.command(&program).args(["-c", check])).trim().to_owned();
        version.starts_with("2.7.").then_some(Python { program, version })
    })
}

/// Those that pyenv has installed, the default or not; the newest first.
fn pyenvs() -> Vec<PathBuf> {
    let root = env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = env::home_dir().map(|home| home.join(".pyenv"));
    let roots = root.into_iter().chain(home);
    let versions = roots.filter_map(|root| fs::read_dir(root.join("versions")).ok()).flatten().flatten();
    let mut found: Vec<PathBuf> = versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("2.7"))
        .map(|entry| entry.path().join("bin").join("python2.7"))
        .filter(|program| program.is_file())
        .collect();
    found.sort();
    found.reverse();
    found
}

impl Python {
    /// The folder that has the suite; installed there, if it is not there already.
    pub(super) fn suite(&self, shop: &Shop) -> Result<PathBuf, String> {
        let folder = shop.tools.join("autobahn");
        let requirements = shop.root.join("tests").join("autobahn").join("requirements.txt");
        let stamp = Stamp { of: requirements, kept: folder.join("installed.txt") };
        if !stamp.is_fresh() {
            self.install(shop, &folder, &stamp.of).map_err(|why| {
                format!(
                    "{why}: the Autobahn test suite could not be installed for {}",
                    self.program.display()
                )
            })?;
            stamp.renew()?;
        }
        Ok(folder)
    }

    fn install(&self, shop: &Shop, folder: &Path, requirements: &Path) -> Result<(), String> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        }
        let mut pip = shop.command(&self.program);
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--target"]).arg(folder);
        pip.arg("--requirement").arg(requirements).env("PYTHONWARNINGS", "ignore").env_remove("PYTHONPATH");
        job::run(&mut pip, job::LIMIT).result()
    }
}
