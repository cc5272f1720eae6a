//! Streams: one way for clients and applications.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_proto::error::{ErrorCode, Rejection};
use moorline_proto::frame::{Answer, StreamAct};
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::stream::{Command, Expected, Lease, Open, StreamView};

use crate::node::Node;
use crate::telemetry;

impl Node {
    /// Asks something of a stream, text that grows inside a named room; where it is given no name it gets one. Answers when that is as
    /// safe as the node keeps anything. `sender` is whom it is asked for: an API key's name, a service's. Who opens a stream that is open and
    /// its own takes it over; the holder before is `fenced` from then on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use moorline::stream::{Lease, Outcome};
    /// use moorline::{Answer, Config, Node, RoomName, StreamAct};
    ///
    /// let node = Node::in_memory(Config::default())?;
    /// let room = RoomName::new("news")?;
    /// let open = StreamAct::Open { data: None, except: None, lease: Lease::DEFAULT };
    /// let opened = node.stream(room.clone(), None, open, "docs").await?;
    /// let Answer::Opened { stream, fence, mut at, .. } = opened else { return Err("not opened".into()) };
    /// for word in ["Word ", "by ", "word."] {
    ///     let append = StreamAct::Append { fence, at, content: word.into() };
    ///     let appended = node.stream(room.clone(), Some(stream.clone()), append, "docs").await?;
    ///     // Where `cancel` is true somebody asked to stop.
    ///     let Answer::Appended { at: length, cancel: false } = appended else { break };
    ///     at = length;
    /// }
    /// let end = StreamAct::End { fence, outcome: Outcome::Complete { message: None } };
    /// node.stream(room.clone(), Some(stream.clone()), end, "docs").await?;
    /// let view = node.view_stream(&room, &stream).await?.ok_or("not kept")?;
    /// assert_eq!(view.content, "Word by word.");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Says why it was not done; `room_invalid` for a room that is somebody's own. What a server's fault left unanswered may be asked again: that
    /// does no harm.
    pub async fn stream(
        &self,
        room: RoomName,
        stream: Option<StreamName>,
        act: StreamAct,
        sender: &str,
    ) -> Result<Answer, Rejection> {
        named(&room)?;
        self.ask_stream(room, stream, act.command(format!("key/{sender}").into(), None, None)).await
    }

    /// Opens a stream where it stands as expected; where it does not, nothing is changed. It has the default lease. `sender` is whom
    /// it is opened for, as for [`Node::stream`].
    ///
    /// # Errors
    /// Says why it was not opened: `conflict` where nothing was expected, `at_mismatch` or `not_found` where a length was.
    pub async fn open_stream(
        &self,
        room: RoomName,
        stream: StreamName,
        expected: Expected,
        sender: &str,
    ) -> Result<Answer, Rejection> {
        let principal = format!("key/{sender}").into();
        let (data, except, lease) = (None, None, Lease::DEFAULT);
        let open = Open { principal, session: None, data, except, lease, expected };
        let command = Command::Open(Box::new(open));
        named(&room)?;
        self.ask_stream(room, Some(stream), command).await
    }

    /// The open streams of a room, sorted by name, without their texts; their lengths as [`Node::view_stream`] has them. At most 64.
    ///
    /// # Errors
    /// `room_invalid` for a room that is somebody's own; or the broker does not answer.
    pub async fn open_streams(&self, room: &RoomName) -> Result<Vec<StreamView>, Rejection> {
        named(room)?;
        self.broker().open_streams(room.clone()).await.map_err(|error| error.rejection())
    }

    /// One stream, also one that has ended, with all of its text that is kept, also what is not sent to readers yet; the last 50 ms may
    /// be missing while the store writes. None where the stream is not kept.
    ///
    /// # Errors
    /// `room_invalid` for a room that is somebody's own; or the broker does not answer.
    pub async fn view_stream(
        &self,
        room: &RoomName,
        stream: &StreamName,
    ) -> Result<Option<StreamView>, Rejection> {
        named(room)?;
        self.broker().view_stream(room.clone(), stream.clone()).await.map_err(|error| error.rejection())
    }

    /// Gives a command to the broker: its place among others is settled by this call.
    pub(crate) fn ask_stream(
        &self,
        room: RoomName,
        stream: Option<StreamName>,
        command: Command,
    ) -> BoxFuture<'static, Result<Answer, Rejection>> {
        let stream = stream.unwrap_or_else(fresh_name);
        let kind = kind(&command);
        let done = self.broker().stream(room.clone(), stream.clone(), command);
        let answer = done.map(move |done| {
            let answer = done.map_err(|error| error.rejection());
            telemetry::streamed(kind, answer.as_ref().err());
            answer.map(|done| Answer::of_stream(room, stream, &done))
        });
        answer.boxed()
    }
}

/// Streams live in named rooms alone.
fn named(room: &RoomName) -> Result<(), Rejection> {
    if room.is_own() {
        return Err(Rejection::new(ErrorCode::RoomInvalid, "streams live in named rooms"));
    }
    Ok(())
}

fn fresh_name() -> StreamName {
    loop {
        if let Ok(name) = StreamName::new(&uuid::Uuid::now_v7().to_string()) {
            return name;
        }
    }
}

/// For counting.
const fn kind(command: &Command) -> &'static str {
    match command {
        Command::Open(_) => "open",
        Command::Append { .. } => "append",
        Command::End { .. } => "end",
        Command::Cancel { .. } => "cancel",
    }
}
