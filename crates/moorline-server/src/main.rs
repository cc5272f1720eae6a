//! The `moorline` server: keeps WebSocket connections alive and gets every message to them, for any backend that
//! speaks HTTP.

mod assemble;
mod auth;
mod bounded_file;
mod causes;
mod cli;
mod commands;
mod dev;
mod http;
mod keys;
mod listen;
mod settings;

use std::process::ExitCode;

/// A wrong setting or argument: nothing was started.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = cli::parse();
    match arguments.command {
        cli::Command::Dev(arguments) => finish(dev::run(&arguments)),
        cli::Command::Keys(arguments) => finish(commands::keys::run(&arguments)),
        cli::Command::Token(arguments) => finish(commands::token::run(&arguments)),
    }
}

/// Says what went wrong and how to mend it; 2 for a wrong setting, 1 for anything else.
fn finish(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("moorline: {error:#}");
    if error.is::<settings::SettingsError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}
