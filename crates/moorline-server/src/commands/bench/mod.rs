//! `moorline bench`.

mod dial;
mod frame;
mod http;
mod latency;
mod leftovers;
mod member;
mod memory;
mod opening;
mod plan;
mod progress;
mod publisher;
mod report;
mod room;
mod run;
mod schedule;
mod traffic;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use self::dial::Dialer;
use self::leftovers::Leftovers;
use self::member::Ended;
use self::memory::Memory;
use self::plan::{Plan, Road};
use self::progress::Progress;
use self::report::Report;
use self::run::Run;
use self::traffic::Traffic;
use self::watch::Faults;
use crate::client::{self, Server, ServerArgs, TokenSource};
use crate::exit::UsageError;
use crate::listen;
use crate::output::{Format, Out, OutputArgs};

/// Measure a server: open connections, publish, and check every delivery
///
/// Connections come first, then messages for some seconds, then what was found:
///   moorline bench ws://127.0.0.1:8080
///   moorline bench wss://ws.example.com --connections 5000 --rooms 100 --rate 1000
///   moorline bench ws://127.0.0.1:8080 --connections 10000 --idle 10
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Bench {
    /// The server, as ws://, wss://, http:// or https://; else --url, or the variable MOORLINE_URL
    #[arg(value_name = "URL", conflicts_with = "url")]
    address: Option<String>,
    /// Connections to open, each a user and a member of a room
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Rooms that the connections are shared out to; everyone in a room gets what is published there
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rooms: u32,
    /// Messages per second, all rooms together, at fixed moments whatever the server does; without it the next message of a
    /// room is published as soon as everyone has the last one
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// How long to publish
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Bytes of text in each message
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    payload: u32,
    /// Messages that are published in a room at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    burst: u32,
    /// Publish over a member's WebSocket, or by HTTP with the API key (scope `publish`)
    #[arg(long, value_enum, default_value_t)]
    publish: Road,
    /// Publish nothing: just hold the connections for so long
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400),
          conflicts_with_all = ["rate", "seconds", "payload", "burst", "publish"])]
    idle: Option<u32>,
    /// Connections that are opened at the same time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    opening: u32,
    /// Addresses of this machine to connect from, in turn: each has some 28,000 ports
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',')]
    from: Vec<IpAddr>,
    /// How the names of the rooms begin; a token that you give has to allow these
    #[arg(long, value_name = "TEXT", default_value = "bench:")]
    prefix: String,
    /// The server's process, for its memory; else the one that listens at the URL's port of this machine
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// File with a token (JWT) that all connections show; else the variable MOORLINE_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl Bench {
    /// The server, wherever its address was given: each may begin with ws:// too.
    fn place(&self) -> Result<ServerArgs, UsageError> {
        let given = match &self.address {
            Some(address) => Some((address.clone(), "the URL")),
            None => self.server.given()?,
        };
        Ok(match given {
            Some((address, named)) => self.server.at(plan::over_http(&address, named)?, named),
            None => self.server.clone(),
        })
    }
}

pub(crate) fn run(arguments: &Bench) -> anyhow::Result<()> {
    let place = arguments.place()?;
    let plan = Plan::new(arguments)?;
    let server = Server::new(&place)?;
    let tokens = TokenSource::choose(arguments.token_file.clone(), &server)?;
    plan.check_pattern(&tokens)?;
    plan.check_ports()?;
    plan.check_files()?;
    let run = Arc::new(Run::new(plan)?);
    client::block_on_all_cores(async {
        stop_when_told(&run)?;
        let dialer = Arc::new(Dialer::new(&run, &place, tokens)?);
        measure(&run, &dialer, arguments).await
    })
}

/// The first signal has the run end with what is there, a second one without waiting for anything.
fn stop_when_told(run: &Arc<Run>) -> std::io::Result<()> {
    let first = listen::stop_signal()?;
    let run = Arc::clone(run);
    tokio::spawn(async move {
        first.await;
        run.interrupted.cancel();
        if let Ok(second) = listen::stop_signal() {
            second.await;
            run.hurried.cancel();
        }
    });
    Ok(())
}

async fn measure(run: &Arc<Run>, dialer: &Arc<Dialer>, arguments: &Bench) -> anyhow::Result<()> {
    let progress = Progress::begin(run);
    let mut members = JoinSet::new();
    opening::first(dialer, &mut members).await?;
    let mut memory = Memory::begin(arguments.pid, local_port(&dialer.control));
    let opening = opening::rest(dialer, &mut members).await;
    memory.idle();
    let traffic = if run.interrupted.is_cancelled() {
        Traffic::default()
    } else {
        traffic::traffic(run, &dialer.control).await.context("starting a thread")?
    };
    memory.after();
    let (faults, leftovers) = end(run, dialer, members).await;
    drop(progress);
    let interrupted = run.interrupted.is_cancelled();
    let report = Report { run, opening, traffic, memory, faults, leftovers, interrupted };
    show(&report, arguments.output.output)?;
    if let Some(why) = run.failure() {
        return Err(why);
    }
    let failures = report.failures();
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

/// Where the server's process can be looked for: it listens on this machine alone.
fn local_port(server: &Server) -> Option<u16> {
    let base = server.base();
    let is_local = match base.host_str()?.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => base.host_str()?.eq_ignore_ascii_case("localhost"),
    };
    base.port_or_known_default().filter(|_| is_local)
}

/// Ends the connections and the sessions.
async fn end(run: &Run, dialer: &Dialer, mut members: JoinSet<Ended>) -> (Faults, Leftovers) {
    let was_there = run.alive.load(std::sync::atomic::Ordering::SeqCst) > 0;
    run.done.cancel();
    let (mut faults, mut sessions) = (Faults::default(), Vec::with_capacity(members.len()));
    while let Some(ended) = members.join_next().await {
        match ended {
            Ok(mut ended) => {
                sessions.push(std::mem::take(&mut ended.session));
                faults.add(ended.faults());
            }
            Err(error) => run.ended.count(format!("this program failed: {error}")),
        }
    }
    let leftovers = match was_there || sessions.is_empty() {
        true => leftovers::remove(run, &dialer.control, &sessions).await,
        false => Leftovers::Kept { sessions: sessions.len() as u64, why: "the server is gone".to_owned() },
    };
    (faults, leftovers)
}

fn show(report: &Report<'_>, format: Format) -> anyhow::Result<()> {
    let mut out = Out::new();
    match format {
        Format::Text => out.fields(&report.fields()),
        Format::Json => out.line(report.json()),
    }
}
