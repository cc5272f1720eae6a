//! The engine's file, watched for the one failure that needs more than another try.

use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{BackendError, StorageBackend};

/// Whether a file may hold what the disk does not have. Known to this process, and to those after it by a marker beside the file: the system's
/// memory of the file outlives a process that is killed.
#[derive(Debug, Default)]
pub struct Doubt {
    is_raised: AtomicBool,
    /// None where no process is outlived.
    marker: Option<PathBuf>,
}

impl Doubt {
    /// What an earlier process left.
    pub(crate) fn left(marker: PathBuf) -> Self {
        // A marker that cannot be looked for may be there.
        let is_raised = AtomicBool::new(marker.try_exists().unwrap_or(true));
        Self { is_raised, marker: Some(marker) }
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::Acquire)
    }

    fn raise(&self) {
        self.is_raised.store(true, Ordering::Release);
        // It need not be synced: where power is lost, so is what it warns of.
        if let Some(marker) = &self.marker
            && let Err(error) = std::fs::write(marker, [])
        {
            let marker = marker.display();
            tracing::error!(%error, %marker, "a start after a kill -9 would not know that the file is to be written anew");
        }
    }

    /// The file was written anew.
    ///
    /// # Errors
    /// The marker cannot be removed: then the doubt stays.
    pub(crate) fn settle(&self) -> io::Result<()> {
        match self.marker.as_ref().map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.is_raised.store(false, Ordering::Release);
        Ok(())
    }
}

/// Passes everything on, and raises the doubt when syncing failed.
#[derive(Debug)]
pub(crate) struct Watched {
    inner: Box<dyn StorageBackend>,
    doubt: Arc<Doubt>,
}

impl Watched {
    pub(crate) fn new(inner: Box<dyn StorageBackend>, doubt: Arc<Doubt>) -> Self {
        Self { inner, doubt }
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.inner.sync_data().inspect_err(|_| self.doubt.raise())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
