//! A connection that its client has left behind: what still happens on it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moorline_proto::id::RoomName;
use moorline_proto::position::Epoch;

use super::frames::Heard;
use crate::history::{Ending, Entry, What};
use crate::proxy::{Flow, Link};
use crate::run::Run;
use crate::socket::{Incoming, Socket};

/// After it can be heard again. A server finds a dead peer, and one that was replaced, in less.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Lingering {
    pub(super) run: Arc<Run>,
    pub(super) socket: Socket,
    pub(super) link: Arc<Link>,
    pub(super) connection: u32,
    pub(super) epochs: HashMap<RoomName, Epoch>,
    /// How long it stays silent.
    pub(super) held: Duration,
}

impl Lingering {
    /// Reads what comes once the network is back, until the end.
    pub(super) async fn watch(mut self) -> Vec<Entry> {
        tokio::time::sleep(self.held).await;
        self.link.set(Flow::Pass, Flow::Pass);
        let mut entries = Vec::new();
        let reading = async {
            loop {
                let what = match self.socket.receive().await {
                    Ok(Incoming::Text(text)) => match Heard::read(&text) {
                        Heard::Message { room, offset, content } => {
                            let epoch = self.epochs.get(&room).copied();
                            What::Message { room, epoch, offset, content, fresh: false }
                        }
                        _ => continue,
                    },
                    Ok(Incoming::Ping(_)) => continue,
                    Ok(Incoming::Closed(code)) => What::Closed(code.map_or(Ending::Gone, Ending::Code)),
                    Err(_) => What::Closed(Ending::Gone),
                };
                let is_over = matches!(what, What::Closed(_));
                entries.push(Entry { at: self.run.now(), connection: self.connection, what });
                if is_over {
                    return;
                }
            }
        };
        // One that never ends is found by the history's rules.
        let _open = tokio::time::timeout(LIMIT, reading).await;
        entries
    }
}
