//! The node's end of the announcements.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Shared;
use crate::broker::{Announcement, Announcements};

/// How a look at the queue ended.
pub(super) enum Look {
    /// There was something.
    Taken,
    /// Nothing so far.
    Nothing,
    /// This receiver gets no more.
    Over,
}

/// The node's end; knows by its number whether it was replaced.
pub(super) struct Receiver {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
}

impl Announcements for Receiver {
    fn receive<'a>(&'a mut self, into: &'a mut Vec<Announcement>, max: usize) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            loop {
                // Registered before the look, so that what comes in between wakes it.
                let woken = self.shared.wake.notified();
                match self.shared.lock().look(self.number, into, max) {
                    Look::Taken => return true,
                    Look::Over => return false,
                    Look::Nothing => {}
                }
                woken.await;
            }
        })
    }
}

impl Drop for Receiver {
    /// Nobody listens any more: nothing more is queued.
    fn drop(&mut self) {
        self.shared.lock().end(self.number);
    }
}
