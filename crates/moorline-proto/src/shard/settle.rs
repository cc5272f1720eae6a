//! The session that a connection gets: found, brought back or made, and bound to it.

use std::sync::Arc;

use super::access::Access;
use super::establish::{Claim, Found};
use super::session::{Connected, Greeting, Resumed, Session};
use super::{ConnectionId, SessionKey, Shard, Turn, number};
use crate::close::CloseCode;
use crate::heartbeat::Heartbeat;
use crate::id::SessionId;
use crate::metadata;
use crate::session_record::SessionRecord;
use crate::time::Now;
use crate::token::TokenSet;

impl Shard {
    /// The session, here and with this connection; one that it takes over loses its own. None where it is not here any more.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>, claim: &Claim, found: Found) -> Option<SessionKey> {
        let key = match found {
            Found::New(id, fence) => {
                let key =
                    self.insert(Arc::new(new_record(claim, id, turn.now)), fence, claim.own_rooms, turn.now);
                self.connect(turn.now, key, claim);
                return Some(key);
            }
            Found::Here(id) => {
                let key = self.session_named(&id)?;
                self.drop_connection(
                    turn,
                    key,
                    Some((CloseCode::Replaced.number(), "replaced by a newer connection")),
                );
                key
            }
            Found::Stored(record, fence) => {
                let key = self.revive(&record, fence, turn.now);
                self.enter_unmarked(key);
                key
            }
        };
        self.renew(key, claim);
        self.connect(turn.now, key, claim);
        Some(key)
    }

    /// Puts a session into the shard's tables.
    pub(super) fn insert(
        &mut self,
        record: Arc<SessionRecord>,
        fence: u64,
        own_rooms: bool,
        now: Now,
    ) -> SessionKey {
        let index = self.sessions.insert(Session {
            record,
            fence,
            connected: None,
            absent_until: now.instant,
            newest: ConnectionId(0),
            absence: 0,
            absent_bytes: 0,
            last_activity: now.instant,
            memberships: Vec::new(),
            home: None,
            own_rooms,
            older: None,
            flush_at: None,
        });
        let key = SessionKey(number(index));
        self.index_session(key);
        key
    }

    /// Notes in a session's record that it went on.
    fn renew(&mut self, key: SessionKey, claim: &Claim) {
        let max = self.config.metadata_max_bytes;
        let record = Arc::make_mut(&mut self.session_mut(key).record);
        record.reconnections += 1;
        record.tokens = record.tokens.rotated(claim.resume_token.as_ref(), claim.fresh_token.hash());
        let patch = claim.metadata.as_deref();
        // One that would cross the bound was refused before.
        if let Some(Ok(merged)) = patch.map(|patch| metadata::merge(record.metadata.as_deref(), patch, max)) {
            record.metadata = merged;
        }
    }

    /// Gives a session its connection. Nothing is sent to it before it is safely kept.
    fn connect(&mut self, now: Now, key: SessionKey, claim: &Claim) {
        let connection = claim.connection;
        let access = Access::new(&claim.identity, now, &self.config.expiry);
        let heartbeat = Heartbeat::new(now.instant, &self.config.heartbeat);
        self.no_longer_absent(key);
        self.compresses |= claim.coding.is_some();
        let session = self.session_mut(key);
        let record = Arc::make_mut(&mut session.record);
        record.token.clone_from(&claim.identity.token);
        record.connected_at = now.timestamp;
        record.disconnected_at = None;
        session.newest = connection;
        session.last_activity = now.instant;
        session.connected = Some(Connected {
            id: connection,
            heartbeat,
            outbox: None,
            greeting: Some(Box::new(Greeting { first: Some(Resumed(false)), ..Greeting::default() })),
            coding: claim.coding,
            reading: false,
            in_flight: 0,
            access,
            asking: None,
        });
        self.connected += 1;
    }
}

fn new_record(claim: &Claim, id: SessionId, now: Now) -> SessionRecord {
    SessionRecord {
        id,
        user: claim.identity.user.clone(),
        token: None,
        tokens: TokenSet::new(claim.fresh_token.hash()),
        metadata: claim.metadata.clone(),
        connected_at: now.timestamp,
        disconnected_at: None,
        reconnections: 0,
        own_rooms: claim.own_rooms,
        rooms: Vec::new(),
    }
}
