//! The server that is tested: built, started on a free port, and stopped.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use crate::job;
use crate::shop::Shop;

const EXAMPLE: &str = "echo";
/// What it prints before its address.
const LISTENING: &str = "listening on ";

/// How it is built.
#[derive(Clone, Copy)]
pub(super) enum Profile {
    /// As the gate builds all else.
    Dev,
    Release,
}

/// It runs; dropped, it ends.
pub(super) struct Echo {
    child: Child,
    pub(super) url: String,
}

impl Echo {
    /// In the gate the whole workspace decides the features of what it needs, as in `cargo test`, so that nothing is built
    /// twice.
    pub(super) fn start(shop: &Shop, profile: Profile) -> Result<Self, String> {
        let (choice, folder) = match profile {
            Profile::Dev => ("--workspace", "debug"),
            Profile::Release => ("--package moorline --release", "release"),
        };
        let mut build = shop.cargo(&format!("build --locked {choice} --example {EXAMPLE}"));
        job::run(&mut build, job::LIMIT).result()?;
        let program = shop.built(folder).join("examples").join(EXAMPLE);
        let mut command = shop.command(&program);
        command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|why| format!("{}: {why}", program.display()))?;
        Self { child, url: String::new() }.with_url()
    }

    fn with_url(mut self) -> Result<Self, String> {
        let stdout = self.child.stdout.take().ok_or("the echo server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|why| format!("the echo server: {why}"))?;
        let url = line.trim().strip_prefix(LISTENING);
        url.ok_or("the echo server does not say where it listens")?.clone_into(&mut self.url);
        Ok(self)
    }

    /// Ends it; a failure if it had ended by itself.
    pub(super) fn stop(mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the echo server ended by itself with {status}")),
            Err(why) => Err(format!("the echo server was lost: {why}")),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _nobody_to_tell = self.child.wait();
    }
}
