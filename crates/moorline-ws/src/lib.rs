//! RFC 6455, and its extension of RFC 7692, without I/O: this crate opens no socket, reads no clock, draws no
//! random number, spawns nothing and keeps no global state; bytes go in, events and bytes come out.
//!
//! - [`handshake`] judges the HTTP request that asks for an upgrade and builds the answer to it (§4.2).
//! - [`decoder`] turns received bytes into [`event`]s and holds no memory between messages.
//! - [`frame`] writes frames: complete ones to be shared by many receivers, and headers to be written in place.
//! - [`deflate`] compresses messages, where both ends want it (RFC 7692).
//! - [`close`] knows the close codes and the answer to a close frame (§7).
//! - [`mask`] is the masking of §5.3; [`violation`] is what a peer can do wrong.
//!
//! # The driver's contract
//! The driver owns the socket and a read buffer, which may belong to its thread: the decoder keeps what it
//! needs of an incomplete frame. For each connection it
//!
//! 1. answers the upgrade request by [`handshake::check`], and creates a [`decoder::Decoder`] once the answer
//!    is sent;
//! 2. hands every received byte to the decoder, once, in order, in parts of any size (its loop is the example
//!    at [`decoder::Decoder::decode`]), and drops each event before it waits for more;
//! 3. answers [`Ping`](event::Event::Ping) by [`frame::pong`], and [`Close`](event::Event::Close) by
//!    [`close::reply`] unless it has sent a close frame itself; as a server it then closes the socket;
//! 4. on a [`violation::Violation`] sends [`frame::close`] with its close code, then closes the socket;
//! 5. treats the end of the stream before a close frame as a lost connection (1006).
//!
//! What to send and when, how long to wait for the peer's close frame, and how much to queue for a slow peer
//! are the driver's decisions, and so is what a subprotocol means. A set
//! reserved bit is a violation, unless compression was agreed and gives it a meaning.

pub mod close;
pub mod decoder;
pub mod deflate;
pub mod event;
pub mod frame;
pub mod handshake;
mod header;
pub mod mask;
mod message;
pub mod violation;
