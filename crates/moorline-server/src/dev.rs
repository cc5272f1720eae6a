//! `moorline dev`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;

use crate::app::Mode;
use crate::settings::{self, Sources};
use crate::{run, text};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every setting is also an environment variable: MOORLINE__SECTION__NAME, as in MOORLINE__HEARTBEAT__INTERVAL_MS=5000."
)]
pub(crate) struct Dev {
    /// A configuration file; none is needed.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on; a loopback one. Wins over the file and MOORLINE__HTTP__LISTEN.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = settings::address)]
    listen: Option<SocketAddr>,
    /// Keep messages and sessions in this directory, on disk. Wins over the file and MOORLINE__STORE__DIRECTORY.
    #[arg(long, value_name = "DIR", value_parser = NonEmptyStringValueParser::new())]
    data: Option<String>,
}

/// Runs until it is told to stop.
pub(crate) fn run(arguments: Dev) -> anyhow::Result<()> {
    let Dev { config: file, listen, data } = arguments;
    run::run(Sources { mode: Mode::Development, file, listen, data })
}

pub(crate) fn greet(address: SocketAddr, directory: Option<&Path>) {
    let place = place(directory);
    println!("Moorline is ready, for development: in {place}, and it believes who clients say they are.");
    println!();
    println!("  page       http://{address}/");
    println!("  connect    ws://{address}/ws/lobby?user=ann");
    println!(
        "  publish    curl http://{address}/v1/publish -d '{{\"to\":{{\"room\":\"lobby\"}},\"message\":{{\"type\":\"hello\",\"text\":\"hi\"}}}}'"
    );
    println!();
}

/// Where messages and sessions are kept.
fn place(directory: Option<&Path>) -> String {
    directory
        .map_or_else(|| "memory".to_owned(), |path| text::escape(&path.display().to_string()).into_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Arguments, Command};

    #[test]
    fn a_directory_is_named_or_not_and_never_by_nothing() {
        let data = |words: &[&str]| {
            let words = ["moorline", "dev"].iter().chain(words);
            match Arguments::try_parse_from(words)?.command {
                Command::Dev(dev) => Ok(dev.data),
                other => panic!("{other:?}"),
            }
        };
        let parse = |words: &[&str]| data(words).map_err(|error: clap::Error| error.exit_code());
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&["--data", "d"]), Ok(Some("d".to_owned())));
        assert_eq!(parse(&["--data", ""]), Err(2));
    }

    #[test]
    fn the_greeting_says_where_messages_are() {
        assert_eq!(place(None), "memory");
        assert_eq!(place(Some(Path::new("/tmp/a\u{1b}b"))), "/tmp/a\\u001bb");
    }
}
