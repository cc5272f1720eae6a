//! The two ends of a connection's socket: what reads is a small task of its own, what writes belongs to a shard.

#[cfg(feature = "axum")]
pub mod axum;
mod raw;
mod stream;
mod upgrade;

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};

pub(crate) use self::raw::RawReader;
pub(crate) use self::stream::{StreamReader, StreamWriter};
pub use self::upgrade::UpgradeError;

use std::sync::Arc;
use tokio::net::TcpStream;

/// How much one read takes. The buffer belongs to the thread, so an idle connection holds none.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Lends the thread's read buffer.
fn with_read_buffer<T>(act: impl FnOnce(&mut [u8]) -> T) -> T {
    READ_BUFFER.with_borrow_mut(|buffer| act(buffer))
}

/// The reading end.
pub(crate) enum Reader {
    Raw(RawReader),
    Stream(StreamReader),
}

impl Reader {
    /// Reads once, and hands what came to `take` before the buffer is anybody else's. `Ok(0)` is the end.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        take: &mut dyn FnMut(&mut [u8]),
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Raw(raw) => raw.poll_read(context, take),
            Self::Stream(stream) => stream.poll_read(context, take),
        }
    }
}

/// The writing end. A TCP socket is written to directly; anything else (TLS, tests) through a small bounded buffer.
#[derive(Clone, Debug)]
pub(crate) enum Writer {
    Raw(Arc<TcpStream>),
    Stream(StreamWriter),
}

impl Writer {
    /// Writes what goes without waiting.
    ///
    /// # Errors
    /// The socket is broken; its reading end will see that too.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Raw(stream) => match raw::try_write(stream, bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                other => other,
            },
            Self::Stream(stream) => stream.try_write(bytes),
        }
    }

    /// Waits until writing may go on, or fail.
    pub(crate) async fn writable(&self) {
        match self {
            Self::Raw(stream) => {
                // An error is seen by the write that follows.
                let _seen_later = stream.writable().await;
            }
            Self::Stream(stream) => stream.writable().await,
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn finish(&self) {
        match self {
            Self::Raw(stream) => shutdown(stream, std::net::Shutdown::Write),
            Self::Stream(stream) => stream.finish(),
        }
    }

    /// Ends both directions at once; the reading end sees the end.
    pub(crate) fn abort(&self) {
        match self {
            Self::Raw(stream) => shutdown(stream, std::net::Shutdown::Both),
            Self::Stream(stream) => stream.abort(),
        }
    }

    /// Whether the reading end is gone already.
    pub(crate) fn reader_is_gone(&self) -> bool {
        match self {
            Self::Raw(stream) => Arc::strong_count(stream) == 1,
            Self::Stream(stream) => stream.reader_is_gone(),
        }
    }
}

fn shutdown(stream: &TcpStream, how: std::net::Shutdown) {
    // A socket that is not connected any more needs no shutdown.
    let _gone = socket2::SockRef::from(stream).shutdown(how);
}
