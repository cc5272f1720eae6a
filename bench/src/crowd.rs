//! The crowd as a process of its own, so that two servers' clients do not share one limit of descriptors. Orders are
//! lines on its input, each answered by one line.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};

use anyhow::{Context as _, Result, bail};

use crate::args;
use crate::client::{Crowd, Manners};
use crate::process::{Launch, Output, Running};
use crate::server::Server;

const DONE: &str = "done";

/// Runs as the crowd's process, until the orders end.
pub(crate) fn run(options: &args::Crowd) -> Result<()> {
    obey(Crowd::new(options.server, options.manners)?, std::io::stdin().lock(), std::io::stdout())
}

fn obey(mut crowd: Crowd, orders: impl BufRead, mut answers: impl Write) -> Result<()> {
    for order in orders.lines() {
        let order = order?;
        match perform(&mut crowd, &order) {
            Ok(()) => writeln!(answers, "{DONE}")?,
            // One line, whatever the server sent.
            Err(error) => writeln!(answers, "{}", format!("{error:#}").replace(['\n', '\r'], " "))?,
        }
    }
    Ok(())
}

fn perform(crowd: &mut Crowd, order: &str) -> Result<()> {
    match order.split_once(' ') {
        None if order == "leave" => {
            crowd.leave();
            Ok(())
        }
        Some(("grow", total)) => crowd.grow(total.parse()?),
        Some(("receive", total)) => crowd.receive(total.parse()?),
        _ => bail!("unknown order {order:?}"),
    }
}

/// A running crowd.
#[derive(Debug)]
pub(crate) struct Remote {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    process: Running,
}

impl Remote {
    pub(crate) fn start(server: &Server) -> Result<Self> {
        let this = std::env::current_exe()?.into_os_string();
        let manners = match server.manners {
            Manners::Greets => "greets",
            Manners::Resumes => "resumes",
            Manners::Silent => "silent",
        };
        let address = server.address.to_string();
        let arguments = ["crowd", "--server", &address, "--manners", manners].map(OsString::from);
        let command = std::iter::once(this).chain(arguments).collect();
        // It runs on the core of this process.
        let launch = Launch { command, environment: &[], core: None, output: Output::Pipe };
        let mut process = Running::start(&launch)?;
        let (orders, answers) = (process.take_stdin()?, BufReader::new(process.take_stdout()?));
        Ok(Self { orders, answers, process })
    }

    /// Opens connections until there are `total`.
    pub(crate) fn grow(&mut self, total: u32) -> Result<()> {
        writeln!(self.orders, "grow {total}").context("ordering connections")?;
        self.wait()
    }

    /// Closes all connections. Those that are opened next come back to their sessions.
    pub(crate) fn leave(&mut self) -> Result<()> {
        writeln!(self.orders, "leave").context("ordering to leave")?;
        self.wait()
    }

    /// Begins to read, up to `total` messages since the beginning; `wait` ends it.
    pub(crate) fn begin_to_receive(&mut self, total: u64) -> Result<()> {
        writeln!(self.orders, "receive {total}").context("ordering reception")
    }

    /// Waits for an order to be carried out. The crowd gives up by itself when nothing moves.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("waiting for the clients")?;
        match answer.trim_end() {
            DONE => Ok(()),
            "" => bail!("the clients' process has ended; {}", self.process.last_words()),
            error => bail!("{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_is_answered_by_a_line() {
        let crowd = Crowd::new("127.0.0.1:9".parse().unwrap(), Manners::Silent).unwrap();
        let mut answers = Vec::new();
        obey(crowd, &b"grow 0\nreceive 0\ndance\ngrow x\n"[..], &mut answers).unwrap();
        let answers = String::from_utf8(answers).unwrap();
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines[..3], ["done", "done", "unknown order \"dance\""]);
        assert_eq!(lines.len(), 4);
    }
}
