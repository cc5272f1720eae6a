//! A stream's text as the body of one request.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use moorline::{Answer, ErrorCode, Node, Offset, Rejection, RoomName};
use moorline_proto::frame::StreamAct;
use moorline_proto::id::StreamName;
use moorline_proto::stream::{CHUNK_MAX_BYTES, Expected, Outcome};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::super::caller::Caller;
use super::super::openapi::{Conflicting, Invalid, Missing};
use super::super::problem::Problem;
use super::super::query::{self, Path, Query};
use super::super::schema;
use crate::inflow::{Ending, Inflow};

/// The resource whose body has no bound in size and time but the stream's own.
pub(crate) const PATH: &str = "/v1/rooms/{room}/streams/{stream}";
/// The lease is renewed when nothing came for so long. Its answer tells whether somebody asks to stop: long before the lease
/// would run out.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long what the server cannot do at present is tried again: shorter than the lease, so that it is there to be gone on with.
const TRY_FOR: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(250);
/// How long a client that was refused within its body may go on sending, to read the answer then.
const LINGER: Duration = Duration::from_secs(2);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Place {
    /// Goes on with one's own open stream, whose text has so many Unicode code points; 0 opens one where there is none.
    /// Without it there must be no such stream.
    #[param(value_type = u64, required = false)]
    at: Option<u64>,
}

/// A stream that was written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// The length of its text, in Unicode code points.
    at: u64,
    /// The terminal record.
    #[schema(value_type = u64)]
    message_id: Offset,
}

/// Opens a stream, appends the body as it comes, and ends the stream with it.
///
/// The body is text in UTF-8, of any length up to the stream's bound and of any duration. What the server cannot do at the
/// moment (`unavailable`, `overloaded`) it tries again for up to 10 s in a row; then that is the answer, and the stream stays open for `at`.
#[utoipa::path(put, path = "/v1/rooms/{room}/streams/{stream}", tag = "streams", params(("room" = schema::Room, Path, description = "The room's name"), ("stream" = schema::StreamName, Path, description = "The stream's name"), Place),
    request_body(content = Option<String>, content_type = "text/plain"),
    responses((status = 200, description = "All of it was appended, and the stream is complete", body = Written), Invalid, Missing, Conflicting))]
