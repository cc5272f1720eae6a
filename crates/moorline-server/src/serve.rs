//! `moorline serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::app::Mode;
use crate::run;
use crate::settings::{self, Sources};

#[derive(Debug, clap::Args)]
#[command(after_help = "`moorline config init` writes a configuration to begin with.\n\
    Every setting is also an environment variable: MOORLINE__SECTION__NAME, as in MOORLINE__HTTP__LISTEN=127.0.0.1:8080.")]
pub(crate) struct Serve {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on. Wins over the file and MOORLINE__HTTP__LISTEN.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = settings::address)]
    listen: Option<SocketAddr>,
}

/// Runs until it is told to stop.
pub(crate) fn run(arguments: Serve) -> anyhow::Result<()> {
    let sources = Sources::new(Mode::Serving, arguments.config);
    run::run(Sources { listen: arguments.listen, ..sources })
}

pub(crate) fn greet(url: &str) {
    println!("Moorline is ready on {url}");
}
