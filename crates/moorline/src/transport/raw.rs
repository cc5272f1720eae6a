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
