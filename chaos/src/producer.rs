//! Writes streams, one after the other, by HTTP or over a socket of its own: each command until it is answered.

use std::sync::Arc;
use std::time::Duration;

use moorline_proto::id::RoomName;
use serde_json::{Value, json};

use crate::content::letters;
use crate::history::{End, Written};
use crate::http::Api;
use crate::peer::Peer;
use crate::random::Random;
use crate::run::Run;
use crate::socket::Place;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(50);
/// How long an answer may take over a socket.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a command is tried before its outcome counts as unknown.
const LIMIT: Duration = Duration::from_secs(30);
const APPEND_MAX: usize = 60;

/// How a producer reaches the server.
#[derive(Debug)]
pub(crate) enum Road {
    Http(Api),
    /// With a connection of its own, as this user; whose network breaks now and then.
    Socket {
        place: Place,
        user: String,
        peer: Option<Peer>,
    },
}

/// What it was answered.
enum Told {
    Done(Value),
    Refused(String, Option<usize>),
    /// It does not know.
    Nothing,
}

/// One producer.
#[derive(Debug)]
pub(crate) struct Producer {
    run: Arc<Run>,
    road: Road,
    random: Random,
    references: u64,
}

/// What a stream is to be.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) room: RoomName,
    pub(crate) stream: String,
    pub(crate) length: usize,
    pub(crate) lease: Duration,
    /// Indices of the sessions that it is not for, and the protocol's `except`.
    pub(crate) except: Option<(Vec<usize>, Value)>,
    /// It stops somewhere without a word.
    pub(crate) dies: bool,
}

impl Producer {
    pub(crate) const fn new(run: Arc<Run>, road: Road, random: Random) -> Self {
        Self { run, road, random, references: 0 }
    }

    /// Writes a stream, and tells what became of it.
    pub(crate) async fn write(&mut self, draft: Draft) -> Written {
        let excluded = draft.except.as_ref().map(|(excluded, _)| excluded.clone()).unwrap_or_default();
        let mut written = Written {
            room: draft.room.clone(),
            stream: draft.stream.clone(),
            opened: self.run.now(),
            began: false,
            accepted: 0,
            end: End::Unknown,
            excluded,
            wrong: Vec::new(),
        };
        let Some(mut fence) = self.open(&draft, &mut written).await else { return written };
        let dies_at = if draft.dies { self.random.index(draft.length) } else { usize::MAX };
        let mut at = written.accepted;
        while at < draft.length {
            if at >= dies_at {
                written.end = End::Orphaned;
                return written;
            }
            if self.random.one_in(12) {
                let old = fence;
                let Some(newer) = self.open(&draft, &mut written).await else { return written };
                fence = newer;
                self.append_as_former(&draft, old, &mut written).await;
            }
            // Sometimes a part once more, cut otherwise.
            let from = if self.random.one_in(6) { at - self.random.index(at + 1) } else { at };
            let to = (at + 1 + self.random.index(APPEND_MAX)).min(draft.length);
            if !self.append(&draft, fence, (from, to), &mut written).await {
                return written;
            }
            at = to;
            let pause = self.random.millis(1, 60);
            tokio::time::sleep(pause).await;
        }
        self.end(&draft, fence, &mut written).await;
        written
    }

    /// The fence; none where it is not the producer's any more.
    async fn open(&mut self, draft: &Draft, written: &mut Written) -> Option<u64> {
        let lease = u64::try_from(draft.lease.as_millis()).unwrap_or(u64::MAX);
        let mut body = json!({"stream": draft.stream, "lease_ms": lease});
        if let Some((_, except)) = &draft.except {
            body["except"] = except.clone();
        }
        match self.ask(draft, "open", body).await {
            Told::Done(answer) => {
                written.began = true;
                told(written, answer["at"].as_u64());
                answer["fence"].as_u64()
            }
            told => {
                self.gone(&told, written, "open");
                None
            }
        }
    }

    /// Whether it goes on.
    async fn append(
        &mut self,
        draft: &Draft,
        fence: u64,
        (from, to): (usize, usize),
        written: &mut Written,
    ) -> bool {
        let content = letters(&draft.stream, from, to);
        match self.ask(draft, "append", json!({"fence": fence, "at": from, "content": content})).await {
            Told::Done(answer) => {
                told(written, answer["at"].as_u64());
                if written.accepted < to {
                    written.wrong.push(format!("{to} are appended and {} answered", written.accepted));
                }
                true
            }
            told => {
                self.gone(&told, written, "append");
                false
            }
        }
    }

