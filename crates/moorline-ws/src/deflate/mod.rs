//! Compression of messages: the extension `permessage-deflate` (RFC 7692).
//!
//! - [`negotiate`] is the server's side of the negotiation, [`Parameters::check`] the client's; both end in [`Agreed`].
//! - [`Deflater`] compresses messages. Without context takeover a compressed frame belongs to no connection, so it
//!   is made once and shared by all whose [`Agreed::shared_window`] is the same; there are three of these at most.
//! - [`Inflater`] is what a [`Decoder`](crate::decoder::Decoder) inflates with, once
//!   [`Decoder::set_deflate`](crate::decoder::Decoder::set_deflate) told it what was agreed.
//! - [`Window`] is what context takeover keeps between messages.
//!
//! # Memory
//! The state of deflate is large (47 KB to inflate, 250 to 380 KB to compress), and neither is held by a
//! connection: it belongs to a thread, and is lent for one call. Without context takeover a connection that is
//! idle holds nothing. With it, it holds the last bytes of its messages, which prime the thread's state at the
//! next one: at most the window, 2<sup>bits</sup> bytes for each direction that takes its context over, and no more
//! than was sent. A message that is incomplete is held compressed, as it came.
//!
//! The bound on a message holds for each by itself, and deflate makes a thousandth of a long run: a read of 16 KiB may
//! become more than a hundred messages of 64 KiB. A driver that keeps events bounds what it keeps of one read.
//!
//! # Secrets
//! The length of a compressed message tells something about what is in it. Whoever can have a text of theirs put
//! beside a secret in one message, and sees its length, can guess the secret; with context takeover, in one
//! connection. That is the second reason for the defaults, which take no context over.
//!
//! ```
//! use http::{HeaderMap, header::SEC_WEBSOCKET_EXTENSIONS};
//! use moorline_ws::{
//!     decoder::{Decoder, Limits}, event::Event, frame::{OpCode, Role},
//!     deflate::{Compression, Deflater, Inflater, Parameters, Settings, negotiate},
//! };
//!
//! // The client offers, the server answers, and both know what was agreed.
//! let offer = Parameters::OFFER;
//! let mut request = HeaderMap::new();
//! request.insert(SEC_WEBSOCKET_EXTENSIONS, offer.header_value());
//! let negotiated = negotiate(&request, &Settings::default())?.expect("the server accepts the offer");
//! let mut answer = HeaderMap::new();
//! answer.insert(SEC_WEBSOCKET_EXTENSIONS, negotiated.answer);
//! assert_eq!(answer["Sec-WebSocket-Extensions"],
//!     "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
//! let agreed = offer.check(&answer)?.expect("the server has agreed");
//! assert_eq!(agreed, negotiated.agreed);
//!
//! // The server compresses once for all who agreed on the same; a short text is sent as it is.
//! let mut deflater = Deflater::new(Compression::DEFAULT);
//! let window = agreed.shared_window(Role::Server).expect("no context is taken over");
//! assert_eq!(deflater.frame(OpCode::Text, b"short", window), None);
//! let text = "a text that says the same again and again. ".repeat(100);
//! let frame = deflater.frame(OpCode::Text, text.as_bytes(), window).expect("it is compressed");
//! assert!(frame.len() < text.len() / 10);
//!
//! // Each client has its decoder; the inflater belongs to the thread.
//! let mut inflater = Inflater::new();
//! let mut decoder = Decoder::new(Role::Client, Limits::DEFAULT);
//! decoder.set_deflate(&agreed);
//! let mut received = frame.to_vec();
//! let decoded = decoder.decode_with(&mut received, &mut inflater)?;
//! assert_eq!(decoded.event, Some(Event::Text(text.into())));
//! assert!(decoder.is_idle());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod deflater;
mod extensions;
mod inflater;
mod negotiation;
mod parameters;
mod window;

pub use answer::AnswerError;
pub use deflater::{Compression, Deflater};
pub use inflater::{Inflater, MAX_FINAL_BLOCKS, max_compressed_bytes};
pub use negotiation::{Agreed, Direction, Negotiated, Settings, negotiate};
pub use parameters::Parameters;
pub use window::{Window, WindowBits};

pub(crate) use extensions::{MAX_EXTENSIONS, MAX_PARAMETERS};

/// What every sender takes off the end of a compressed message, and every receiver puts back (§7.2.1): the length
/// of the empty block with which a message is flushed to a whole byte.
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
