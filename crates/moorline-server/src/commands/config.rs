//! `moorline config`: writes, checks and shows settings.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use moorline::Timestamp;

use crate::app::Mode;
use crate::assemble::Files;
use crate::output;
use crate::settings::{self, Sources};

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first configuration: moorline.toml with every setting explained, a secret that signs tokens, an API key.
    Init {
        /// The folder to write to. Nothing in it is overwritten.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Say what is wrong with a configuration and the files that it names.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show every setting as it is, and where it came from.
    Show {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// As `moorline dev` has them.
        #[arg(long)]
        dev: bool,
    },
}

/// Does what was asked for.
pub(crate) fn run(arguments: Config) -> anyhow::Result<()> {
    match arguments.command {
        Command::Init { dir } => init(&dir),
        Command::Check { config } => check(config),
        Command::Show { config, dev } => show(config, if dev { Mode::Development } else { Mode::Serving }),
    }
}

fn init(dir: &Path) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970: set it")?;
    let millis = u64::try_from(now.as_millis()).context("the clock is wrong: set it")?;
    let initial = settings::init(dir, Timestamp(millis))?;
    let config = initial.config.display();
    println!("A configuration is in {config}, with a secret and an API key beside it.");
    println!();
    println!("  run         moorline serve --config {config}");
    println!("  API key     {}", initial.api_key);
    println!();
    println!("The API key is the backend's, for `Authorization: Bearer`. It is shown this once.");
    Ok(())
}

fn check(config: PathBuf) -> anyhow::Result<()> {
    let mode = Mode::Serving;
    let loaded = Sources::new(mode, Some(config)).load()?;
    for warning in loaded.warnings() {
        output::say(format_args!("warning: {warning}"));
    }
    Files::load(&loaded.settings, mode)?;
    println!("ok");
    Ok(())
}

fn show(file: Option<PathBuf>, mode: Mode) -> anyhow::Result<()> {
    print!("{}", Sources::new(mode, file).look()?.show());
    Ok(())
}
