//! The command line, as it is typed.

use clap::{Parser, Subcommand};

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
    Dev(crate::dev::Dev),
    /// Run for anyone: clients bring tokens, backends bring API keys.
    Serve(crate::serve::Serve),
    /// Write, check and show the configuration.
    Config(commands::config::Config),
}

/// Reads the command line; help, version and mistakes end the program.
pub(crate) fn parse() -> Arguments {
    Arguments::parse()
}