    /// What a former holder sends must be refused.
    async fn append_as_former(&mut self, draft: &Draft, fence: u64, written: &mut Written) {
        let body = json!({"fence": fence, "at": written.accepted, "content": "FORMER"});
        match self.ask(draft, "append", body).await {
            Told::Refused(code, _) if ["fenced", "stream_ended", "not_found"].contains(&&*code) => {}
            Told::Refused(code, _) => written.wrong.push(format!("a former holder is refused: {code}")),
            Told::Done(answer) => written.wrong.push(format!("a former holder is answered {answer}")),
            Told::Nothing => {}
        }
    }

    async fn end(&mut self, draft: &Draft, fence: u64, written: &mut Written) {
        let kind = ["complete", "error", "cancelled"][self.random.index(3)];
        match self.ask(draft, "end", json!({"fence": fence, "outcome": kind})).await {
            Told::Done(_) => written.end = End::Told(kind),
            told => self.gone(&told, written, "end"),
        }
    }

    /// A stream that its producer no longer has: only its lease may have taken it away.
    fn gone(&self, told: &Told, written: &mut Written, what: &str) {
        match told {
            Told::Refused(code, _) if code == "stream_ended" => written.end = End::Orphaned,
            // It was kept for as long as the room keeps records.
            Told::Refused(code, _) if code == "not_found" && !written.began => {}
            Told::Refused(code, at) => {
                written
                    .wrong
                    .push(format!("{what} is refused: {code} {at:?}, {} accepted", written.accepted));
            }
            Told::Done(_) | Told::Nothing => {}
        }
    }

    /// Asks until there is an answer.
    async fn ask(&mut self, draft: &Draft, what: &str, body: Value) -> Told {
        let since = self.run.now();
        loop {
            let told = match &self.road {
                Road::Http(api) => by_http(api, draft, what, &body).await,
                Road::Socket { .. } => self.by_socket(draft, what, &body).await,
            };
            let is_open = match &told {
                Told::Nothing => true,
                Told::Refused(code, _) => code == "unavailable" || code == "overloaded",
                Told::Done(_) => false,
            };
            if !is_open || self.run.now().since(since) > LIMIT {
                return if is_open { Told::Nothing } else { told };
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn by_socket(&mut self, draft: &Draft, what: &str, body: &Value) -> Told {
        self.references += 1;
        let reference = self.references;
        let breaks = self.random.one_in(20);
        let Road::Socket { place, user, peer } = &mut self.road else { return Told::Nothing };
        let mut connected = match peer.take() {
            Some(peer) => peer,
            None => match Peer::open(place, Some(user), &json!({})).await {
                Ok(peer) => peer,
                Err(_) => return Told::Nothing,
            },
        };
        let mut frame = body.clone();
        frame["type"] = format!("stream_{what}").into();
        frame["ref"] = reference.into();
        frame["room"] = draft.room.as_str().into();
        frame["stream"] = draft.stream.as_str().into();
        if connected.socket.text(&frame.to_string()).await.is_err() || breaks {
            return Told::Nothing;
        }
        let is_answer = |text: &str| text.starts_with(&format!(r#"{{"type":"reply","ref":{reference},"#));
        let (texts, _) = connected.texts(PATIENCE, is_answer).await;
        let answer = texts.last().filter(|text| is_answer(text));
        let Some(answer) = answer.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
            return Told::Nothing;
        };
        *peer = Some(connected);
        if answer["ok"] == true { Told::Done(answer) } else { refused(&answer["error"]) }
    }
}

/// What its producer is told of its length.
fn told(written: &mut Written, at: Option<u64>) {
    let at = at.and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    if at < written.accepted {
        written.wrong.push(format!("{} were accepted, and {at} are told", written.accepted));
    }
    written.accepted = written.accepted.max(at);
}

fn refused(problem: &Value) -> Told {
    let at = problem["at"].as_u64().and_then(|at| usize::try_from(at).ok());
    Told::Refused(problem["code"].as_str().unwrap_or_default().to_owned(), at)
}

async fn by_http(api: &Api, draft: &Draft, what: &str, body: &Value) -> Told {
    let Draft { room, stream, .. } = draft;
    let path = match what {
        "open" => format!("/v1/rooms/{room}/streams"),
        _ => format!("/v1/rooms/{room}/streams/{stream}/{what}"),
    };
    match api.post(&path, body.to_string()).await {
        Some((true, answer)) => Told::Done(answer),
        Some((false, problem)) => refused(&problem),
        None => Told::Nothing,
    }
}
