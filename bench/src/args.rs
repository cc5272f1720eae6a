//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::manners::Manners;
use crate::streams::Subject;

/// Measures Moorline's CPU and memory against a bare epoll loop, in alternating rounds.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Numbers of connections to measure at, separated by commas [default: 1000,10000; with --quick 1000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(20..=500_000))]
    pub(crate) connections: Vec<u32>,
    /// Rounds per number of connections; each measures the floor and the server [default: 5; with --quick 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// The server's release binary [default: `moorline` beside this program]
    #[arg(long)]
    pub(crate) bin: Option<PathBuf>,
    /// 1,000 connections and two rounds: a look, not a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// Length of the text in each message, bytes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=16_384))]
    pub(crate) payload: u32,
    /// A variable for the server's environment (KEY=VALUE), for instance a setting; repeatable
    #[arg(long, value_parser = variable)]
    pub(crate) server_env: Vec<(String, String)>,
    /// Write every sample and the summary to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Measure a second floor in the server's place: the ratios must come out near 1
    #[arg(long)]
    pub(crate) self_check: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures what keeping on disk costs: publishes with a store against those without, and the return of many sessions at once
    Durable(Durable),
    /// Measures streams, in memory and on disk: the rate, the memory of open ones, readers that slept or join late
    Streams(Streams),
    /// Measures how long messages take from a publisher to each client, floor and server in turns
    Latency(Latency),
    /// Measures 10,000 rooms of 10 members, in memory and on disk: memory, publications by Zipf's law, heartbeats, joining and leaving
    Rooms(Rooms),
    /// Measures everything that has a bar, and other servers beside it, and prints or writes the tables of docs/performance.md
    Figures(Figures),
    /// The bare epoll loop (started by the benchmark)
    #[command(hide = true)]
    Floor(Floor),
    /// The clients of one server (started by the benchmark)
    #[command(hide = true)]
    Crowd(Crowd),
    /// Pin to a core, die with the parent, and become another program (started by the benchmark)
    #[command(hide = true)]
    Child(Child),
}

#[derive(Debug, Args)]
pub(crate) struct Durable {
    /// Rounds, each with servers of its own
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Sessions that come back at once; fewer where there are too few descriptors
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(20..=500_000))]
    pub(crate) sessions: u32,
    /// The server's release binary [default: `moorline` beside this program]
    #[arg(long)]
    pub(crate) bin: Option<PathBuf>,
    /// Length of the text in each message, bytes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=16_384))]
    pub(crate) payload: u32,
    /// A variable for the servers' environment (KEY=VALUE), for instance a setting; repeatable
    #[arg(long, value_parser = variable)]
    pub(crate) server_env: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Streams {
    /// Rounds, each with servers of its own [default: 3; with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// How long appends are sent at a rate [default: 10; with --quick 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=30))]
    pub(crate) seconds: Option<u32>,
    /// Rooms that one reader's connection is a member of, where the rate is measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub(crate) rooms_per_reader: u32,
    /// Only these, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Subject>,
    /// A tenth of the streams and of the readers, and one round: a look, not a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// The server's release binary [default: `moorline` beside this program]
    #[arg(long)]
    pub(crate) bin: Option<PathBuf>,
    /// A variable for the servers' environment (KEY=VALUE), for instance a setting; repeatable
    #[arg(long, value_parser = variable)]
    pub(crate) server_env: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Latency {
    /// Clients, all in one room
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(20..=500_000))]
    pub(crate) connections: u32,
    /// Rounds on the same servers [default: 9; with --quick 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Length of the text in each message, bytes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=16_384))]
    pub(crate) payload: u32,
    /// A tenth of it or less: a look, not a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// The server's release binary [default: `moorline` beside this program]
    #[arg(long)]
    pub(crate) bin: Option<PathBuf>,
    /// A variable for the servers' environment (KEY=VALUE), for instance a setting; repeatable
    #[arg(long, value_parser = variable)]
    pub(crate) server_env: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Rooms {
    /// Rounds, each with servers of its own [default: 3; with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// A tenth of it or less: a look, not a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// The server's release binary [default: `moorline` beside this program]
    #[arg(long)]
    pub(crate) bin: Option<PathBuf>,
    /// A variable for the servers' environment (KEY=VALUE), for instance a setting; repeatable
    #[arg(long, value_parser = variable)]
    pub(crate) server_env: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Figures {
    /// Rounds of everything that is measured in rounds [default: 5; with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Other servers, separated by commas; `none` for none [default: all of bench/peers]
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
    /// Put tables and picture into docs/performance.md and docs/performance.svg
    #[arg(long)]
    pub(crate) write: bool,
    /// A tenth of it or less: a look, not a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// The server's release binary [default: `moorline` beside this program]
    #[arg(long)]
    pub(crate) bin: Option<PathBuf>,
    /// A variable for the servers' environment (KEY=VALUE), for instance a setting; repeatable
    #[arg(long, value_parser = variable)]
    pub(crate) server_env: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Floor {
    /// Address to listen on; publications are asked for on stdin, `publish COUNT` a line
    #[arg(long)]
    pub(crate) listen: std::net::SocketAddrV4,
    /// Length of the text in each message, bytes
    #[arg(long)]
    pub(crate) payload: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Crowd {
    #[arg(long)]
    pub(crate) server: std::net::SocketAddrV4,
    /// How the server begins a connection
    #[arg(long)]
    pub(crate) manners: Manners,
    /// Length of the text in each message that clients publish, bytes
    #[arg(long)]
    pub(crate) payload: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Child {
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_variable_needs_a_name() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(variable("=b").is_err());
        assert!(variable("A").is_err());
    }
}
