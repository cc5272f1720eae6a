//! A TCP socket of our own: no buffer, no future, while nothing comes.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;

use super::with_read_buffer;

/// The reading end of a TCP socket.
pub(crate) struct RawReader(pub(crate) Arc<TcpStream>);

impl RawReader {
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        take: &mut dyn FnMut(&mut [u8]),
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            let read = with_read_buffer(|buffer| {
                let read = self.0.try_read(buffer);
                if let Ok(count) = read {
                    take(&mut buffer[..count]);
                }
                read
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }
}

/// Writes what goes without waiting. The socket is asked, not the runtime: to look at what that knows of a socket is to fetch
/// memory which nothing else here needs, for each receiver of a message.
///
/// # Errors
/// The socket is full, which the runtime then knows as well, or broken.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn try_write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use rustix::io::Errno;
    use rustix::net::{SendFlags, send};

    match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => stream.try_write(bytes),
        other => Ok(other?),
    }
}

/// Writes what goes without waiting.
///
/// # Errors
/// The socket is full or broken.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn try_write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.try_write(bytes)
}

/// How much the kernel takes of a socket beyond what it may send, in bytes, where it lets us say so.
///
/// Without a bound it takes up to 4 MiB for a peer that reads slowly, and reports the socket writable only when a third
/// of that is free: a peer that reads for minutes then looks like one that takes nothing. With this one it is reported
/// at half of the bound: a peer makes progress every 16 KiB, and a kilobyte a second is enough for the default stall
/// timeout. What is on its way and not acknowledged does not count, so that a peer that keeps up is not slowed down.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES_MAX: u32 = 32 * 1024;

/// Lets the kernel take little that it cannot send yet: the rest waits with us, where it is counted.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn keep_little_unsent(stream: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
        tracing::debug!(%error, "the kernel does not bound what it takes for slow peers");
    }
}

/// The kernel's own measure holds.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const fn keep_little_unsent(_stream: &TcpStream) {}
