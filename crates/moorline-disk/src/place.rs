//! Where a store is.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::error::OpenError;

/// The store's file within its directory.
const FILE: &str = "moorline.redb";
/// What a copy is called until it is whole.
const COPY: &str = "moorline.redb.new";

/// Where a store's bytes are. Opened again after every failure.
pub trait Place: fmt::Debug + Send + 'static {
    /// What the bytes are called, for messages.
    fn path(&self) -> &Path;

    /// The bytes; empty ones where there are none so far.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// Writes all bytes anew, after the operating system said that it could not make them safe: from then on it takes for safe
    /// what it has in memory alone. Nobody has them open meanwhile.
    ///
    /// # Errors
    /// The operating system's: then nothing has changed.
    fn renew(&self) -> io::Result<()>;

    /// How many bytes there are.
    fn bytes(&self) -> u64;

    /// What the journal may have, in bytes, beyond a quarter more than the log keeps, before it is cleaned. Default 1 MiB: less is not
    /// worth the work.
    fn slack_bytes(&self) -> u64 {
        1024 * 1024
    }
}

/// A directory with one file, which nobody else may read.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    file: PathBuf,
    copy: PathBuf,
}

impl Directory {
    /// That directory, whether or not anything is in it.
    pub(crate) fn at(directory: &Path) -> Self {
        Self { file: directory.join(FILE), copy: directory.join(COPY) }
    }

    /// That directory, made where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn create(directory: &Path) -> Result<Self, OpenError> {
        let made = make(directory);
        made.map_err(|error| OpenError::io(directory, error))?;
        Ok(Self::at(directory))
    }

    /// Whether there is a store.
    pub(crate) fn exists(&self) -> bool {
        self.file.exists()
    }
}

#[cfg(unix)]
fn make(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn make(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a new name in a directory survive a loss of power, where the system has a way to.
fn sync_directory(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

impl Place for Directory {
    fn path(&self) -> &Path {
        &self.file
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let is_new = !self.exists();
        let file = create(&self.file)?;
        if is_new {
            sync_directory(&self.file)?;
        }
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    fn renew(&self) -> io::Result<()> {
        let mut copy = create(&self.copy)?;
        copy.set_len(0)?;
        io::copy(&mut File::open(&self.file)?, &mut copy)?;
        copy.sync_all()?;
        fs::rename(&self.copy, &self.file)?;
        sync_directory(&self.file)
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |metadata| metadata.len())
    }
}
