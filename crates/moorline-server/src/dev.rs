//! `moorline dev`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::app::Mode;
use crate::run;
use crate::settings::{self, Sources};

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
}

/// Runs until it is told to stop.
pub(crate) fn run(arguments: Dev) -> anyhow::Result<()> {
    run::run(Sources { mode: Mode::Development, file: arguments.config, listen: arguments.listen })
}

pub(crate) fn greet(address: SocketAddr) {
    println!("Moorline is ready, for development: in memory, and it believes who clients say they are.");
    println!();
    println!("  page       http://{address}/");
    println!("  connect    ws://{address}/ws/lobby?user=ann");
    println!(
        "  publish    curl http://{address}/v1/publish -d '{{\"to\":{{\"room\":\"lobby\"}},\"message\":{{\"type\":\"hello\",\"text\":\"hi\"}}}}'"
    );
    println!();
}
