//! The `moorline` server: keeps WebSocket connections alive and gets every message to them, for any backend that
//! speaks HTTP.

mod assemble;
mod cli;
mod client;
mod commands;
mod dev;
mod envelope;
mod exit;
mod http;
mod listen;
mod output;
mod settings;
mod text;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::parse();
    exit::finish(match arguments.command {
        cli::Command::Dev(arguments) => dev::run(&arguments),
        cli::Command::Publish(arguments) => commands::publish::run(&arguments),
        cli::Command::Tail(arguments) => commands::tail::run(&arguments),
        cli::Command::Sessions(arguments) => commands::sessions::run(&arguments),
        cli::Command::Rooms(arguments) => commands::rooms::run(&arguments),
        cli::Command::Completions(arguments) => commands::completions::run(&arguments),
    })
}
