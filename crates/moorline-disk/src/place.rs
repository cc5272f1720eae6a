//! Where a store is.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::error::OpenError;
use crate::watched::Doubt;

/// The store's file within its directory.
pub const FILE: &str = "moorline.redb";
/// Whoever uses the store holds a lock on this.
const LOCK: &str = "moorline.lock";
/// What a copy is called until it is whole.
const COPY: &str = "moorline.redb.new";
/// Lies beside the file from a sync that failed until everything was written anew.
const UNSYNCED: &str = "moorline.unsynced";

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
    /// The operating system's: then the bytes have not changed.
    fn renew(&self) -> io::Result<()>;

    /// Whether that is to be done before they are opened: syncing failed, in this process or in one before it.
    fn doubt(&self) -> &Arc<Doubt>;

    /// How many bytes there are.
    fn bytes(&self) -> u64;

    /// What the journal may have, in bytes, beyond a quarter more than the log keeps, before it is cleaned. Default 1 MiB: less is not
    /// worth the work. As much is read for one commit: a millisecond or two.
    fn slack_bytes(&self) -> u64 {
        1024 * 1024
    }
}

/// A directory with one file, which nobody else may read, and nobody else may use meanwhile.
#[derive(Debug)]
pub(crate) struct Directory {
    file: PathBuf,
    doubt: Arc<Doubt>,
    /// The engine locks its file as long as it has it open, and after a failure that is closed for a while: this stays.
    _lock: File,
}

impl Directory {
    /// The store that is in that directory.
    ///
    /// # Errors
    /// There is none, or somebody has it open.
    pub(crate) fn existing(directory: &Path) -> Result<Self, OpenError> {
        let file = directory.join(FILE);
        match file.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(OpenError::Missing(directory.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(OpenError::Missing(directory.to_owned()));
            }
            Err(error) => return Err(OpenError::io(&file, error)),
        }
        Self::locked(directory)
    }

    /// Its file, where there is none yet.
    pub(crate) fn begins(&self) -> Option<PathBuf> {
        (!self.file.exists()).then(|| self.file.clone())
    }

    fn locked(directory: &Path) -> Result<Self, OpenError> {
        let file = directory.join(FILE);
        if fs::metadata(&file).is_ok_and(|found| found.len() == 0) {
            // A copy that failed leaves such a one: to begin anew there would lose everything without a word.
            return Err(OpenError::damaged(
                &file,
                "it is empty, and is to be removed where nothing was in it",
            ));
        }
        let path = directory.join(LOCK);
        let lock = create(&path).map_err(|error| OpenError::io(&path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                file: directory.join(FILE),
                doubt: Arc::new(Doubt::left(directory.join(UNSYNCED))),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => Err(OpenError::io(&path, error)),
        }
    }

    /// That directory, made where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn create(directory: &Path) -> Result<Self, OpenError> {
        let made = make(directory).and_then(|()| sync_directory(directory));
        made.map_err(|error| OpenError::io(directory, error))?;
        Self::locked(directory)
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

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (mut original, mut copy) = (File::open(from)?, create(to)?);
    copy.set_len(0)?;
    keep_owner(&original, &copy)?;
    io::copy(&mut original, &mut copy)?;
    copy.sync_all()
}

/// Whoever could read and write a file can do so with its copy, whoever makes that.
#[cfg(unix)]
fn keep_owner(original: &File, copy: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let (was, is) = (original.metadata()?, copy.metadata()?);
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        fchown(copy, Some(was.uid()), Some(was.gid()))?;
    }
    copy.set_permissions(was.permissions())
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &File) -> io::Result<()> {
    Ok(())
}

/// Makes a new name in a directory survive a loss of power, where the system has a way to.
fn sync_directory(file: &Path) -> io::Result<()> {
    match file.parent() {
        // The parent of a name alone is empty: it is here.
        Some(directory) if cfg!(unix) && directory.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

impl Place for Directory {
    fn path(&self) -> &Path {
        &self.file
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = create(&self.file)?;
        // Also where it was there: whoever made it may have died before it was safe.
        sync_directory(&self.file)?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    fn renew(&self) -> io::Result<()> {
        if self.begins().is_some() {
            return Ok(());
        }
        // What a link leads to, not the link.
        let file = fs::canonicalize(&self.file)?;
        let new = file.with_file_name(COPY);
        let copied = copy(&file, &new).and_then(|()| fs::rename(&new, &file));
        if copied.is_err() {
            // Half a copy would only take the space that may be missing.
            let _not_there = fs::remove_file(&new);
        }
        copied?;
        sync_directory(&file)
    }

    fn doubt(&self) -> &Arc<Doubt> {
        &self.doubt
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::Watched;

    /// Cannot sync.
    #[derive(Debug)]
    struct Broken;

    impl StorageBackend for Broken {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            Err(io::Error::other("a broken disk"))
        }

        fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let names =
            fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    /// As after a process that was killed behind a sync that failed.
    fn fail_to_sync(directory: &Path) {
        let place = Directory::create(directory).expect("a directory");
        assert!(!place.doubt.is_raised());
        fs::write(&place.file, b"bytes").expect("written");
        let watched = Watched::new(Box::new(Broken), Arc::clone(&place.doubt));
        assert!(watched.sync_data().is_err() && place.doubt.is_raised());
    }

    #[test]
    fn a_sync_that_failed_is_known_to_the_next_process_until_the_file_is_new() {
        let directory = tempfile::tempdir().expect("a directory");
        fail_to_sync(directory.path());
        assert_eq!(names(directory.path()), [LOCK, FILE, UNSYNCED]);
        let place = Directory::existing(directory.path()).expect("a store");
        assert!(place.doubt.is_raised());
        // The old file, as far as anybody still has it, is another one from now on.
        let old = File::open(&place.file).expect("a file");
        place.renew().expect("renewed");
        place.doubt.settle().expect("settled");
        assert!(!place.doubt.is_raised());
        fs::write(&place.file, b"other").expect("written");
        assert_eq!(io::read_to_string(old).expect("read"), "bytes");
        assert_eq!(names(directory.path()), [LOCK, FILE]);
        drop(place);
        assert!(!Directory::existing(directory.path()).expect("a store").doubt.is_raised());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_renewed_keeps_its_mode_its_owner_and_its_place() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
        let (directory, elsewhere) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        fail_to_sync(directory.path());
        let (file, target) = (directory.path().join(FILE), elsewhere.path().join("kept"));
        fs::rename(&file, &target).expect("moved");
        symlink(&target, &file).expect("linked");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("a mode");
        // Only root may give it away; others see that it stays theirs.
        let _either = chown(&target, Some(1000), Some(1000));
        let before = fs::metadata(&target).expect("a file");
        Directory::existing(directory.path()).expect("a store").renew().expect("renewed");
        let after = fs::metadata(&target).expect("a file");
        assert_ne!(before.ino(), after.ino());
        assert_eq!((before.uid(), before.gid(), before.mode()), (after.uid(), after.gid(), after.mode()));
        assert!(fs::symlink_metadata(&file).expect("a link").is_symlink());
    }

    #[test]
    fn a_file_that_cannot_be_renewed_stays_doubtful() {
        let directory = tempfile::tempdir().expect("a directory");
        fail_to_sync(directory.path());
        fs::create_dir(directory.path().join(COPY)).expect("in the way");
        let place = Directory::existing(directory.path()).expect("a store");
        assert!(place.renew().is_err() && place.doubt.is_raised());
        assert_eq!(fs::read(&place.file).expect("a file"), b"bytes");
        drop(place);
        assert!(Directory::existing(directory.path()).expect("a store").doubt.is_raised());
    }
}
