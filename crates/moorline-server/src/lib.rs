//! The `moorline` server: keeps WebSocket connections alive and gets every message to them, for any backend that
//! speaks HTTP. A library only so that fuzz targets reach what a program hides: see [`testing`].

mod app;
mod assemble;
mod auth;
mod bounded_file;
mod causes;
mod cli;
mod client;
mod commands;
mod dev;
mod envelope;
mod exit;
mod http;
mod inflow;
mod keys;
mod listen;
mod logs;
mod output;
mod proxy;
mod reload;
mod run;
mod serve;
mod settings;
mod systemd;
pub mod testing;
mod text;
mod tls;
mod utf8;

use std::process::ExitCode;

/// The program: reads the command line, and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = cli::parse();
    exit::finish(match arguments.command {
        cli::Command::Dev(arguments) => dev::run(arguments),
        cli::Command::Serve(arguments) => serve::run(arguments),
        cli::Command::Config(arguments) => commands::config::run(arguments),
        cli::Command::Doctor(arguments) => commands::doctor::run(&arguments),
        cli::Command::Keys(arguments) => commands::keys::run(&arguments),
        cli::Command::Token(arguments) => commands::token::run(&arguments),
        cli::Command::Publish(arguments) => commands::publish::run(&arguments),
        cli::Command::Stream(arguments) => commands::stream::run(&arguments),
        cli::Command::Tail(arguments) => commands::tail::run(&arguments),
        cli::Command::Sessions(arguments) => commands::sessions::run(&arguments),
        cli::Command::Rooms(arguments) => commands::rooms::run(&arguments),
        cli::Command::Store(arguments) => commands::store::run(&arguments),
        cli::Command::Bench(arguments) => commands::bench::run(&arguments),
        cli::Command::Completions(arguments) => commands::completions::run(&arguments),
    })
}
