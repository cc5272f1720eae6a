//! `moorline completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli;
use crate::output::Out;

/// Print what makes a shell complete `moorline` commands and options.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell to print it for.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut cli::Arguments::command(), "moorline", &mut script);
    Out::new().bytes(&script)
}
