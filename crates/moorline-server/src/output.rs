//! Standard output and standard error of the commands.

use std::fmt;
use std::io::{self, StdoutLock, Write as _};

use clap::ValueEnum;

use crate::text;

/// How a command writes its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: aligned, and not promised to stay as it is.
    #[default]
    Text,
    /// For programs: JSON, one value, or one in each line where there are several.
    Json,
}

/// The option `-o` that commands share.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// How to write the answer to standard output.
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Whoever read our standard output has gone: a command then ends quietly.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(crate) struct OutputClosed;

/// Standard output, checked: `println!` panics where it is closed.
pub(crate) struct Out(StdoutLock<'static>);

impl Out {
    pub(crate) fn new() -> Self {
        Self(io::stdout().lock())
    }

    /// Writes a line, at once.
    ///
    /// # Errors
    /// [`OutputClosed`], or why it could not be written.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> anyhow::Result<()> {
        checked(writeln!(self.0, "{line}").and_then(|()| self.0.flush()))
    }

    /// Writes text that has its own line ends.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        checked(self.0.write_all(bytes).and_then(|()| self.0.flush()))
    }

    /// A table, see [`text::table`].
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
        let mut lines = text::table(headings, rows).join("\n");
        lines.push('\n');
        self.bytes(lines.as_bytes())
    }

    /// Names and their values, one pair a line, the values below one another.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub(crate) fn fields(&mut self, fields: &[(&str, String)]) -> anyhow::Result<()> {
        let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in fields {
            let line = format!("{name:widest$}  {}", text::escape(value));
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

fn checked(written: io::Result<()>) -> anyhow::Result<()> {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => OutputClosed.into(),
        _ => anyhow::Error::new(error).context("writing the output"),
    })
}

/// Tells people something, on standard error.
pub(crate) fn say(what: impl fmt::Display) {
    let line = format!("moorline: {what}");
    let safe: Vec<_> = line.lines().map(text::escape).collect();
    // With standard error closed too there is nobody to tell.
    let _told = writeln!(io::stderr().lock(), "{}", safe.join("\n"));
}
