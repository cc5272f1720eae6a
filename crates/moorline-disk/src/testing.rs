//! A disk that loses what was not synced, fills up and fails, for tests.

mod rows;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::place::Place;
use crate::watched::Doubt;

pub use self::rows::Rows;

/// A disk keeps or loses such pieces of an unsynced write as a whole.
const SECTOR_BYTES: usize = 512;

/// What happened since the last sync.
#[derive(Clone, Debug)]
enum Unsynced {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Unsynced {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
            Self::Length(length) => to.resize(*length, 0),
        }
    }
}

#[derive(Debug, Default)]
struct Disk {
    /// What survives.
    synced: Vec<u8>,
    /// What is read.
    current: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// What a sync that failed was to make safe: the system takes it for safe from then on, and a later sync leaves it out.
    doubtful: Vec<Unsynced>,
    /// Whoever opened it before the last crash is gone.
    generation: u64,
    /// No byte may lie beyond this.
    full_at: Option<usize>,
    sync_fails: bool,
    /// So many writes are taken before the power is gone.
    writes_left: Option<usize>,
}

/// Bytes that outlive who has them open. Cloning shares them.
#[derive(Clone, Debug)]
pub struct VolatileDisk {
    disk: Arc<Mutex<Disk>>,
    doubt: Arc<Doubt>,
    path: PathBuf,
}

impl Default for VolatileDisk {
    fn default() -> Self {
        Self { disk: Arc::default(), doubt: Arc::default(), path: PathBuf::from("a disk for tests") }
    }
}

impl VolatileDisk {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power is lost: of what was not synced each piece survives for which `keeps` says so. Whoever has the disk open can do nothing
    /// more to it.
    pub fn lose_power(&self, mut keeps: impl FnMut() -> bool) {
        let mut disk = self.lock();
        disk.generation += 1;
        disk.writes_left = None;
        let (doubtful, unsynced) = (std::mem::take(&mut disk.doubtful), std::mem::take(&mut disk.unsynced));
        for change in doubtful.into_iter().chain(unsynced) {
            match change {
                Unsynced::Write { at, bytes } => {
                    for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        if keeps() {
                            let at = at + index * SECTOR_BYTES;
                            Unsynced::Write { at, bytes: sector.to_vec() }.apply(&mut disk.synced);
                        }
                    }
                }
                length @ Unsynced::Length(_) if keeps() => length.apply(&mut disk.synced),
                Unsynced::Length(_) => {}
            }
        }
        disk.current = disk.synced.clone();
    }

    /// The process is killed: whoever opens the disk next finds everything that was written, synced or not.
    pub fn kill(&self) {
        let mut disk = self.lock();
        disk.generation += 1;
        disk.writes_left = None;
    }

    /// After so many writes it takes nothing more: what comes then is lost, until [`VolatileDisk::lose_power`].
    pub fn die_after(&self, writes: usize) {
        self.lock().writes_left = Some(writes);
    }

    /// From now on it takes no byte more than it has, or again as many as one likes.
    pub fn set_full(&self, is_full: bool) {
        let mut disk = self.lock();
        disk.full_at = is_full.then_some(disk.current.len());
    }

    /// From now on syncing fails, or works again.
    pub fn set_sync_fails(&self, fails: bool) {
        self.lock().sync_fails = fails;
    }

    /// Changes its bytes behind everybody's back.
    pub fn damage(&self, act: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.lock();
        act(&mut disk.synced);
        disk.generation += 1;
        disk.doubtful.clear();
        disk.unsynced.clear();
        disk.current = disk.synced.clone();
    }
}

impl Place for VolatileDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let generation = self.lock().generation;
        Ok(Box::new(Handle { disk: self.clone(), generation }))
    }

    fn renew(&self) -> io::Result<()> {
        let mut disk = self.lock();
        if disk.writes_left == Some(0) {
            return Err(io::Error::other("the power is gone"));
        }
        if disk.sync_fails {
            return Err(io::Error::other("the disk cannot sync"));
        }
        disk.doubtful.clear();
        disk.unsynced.clear();
        disk.synced = disk.current.clone();
        Ok(())
    }

    fn doubt(&self) -> &Arc<Doubt> {
        &self.doubt
    }

    fn bytes(&self) -> u64 {
        self.lock().current.len() as u64
    }

    /// So little that tests see cleaning.
    fn slack_bytes(&self) -> u64 {
        256
    }
}

/// An end of the disk, as long as nobody crashed.
#[derive(Debug)]
struct Handle {
    disk: VolatileDisk,
    generation: u64,
}

impl Handle {
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.lock();
        if disk.generation == self.generation { Ok(disk) } else { Err(io::Error::other("the power is gone")) }
    }

    fn change(&self, change: Unsynced, end: usize) -> io::Result<()> {
        let mut disk = self.disk()?;
        match &mut disk.writes_left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        if disk.full_at.is_some_and(|full| end > full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut disk.current);
        disk.unsynced.push(change);
        Ok(())
    }
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk()?.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk()?;
        let at = index(offset)?;
        let bytes = disk.current.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = index(len)?;
        self.change(Unsynced::Length(len), len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk()?;
        if disk.writes_left == Some(0) {
            return Err(io::Error::other("the power is gone"));
        }
        if disk.sync_fails {
            let unsynced = std::mem::take(&mut disk.unsynced);
            disk.doubtful.extend(unsynced);
            return Err(io::Error::other("the disk cannot sync"));
        }
        disk.doubtful.clear();
        for change in std::mem::take(&mut disk.unsynced) {
            change.apply(&mut disk.synced);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = index(offset)?;
        self.change(Unsynced::Write { at, bytes: data.to_vec() }, at + data.len())
    }
}
