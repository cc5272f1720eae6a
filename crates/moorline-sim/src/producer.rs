//! One producer of a stream: what it has to say, what of it was answered, and what it sends next.

use std::collections::VecDeque;

use moorline_broker::BrokerError;
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::shard::ConnectionId;
use moorline_proto::stream::Done;
use serde_json::Value;

use crate::backend::StreamAnswer;
use crate::random::Random;
use crate::written::letter;

/// How it reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Over HTTP, as the application.
    Http,
    /// As this client, over its connection of the moment; what was asked on an earlier one is not answered any more.
    Client(usize, Option<(usize, ConnectionId)>),
}

/// What it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To open the stream.
    Open,
    /// To add text.
    Append {
        /// Where it begins.
        at: usize,
        /// The text.
        content: String,
    },
    /// To end it so.
    End(&'static str),
}

/// What it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The stream is open.
    Opened {
        /// The fence.
        fence: u64,
        /// The length of its text.
        at: usize,
    },
    /// The text was added.
    Appended {
        /// The length of the stream's text.
        at: usize,
        /// Whether somebody asks to stop.
        cancel: bool,
    },
    /// The stream ended.
    Ended,
    /// It was refused.
    Refused {
        /// The protocol's code.
        code: String,
        /// The length of the stream's text, where the code says so.
        at: Option<usize>,
    },
}

impl Told {
    /// Reads a `reply`.
    #[must_use]
    pub fn read(reply: &Value) -> Self {
        let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        if reply["ok"] == false {
            let code = reply["error"]["code"].as_str().unwrap_or_default().to_owned();
            return Self::Refused { code, at: number(&reply["error"]["at"]) };
        }
        match (reply["fence"].as_u64(), number(&reply["at"])) {
            (Some(fence), Some(at)) => Self::Opened { fence, at },
            (None, Some(at)) => Self::Appended { at, cancel: reply["cancel"] == true },
            _ => Self::Ended,
        }
    }

    /// What HTTP would say.
    #[must_use]
    pub fn of(answer: &Result<Done, BrokerError>) -> Self {
        let number = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        match answer {
            Ok(Done::Opened { fence, at }) => Self::Opened { fence: *fence, at: number(*at) },
            Ok(Done::Appended { at, cancel }) => Self::Appended { at: number(*at), cancel: *cancel },
            Ok(Done::Ended { .. } | Done::Cancelled) => Self::Ended,
            Err(error) => {
                let rejection = error.rejection();
                Self::Refused { code: rejection.code.as_str().to_owned(), at: rejection.at.map(number) }
            }
        }
    }
}

/// What waits for its answer.
pub struct Waiting {
    /// Its `ref`.
    pub reference: u64,
    /// Where it came over HTTP.
    pub answer: Option<StreamAnswer>,
}

/// A producer.
pub struct Producer {
    /// The room.
    pub room: RoomName,
    /// The stream.
    pub stream: StreamName,
    /// How it reaches the server.
    pub by: By,
    /// How long the text is to be.
    length: usize,
    /// Its right, once it has one.
    pub fence: Option<u64>,
    /// Where its own text begins.
    start: usize,
    /// Up to where the text is known to be accepted.
    at: usize,
    /// Up to where it was sent, since it is known to have come.
    sent: usize,
    /// What waits for its answer.
    pub waiting: VecDeque<Waiting>,
    /// Whether somebody asked it to stop.
    pub is_asked_to_stop: bool,
    end: Option<&'static str>,
    /// Whether it does nothing any more.
    pub is_over: bool,
}

impl Producer {
    /// One that has to open its stream.
    #[must_use]
    pub fn new(room: RoomName, stream: StreamName, by: By, length: usize) -> Self {
        Self {
            room,
            stream,
            by,
            length,
            fence: None,
            start: 0,
            at: 0,
            sent: 0,
            waiting: VecDeque::new(),
            is_asked_to_stop: false,
            end: None,
            is_over: false,
        }
    }

    /// What was asked is not answered any more: what is not known to be accepted is sent again.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.sent = self.at;
    }

    /// What it asks next, if anything.
    pub fn next(&mut self, random: &mut Random) -> Option<Ask> {
        const WAITING_MAX: usize = 3;
        const APPEND_MAX: usize = 24;
        if self.is_over || self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let Some(fence) = self.fence else { return self.waiting.is_empty().then_some(Ask::Open) };
        if let Some(end) = self.end {
            return self.waiting.is_empty().then_some(Ask::End(end));
        }
        let is_done = self.at >= self.length && self.waiting.is_empty();
        if is_done || self.is_asked_to_stop && random.chance(50) || random.chance(2) {
            let ends = ["complete", "complete", "error", "cancelled"];
            let end = if self.is_asked_to_stop { "cancelled" } else { random.pick(&ends) };
            self.end = Some(end);
            return self.waiting.is_empty().then_some(Ask::End(end));
        }
        // Sometimes a part once more, cut otherwise.
        let back = if random.chance(15) { random.below(self.sent - self.start + 1) } else { 0 };
        let at = self.sent - back;
        let end = (at + random.below(APPEND_MAX + 1)).min(self.length.max(self.sent));
        let content = (at..end).map(|place| letter(self.stream.as_str(), fence, place)).collect();
        self.sent = self.sent.max(end);
        Some(Ask::Append { at, content })
    }

    /// It is answered. Returns what is wrong with that.
    pub fn told(&mut self, told: &Told) -> Option<String> {
        match told {
            Told::Opened { fence, at } => {
                self.fence = Some(*fence);
                (self.start, self.at, self.sent) = (*at, *at, *at);
            }
            Told::Appended { at, cancel } => {
                self.at = self.at.max(*at);
                self.sent = self.sent.max(self.at);
                self.is_asked_to_stop |= cancel;
            }
            Told::Ended => self.is_over = true,
            Told::Refused { code, at } => return self.refused(code, *at),
        }
        None
    }

    fn refused(&mut self, code: &str, at: Option<usize>) -> Option<String> {
        match (code, at) {
            ("fenced" | "stream_taken" | "stream_ended", _) => self.is_over = true,
            // The node lost it before it was answered, or it ended long ago.
            ("not_found", _) => self.fence = None,
            ("at_mismatch", Some(at)) if at >= self.at => (self.at, self.sent) = (at, at),
            ("unavailable" | "overloaded", _) => self.sent = self.at,
            _ => return Some(format!("the producer of {} is refused: {code} {at:?}", self.stream)),
        }
        None
    }
}
