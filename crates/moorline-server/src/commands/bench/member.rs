//! One connection, from when it is established to its end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::anyhow;
use moorline::CloseCode;

use super::dial::Dialed;
use super::frame::{self, Frame, Kind, MESSAGE, Refused};
use super::plan::{Load, Road};
use super::publisher::Publisher;
use super::room::{Answer, NO_ID, Room};
use super::run::Run;
use super::watch::{Delivery, Faults, Watch};
use crate::client::socket::{Incoming, Socket, SocketError};

const PONG: &str = r#"{"type":"pong"}"#;

/// A member of a room.
pub(super) struct Member {
    run: Arc<Run>,
    room: Arc<Room>,
    socket: Socket,
    index: usize,
    session: String,
    watch: Watch,
    publisher: Option<Publisher>,
    /// What the server said before it closed the connection.
    last_error: Option<String>,
}

/// What is left of a connection.
pub(super) struct Ended {
    pub(super) session: String,
    room: Arc<Room>,
    watch: Watch,
    /// It was there to the end.
    lasted: bool,
}

impl Ended {
    pub(super) fn faults(self) -> Faults {
        let ids = self.room.ids();
        let unchecked = if self.lasted { 0 } else { self.watch.unchecked(ids) };
        Faults { unchecked, ..self.watch.faults(ids.filter(|_| self.lasted)) }
    }
}

/// Why a connection has ended before it should.
enum Lost {
    Closed(Option<(u16, String)>),
    Socket(SocketError),
    NotJson,
}

impl Lost {
    fn is_too_big(&self) -> bool {
        matches!(self, Self::Closed(Some((code, _))) if *code == CloseCode::TooBig.number())
    }
}

fn too_big(payload: usize) -> String {
    format!(
        "a message with a --payload of {payload} bytes is larger than the server takes: raise its \
         connection.message_max_bytes, or ask for less"
    )
}

impl From<SocketError> for Lost {
    fn from(error: SocketError) -> Self {
        Self::Socket(error)
    }
}

impl Member {
    pub(super) fn new(run: &Arc<Run>, dialed: Dialed) -> Self {
        let Dialed { socket, session, position, index, room, .. } = dialed;
        room.joined();
        Self {
            run: Arc::clone(run),
            socket,
            index: usize::try_from(index).unwrap_or_default(),
            session,
            watch: Watch::new(position),
            room,
            publisher: None,
            last_error: None,
        }
    }

    /// Receives, and publishes where it is this one's turn, until all is done or the connection is lost.
    pub(super) async fn live(mut self) -> Ended {
        let lasted = match self.take_part().await {
            Ok(()) => {
                self.socket.close(CloseCode::Normal.number()).await;
                true
            }
            Err(lost) => {
                self.run.ended.count(self.reason(&lost));
                if lost.is_too_big() {
                    self.run.fail(anyhow!("{}", too_big(self.run.plan.payload)));
                }
                false
            }
        };
        self.room.left();
        if self.run.alive.fetch_sub(1, SeqCst) == 1 && self.run.go.is_cancelled() {
            self.run.over.cancel();
        }
        Ended { session: self.session, room: self.room, watch: self.watch, lasted }
    }

    async fn take_part(&mut self) -> Result<(), Lost> {
        let run = Arc::clone(&self.run);
        // Made once: to make them anew for each delivery would have all connections meet at one lock.
        let (mut done, mut go, mut over) =
            (pin!(run.done.cancelled()), pin!(run.go.cancelled()), pin!(run.over.cancelled()));
        let (mut has_begun, mut is_over) = (false, false);
        loop {
            tokio::select! {
                () = &mut done => return Ok(()),
                () = &mut go, if !has_begun => {
                    has_begun = true;
                    self.publisher = self.turn();
                }
                () = &mut over, if !is_over => {
                    is_over = true;
                    self.publisher = None;
                }
                publishes = next(&mut self.publisher) => self.publish(publishes).await?,
                incoming = self.socket.receive() => self.take(incoming?).await?,
            }
        }
    }

    /// Whether it is this one's to publish.
    fn turn(&self) -> Option<Publisher> {
        let plan = &self.run.plan;
        let is_ours = plan.load != Load::Idle && plan.road == Road::Socket && self.room.claim();
        is_ours.then(|| Publisher::new(&self.run, &self.room))
    }