pub(crate) async fn put(
    State(node): State<Node>,
    caller: Caller,
    Path((room, stream)): Path<(String, String)>,
    Query(place): Query<Place>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Written>, Response> {
    let names = query::room(&room).and_then(|room| Ok((room, query::stream(&stream)?)));
    let (room, stream) = names.map_err(IntoResponse::into_response)?;
    // Who waits for leave to send is refused before anything is read of it.
    let is_sent = !headers.contains_key(header::EXPECT);
    let writer = Writer { node, room, stream, caller, fence: 0, at: 0 };
    let (answer, answered) = oneshot::channel();
    // On its own, for it has to end the stream also where the connection, and this future with it, are gone.
    tokio::spawn(run(
        writer,
        place.at,
        (Inflow::new(body.into_data_stream(), CHUNK_MAX_BYTES), is_sent),
        answer,
    ));
    match answered.await {
        Ok(Ok(written)) => Ok(Json(written)),
        Ok(Err(rejection)) => Err(closing(rejection.into())),
        Err(_gone) => Err(closing(Problem::of(ErrorCode::Internal, "writing the stream failed"))),
    }
}

/// The connection ends with it: what follows on it is the rest of the body.
fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

type Incoming = Inflow<BodyDataStream, axum::Error>;
type Reply = oneshot::Sender<Result<Written, Rejection>>;

async fn run(mut writer: Writer, at: Option<u64>, body: (Incoming, bool), mut answer: Reply) {
    let (mut incoming, mut is_sent) = body;
    let written = match writer.open(at).await {
        Ok(()) => {
            is_sent = true;
            writer.write(&mut incoming, &mut answer).await
        }
        Err(rejection) => Err(rejection),
    };
    let is_refused = written.is_err();
    // Who has gone does not read it.
    let _gone = answer.send(written);
    if is_refused && is_sent {
        // Beyond that the connection is cut.
        let _late = tokio::time::timeout(LINGER, incoming.discard()).await;
    }
}

/// A stream that is being written.
struct Writer {
    node: Node,
    room: RoomName,
    stream: StreamName,
    caller: Caller,
    fence: u64,
    /// The length of its text.
    at: u64,
}

impl Writer {
    async fn ask(&self, act: StreamAct) -> Result<Answer, Rejection> {
        self.node.stream(self.room.clone(), Some(self.stream.clone()), act, &self.caller.name).await
    }

    /// Asks again what may pass by itself, a disk that is full or a share that is used up: a body that was read cannot be
    /// asked for again.
    async fn persist(&self, act: StreamAct) -> Result<Answer, Rejection> {
        let mut until = None;
        loop {
            let refused = match self.ask(act.clone()).await {
                Err(refused) if may_pass(refused.code) => refused,
                answered => return answered,
            };
            let until = *until.get_or_insert_with(|| Instant::now() + TRY_FOR);
            let next = Instant::now() + refused.retry_in.map_or(TRY_EVERY, |wait| wait.max(TRY_EVERY));
            if next > until {
                return Err(self.given_up(&refused));
            }
            tokio::select! {
                biased;
                () = self.node.drains() => return Err(self.draining()),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn open(&mut self, at: Option<u64>) -> Result<(), Rejection> {
        let expected = at.map_or(Expected::Nothing, Expected::Length);
        let (room, stream) = (self.room.clone(), self.stream.clone());
        match self.node.open_stream(room, stream, expected, &self.caller.name).await? {
            Answer::Opened { fence, at, .. } => {
                (self.fence, self.at) = (fence, at);
                Ok(())
            }
            _ => Err(Rejection::new(ErrorCode::Internal, "an opening was answered otherwise")),
        }
    }

    /// Appends what comes, until the stream has ended or must be left.
    async fn write(&mut self, incoming: &mut Incoming, answer: &mut Reply) -> Result<Written, Rejection> {
        let node = self.node.clone();
        loop {
            tokio::select! {
                biased;
                () = node.drains() => return Err(self.draining()),
                () = incoming.ready() => {}
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
            match incoming.ended() {
                // What was cut off by the end of its connection may look as if it ended in order.
                Some(Ending::Whole) if answer.is_closed() => return self.broken_off().await,
                Some(ending) => return self.end(ending).await,
                None => {}
            }
            let content = incoming.take();
            let appended = tokio::select! {
                biased;
                appended = self.append(content) => appended?,
                never = incoming.gather() => match never {},
            };
            self.at = appended.at;
            if appended.cancel {
                return self.cancelled().await;
            }
        }
    }

    async fn append(&self, content: Box<str>) -> Result<Appended, Rejection> {
        let act = StreamAct::Append { fence: self.fence, at: self.at, content };
        match self.persist(act).await? {
            Answer::Appended { at, cancel } => Ok(Appended { at, cancel }),
            _ => Err(Rejection::new(ErrorCode::Internal, "an append was answered otherwise")),
        }
    }

    async fn end(&self, ending: Ending<axum::Error>) -> Result<Written, Rejection> {
        match ending {
            Ending::Whole => self.finish(Outcome::Complete { message: None }).await,
            Ending::Broken(error) => {
                tracing::debug!(%error, "the body of a stream broke off");
                self.broken_off().await
            }
            Ending::NotUtf8(wrong) => {
                self.fail(br#""not_utf8""#, format!("the body is not UTF-8: {wrong}")).await
            }
        }
    }

    async fn broken_off(&self) -> Result<Written, Rejection> {
        self.fail(br#""body_incomplete""#, "the body broke off".to_owned()).await
    }

    async fn fail(&self, error: &'static [u8], why: String) -> Result<Written, Rejection> {
        self.finish(Outcome::Error { error: Some(Bytes::from_static(error)) }).await?;
        Err(Rejection::new(ErrorCode::BadFrame, why))
    }

    async fn cancelled(&self) -> Result<Written, Rejection> {
        self.finish(Outcome::Cancelled).await?;
        let why = "somebody asked to stop: the stream ended as cancelled";
        Err(Rejection { at: Some(self.at), ..Rejection::new(ErrorCode::StreamCancelled, why) })
    }

    async fn finish(&self, outcome: Outcome) -> Result<Written, Rejection> {
        match self.persist(StreamAct::End { fence: self.fence, outcome }).await? {
            Answer::Ended { message_id } => Ok(Written { at: self.at, message_id }),
            _ => Err(Rejection::new(ErrorCode::Internal, "an end was answered otherwise")),
        }
    }

    /// The stream stays open: its producer goes on once there is a server again.
    fn draining(&self) -> Rejection {
        self.left_open(ErrorCode::Unavailable, "the server drains")
    }

    fn given_up(&self, refused: &Rejection) -> Rejection {
        let why = format!("{}, for {} s now", refused.message, TRY_FOR.as_secs());
        Rejection { retry_in: refused.retry_in, ..self.left_open(refused.code, &why) }
    }

    fn left_open(&self, code: ErrorCode, why: &str) -> Rejection {
        let why = format!("{why}: go on with ?at={} within the stream's lease", self.at);
        Rejection { at: Some(self.at), ..Rejection::new(code, why) }
    }
}

/// Whether the same may be done a moment later, by no fault of the producer's.
const fn may_pass(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unavailable | ErrorCode::Overloaded)
}

/// What an append was answered.
struct Appended {
    at: u64,
    cancel: bool,
}

#[cfg(test)]
mod tests;
