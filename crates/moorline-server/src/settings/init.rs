//! A first configuration: what is needed to run, with fresh secrets.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline::Timestamp;

use super::{SettingsError, show};
use crate::keys::{KeysFile, NewKey, Scope};

const CONFIG: &str = "moorline.toml";
const SECRET: &str = "token.secret";
const KEYS: &str = "keys.toml";

/// What was written.
pub(crate) struct Initial {
    pub(crate) config: PathBuf,
    /// The API key, which nobody can be shown again.
    pub(crate) api_key: String,
}

/// Writes a configuration, a secret that signs tokens, and an API key into a folder. Overwrites nothing.
///
/// # Errors
/// Names the file that is there already, or that cannot be written. What was written before it is removed.
pub(crate) fn init(folder: &Path, now: Timestamp) -> anyhow::Result<Initial> {
    let paths = [SECRET, KEYS, CONFIG].map(|name| folder.join(name));
    if let Some(there) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(exists(there).into());
    }
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let scopes = vec![Scope::Publish, Scope::Read, Scope::Manage, Scope::Tokens, Scope::Metrics];
    let mut keys = KeysFile::default();
    let (_id, api_key) = keys.add(&NewKey { name: "backend".to_owned(), scopes, expires: None }, now)?;
    let [secret_path, keys_path, config_path] = &paths;
    let contents = [
        (secret_path, secret()?, Readers::Owner),
        (keys_path, keys.text().to_owned(), Readers::Owner),
        (config_path, configuration(), Readers::Anyone),
    ];
    for (index, (path, text, readers)) in contents.iter().enumerate() {
        if let Err(error) = write_new(path, text, *readers) {
            for (written, ..) in &contents[..index] {
                // The first error is the one to tell of.
                let _left = std::fs::remove_file(written);
            }
            return Err(error);
        }
    }
    Ok(Initial { config: config_path.clone(), api_key })
}

fn exists(path: &Path) -> SettingsError {
    SettingsError::new(format!(
        "{} exists already, and is left as it is: name another folder with --dir",
        path.display()
    ))
}

/// 256 random bits.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the operating system gives no random numbers")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes) + "\n")
}

fn configuration() -> String {
    show::documented(&[
        ("auth.key", &format!("[[auth.key]]\nalgorithm = \"HS256\"\nfile = \"{SECRET}\"")),
        ("auth.audience", "audience = [\"moorline\"]"),
        ("keys.file", &format!("file = \"{KEYS}\"")),
    ])
}

fn write_new(path: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
    let mut file = create_new(path, readers).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::Error::from(exists(path)),
        _ => anyhow::Error::from(error).context(format!("writing {}", path.display())),
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // The first error is the one to tell of.
        let _left = std::fs::remove_file(path);
    }
    written.with_context(|| format!("writing {}", path.display()))
}

/// Who may read a file, as far as the system's own mask for new files lets them.
#[derive(Clone, Copy)]
enum Readers {
    Owner,
    Anyone,
}

/// A file that was not there.
#[cfg(unix)]
fn create_new(path: &Path, readers: Readers) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Anyone => 0o644,
    };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// A file that was not there. Who may read it is its folder's to say.
#[cfg(not(unix))]
fn create_new(path: &Path, _readers: Readers) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
