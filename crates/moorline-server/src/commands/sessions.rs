//! `moorline sessions`.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::pages::{PageArgs, Pages};
use crate::client::{self, Server, ServerArgs};
use crate::output::{Format, Out, OutputArgs};
use crate::text;

/// List, show and end sessions.
#[derive(Debug, clap::Args)]
pub(crate) struct Sessions {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List sessions, connected and absent ones, sorted by id
    List(List),
    /// Show one session
    Show {
        /// The session's id
        id: String,
    },
    /// End a session: its connection is closed, and it cannot be resumed
    End {
        /// The session's id
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only this user's
    #[arg(long)]
    user: Option<String>,
    /// Only members of this room
    #[arg(long)]
    room: Option<String>,
    #[command(flatten)]
    pages: PageArgs,
}

#[derive(Deserialize)]
struct Session {
    session: String,
    user: Option<String>,
    connected: bool,
    connected_at: Value,
    disconnected_at: Value,
    last_activity: Value,
    reconnection_count: u64,
    rooms: Vec<String>,
    metadata: Value,
}

pub(crate) fn run(arguments: &Sessions) -> anyhow::Result<()> {
    let server = Server::new(&arguments.server)?;
    let format = arguments.output.output;
    client::block_on(async {
        match &arguments.command {
            Command::List(filter) => list(&server, format, filter).await,
            Command::Show { id } => show(&server, format, id).await,
            Command::End { id } => {
                server.remove(&["v1", "sessions", id]).await?;
                match format {
                    Format::Text => Out::new().line(format_args!("{} has ended", text::escape(id))),
                    Format::Json => Ok(()),
                }
            }
        }
    })
}

async fn list(server: &Server, format: Format, filter: &List) -> anyhow::Result<()> {
    let named = [("user", &filter.user), ("room", &filter.room)];
    let query = named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    let pages = Pages::read(server, "sessions", query, &filter.pages).await?;
    let mut out = Out::new();
    if format == Format::Json {
        return pages.json(&mut out);
    }
    let sessions: Vec<Session> = pages.items(server)?;
    let rows: Vec<Vec<String>> = sessions.into_iter().map(Session::row).collect();
    out.table(&["SESSION", "USER", "STATE", "SINCE", "LAST ACTIVITY", "ROOMS"], &rows)?;
    pages.say_whether_more();
    Ok(())
}

async fn show(server: &Server, format: Format, id: &str) -> anyhow::Result<()> {
    let answer = server.read(&["v1", "sessions", id], &[]).await?;
    let mut out = Out::new();
    if format == Format::Json {
        return out.line(text::compact(&answer));
    }
    let session: Session = server.parse(&answer)?;
    out.fields(&[
        ("session", session.session),
        ("user", session.user.unwrap_or_else(none)),
        ("state", state(session.connected).to_owned()),
        ("connected at", moment(&session.connected_at)),
        ("disconnected at", moment(&session.disconnected_at)),
        ("last activity", moment(&session.last_activity)),
        ("reconnections", session.reconnection_count.to_string()),
        ("rooms", names(&session.rooms)),
        ("metadata", session.metadata.to_string()),
    ])
}

impl Session {
    fn row(self) -> Vec<String> {
        let since = if self.connected { &self.connected_at } else { &self.disconnected_at };
        let (since, active, rooms) = (moment(since), moment(&self.last_activity), names(&self.rooms));
        let state = state(self.connected).to_owned();
        vec![self.session, self.user.unwrap_or_else(none), state, since, active, rooms]
    }
}

const fn state(connected: bool) -> &'static str {
    if connected { "connected" } else { "absent" }
}

/// A moment as the server wrote it.
fn moment(value: &Value) -> String {
    value.as_str().map_or_else(none, ToOwned::to_owned)
}

fn names(names: &[String]) -> String {
    if names.is_empty() { none() } else { names.join(",") }
}

/// What stands where there is nothing.
fn none() -> String {
    "-".to_owned()
}
