//! The write sides of a shard's connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_proto::coding::Coding;
use moorline_proto::identity::Identity;
use moorline_proto::revocations::Revocations;
use moorline_proto::shard::{ConnectionId, Host, Peer, Refusal, SessionKey};
use moorline_proto::users::Users;
use moorline_ws::deflate::{Compression, Deflater};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::compression;
use crate::handshake::farewell;
use crate::telemetry;
use crate::transport::Writer;

/// How long a connection that is being closed may take to take what it is still owed, and then to go.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection that has no session yet.
pub(crate) struct Waiting {
    pub(crate) writer: Writer,
    pub(crate) established: oneshot::Sender<Peer>,
}

/// What a shard writes to.
pub(crate) struct Sockets {
    /// By session key.
    writers: Vec<Option<(ConnectionId, Writer)>>,
    waiting: HashMap<ConnectionId, Waiting>,
    /// Whose connection task is to be told.
    bound: HashMap<ConnectionId, oneshot::Sender<Peer>>,
    /// Taken over by newer ones, about to be closed.
    replaced: HashMap<ConnectionId, Writer>,
    users: Arc<Mutex<Users>>,
    revocations: Arc<Mutex<Revocations>>,
    tracker: TaskTracker,
    /// For all connections of the shard; it keeps nothing of a message, and takes its memory when it is first used.
    deflater: Deflater,
}

impl Sockets {
    pub(crate) fn new(
        users: Arc<Mutex<Users>>,
        revocations: Arc<Mutex<Revocations>>,
        tracker: TaskTracker,
        compression: Compression,
    ) -> Self {
        Self {
            writers: Vec::new(),
            waiting: HashMap::new(),
            bound: HashMap::new(),
            replaced: HashMap::new(),
            users,
            revocations,
            tracker,
            deflater: Deflater::new(compression),
        }
    }

    /// A connection waits for its session.
    pub(crate) fn wait(&mut self, connection: ConnectionId, waiting: Waiting) {
        self.waiting.insert(connection, waiting);
    }

    /// A connection has its session, and may be listened to. False where its task is gone: it has seen the socket's end.
    pub(crate) fn established(&mut self, peer: Peer) -> bool {
        self.bound.remove(&peer.connection).is_none_or(|established| established.send(peer).is_ok())
    }

    /// A connection gets no session.
    pub(crate) fn refuse(&mut self, connection: ConnectionId, refusal: &Refusal) {
        if let Some(waiting) = self.waiting.remove(&connection) {
            self.farewell(waiting.writer, &farewell(refusal));
        }
    }

    /// The writer of a peer, if it is still its session's.
    pub(crate) fn writer(&self, peer: Peer) -> Option<&Writer> {
        let slot = self.writers.get(peer.session.0 as usize)?.as_ref()?;
        (slot.0 == peer.connection).then_some(&slot.1)
    }

    /// Ends a connection once it took what it is still owed.
    pub(crate) fn close(&mut self, peer: Peer, rest: &[u8]) {
        self.bound.remove(&peer.connection);
        let writer = match self.replaced.remove(&peer.connection) {
            Some(writer) => writer,
            None => {
                let Some(slot) = self.writers.get_mut(peer.session.0 as usize) else { return };
                match slot.take() {
                    Some((connection, writer)) if connection == peer.connection => writer,
                    other => {
                        *slot = other;
                        return;
                    }
                }
            }
        };
        self.farewell(writer, rest);
    }

    fn farewell(&self, writer: Writer, rest: &[u8]) {
        let written = writer.try_write(rest).unwrap_or(rest.len());
        let rest = rest[written..].to_vec();
        if rest.is_empty() {
            writer.finish();
            if writer.reader_is_gone() {
                return;
            }
        }
        self.tracker.spawn(async move {
            let owed = tokio::time::timeout(FAREWELL, write_all(&writer, &rest)).await;
            writer.finish();
            // A drain waits for the reading end, which ends with the peer or with this; not for this.
            tokio::spawn(async move {
                if owed.is_ok() {
                    tokio::time::sleep(FAREWELL).await;
                }
                writer.abort();
            });
        });
    }
}

async fn write_all(writer: &Writer, mut rest: &[u8]) {
    while !rest.is_empty() {
        writer.writable().await;
        match writer.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(_) => return,
        }
    }
}

impl Host for Sockets {
    fn write(&mut self, session: SessionKey, bytes: &[u8]) -> usize {
        match self.writers.get(session.0 as usize) {
            // A broken socket takes everything: its reading end reports the break.
            Some(Some((_, writer))) => writer.try_write(bytes).unwrap_or(bytes.len()),
            _ => bytes.len(),
        }
    }

    fn compress(&mut self, coding: Coding, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let is_compressed = self.deflater.put_frame(out, frame, compression::window(coding));
        if is_compressed {
            telemetry::compressed(frame.len(), out.len() - before);
        }
        is_compressed
    }

    fn bind(&mut self, connection: ConnectionId, session: SessionKey) {
        let Some(waiting) = self.waiting.remove(&connection) else { return };
        let index = session.0 as usize;
        if self.writers.len() <= index {
            self.writers.resize_with(index + 1, || None);
        }
        if let Some((old, writer)) = self.writers[index].replace((connection, waiting.writer)) {
            self.replaced.insert(old, writer);
        }
        self.bound.insert(connection, waiting.established);
    }

    fn with_users(&mut self, act: &mut dyn FnMut(&mut Users)) {
        act(&mut self.users.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_revoked(&mut self, identity: &Identity) -> bool {
        self.revocations.lock().unwrap_or_else(PoisonError::into_inner).cover(identity)
    }
}
