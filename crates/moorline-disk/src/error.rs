//! Why a store was not opened, or not closed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{DatabaseError, StorageError};

/// Why a store was not opened. All but [`OpenError::Damaged`] are for whoever runs the server to mend.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use: another server, or another `moorline store`, has it open", .0.display())]
    InUse(PathBuf),
    /// There is none.
    #[error("there is no store in {}", .0.display())]
    Missing(PathBuf),
    /// A newer Moorline wrote it.
    #[error("{} was written by a newer Moorline (format {found}; this one knows {known}): use that one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// Something else is in its place.
    #[error("{} is not a store of Moorline's: {why}", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: &'static str,
    },
    /// It is Moorline's, and cannot be read.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The operating system refuses.
    #[error("{} cannot be opened: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A store could not be closed cleanly: the next start is an unclean one.
#[derive(Debug, thiserror::Error)]
#[error("the store was not closed cleanly")]
pub struct CloseError(#[from] pub WriteError);

/// Why a commit did not come through. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The operating system refuses: no space, a broken disk.
    #[error("the store cannot write: {0}")]
    Io(#[source] io::Error),
    /// What was published last could not be written before the end.
    #[error("what came last could not be kept: {0}")]
    Unfinished(Arc<str>),
    /// The engine refuses.
    #[error("the store cannot write: {0}")]
    Engine(#[source] Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for WriteError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(error) => Self::Io(error),
            error => Self::Engine(Box::new(error)),
        }
    }
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// What was found could be read, and not written.
    pub(crate) fn unwritten(path: &Path, error: WriteError) -> Self {
        match error {
            WriteError::Io(source) => Self::io(path, source),
            error => Self::damaged(path, error.to_string()),
        }
    }

    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.into() }
    }

    /// What the engine says about a file that it could not open.
    pub(crate) fn engine(path: &Path, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse(path.to_owned()),
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Self::NotOurs { path: path.to_owned(), why: "it does not begin as a database does" }
            }
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                Self::damaged(path, "it ends before it should")
            }
            DatabaseError::Storage(StorageError::Io(error)) => Self::io(path, error),
            DatabaseError::Storage(StorageError::Corrupted(why)) => Self::damaged(path, why),
            error => Self::damaged(path, error.to_string()),
        }
    }
}
