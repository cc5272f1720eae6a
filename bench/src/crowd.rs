//! The crowd as a process of its own, so that two servers' clients do not share one limit of descriptors. Orders are
//! lines on its input, each answered by one line.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::args;
use crate::client::Crowd;
use crate::pace::{self, Pace, Waits};
use crate::process::{Launch, Output, Running};
use crate::publish;
use crate::server::Server;

const DONE: &str = "done";
/// How often clients answer pings while there is nothing to do.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Orders that wait: who gives them waits for each answer.
const ORDERS: usize = 4;

/// Runs as the crowd's process, until the orders end.
pub(crate) fn run(options: &args::Crowd) -> Result<()> {
    let data = publish::data(options.payload)?;
    let crowd = Crowd::new(options.server, options.manners)?;
    obey((crowd, &data), BufReader::new(std::io::stdin()), std::io::stdout())
}

fn obey(
    (mut crowd, data): (Crowd, &str),
    orders: impl BufRead + Send + 'static,
    mut answers: impl Write,
) -> Result<()> {
    let (sender, waiting) = mpsc::sync_channel(ORDERS);
    thread::spawn(move || {
        for order in orders.lines() {
            if sender.send(order).is_err() {
                break;
            }
        }
    });
    loop {
        let order = match waiting.recv_timeout(IDLE_LOOK_EVERY) {
            Ok(order) => order?,
            Err(RecvTimeoutError::Timeout) => {
                while crowd.glance(&mut |_| Ok(()))? {}
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        match perform(&mut crowd, &order, data) {
            Ok(said) => writeln!(answers, "{DONE}{said}")?,
            // One line, whatever the server sent.
            Err(error) => writeln!(answers, "{}", format!("{error:#}").replace(['\n', '\r'], " "))?,
        }
    }
}

/// What is to be said besides that it is done.
fn perform(crowd: &mut Crowd, order: &str, data: &str) -> Result<String> {
    match order.split_once(' ') {
        None if order == "leave" => crowd.leave(),
        Some(("grow", total)) => crowd.grow(total.parse()?)?,
        Some(("receive", total)) => crowd.receive(total.parse()?)?,
        Some(("pace", pace)) => {
            return Ok(format!(" {}", pace::run(crowd, pace.parse()?, data)?.line()));
        }
        _ => bail!("unknown order {order:?}"),
    }
    Ok(String::new())
}

/// A running crowd.
#[derive(Debug)]
pub(crate) struct Remote {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    process: Running,
}

impl Remote {
    /// What its clients publish by themselves has so many bytes of text.
    pub(crate) fn start(server: &Server, payload_bytes: u32) -> Result<Self> {
        let this = std::env::current_exe()?.into_os_string();
        let address = server.address.to_string();
        let (manners, payload) = (server.manners.name(), payload_bytes.to_string());
        let arguments = ["crowd", "--server", &address, "--manners", &manners, "--payload", &payload];
        let command = std::iter::once(this).chain(arguments.map(OsString::from)).collect();
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

    /// Publishes from within, until everyone has everything.
    pub(crate) fn pace(&mut self, pace: Pace) -> Result<Waits> {
        writeln!(self.orders, "pace {pace}").context("ordering publications")?;
        Waits::parse(self.answer()?.trim_start())
    }

    /// Waits for an order to be carried out. The crowd gives up by itself when nothing moves.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.answer().map(drop)
    }

    fn answer(&mut self) -> Result<String> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("waiting for the clients")?;
        match answer.trim_end() {
            "" => bail!("the clients' process has ended; {}", self.process.last_words()),
            answer => match answer.strip_prefix(DONE) {
                Some(said) => Ok(said.to_owned()),
                None => bail!("{answer}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manners::Manners;

    #[test]
    fn each_order_is_answered_by_a_line() {
        let crowd = Crowd::new("127.0.0.1:9".parse().unwrap(), Manners::Silent).unwrap();
        let mut answers = Vec::new();
        obey((crowd, ""), &b"grow 0\nreceive 0\ndance\ngrow x\npace socket 1 1 1\n"[..], &mut answers)
            .unwrap();
        let answers = String::from_utf8(answers).unwrap();
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines[..3], ["done", "done", "unknown order \"dance\""]);
        assert_eq!(lines[4], "nobody is connected");
        assert_eq!(lines.len(), 5);
    }
}
