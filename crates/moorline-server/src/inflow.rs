//! Text that comes in, and waits to be appended to a stream.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use crate::utf8::{Decoder, NotUtf8, take_beginning};

/// How what came in ended.
#[derive(Debug)]
pub(crate) enum Ending<E> {
    /// As it should.
    Whole,
    /// Something is missing.
    Broken(E),
    /// With what is no text.
    NotUtf8(NotUtf8),
}

/// The text that came and was not taken yet. What has no place here stays where it comes from: nothing more is read then.
pub(crate) struct Inflow<S, E> {
    source: S,
    /// The longest text that is taken at once; somewhat more may wait.
    max_bytes: usize,
    decoder: Decoder,
    text: String,
    ending: Option<Ending<E>>,
}

impl<S: Stream<Item = Result<Bytes, E>> + Unpin, E> Inflow<S, E> {
    pub(crate) fn new(source: S, max_bytes: usize) -> Self {
        Self { source, max_bytes, decoder: Decoder::default(), text: String::new(), ending: None }
    }

    /// Waits until there is text, or will never be any. Dropping the future loses nothing.
    pub(crate) async fn ready(&mut self) {
        while self.text.is_empty() && self.ending.is_none() {
            self.receive().await;
        }
    }

    /// Takes in what comes, as far as there is place. Never resolves; dropping the future loses nothing.
    pub(crate) async fn gather(&mut self) -> Infallible {
        while self.text.len() < self.max_bytes && self.ending.is_none() {
            self.receive().await;
        }
        std::future::pending().await
    }

    async fn receive(&mut self) {
        let decoded = match self.source.next().await {
            Some(Ok(bytes)) => self.decoder.push(&bytes, &mut self.text),
            Some(Err(error)) => {
                self.ending = Some(Ending::Broken(error));
                return;
            }
            None => {
                self.ending = Some(Ending::Whole);
                self.decoder.finish()
            }
        };
        if let Err(wrong) = decoded {
            self.ending = Some(Ending::NotUtf8(wrong));
        }
    }

    /// What is to be appended next; empty where nothing came.
    pub(crate) fn take(&mut self) -> Box<str> {
        take_beginning(&mut self.text, self.max_bytes).into()
    }

    /// How it ended, told once, when all of it was taken.
    pub(crate) fn ended(&mut self) -> Option<Ending<E>> {
        if self.text.is_empty() { self.ending.take() } else { None }
    }

    /// Reads what still comes to nowhere.
    pub(crate) async fn discard(mut self) {
        while let Some(Ok(_)) = self.source.next().await {}
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};

    use super::*;

    #[tokio::test]
    async fn r27_streams_no_more_is_read_than_has_a_place() {
        let mut read = 0;
        let source = stream::repeat_with(|| {
            read += 1;
            Ok::<_, Infallible>(Bytes::from_static("漢字".as_bytes()))
        });
        let mut inflow = Inflow::new(source, 8);
        inflow.ready().await;
        assert!(inflow.gather().now_or_never().is_none());
        assert_eq!(&*inflow.take(), "漢字");
        assert_eq!(&*inflow.take(), "漢字");
        assert_eq!(&*inflow.take(), "");
        assert!(inflow.ended().is_none());
        drop(inflow);
        assert_eq!(read, 2);
    }

    #[tokio::test]
    async fn r27_streams_the_end_is_told_behind_the_text() {
        let parts: [Result<Bytes, &str>; 3] =
            [Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b\xff")), Err("unseen")];
        let mut inflow = Inflow::new(stream::iter(parts), 8);
        inflow.ready().await;
        assert!(inflow.gather().now_or_never().is_none());
        assert!(inflow.ended().is_none());
        assert_eq!(&*inflow.take(), "ab");
        assert!(matches!(inflow.ended(), Some(Ending::NotUtf8(NotUtf8 { at: 2 }))));
    }
}
