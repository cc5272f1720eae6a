//! Breaks what a Moorline server stands on while it runs, and judges what its clients saw. `README.md` says what and how.

mod args;
mod cases;
mod content;
mod history;
mod http;
mod peer;
mod producer;
mod proxy;
mod publisher;
mod random;
mod report;
mod run;
mod server;
mod session;
mod socket;
mod world;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::args::Arguments;
use crate::report::Verdict;
use crate::world::Plan;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chance =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()));
    let seed = arguments.seed.unwrap_or(chance);
    println!("case {:?}, seed {seed}", arguments.case);
    match carry_out(arguments, seed) {
        Ok(verdict) => {
            verdict.print(seed);
            if verdict.is_red() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("error: {error:#}\nrepeat with --seed {seed}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: Arguments, seed: u64) -> Result<Verdict> {
    raise_descriptor_limit()?;
    let plan = Plan::new(arguments, seed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime")?;
    let verdict = runtime.block_on(async {
        tokio::select! {
            verdict = cases::run(&plan) => verdict,
            _interrupt = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    });
    // What still hangs on a connection is not waited for.
    runtime.shutdown_background();
    if let Err(error) = std::fs::remove_dir_all(&plan.folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("warning: {} is left behind: {error}", plan.folder.display());
    }
    verdict
}

/// Raises the limit of open descriptors as far as it goes, for this process and the server.
#[cfg(unix)]
fn raise_descriptor_limit() -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX).map(drop).context("raising the limit of open descriptors")
}

#[cfg(not(unix))]
fn raise_descriptor_limit() -> Result<()> {
    Ok(())
}
