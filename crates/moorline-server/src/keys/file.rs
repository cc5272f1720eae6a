//! The file of API keys. What a person wrote into it, comments included, stays as it is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moorline::Timestamp;
use serde::Deserialize;

use super::{ApiKey, Hash, ID_MAX_BYTES, KEYS_MAX, PREFIX, Scope};
use crate::bounded_file;

/// The largest file, in bytes.
const BYTES_MAX: usize = 1024 * 1024;
/// The longest name of a key, in bytes.
const NAME_MAX_BYTES: usize = 128;
const TABLE: &str = "[[key]]";

/// Why a file of keys cannot be used, or was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysFileError {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it cannot be written")]
    Write(#[source] io::Error),
    #[error("it is not UTF-8")]
    NotText,
    #[error("it is not a file of keys")]
    Toml(#[source] Box<toml::de::Error>),
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("two keys have the id {0:?}")]
    SameId(String),
    #[error("the key {id:?}: {why}")]
    Key { id: String, why: &'static str },
    #[error("the operating system gives no random numbers")]
    Random(#[source] getrandom::Error),
    #[error("no key has the id {0:?}: `moorline keys list` shows them")]
    Unknown(String),
    #[error("the key {0:?} cannot be taken out without harm to the rest: delete its table with an editor")]
    Entangled(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    key: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: String,
    name: String,
    scopes: Vec<Scope>,
    hash: String,
    created: String,
    expires: Option<String>,
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) expires: Option<Timestamp>,
}

/// The file's text, and the keys in it.
#[derive(Debug, Default)]
pub(crate) struct KeysFile {
    text: String,
    keys: Vec<ApiKey>,
}

impl KeysFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or a key in it cannot be.
    pub(crate) fn read(path: &Path) -> Result<Self, KeysFileError> {
        let bytes = bounded_file::read(path, BYTES_MAX).map_err(KeysFileError::Read)?;
        Self::parse(String::from_utf8(bytes).map_err(|_bytes| KeysFileError::NotText)?)
    }

    /// The same; a file that is not there is empty.
    pub(crate) fn read_or_new(path: &Path) -> Result<Self, KeysFileError> {
        match Self::read(path) {
            Err(KeysFileError::Read(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            other => other,
        }
    }

    fn parse(text: String) -> Result<Self, KeysFileError> {
        let raw: RawFile = toml::from_str(&text).map_err(|error| KeysFileError::Toml(Box::new(error)))?;
        if raw.key.len() > KEYS_MAX {
            return Err(KeysFileError::TooMany);
        }
        let keys = raw.key.into_iter().map(RawKey::check).collect::<Result<Vec<_>, _>>()?;
        let mut ids = BTreeSet::new();
        if let Some(key) = keys.iter().find(|key| !ids.insert(key.id.as_str())) {
            return Err(KeysFileError::SameId(key.id.clone()));
        }
        Ok(Self { text, keys })
    }

    /// The file's text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The keys, in the order of the file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ApiKey> {
        self.keys.iter()
    }

    /// Adds a key at the end. Its secret is returned and kept nowhere.
    ///
    /// # Errors
    /// It cannot be.
    pub(crate) fn add(&mut self, new: &NewKey, now: Timestamp) -> Result<(String, String), KeysFileError> {
        let mut id = [0; 6];
        let mut secret = [0; 32];
        getrandom::fill(&mut id).map_err(KeysFileError::Random)?;
        getrandom::fill(&mut secret).map_err(KeysFileError::Random)?;
        let id = hex(&id);
        let secret = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        let mut text = self.text.clone();
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        text.push_str(&table(&id, new, &Hash::of(&secret), now));
        *self = Self::parse(text)?;
        Ok((id, secret))
    }

    /// Takes a key out, and nothing else.
    ///
    /// # Errors
    /// There is none of that id, or its table cannot be told from the rest.
    pub(crate) fn remove(&mut self, id: &str) -> Result<ApiKey, KeysFileError> {
        let place = self.keys.iter().position(|key| key.id == id);
        let place = place.ok_or_else(|| KeysFileError::Unknown(id.to_owned()))?;
        let rest = Self::parse(without_table(&self.text, place));
        let others = |keys: &[ApiKey]| -> Vec<String> {
            keys.iter().map(|key| key.id.clone()).filter(|other| other != id).collect()
        };
        let rest = rest.ok().filter(|rest| {
            rest.keys.len() + 1 == self.keys.len() && others(&rest.keys) == others(&self.keys)
        });
        let removed = self.keys[place].clone();
        *self = rest.ok_or_else(|| KeysFileError::Entangled(id.to_owned()))?;
        Ok(removed)
    }

    /// Writes the file so that it is never half there. A new one can be read by its owner alone; one that there is keeps its owner and
    /// its mode.
    ///
    /// # Errors
    /// It cannot be written; it is as it was.
    pub(crate) fn write(&self, path: &Path) -> Result<(), KeysFileError> {
        // Behind a symbolic link the file is replaced, not the link.
        let path = path.canonicalize().unwrap_or_else(|_new| path.to_owned());
        replace(&path, self.text.as_bytes()).map_err(KeysFileError::Write)
    }
}

impl RawKey {
    fn check(self) -> Result<ApiKey, KeysFileError> {
        let wrong = |why| KeysFileError::Key { id: self.id.clone(), why };
        if !is_id(&self.id) {
            return Err(wrong("an id is 1 to 64 letters, digits and hyphens"));
        }
        check_name(&self.name).map_err(wrong)?;
        if self.scopes.is_empty() {
            return Err(wrong("it has no scope"));
        }
        let hash = self.hash.strip_prefix("sha256:").and_then(unhex);
        let hash = hash.ok_or_else(|| wrong("its hash is not `sha256:` and 64 hexadecimal digits"))?;
        let time = |text: &str| moment(text).ok_or_else(|| wrong("a time is like 2027-01-31T12:00:00Z"));
        let created = time(&self.created)?;
        let expires = self.expires.as_deref().map(time).transpose()?;
        Ok(ApiKey { id: self.id, name: self.name, scopes: self.scopes, created, expires, hash: Hash(hash) })
    }
}

/// Checks the name of a key.
///
/// # Errors
/// Says what it may be.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let is_name = !name.is_empty() && name.len() <= NAME_MAX_BYTES && !name.chars().any(char::is_control);
    is_name.then_some(()).ok_or("a name is 1 to 128 bytes without control characters")
}

fn is_id(id: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !id.is_empty() && id.len() <= ID_MAX_BYTES && id.bytes().all(is_known)
}

fn moment(text: &str) -> Option<Timestamp> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(Timestamp)
}

