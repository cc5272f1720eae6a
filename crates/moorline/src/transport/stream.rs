//! Any byte stream that is no bare TCP socket: TLS, a Unix socket, memory. Writes go through a bounded buffer and a task.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use super::with_read_buffer;

/// How much waits for the stream before it counts as full.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a connection may run over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// The reading end.
pub(crate) struct StreamReader {
    half: ReadHalf<Box<dyn Io>>,
    aborted: Arc<Shared>,
}

/// The writing end.
#[derive(Clone, Debug)]
pub(crate) struct StreamWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or the end.
    wanted: Notify,
    /// The buffer has room.
    room: Notify,
    /// What is being written need not be.
    cancelled: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    finished: bool,
    aborted: bool,
    reader: Option<std::task::Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends both directions: wakes whoever waits for either.
    fn abort(&self) {
        let reader = {
            let mut state = self.lock();
            state.aborted = true;
            state.reader.take()
        };
        self.wanted.notify_one();
        self.cancelled.notify_one();
        self.room.notify_waiters();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// Takes a stream apart. The task that writes ends with the writing end.
pub(crate) fn split(io: Box<dyn Io>) -> (StreamReader, StreamWriter) {
    let (half, write) = tokio::io::split(io);
    let shared = Arc::new(Shared::default());
    tokio::spawn(write_loop(write, Arc::clone(&shared)));
    (StreamReader { half, aborted: Arc::clone(&shared) }, StreamWriter(shared))
}

async fn write_loop(mut half: WriteHalf<Box<dyn Io>>, shared: Arc<Shared>) {
    loop {
        let (bytes, finished, aborted) = {
            let mut state = shared.lock();
            (std::mem::take(&mut state.bytes), state.finished, state.aborted)
        };
        if aborted {
            return;
        }
        if !bytes.is_empty() {
            shared.room.notify_waiters();
            let written = async { half.write_all(&bytes).await.is_ok() && half.flush().await.is_ok() };
            let is_written = tokio::select! {
                biased;
                () = shared.cancelled.notified() => false,
                is_written = written => is_written,
            };
            if !is_written {
                return shared.abort();
            }
        } else if finished {
            // Whoever is still there sees the end; a failure means that nobody is.
            let _gone = half.shutdown().await;
            return;
        } else {
            shared.wanted.notified().await;
        }
    }
}

impl StreamReader {
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        take: &mut dyn FnMut(&mut [u8]),
    ) -> Poll<io::Result<usize>> {
        {
            let mut state = self.aborted.lock();
            if state.aborted {
                return Poll::Ready(Ok(0));
            }
            state.reader = Some(context.waker().clone());
        }
        with_read_buffer(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.half).poll_read(context, &mut read))?;
            let filled = read.filled_mut();
            let count = filled.len();
            if count > 0 {
                take(filled);
            }
            Poll::Ready(Ok(count))
        })
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.aborted.lock().reader = None;
    }
}

impl StreamWriter {
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.aborted || state.finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(BUFFER_BYTES.saturating_sub(state.bytes.len()));
        state.bytes.extend_from_slice(&bytes[..count]);
        self.0.wanted.notify_one();
        Ok(count)
    }

    pub(super) async fn writable(&self) {
        loop {
            let room = self.0.room.notified();
            {
                let state = self.0.lock();
                if state.aborted || state.bytes.len() < BUFFER_BYTES {
                    return;
                }
            }
            room.await;
        }
    }

    pub(super) fn finish(&self) {
        self.0.lock().finished = true;
        self.0.wanted.notify_one();
    }

    pub(super) fn abort(&self) {
        self.0.abort();
    }

    /// The writing task holds one reference, this end another, the reader a third.
    pub(super) fn reader_is_gone(&self) -> bool {
        Arc::strong_count(&self.0) <= 2
    }
}
