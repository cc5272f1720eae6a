//! `moorline tail`.

use std::path::PathBuf;
use std::str::FromStr;

use moorline::{Offset, Pattern, RoomName, UserId};

use crate::client::follow::{Follower, Seen, Start, Subject};
use crate::client::{self, Server, ServerArgs, TokenSource};
use crate::envelope;
use crate::exit::UsageError;
use crate::output::{self, Format, Out, OutputArgs};
use crate::text;

/// Follow a room: print its messages as they come, until Ctrl-C.
///
/// Connects again by itself and goes on where it was; messages that are lost are announced on standard error. It uses the
/// token that it is given, or asks for one with the API key (scope `tokens`). A server for development needs neither.
#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    /// The room
    room: String,
    /// From where: `now`, `start` (all that is kept), or what lies after a message id
    #[arg(long, value_name = "START", default_value = "now")]
    since: Since,
    /// Who to be, where no token says so. A user has 5 connections by default
    #[arg(long, default_value = "cli")]
    user: String,
    /// File with a token (JWT), read again when that ends; else the variable MOORLINE_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// `--since`, as it is typed.
#[derive(Clone, Copy, Debug)]
struct Since(Start);

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("now") {
            return Ok(Self(Start::Now));
        }
        if text.eq_ignore_ascii_case("start") {
            return Ok(Self(Start::Oldest));
        }
        let offset = text.parse().ok().map(Offset).filter(|offset| *offset <= Offset::MAX);
        offset.map(|offset| Self(Start::After(offset))).ok_or("it is `now`, `start` or a message id")
    }
}

pub(crate) fn run(arguments: &Tail) -> anyhow::Result<()> {
    let server = Server::new(&arguments.server)?;
    let tokens = TokenSource::choose(arguments.token_file.clone(), &server)?;
    let wrong =
        |what: &str, error: moorline_proto::id::NameError| UsageError::new(format!("the {what} {error}"));
    let room = RoomName::new(&arguments.room).map_err(|error| wrong("room name", error))?;
    if matches!(tokens, TokenSource::Minted) && Pattern::new(room.as_str()).is_ok_and(|name| name.is_many()) {
        let why = "in a token this room's name would stand for other rooms too: give one with --token-file";
        return Err(UsageError::new(why).into());
    }
    UserId::new(&arguments.user).map_err(|error| wrong("user", error))?;
    let subject = Subject { room, user: arguments.user.clone(), start: arguments.since.0 };
    client::block_on(async {
        let mut follower = Follower::new(&server, &tokens, subject)?;
        let result = tokio::select! {
            result = print(&mut follower, arguments) => result,
            told = tokio::signal::ctrl_c() => told.map_err(Into::into),
        };
        follower.leave().await;
        result
    })
}

async fn print(follower: &mut Follower<'_>, arguments: &Tail) -> anyhow::Result<()> {
    let (mut out, mut printed, mut is_first) = (Out::new(), 0, true);
    loop {
        match follower.next().await? {
            Seen::Message(envelope) => {
                match arguments.output.output {
                    Format::Text => out.line(envelope::line(&envelope))?,
                    Format::Json => out.line(text::compact(&envelope))?,
                }
                printed += 1;
                if arguments.limit == Some(printed) {
                    return Ok(());
                }
            }
            Seen::Connected { .. } if is_first => {
                is_first = false;
                output::say(format_args!("following {}", arguments.room));
            }
            seen => tell(&seen),
        }
    }
}

/// Says what became of the connection, or of messages.
fn tell(seen: &Seen) {
    match seen {
        Seen::Message(_) => {}
        Seen::Reset { reason, from, to } => {
            let reason = format!("{reason:?}").to_lowercase();
            output::say(envelope::lost(&reason, from.map(|from| from.0), to.0));
        }
        Seen::Connected { resumed: true } => output::say("connected again"),
        Seen::Connected { resumed: false } => output::say("connected again, as a new session"),
        Seen::Lost { why, retry_in } => {
            let seconds = retry_in.as_secs_f64();
            output::say(format_args!("not connected ({why}); trying again in {seconds:.1} s"));
        }
        Seen::NoFreshToken(why) => {
            output::say(format_args!("the token ends soon, and there is no fresh one: {why}"));
        }
    }
}