/// In whole seconds, as people write it.
fn shown(at: Timestamp) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}

fn table(id: &str, new: &NewKey, hash: &Hash, now: Timestamp) -> String {
    let scopes: Vec<String> = new.scopes.iter().map(|scope| format!("{:?}", scope.as_str())).collect();
    let name = toml::Value::String(new.name.clone());
    let mut text = format!("{TABLE}\nid = \"{id}\"\nname = {name}\nscopes = [{}]\n", scopes.join(", "));
    let expires = new.expires.map(|at| format!("expires = \"{}\"\n", shown(at))).unwrap_or_default();
    text.push_str(&format!("hash = \"sha256:{}\"\ncreated = \"{}\"\n{expires}", hex(&hash.0), shown(now)));
    text
}

/// The text without the table at that place: its lines up to the next table, but for comments and empty lines before that one.
fn without_table(text: &str, place: usize) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_table =
        |line: &str| line.trim_start().starts_with('[') && line.replace(' ', "").starts_with(TABLE);
    let tables: Vec<usize> = (0..lines.len()).filter(|number| is_table(lines[*number])).collect();
    let Some(&first) = tables.get(place) else { return text.to_owned() };
    let mut behind = tables.get(place + 1).copied().unwrap_or(lines.len());
    let is_free = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    while behind > first + 1 && behind < lines.len() && is_free(lines[behind - 1]) {
        behind -= 1;
    }
    [&lines[..first], &lines[behind..]].concat().concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _never_fails = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Changes a file of keys, one at a time.
pub(crate) struct KeysLock {
    _file: File,
}

impl KeysLock {
    /// Waits for whoever is changing the file now. Beside it stays an empty file `….lock`.
    ///
    /// # Errors
    /// The lock cannot be had.
    pub(crate) fn take(path: &Path) -> Result<Self, KeysFileError> {
        let lock = beside(&path.canonicalize().unwrap_or_else(|_new| path.to_owned()), "lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(lock);
        let file = file.map_err(KeysFileError::Write)?;
        file.lock().map_err(KeysFileError::Write)?;
        Ok(Self { _file: file })
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{ending}"))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = beside(path, &format!("{}.new", uuid::Uuid::new_v4().simple()));
    let written = write_new(&fresh, bytes)
        .and_then(|()| like(path, &fresh))
        .and_then(|()| std::fs::rename(&fresh, path));
    if written.is_err() {
        let _gone = std::fs::remove_file(&fresh); // what failed before is the error to tell
    }
    written?;
    sync_folder(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives the new file the owner and the mode of the old one: a server that could read it still can.
#[cfg(unix)]
fn like(old: &Path, fresh: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(was) = std::fs::metadata(old) else { return Ok(()) };
    let is = std::fs::metadata(fresh)?;
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        std::os::unix::fs::chown(fresh, Some(was.uid()), Some(was.gid()))?;
    }
    std::fs::set_permissions(fresh, was.permissions())
}

#[cfg(not(unix))]
fn like(_old: &Path, _fresh: &Path) -> io::Result<()> {
    Ok(())
}

/// A rename is kept once its folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
