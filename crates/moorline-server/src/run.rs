//! From settings to a running server, and to its end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use moorline::Node;
use moorline_disk::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, Mode};
use crate::assemble::{self, Files};
use crate::settings::{self, Loaded, Sources};
use crate::{dev, http, listen, logs, reload, serve, systemd};

/// How often the recorder puts its samples in order, so that they take no more memory where nobody scrapes them.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// How long work that cannot be broken off may take at the end: a name that nobody resolves, a disk that hangs.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Runs until it is told to stop.
///
/// # Errors
/// A wrong setting, or whatever else keeps the server from running.
pub(crate) fn run(sources: Sources) -> anyhow::Result<()> {
    // It reads variables, and takes them away: there is no second thread yet.
    let inherited = systemd::inherited_listener()?;
    let loaded = sources.load()?;
    logs::start(&loaded.settings.log)?;
    // Before anything has something to count.
    let metrics = http::metrics::install().context("starting the metrics")?;
    let files = Files::load(&loaded.settings, sources.mode)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let mut store = assemble::store::open(&loaded, sources.mode)?;
    let parts = Parts { sources, loaded, files, metrics, inherited, store: store.as_mut() };
    let ended = runtime.block_on(start(parts));
    runtime.shutdown_timeout(LAST_WORK);
    // However it ended: what the node took is kept as far as it can be.
    let closed = store.map_or(Ok(()), assemble::store::close);
    ended.and(closed)
}

/// What there is before the server runs.
struct Parts<'a> {
    sources: Sources,
    loaded: Loaded,
    files: Files,
    metrics: PrometheusHandle,
    inherited: Option<std::net::TcpListener>,
    /// None in memory.
    store: Option<&'a mut Store>,
}

async fn start(parts: Parts<'_>) -> anyhow::Result<()> {
    let Parts { sources, loaded, files, metrics, inherited, store } = parts;
    let settings = loaded.settings.clone();
    let listener = listen::open(settings.listen, inherited)?;
    let address = listener.local_addr().context("asking for the address")?;
    check_reach(address, sources.mode, files.tls.is_some())?;
    let assembled = assemble::node(settings.node.clone(), store, files.verifier.as_ref())?;
    let app = App::new(assembled, sources, loaded, files, metrics)?;
    let most = listen::Most::of(&settings, app.mode(), listen::raise_descriptors());
    most.tell(&settings);
    let stop = listen::stop_signal().context("listening for signals")?;
    let tasks = Tasks::start(&app)?;
    greet(&app, address);
    let server = listen::Server::start(listener, http::front(&app), app.tls().cloned(), &settings, most);
    systemd::ready();
    tokio::select! {
        () = stop => {}
        () = app.node().stopped() => anyhow::bail!("the node has failed; what it logged says why"),
    }
    tracing::info!("draining");
    systemd::stopping();
    drain(app.node(), server).await;
    tasks.stop().await;
    Ok(())
}

/// A socket that was handed down may be another than the settings say: what counts is where it listens.
fn check_reach(address: SocketAddr, mode: Mode, has_tls: bool) -> Result<(), settings::SettingsError> {
    if mode == Mode::Development {
        return settings::check_loopback(address);
    }
    if !address.ip().is_loopback() && !has_tls {
        tracing::warn!(
            %address,
            "other machines can reach this, and connections are not encrypted here: let a proxy in front do that, or set tls.certificate and tls.key"
        );
    }
    Ok(())
}

fn greet(app: &App, address: SocketAddr) {
    match app.mode() {
        Mode::Development => dev::greet(address, app.store_directory()),
        Mode::Serving => serve::greet(&app.url(address)),
    }
}

async fn drain(node: &Node, server: listen::Server) {
    node.drain().await;
    server.stop().await;
}

/// What runs beside the server.
struct Tasks {
    stopped: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    fn start(app: &App) -> anyhow::Result<Self> {
        let (stopped, tracker) = (CancellationToken::new(), TaskTracker::new());
        let upkeep = keep_metrics(app.clone());
        tracker.spawn(stopped.clone().run_until_cancelled_owned(upkeep));
        if let Some(verifier) = app.verifier() {
            tracker.spawn(std::sync::Arc::clone(verifier).refresh(stopped.clone()));
        }
        // In development a hangup is the terminal that closes, and ends the server as it ends everything there.
        if app.mode() == Mode::Serving {
            let hangups = reload::on_hangup(app.clone()).context("listening for signals")?;
            tracker.spawn(stopped.clone().run_until_cancelled_owned(hangups));
        }
        Ok(Self { stopped, tracker })
    }

    async fn stop(self) {
        self.stopped.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

async fn keep_metrics(app: App) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        app.metrics().run_upkeep();
    }
}
