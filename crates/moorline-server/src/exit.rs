//! How the program ends: what it says, and its exit code.

use std::process::ExitCode;

use crate::output::OutputClosed;
use crate::settings::SettingsError;

/// A wrong setting, argument or input: nothing was done.
const USAGE: u8 = 2;

/// Somebody stopped it before it was done: what shells say of SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit codes, as `--help` names them.
pub(crate) const CODES: &str = "Exit codes: 0 it worked, 1 it failed, 2 wrong usage, settings or input, 130 `stream` was stopped by Ctrl-C.";

/// Something on the command line, or in what it names, that cannot be. Says what to write instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(String);

impl UsageError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Ctrl-C, or SIGTERM, before all was done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Interrupted(pub(crate) &'static str);

/// Says what went wrong and how to mend it. Where nobody reads our output any more there is nothing left to do, and
/// nothing wrong: `moorline sessions list | head -1` succeeds.
pub(crate) fn finish(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if error.is::<OutputClosed>() {
        return ExitCode::SUCCESS;
    }
    crate::output::say(format_args!("{error:#}"));
    if error.is::<UsageError>() || error.is::<SettingsError>() {
        ExitCode::from(USAGE)
    } else if error.is::<Interrupted>() {
        ExitCode::from(INTERRUPTED)
    } else {
        ExitCode::FAILURE
    }
}
