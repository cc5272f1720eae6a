//! Moorline's protocol without I/O: nothing in this crate reads a clock, a socket, a random number or takes a lock.
//!
//! One idea carries everything: **a room is a log, a receiver is a position in it.** Reconnecting, catching up after
//! being slow and a lost announcement are one mechanism: replay from the position, or an announced reset.
//!
//! | module | subject |
//! |---|---|
//! | [`id`], [`position`], [`time`] | names, places in a log, moments |
//! | [`message`], [`record`], [`batch`] | what is published, what is stored, what is announced |
//! | [`frame`], [`codec`] | the wire |
//! | [`judge`](mod@judge), [`resume`](mod@resume) | the two delivery rules: one record for one reader; a position against a log |
//! | [`shard`] | the session machine: sessions, their rooms and connections |
//! | [`heartbeat`], [`outbox`], [`wheel`], [`token`], [`users`] | its parts |
//! | [`client`] | the reference client machine |
//! | [`identity`], [`grants`], [`revocations`] | who a connection speaks for, what it may do, and what may no longer |
//! | [`session_record`] | what is kept of a session |
//! | [`error`], [`close`] | the two tables of codes |

pub mod batch;
pub mod client;
pub mod close;
pub mod codec;
pub mod coding;
pub mod error;
pub mod frame;
pub mod grants;
pub mod heartbeat;
pub mod id;
pub mod identity;
pub mod judge;
pub mod message;
pub mod metadata;
pub mod outbox;
pub mod position;
pub mod record;
pub mod resume;
pub mod revocations;
pub mod session_record;
pub mod shard;
pub mod stream;
pub mod time;
pub mod token;
pub mod users;
pub mod wheel;
