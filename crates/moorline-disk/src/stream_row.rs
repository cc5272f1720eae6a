//! What chunks keep of streams.

use std::time::Duration;

use bytes::Bytes;
use moorline_broker::{StreamChange, StreamId};
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::position::Offset;
use moorline_proto::record::{Except, Record};
use moorline_proto::stream::Lease;
use moorline_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

use std::sync::Arc;

use crate::entry::{self, ChunkError, ExceptRow};

/// The highest fence that is believed: the last whole number that every JSON reader has, and far beyond any moment in milliseconds.
const FENCE_MAX: u64 = (1 << 53) - 1;

/// One change of a stream, as [`StreamChange`] has it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StreamRow<'a> {
    Opened {
        #[serde(borrow)]
        principal: &'a str,
        fence: u64,
        lease_ms: u64,
        #[serde(borrow)]
        data: Option<&'a str>,
        #[serde(borrow)]
        except: Option<ExceptRow<'a>>,
    },
    /// Only the last one counts.
    Reopened {
        fence: u64,
        lease_ms: u64,
    },
    Text(#[serde(borrow)] &'a str),
    Shown {
        offset: u64,
        timestamp: u64,
        end_bytes: u32,
    },
    Cancelled,
    Ended {
        offset: u64,
        timestamp: u64,
        #[serde(borrow)]
        except: Option<ExceptRow<'a>>,
        #[serde(with = "serde_bytes")]
        message: &'a [u8],
    },
    /// It is no longer kept. Stands where it ended, until what else there was of it is gone from the chunks before: without it those would be
    /// taken for an open stream's.
    Gone,
}

impl<'a> StreamRow<'a> {
    pub(crate) fn of(change: &StreamChange<'a>) -> Self {
        match change {
            StreamChange::Opened { principal, fence, lease, data, except } => Self::Opened {
                principal,
                fence: *fence,
                lease_ms: millis(*lease),
                data: data.and_then(|data| std::str::from_utf8(data).ok()),
                except: except.map(|except| ExceptRow::of(except)),
            },
            StreamChange::Reopened { fence, lease } => {
                Self::Reopened { fence: *fence, lease_ms: millis(*lease) }
            }
            StreamChange::Text(text) => Self::Text(text),
            StreamChange::Shown { offset, timestamp, end_bytes } => Self::Shown {
                offset: offset.0,
                timestamp: timestamp.0,
                end_bytes: u32::try_from(*end_bytes).unwrap_or(u32::MAX),
            },
            StreamChange::Cancelled => Self::Cancelled,
            StreamChange::Ended(record) => Self::Ended {
                offset: record.offset.0,
                timestamp: record.timestamp.0,
                except: record.except.as_deref().map(ExceptRow::of),
                message: record.message.as_bytes(),
            },
            StreamChange::Gone => Self::Gone,
        }
    }
}

/// A change in memory of its own.
pub(crate) struct Change {
    pub(crate) room: RoomName,
    stream: StreamName,
    first: Offset,
    what: What,
}

enum What {
    Opened { principal: Box<str>, fence: u64, lease: Lease, data: Option<Bytes>, except: Option<Arc<Except>> },
    Reopened { fence: u64, lease: Lease },
    Text(Box<str>),
    Shown { offset: Offset, timestamp: Timestamp, end_bytes: usize },
    Cancelled,
    Ended(Record),
    Gone,
}

impl Change {
    /// Checks a row.
    pub(crate) fn read(
        room: RoomName,
        (stream, first): (&str, u64),
        row: &StreamRow<'_>,
    ) -> Result<Self, ChunkError> {
        let stream = StreamName::new(stream).map_err(|error| ChunkError::Name(error.to_string()))?;
        let what = match row {
            StreamRow::Opened { principal, fence, lease_ms, data, except } => What::Opened {
                principal: (*principal).into(),
                fence: self::fence(*fence)?,
                lease: lease(*lease_ms)?,
                data: data.map(|data| Bytes::copy_from_slice(data.as_bytes())),
                except: except.as_ref().map(entry::except).transpose()?,
            },
            StreamRow::Reopened { fence, lease_ms } => {
                What::Reopened { fence: self::fence(*fence)?, lease: lease(*lease_ms)? }
            }
            StreamRow::Text(text) => What::Text((*text).into()),
            StreamRow::Shown { offset, timestamp, end_bytes } => What::Shown {
                offset: entry::offset(*offset)?,
                timestamp: Timestamp(*timestamp),
                end_bytes: *end_bytes as usize,
            },
            StreamRow::Cancelled => What::Cancelled,
            StreamRow::Ended { offset, timestamp, except, message } => {
                What::Ended(entry::record(*offset, *timestamp, except.as_ref(), message)?)
            }
            StreamRow::Gone => What::Gone,
        };
        Ok(Self { room, stream, first: entry::offset(first)?, what })
    }

    /// Which stream it is about.
    pub(crate) const fn id(&self) -> StreamId<'_> {
        StreamId { room: &self.room, stream: &self.stream, first: self.first }
    }

    /// As the log takes it.
    pub(crate) fn change(&self) -> StreamChange<'_> {
        match &self.what {
            What::Opened { principal, fence, lease, data, except } => StreamChange::Opened {
                principal,
                fence: *fence,
                lease: *lease,
                data: data.as_ref(),
                except: except.as_ref(),
            },
            What::Reopened { fence, lease } => StreamChange::Reopened { fence: *fence, lease: *lease },
            What::Text(text) => StreamChange::Text(text),
            What::Shown { offset, timestamp, end_bytes } => {
                StreamChange::Shown { offset: *offset, timestamp: *timestamp, end_bytes: *end_bytes }
            }
            What::Cancelled => StreamChange::Cancelled,
            What::Ended(record) => StreamChange::Ended(record),
            What::Gone => StreamChange::Gone,
        }
    }
}

fn millis(lease: Lease) -> u64 {
    u64::try_from(lease.time().as_millis()).unwrap_or(u64::MAX)
}

/// A fence that was given out: they begin with a moment and rise by one, and there must be one after it.
fn fence(fence: u64) -> Result<u64, ChunkError> {
    if fence <= FENCE_MAX { Ok(fence) } else { Err(ChunkError::Stream) }
}

fn lease(millis: u64) -> Result<Lease, ChunkError> {
    Lease::new(Duration::from_millis(millis)).ok_or(ChunkError::Stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a fence that cannot be followed by another, the next producer would get a lower one.
    #[test]
    fn a_fence_without_a_successor_is_not_believed() {
        let read = |fence| {
            let reopened = StreamRow::Reopened { fence, lease_ms: 30_000 };
            let opened =
                StreamRow::Opened { principal: "p", fence, lease_ms: 30_000, data: None, except: None };
            let room = RoomName::new("a").expect("a room");
            [reopened, opened].map(|row| Change::read(room.clone(), ("s", 1), &row).is_ok())
        };
        assert_eq!(read(FENCE_MAX), [true; 2]);
        assert_eq!(read(FENCE_MAX + 1), [false; 2]);
        assert_eq!(read(u64::MAX), [false; 2]);
    }
}
