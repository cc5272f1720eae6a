//! Messages and sessions on disk: what survives kill -9 and loss of power.
//!
//! The log is a [`MemoryLog`](moorline_broker::MemoryLog): everything that is kept is in memory, and is read from there. On disk is a journal
//! of it, in one file over [redb](https://docs.rs/redb): what was appended in chunks, what chunks do not tell of rooms, publish
//! ids, sessions, epochs. What changes is written in groups, one transaction each; nobody sees a record before its commit is through.
//!
//! ```no_run
//! use moorline_disk::{Options, Store};
//!
//! let mut store = Store::open("moorline-data".as_ref(), &Options::default())?;
//! let (broker, sessions, restored) = (store.broker(), store.sessions(), store.take_restored());
//! // … a node over them …
//! store.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is *not* promised: that a file which was copied while a server had it open can be opened.

mod entry;
mod error;
mod ground;
mod journal;
mod layout;
mod log;
mod offline;
mod pending;
mod place;
#[cfg(test)]
mod reopening;
mod session_row;
mod sessions;
mod store;
mod stream_row;
pub mod testing;
mod watched;

pub use error::{CloseError, OpenError, WriteError};
pub use ground::{Commit, Ground, Opened};
pub use offline::{Stats, begin_new_epoch, check, compact, export, stats};
pub use place::{FILE, Place};
pub use sessions::DiskSessions;
pub use store::{Health, Options, Store};
pub use watched::Doubt;
