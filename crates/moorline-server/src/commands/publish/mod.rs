//! `moorline publish`.

mod lines;
mod message;

use std::io::{IsTerminal as _, Read as _};

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::json;

use self::message::Message;
use crate::client::{self, Server, ServerArgs};
use crate::exit::UsageError;
use crate::output::{Format, Out, OutputArgs};
use crate::text;

/// The most that is read of standard input for one message, in bytes.
const INPUT_MAX: u64 = 16 * 1024 * 1024;

/// Publish a message, or many
///
/// A message is a JSON object with a `type`:
///   moorline publish --room lobby '{"type":"note","text":"hi"}'
///   moorline publish --room lobby --type note '{"text":"hi"}'
///   jq -c '.[]' notes.json | moorline publish --room lobby --lines
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Publish {
    #[command(flatten)]
    target: TargetArgs,
    /// The message; `-`, or nothing where standard input is a file or a pipe, reads it from there
    #[arg(value_name = "MESSAGE")]
    message: Option<String>,
    /// Standard input has one message a line; the first that fails ends it
    #[arg(long, conflicts_with_all = ["message", "id"])]
    lines: bool,
    /// The `type` of a message that has none
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Whom it is for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// To the members of a room
    #[arg(long)]
    room: Option<String>,
    /// To all sessions of a user
    #[arg(long)]
    user: Option<String>,
    /// To one session
    #[arg(long)]
    session: Option<String>,
    /// To everyone
    #[arg(long)]
    all: bool,
}

/// How it is to be published.
#[derive(Debug, clap::Args)]
struct Options {
    /// Not to this session; may stand several times
    #[arg(long, value_name = "SESSION")]
    except_session: Vec<String>,
    /// Not to this user; may stand several times
    #[arg(long, value_name = "USER")]
    except_user: Vec<String>,
    /// Makes it happen once: the same id again, within five minutes, is answered and not repeated
    #[arg(long)]
    id: Option<String>,
    /// Only to who is connected now; never stored
    #[arg(long, conflicts_with_all = ["id", "durability"])]
    ephemeral: bool,
    /// What to wait for; else the strongest that the server has
    #[arg(long, value_enum)]
    durability: Option<Durability>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Durability {
    Memory,
    Disk,
    Broker,
}

impl Durability {
    const fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Broker => "broker",
        }
    }
}

/// The fields of an answer that are shown.
#[derive(Deserialize)]
struct Answer {
    room: String,
    message_id: Option<u64>,
    reached: u64,
    queued: u64,
    #[serde(default)]
    duplicate: bool,
}

pub(crate) fn run(arguments: &Publish) -> anyhow::Result<()> {
    let server = Server::new(&arguments.server)?;
    if arguments.lines {
        return client::block_on(lines::publish(arguments, &server));
    }
    let message = Message::parse(&arguments.text()?, arguments.kind.as_deref())
        .map_err(|wrong| UsageError::new(wrong.to_string()))?;
    let body = arguments.frame(&message).to_string();
    client::block_on(async {
        let answer = server.send(&["v1", "publish"], body).await?;
        shown(&mut Out::new(), &server, arguments.output.output, &answer)
    })
}

/// Writes what the server answered to one publish.
fn shown(out: &mut Out, server: &Server, format: Format, answer: &str) -> anyhow::Result<()> {
    if format == Format::Json {
        return out.line(text::compact(answer));
    }
    let Answer { room, message_id, reached, queued, duplicate } = server.parse(answer)?;
    let id = message_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let duplicate = if duplicate { " duplicate" } else { "" };
    out.line(format_args!("{} {id} reached={reached} queued={queued}{duplicate}", text::escape(&room)))
}

impl Publish {
    /// The message's text, from wherever it is.
    fn text(&self) -> anyhow::Result<String> {
        match self.message.as_deref() {
            None if std::io::stdin().is_terminal() => {
                let fix =
                    r#"give a message, as in '{"type":"note","text":"hi"}', or pipe one to standard input"#;
                Err(UsageError::new(fix).into())
            }
            None | Some("-") => {
                let mut text = String::new();
                let read = std::io::stdin().lock().take(INPUT_MAX + 1).read_to_string(&mut text);
                read.map_err(|error| UsageError::new(format!("standard input: {error}")))?;
                if text.len() as u64 > INPUT_MAX {
                    let why = format!(
                        "standard input has more than {INPUT_MAX} bytes: for many messages say --lines"
                    );
                    return Err(UsageError::new(why).into());
                }
                Ok(text)
            }
            Some(text) => Ok(text.to_owned()),
        }
    }

    /// The body of a publish. The message stands in it as it was written.
    fn frame(&self, message: &Message) -> String {
        let (target, options) = (&self.target, &self.options);
        let to = match (&target.room, &target.user, &target.session) {
            (Some(room), _, _) => json!({ "room": room }),
            (_, Some(user), _) => json!({ "user": user }),
            (_, _, Some(session)) => json!({ "session": session }),
            (None, None, None) => json!("all"),
        };
        let mut frame = serde_json::Map::from_iter([("to".to_owned(), to)]);
        if !options.except_session.is_empty() || !options.except_user.is_empty() {
            let except = json!({ "sessions": options.except_session, "users": options.except_user });
            frame.insert("except".to_owned(), except);
        }
        if let Some(id) = &options.id {
            frame.insert("id".to_owned(), json!(id));
        }
        if options.ephemeral {
            frame.insert("ephemeral".to_owned(), json!(true));
        }
        if let Some(durability) = options.durability {
            frame.insert("durability".to_owned(), json!(durability.word()));
        }
        let mut text = serde_json::Value::Object(frame).to_string();
        text.pop();
        format!("{text},\"message\":{}}}", message.as_str())
    }
}
