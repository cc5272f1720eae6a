//! Publishes by HTTP, one message after the other, each until it is answered.

use std::sync::Arc;
use std::time::Duration;

use moorline_proto::id::RoomName;
use serde_json::{Value, json};

use crate::content::Key;
use crate::history::{Outcome, Publication};
use crate::http::{Answer, Api};
use crate::run::Run;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(50);

/// A message to be published.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) room: RoomName,
    /// The protocol's `to`.
    pub(crate) to: Value,
    /// Indices of the sessions that it is not for, and the protocol's `except`.
    pub(crate) except: Option<(Vec<usize>, Value)>,
    /// It has a key that the protocol reserves: it must be refused.
    pub(crate) is_refused: bool,
}

impl Letter {
    /// To a room's members.
    pub(crate) fn to_room(room: &RoomName) -> Self {
        let to = match room.as_str().split_once('/') {
            _ if room.as_str() == "@all" => json!("all"),
            Some(("@session", id)) => json!({"session": id}),
            Some(("@user", id)) => json!({"user": id}),
            _ => json!({"room": room.as_str()}),
        };
        Self { room: room.clone(), to, except: None, is_refused: false }
    }
}

/// One publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    run: Arc<Run>,
    api: Api,
    number: u32,
    next: u32,
    pub(crate) publications: Vec<Publication>,
}

impl Publisher {
    /// `number` is its own among all publishers of the run.
    pub(crate) const fn new(run: Arc<Run>, api: Api, number: u32) -> Self {
        Self { run, api, number, next: 1, publications: Vec::new() }
    }

    /// Publishes, with the same id until it is answered or the time is over. Whether it was accepted.
    pub(crate) async fn publish(&mut self, letter: Letter, limit: Duration) -> bool {
        let key = Key { publisher: self.number, number: self.next };
        self.next += 1;
        let mut message = key.text();
        if letter.is_refused {
            message.insert_str(1, r#""room":"reserved","#);
        }
        let except =
            letter.except.as_ref().map_or(String::new(), |(_, except)| format!(r#","except":{except}"#));
        let body = format!(r#"{{"to":{},"id":"{key}","message":{message}{except}}}"#, letter.to);
        let sent = self.run.now();
        let outcome = loop {
            match self.api.publish(body.clone()).await {
                Answer::Accepted(position) => break Outcome::Accepted { at: self.run.now(), position },
                Answer::Refused => break Outcome::Refused,
                Answer::Unknown if self.run.now().since(sent) > limit => break Outcome::Unknown,
                Answer::Unknown => tokio::time::sleep(AGAIN).await,
            }
        };
        let excluded = letter.except.map(|(excluded, _)| excluded).unwrap_or_default();
        self.publications.push(Publication { key, room: letter.room, sent, outcome, excluded });
        matches!(outcome, Outcome::Accepted { .. })
    }
}
