//! `moorline stream`.

mod input;
mod producer;

use std::future::Future;
use std::io;

use moorline::RoomName;
use moorline_proto::id::StreamName;
use serde_json::json;

use self::input::{TAKE_MAX, stdin};
use self::producer::{Appended, Producer};
use crate::client::{self, ClientError, Server, ServerArgs};
use crate::exit::{Interrupted, UsageError};
use crate::inflow::{Ending, Inflow};
use crate::listen;
use crate::output::{self, Format, Out, OutputArgs};
use crate::text;

/// Write a stream: what comes on standard input, as it comes
///
/// The end of the input ends it as complete, Ctrl-C as cancelled:
///   ask-a-model | moorline stream chat:7
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Stream {
    /// The room
    room: String,
    /// The stream's name in the room; where it is yours and open, it is gone on with. Without it one is made, and told on
    /// standard error
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What comes in.
type Incoming<S> = Inflow<S, io::Error>;

/// How the writing ended.
enum Stopped {
    /// With the input.
    Input(Ending<io::Error>),
    /// A reader asked for it.
    Asked,
    /// Ctrl-C.
    Interrupted,
}

pub(crate) fn run(arguments: &Stream) -> anyhow::Result<()> {
    let (room, stream) = names(arguments)?;
    let server = Server::new(&arguments.server)?;
    client::block_on(async {
        let interrupted = listen::stop_signal()?;
        if arguments.stream.is_none() {
            output::say(format_args!("the stream is {stream}"));
        }
        let producer = Producer::new(&server, &room, &stream);
        let written = write(producer, || Inflow::new(stdin(), TAKE_MAX), interrupted).await?;
        shown(arguments.output.output, (&room, &stream), written)
    })
}

/// The room and the stream. They have to stand in the paths of URLs: what cannot is refused while nothing is open yet.
fn names(arguments: &Stream) -> Result<(RoomName, StreamName), UsageError> {
    let wrong = |what: &str, why: &dyn std::fmt::Display| UsageError::new(format!("the {what} name {why}"));
    let room = RoomName::new(&arguments.room).map_err(|why| wrong("room", &why))?;
    let stream = match &arguments.stream {
        Some(name) => StreamName::new(name),
        None => StreamName::new(&uuid::Uuid::now_v7().to_string()),
    };
    let stream = stream.map_err(|why| wrong("stream", &why))?;
    for (what, name) in [("room", room.as_str()), ("stream", stream.as_str())] {
        if matches!(name, "." | "..") {
            return Err(wrong(
                what,
                &"is part of a URL, where `.` and `..` mean something else: choose another",
            ));
        }
    }
    Ok((room, stream))
}

/// The length of the text, and the terminal record.
type Written = (u64, u64);

fn shown(
    format: Format,
    (room, stream): (&RoomName, &StreamName),
    (at, message_id): Written,
) -> anyhow::Result<()> {
    let (room, stream) = (room.as_str(), stream.as_str());
    match format {
        Format::Json => {
            Out::new().line(json!({ "room": room, "stream": stream, "at": at, "message_id": message_id }))
        }
        Format::Text => Out::new().line(format_args!(
            "{} {message_id} stream={} at={at}",
            text::escape(room),
            text::escape(stream)
        )),
    }
}

/// Opens the stream, writes what comes, and ends it. Nothing is read before it is open.
async fn write<S>(
    mut producer: Producer<'_>,
    input: impl FnOnce() -> Incoming<S>,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Written>
where
    S: futures_util::Stream<Item = io::Result<bytes::Bytes>> + Unpin,
{
    let mut interrupted = std::pin::pin!(interrupted);
    let at = tokio::select! {
        biased;
        () = &mut interrupted => return Err(Interrupted("stopped before the stream was open").into()),
        opened = producer.open() => opened?,
    };
    if at > 0 {
        output::say(format_args!("going on with an open stream, behind {at} characters"));
    }
    let mut incoming = input();
    let stopped = tokio::select! {
        biased;
        () = interrupted => Ok(Stopped::Interrupted),
        stopped = append(&mut producer, &mut incoming) => stopped,
    };
    match stopped {
        Ok(stopped) => end(&producer, stopped).await,
        Err(error) => {
            producer.give_up(&error).await;
            Err(error.into())
        }
    }
}

/// Appends what comes; what comes during one request goes with the next.
async fn append<S>(producer: &mut Producer<'_>, incoming: &mut Incoming<S>) -> Result<Stopped, ClientError>
where
    S: futures_util::Stream<Item = io::Result<bytes::Bytes>> + Unpin,
{
    loop {
        tokio::select! {
            () = incoming.ready() => {}
            () = tokio::time::sleep(producer::RENEW_EVERY) => {}
        }
        if let Some(ending) = incoming.ended() {
            return Ok(Stopped::Input(ending));
        }
        let content = incoming.take();
        let appended = tokio::select! {
            biased;
            appended = producer.append(&content) => appended?,
            never = incoming.gather() => match never {},
        };
        if appended == Appended::Cancel {
            return Ok(Stopped::Asked);
        }
    }
}

async fn end(producer: &Producer<'_>, stopped: Stopped) -> anyhow::Result<Written> {
    match stopped {
        Stopped::Input(Ending::Whole) => {
            Ok((producer.at(), producer.end(json!({ "outcome": "complete" })).await?))
        }
        Stopped::Input(Ending::NotUtf8(wrong)) => {
            producer.end(json!({ "outcome": "error", "error": "not_utf8" })).await?;
            Err(anyhow::Error::new(wrong).context("standard input is not UTF-8: the stream ended as error"))
        }
        Stopped::Input(Ending::Broken(error)) => {
            producer.end(json!({ "outcome": "error", "error": "input_failed" })).await?;
            Err(anyhow::Error::new(error).context("standard input: the stream ended as error"))
        }
        Stopped::Asked => {
            producer.end(json!({ "outcome": "cancelled" })).await?;
            anyhow::bail!("a reader asked to stop: the stream ended as cancelled")
        }
        Stopped::Interrupted => {
            producer.end_soon(json!({ "outcome": "cancelled" })).await?;
            Err(Interrupted("stopped: the stream ended as cancelled").into())
        }
    }
}

#[cfg(test)]
mod tests;
