//! A request's body, as the text that it is.

use std::convert::Infallible;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use moorline_proto::stream::CHUNK_MAX_BYTES;

use crate::utf8::{Decoder, NotUtf8, take_beginning};

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As it should.
    Whole,
    /// Something is missing.
    Broken,
    /// With what is no text.
    NotUtf8(NotUtf8),
}

/// The text that came and was not appended yet. What has no place here stays with the client: the body is not read on.
pub(super) struct Incoming {
    frames: BodyDataStream,
    decoder: Decoder,
    text: String,
    ending: Option<Ending>,
}

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self {
            frames: body.into_data_stream(),
            decoder: Decoder::default(),
            text: String::new(),
            ending: None,
        }
    }

    /// Waits until there is text to append, or will never be any. Dropping the future loses nothing.
    pub(super) async fn ready(&mut self) {
        while self.text.is_empty() && self.ending.is_none() {
            self.receive().await;
        }
    }

    /// Takes what comes meanwhile, to the size of one append. Never resolves; dropping the future loses nothing.
    pub(super) async fn gather(&mut self) -> Infallible {
        while self.text.len() < CHUNK_MAX_BYTES && self.ending.is_none() {
            self.receive().await;
        }
        std::future::pending().await
    }

    async fn receive(&mut self) {
        let decoded = match self.frames.next().await {
            Some(Ok(bytes)) => self.decoder.push(&bytes, &mut self.text),
            Some(Err(error)) => {
                tracing::debug!(%error, "the body of a stream broke off");
                self.ending = Some(Ending::Broken);
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

    /// What the next append has; empty where nothing came.
    pub(super) fn take(&mut self) -> Box<str> {
        take_beginning(&mut self.text, CHUNK_MAX_BYTES).into()
    }

    /// How it ended, once all of it was taken.
    pub(super) fn ended(&self) -> Option<Ending> {
        self.ending.filter(|_| self.text.is_empty())
    }

    /// Reads what still comes to nowhere: a client that is still sending may then read the answer.
    pub(super) async fn discard(mut self) {
        while let Some(Ok(_)) = self.frames.next().await {}
    }
}
