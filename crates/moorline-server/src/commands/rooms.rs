//! `moorline rooms`.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::pages::{PageArgs, Pages};
use crate::client::{self, Server, ServerArgs};
use crate::envelope;
use crate::exit::UsageError;
use crate::output::{self, Format, Out, OutputArgs};
use crate::text;

/// List and show rooms, read and clear their messages.
#[derive(Debug, clap::Args)]
pub(crate) struct Rooms {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rooms that have members, sorted by name
    List {
        #[command(flatten)]
        pages: PageArgs,
    },
    /// Show one room: its position, members and oldest message
    Show {
        /// The room; also `@all`, `@user/ID` and `@session/ID`
        room: String,
    },
    /// Print messages that a room keeps, the oldest first
    Messages(Messages),
    /// Remove all messages of a room; its members stay
    Clear {
        /// The room
        room: String,
        /// Really: they cannot be brought back
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Messages {
    /// The room; also `@all`, `@user/ID` and `@session/ID`
    room: String,
    /// Only what lies after this message
    #[arg(long, value_name = "MESSAGE_ID")]
    after: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

#[derive(Deserialize)]
struct Listed {
    room: String,
    connected: u64,
    absent: u64,
}

#[derive(Deserialize)]
struct Room {
    room: String,
    epoch: String,
    message_id: u64,
    oldest: Option<u64>,
    connected: u64,
    absent: u64,
    sessions: Vec<String>,
}

#[derive(Deserialize)]
struct History {
    messages: Vec<Box<RawValue>>,
    reset: Option<Reset>,
}

#[derive(Deserialize)]
struct Reset {
    reason: String,
    from: Option<u64>,
    to: u64,
}

pub(crate) fn run(arguments: &Rooms) -> anyhow::Result<()> {
    let server = Server::new(&arguments.server)?;
    let format = arguments.output.output;
    client::block_on(async {
        match &arguments.command {
            Command::List { pages } => list(&server, format, pages).await,
            Command::Show { room } => show(&server, format, room).await,
            Command::Messages(asked) => messages(&server, format, asked).await,
            Command::Clear { yes: false, .. } => {
                let fix = "this removes every message of the room and cannot be undone: say --yes";
                Err(UsageError::new(fix).into())
            }
            Command::Clear { room, .. } => {
                server.remove(&["v1", "rooms", room, "messages"]).await?;
                match format {
                    Format::Text => Out::new().line(format_args!("{} was cleared", text::escape(room))),
                    Format::Json => Ok(()),
                }
            }
        }
    })
}

async fn list(server: &Server, format: Format, pages: &PageArgs) -> anyhow::Result<()> {
    let pages = Pages::read(server, "rooms", Vec::new(), pages).await?;
    let mut out = Out::new();
    if format == Format::Json {
        return pages.json(&mut out);
    }
    let rooms: Vec<Listed> = pages.items(server)?;
    let row = |room: Listed| vec![room.room, room.connected.to_string(), room.absent.to_string()];
    let rows: Vec<Vec<String>> = rooms.into_iter().map(row).collect();
    out.table(&["ROOM", "CONNECTED", "ABSENT"], &rows)?;
    pages.say_whether_more();
    Ok(())
}

async fn show(server: &Server, format: Format, room: &str) -> anyhow::Result<()> {
    let answer = server.read(&["v1", "rooms", room], &[]).await?;
    let mut out = Out::new();
    if format == Format::Json {
        return out.line(text::compact(&answer));
    }
    let room: Room = server.parse(&answer)?;
    let none = || "-".to_owned();
    out.fields(&[
        ("room", room.room),
        ("epoch", room.epoch),
        ("newest message", room.message_id.to_string()),
        ("oldest message", room.oldest.map_or_else(none, |id| id.to_string())),
        ("connected", room.connected.to_string()),
        ("absent", room.absent.to_string()),
        ("sessions", if room.sessions.is_empty() { none() } else { room.sessions.join(",") }),
    ])
}

async fn messages(server: &Server, format: Format, asked: &Messages) -> anyhow::Result<()> {
    let mut query = vec![("limit", asked.limit.to_string())];
    query.extend(asked.after.map(|after| ("after", after.to_string())));
    let answer = server.read(&["v1", "rooms", &asked.room, "messages"], &query).await?;
    let mut out = Out::new();
    if format == Format::Json {
        return out.line(text::compact(&answer));
    }
    let History { messages, reset } = server.parse(&answer)?;
    if let Some(Reset { reason, from, to }) = reset {
        output::say(envelope::lost(&reason, from, to));
    }
    for message in &messages {
        out.line(envelope::line(message.get()))?;
    }
    Ok(())
}
