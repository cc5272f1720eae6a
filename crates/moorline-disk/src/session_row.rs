//! Session records, as they are kept.

use moorline_proto::id::{RoomName, SessionId, UserId};
use moorline_proto::identity::TokenId;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::session_record::{Mark, SessionRecord};
use moorline_proto::time::Timestamp;
use moorline_proto::token::{TokenHash, TokenSet};
use serde::{Deserialize, Serialize};

type Hash = [u8; 32];

/// A session record; its id is the key.
#[derive(Serialize, Deserialize)]
pub(crate) struct SessionRow<'a> {
    user: Option<&'a str>,
    token: Option<&'a str>,
    current: Hash,
    earlier: Option<Hash>,
    presented: Option<Hash>,
    metadata: Option<&'a str>,
    connected_at: u64,
    disconnected_at: Option<u64>,
    reconnections: u32,
    own_rooms: bool,
    #[serde(borrow)]
    rooms: Vec<MarkRow<'a>>,
}

#[derive(Serialize, Deserialize)]
struct MarkRow<'a> {
    room: &'a str,
    epoch: u64,
    acked: u64,
    begin: u64,
    is_added: bool,
}

/// Why a session could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("the record of a session cannot be read")]
    Row(#[from] postcard::Error),
    #[error("the record of a session has a name that cannot be: {0}")]
    Name(String),
}

impl<'a> SessionRow<'a> {
    pub(crate) fn of(record: &'a SessionRecord) -> Self {
        let (current, [earlier, presented]) = record.tokens.hashes();
        let mark = |mark: &'a Mark| MarkRow {
            room: mark.room.as_str(),
            epoch: mark.acked.epoch.0,
            acked: mark.acked.offset.0,
            begin: mark.begin.0,
            is_added: mark.is_added,
        };
        Self {
            user: record.user.as_ref().map(UserId::as_str),
            token: record.token.as_ref().map(TokenId::as_str),
            current: current.0,
            earlier: earlier.map(|hash| hash.0),
            presented: presented.map(|hash| hash.0),
            metadata: record.metadata.as_deref(),
            connected_at: record.connected_at.0,
            disconnected_at: record.disconnected_at.map(|at| at.0),
            reconnections: record.reconnections,
            own_rooms: record.own_rooms,
            rooms: record.rooms.iter().map(mark).collect(),
        }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    pub(crate) fn read(id: &str, bytes: &[u8]) -> Result<SessionRecord, RowError> {
        let row: SessionRow<'_> = postcard::from_bytes(bytes)?;
        Ok(SessionRecord {
            id: SessionId::new(id).map_err(wrong)?,
            user: row.user.map(UserId::new).transpose().map_err(wrong)?,
            token: row.token.map(TokenId::new).transpose().map_err(wrong)?,
            tokens: TokenSet::stored(
                TokenHash(row.current),
                [row.earlier.map(TokenHash), row.presented.map(TokenHash)],
            ),
            metadata: row.metadata.map(Into::into),
            connected_at: Timestamp(row.connected_at),
            disconnected_at: row.disconnected_at.map(Timestamp),
            reconnections: row.reconnections,
            own_rooms: row.own_rooms,
            rooms: row.rooms.iter().map(mark).collect::<Result<_, _>>()?,
        })
    }
}

fn mark(row: &MarkRow<'_>) -> Result<Mark, RowError> {
    let acked = Position { epoch: Epoch(row.epoch), offset: Offset(row.acked) };
    let room = RoomName::stored(row.room).map_err(wrong)?;
    Ok(Mark { room, acked, begin: Offset(row.begin), is_added: row.is_added })
}

fn wrong(error: impl std::fmt::Display) -> RowError {
    RowError::Name(error.to_string())
}