    async fn publish(&mut self, publishes: Vec<String>) -> Result<(), Lost> {
        for publish in publishes {
            self.socket.text(&format!(r#"{{"type":"publish","ref":0,{publish}"#)).await?;
        }
        Ok(())
    }

    async fn take(&mut self, incoming: Incoming) -> Result<(), Lost> {
        match incoming {
            Incoming::Ping(payload) => self.socket.pong(&payload).await?,
            Incoming::Closed(close) => return Err(Lost::Closed(close)),
            Incoming::Text(text) => {
                let frame: Frame<'_> = serde_json::from_str(&text).map_err(|_| Lost::NotJson)?;
                if frame.kind == MESSAGE {
                    self.delivered(&frame);
                } else if frame.kind == "ping" {
                    self.socket.text(PONG).await?;
                } else {
                    self.control(frame);
                }
            }
        }
        Ok(())
    }

    fn delivered(&mut self, frame: &Frame<'_>) {
        let (Some(id), Some(number), Some(due)) = (frame.message_id, frame.n, frame.t) else {
            return self.watch.stray();
        };
        if frame.room.as_deref() != Some(&self.room.name) {
            return self.watch.stray();
        }
        let delivery = self.watch.delivered(id, number);
        if delivery != Delivery::Duplicate {
            self.run.latency.record(self.index, self.run.now().saturating_sub(due));
            self.room.delivered(id);
        }
    }

    fn control(&mut self, frame: Frame<'_>) {
        match &*frame.kind {
            "reply" => self.replied(frame.error, frame.message_id),
            "reset" if frame.room.as_deref() == Some(&self.room.name) => {
                self.watch.reset(frame.to.unwrap_or_default());
            }
            "error" => {
                let code = frame.code.as_deref().unwrap_or_default();
                let why = format!("{code}: {}", frame.message.as_deref().unwrap_or_default());
                match frame::kind(code) {
                    Kind::Limit => self.run.limits.count(&why),
                    Kind::Passing | Kind::Final => self.run.refused.count(&why),
                }
                self.last_error = Some(why);
            }
            // How it stands with the session; nothing of that is measured.
            _ => {}
        }
    }

    fn replied(&self, refused: Option<Refused<'_>>, id: Option<u64>) {
        let answer = match (refused, id) {
            (Some(refused), _) => {
                said(&self.run, &refused.code, &refused.message);
                refused.answer()
            }
            (None, None) => {
                self.run.refused.count(NO_ID);
                Answer::Refused
            }
            (None, Some(id)) => Answer::Accepted(id),
        };
        self.room.answered(&answer, self.run.now());
    }

    fn reason(&self, lost: &Lost) -> String {
        let why = match lost {
            Lost::Closed(Some((code, reason))) if reason.is_empty() => format!("close code {code}"),
            Lost::Closed(Some((code, reason))) => format!("close code {code}, {reason}"),
            Lost::Closed(None) => "the server ended the connection without a close".to_owned(),
            Lost::Socket(error) => error.to_string(),
            Lost::NotJson => "the server sent what is not a frame of its protocol".to_owned(),
        };
        if lost.is_too_big() {
            return format!("{why}: {}", too_big(self.run.plan.payload));
        }
        match &self.last_error {
            Some(error) => format!("{why} ({error})"),
            None => why,
        }
    }
}

/// Takes down why a publish was refused; one that will never work ends the run.
pub(super) fn said(run: &Run, code: &str, message: &str) {
    let why = format!("{code}: {message}");
    match frame::kind(code) {
        Kind::Limit => run.limits.count(why),
        Kind::Passing => run.refused.count(why),
        Kind::Final => {
            run.refused.count(&why);
            run.fail(anyhow!(
                "a publish was refused: {why}; the rooms are {}…, and --prefix names others",
                run.plan.prefix
            ));
        }
    }
}

/// What is to be published next; never anything by one that does not publish.
async fn next(publisher: &mut Option<Publisher>) -> Vec<String> {
    match publisher {
        Some(publisher) => publisher.next().await,
        None => std::future::pending().await,
    }
}
