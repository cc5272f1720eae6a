//! What open streams cost together, and whose they are: nobody can take the memory away from the others.

use std::collections::HashMap;
use std::sync::Arc;

use moorline_proto::stream::{Stream, StreamError};

use crate::log::is_client;

/// Counts [`Stream::cost_bytes`] of what is open. All together may cost a quarter of what all logs may, clients half of that, and one
/// client a sixteenth of the clients'.
#[derive(Default)]
pub(super) struct OpenCost {
    max_bytes: usize,
    bytes: usize,
    clients_bytes: usize,
    by_client: HashMap<Arc<str>, usize>,
}

impl OpenCost {
    pub(super) fn new(total_bytes: usize) -> Self {
        Self { max_bytes: total_bytes / 4, ..Self::default() }
    }

    /// Whether a principal's streams may cost so much more.
    pub(super) fn admit(&self, principal: &Arc<str>, more: usize) -> Result<(), StreamError> {
        let clients_max = self.max_bytes / 2;
        let of_client = self.by_client.get(principal).copied().unwrap_or_default();
        let is_over = self.bytes + more > self.max_bytes
            || is_client(principal)
                && (self.clients_bytes + more > clients_max || of_client + more > clients_max / 16);
        if is_over { Err(StreamError::NoSpace) } else { Ok(()) }
    }

    /// An open stream costs so much instead.
    pub(super) fn change(&mut self, principal: &Arc<str>, before: usize, after: usize) {
        self.bytes = self.bytes + after - before;
        if !is_client(principal) {
            return;
        }
        self.clients_bytes = self.clients_bytes + after - before;
        let of_client = self.by_client.entry(Arc::clone(principal)).or_default();
        *of_client = *of_client + after - before;
        if *of_client == 0 {
            self.by_client.remove(principal);
        }
    }

    /// A stream is no longer open.
    pub(super) fn release(&mut self, stream: &Stream) {
        self.change(stream.principal(), stream.cost_bytes(), 0);
    }
}
