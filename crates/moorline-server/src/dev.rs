//! `moorline dev`.

use std::net::SocketAddr;

use anyhow::Context as _;
use moorline::Node;

use crate::settings::{self, Settings};
use crate::{assemble, cli, http, listen, systemd};

/// Runs until it is told to stop.
pub(crate) fn run(arguments: &cli::Dev) -> anyhow::Result<()> {
    let settings = settings::load(arguments.listen)?;
    settings::check_loopback(settings.listen)?;
    logs();
    let inherited = systemd::inherited_listener()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(serve(settings, inherited))
}

async fn serve(settings: Settings, inherited: Option<std::net::TcpListener>) -> anyhow::Result<()> {
    let listener = listen::open(settings.listen, inherited)?;
    let address = listener.local_addr().context("asking for the address")?;
    let node = assemble::dev(settings.node.clone())?;
    let stop = listen::stop_signal().context("listening for signals")?;
    greet(address);
    let router = http::router(&node, settings.body_max_bytes, settings.request_timeout);
    let server = listen::Server::start(listener, router, None, &settings);
    systemd::ready();
    tokio::select! {
        () = stop => {}
        () = node.stopped() => anyhow::bail!("the node has failed; what it logged says why"),
    }
    tracing::info!("draining");
    systemd::stopping();
    drain(&node, server).await;
    Ok(())
}

async fn drain(node: &Node, server: listen::Server) {
    node.drain().await;
    server.stop().await;
}

fn greet(address: SocketAddr) {
    println!("Moorline is ready, for development: in memory, and it believes who clients say they are.");
    println!();
    println!("  page       http://{address}/");
    println!("  connect    ws://{address}/ws/lobby?user=ann");
    println!(
        "  publish    curl http://{address}/v1/publish -d '{{\"to\":{{\"room\":\"lobby\"}},\"message\":{{\"type\":\"hello\",\"text\":\"hi\"}}}}'"
    );
    println!();
}

/// Logs to standard error, in colour on a terminal; what they say is chosen by RUST_LOG, `info` by default.
fn logs() {
    use std::io::IsTerminal as _;

    use tracing_subscriber::EnvFilter;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
}
