//! The command line, as it is typed.

use clap::{Parser, Subcommand};

use crate::commands::{
    bench, completions, config, doctor, keys, publish, rooms, sessions, store, stream, tail, token,
};
use crate::exit;
use crate::{dev, serve};

/// Keeps WebSocket connections alive, and gets every message to them.
#[derive(Debug, Parser)]
#[command(name = "moorline", version, after_help = exit::CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run for development: on this machine alone, in memory unless told otherwise, believing who clients say they are.
    Dev(dev::Dev),
    /// Run for anyone: clients bring tokens, backends bring API keys.
    Serve(serve::Serve),
    /// Write, check and show the configuration.
    Config(config::Config),
    Keys(keys::Keys),
    Token(token::Token),
    Publish(publish::Publish),
    Stream(stream::Stream),
    Tail(tail::Tail),
    Sessions(sessions::Sessions),
    Rooms(rooms::Rooms),
    Store(store::Store),
    /// Find out what is wrong with this machine, the settings and the files that they name.
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
    Completions(completions::Completions),
}

/// Reads the command line; help, version and mistakes end the program.
pub(crate) fn parse() -> Arguments {
    Arguments::parse()
}
