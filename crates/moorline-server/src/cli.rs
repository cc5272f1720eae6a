//! The command line, as it is typed.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Keeps WebSocket connections alive, and gets every message to them.
#[derive(Debug, Parser)]
#[command(name = "moorline", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run for development: in memory, on this machine alone, believing who clients say they are.
    Dev(Dev),
    Keys(commands::keys::Keys),
    Token(commands::token::Token),
}

/// Every setting is also an environment variable: MOORLINE__SECTION__NAME, as in MOORLINE__HEARTBEAT__INTERVAL_MS=5000.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The address to listen on; a loopback one. Wins over MOORLINE__HTTP__LISTEN.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

/// Reads the command line; help, version and mistakes end the program.
pub(crate) fn parse() -> Arguments {
    Arguments::parse()
}
