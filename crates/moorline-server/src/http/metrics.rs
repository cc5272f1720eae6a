//! Metrics: what there is, and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use moorline::{Node, Stats};

use super::recent::Recent;
use crate::app::App;

const REQUESTS: &str = "moorline_http_requests_total";
const REQUEST_SECONDS: &str = "moorline_http_request_seconds";
/// Each histogram's buckets, in seconds: of requests from what a look-up takes to what a body may take, of commits from a disk
/// with a safe memory of its own to one in trouble.
const BUCKETS: [(&str, &[f64]); 2] = [
    (REQUEST_SECONDS, &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0]),
    (
        "moorline_store_commit_seconds",
        &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0],
    ),
];
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// To count the gauges anew looks at every room and user: they are good for so many times as long as that took, so that
/// whoever asks all the time keeps the node busy for a tenth of it.
const GOOD_FOR_TIMES: u32 = 10;
const GOOD_FOR_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric: its name, its kind, its labels, and what it says.
pub(crate) type Metric = (&'static str, Kind, &'static [&'static str], &'static str);

/// Every metric there is; docs/metrics.md is the same table.
#[rustfmt::skip]
pub(crate) const METRICS: [Metric; 26] = [
    ("moorline_connections", Kind::Gauge, &[], "Connections that have a session"),
    ("moorline_sessions", Kind::Gauge, &["state"], "Sessions: `connected` or `absent`"),
    ("moorline_users", Kind::Gauge, &[], "Users with sessions"),
    ("moorline_rooms", Kind::Gauge, &[], "Named rooms with members"),
    ("moorline_records", Kind::Gauge, &[], "Records kept"),
    ("moorline_log_bytes", Kind::Gauge, &[], "Bytes that the records kept cost"),
    ("moorline_handshakes_total", Kind::Counter, &["outcome"], "WebSocket handshakes, by what became of them"),
    ("moorline_closes_total", Kind::Counter, &["code"], "Connections closed, by close code"),
    ("moorline_frames_total", Kind::Counter, &["type", "outcome"], "Frames from clients, by their type and whether they were accepted"),
    ("moorline_publishes_total", Kind::Counter, &["outcome"], "Publishes, from clients and over HTTP, by what became of them"),
    ("moorline_stream_commands_total", Kind::Counter, &["command", "outcome"], "Commands to streams (`open`, `append`, `end`, `cancel`), from clients and over HTTP, by what became of them"),
    ("moorline_deliveries_total", Kind::Counter, &[], "Messages handed to connections"),
    ("moorline_compression_bytes_total", Kind::Counter, &["form"], "Bytes of messages that were compressed, before (`plain`) and after (`compressed`); once for all that share a compressed form"),
    ("moorline_resets_total", Kind::Counter, &["reason"], "Resets sent: messages that somebody lost"),
    ("moorline_refused_total", Kind::Counter, &["limit"], "Refusals by rates and by bounds on connections, by the limit that was reached"),
    ("moorline_tokens_total", Kind::Counter, &["outcome"], "Tokens presented, by what became of them"),
    ("moorline_http_requests_total", Kind::Counter, &["method", "route", "status"], "HTTP requests answered; `route` is the pattern of the path, or `unmatched`"),
    ("moorline_http_request_seconds", Kind::Histogram, &["route"], "Seconds from the head of a request to the head of its answer"),
    ("moorline_jwks_fetches_total", Kind::Counter, &["outcome"], "Fetches of key sets, by what became of them"),
    ("moorline_accepts_total", Kind::Counter, &["outcome"], "TCP connections, by what became of them"),
    ("moorline_tls_certificate_expires_seconds", Kind::Gauge, &[], "When the TLS certificate expires, in seconds since 1970"),
    ("moorline_store_commits_total", Kind::Counter, &["outcome"], "Commits to disk: `ok`, or `failed` and tried again"),
    ("moorline_store_commit_seconds", Kind::Histogram, &[], "Seconds that a commit to disk took"),
    ("moorline_store_bytes", Kind::Gauge, &[], "Bytes of the store's file"),
    ("moorline_uptime_seconds", Kind::Gauge, &[], "Seconds since the node started"),
    ("moorline_build_info", Kind::Gauge, &["version"], "Always 1; the version is in its label"),
];

/// Makes this process keep its metrics, each with its description. Once per process.
///
/// # Errors
/// Metrics are kept already.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    gauge!("moorline_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    BUCKETS.iter().try_fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
        builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
    })
}

/// Tells the recorder what each metric is.
pub(crate) fn describe() {
    for (name, kind, _, meaning) in METRICS {
        match kind {
            Kind::Counter => describe_counter!(name, meaning),
            Kind::Gauge => describe_gauge!(name, meaning),
            Kind::Histogram => describe_histogram!(name, meaning),
        }
    }
}

/// Counts requests. Their times wait in memory until they are put into their buckets: whenever somebody asks for the
/// metrics, and after so many requests, since nobody may ever ask.
pub(crate) struct Requests {
    handle: PrometheusHandle,
    waiting: AtomicU32,
}

impl Requests {
    const WAITING_MAX: u32 = 4_096;

    pub(crate) fn new(handle: &PrometheusHandle) -> Self {
        Self { handle: handle.clone(), waiting: AtomicU32::new(0) }
    }

    pub(crate) fn count(&self, method: &'static str, route: &str, status: StatusCode, took: Duration) {
        let status = status.as_str().to_owned();
        counter!(REQUESTS, "method" => method, "route" => route.to_owned(), "status" => status).increment(1);
        histogram!(REQUEST_SECONDS, "route" => route.to_owned()).record(took.as_secs_f64());
        if self.waiting.fetch_add(1, Ordering::Relaxed) % Self::WAITING_MAX == Self::WAITING_MAX - 1 {
            self.handle.run_upkeep();
        }
    }
}

/// When the gauges were last counted.
pub(crate) struct Gauges(Recent<()>);

impl Default for Gauges {
    fn default() -> Self {
        Self(Recent::new(|took| (took * GOOD_FOR_TIMES).min(GOOD_FOR_MAX)))
    }
}

impl Gauges {
    async fn count(&self, node: &Node) {
        self.0.answer(async { set(&node.stats().await) }).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; counts are far below 2^53")]
fn set(stats: &Stats) {
    let connected = stats.sessions.saturating_sub(stats.absent);
    gauge!("moorline_connections").set(stats.connections as f64);
    gauge!("moorline_sessions", "state" => "connected").set(connected as f64);
    gauge!("moorline_sessions", "state" => "absent").set(stats.absent as f64);
    gauge!("moorline_users").set(stats.users as f64);
    gauge!("moorline_rooms").set(stats.rooms as f64);
    gauge!("moorline_records").set(stats.records as f64);
    gauge!("moorline_log_bytes").set(stats.log_bytes as f64);
    gauge!("moorline_uptime_seconds").set(stats.uptime_ms as f64 / 1e3);
}

/// Every metric, in Prometheus text format 0.0.4.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "The metrics, in Prometheus text format 0.0.4", body = String, content_type = "text/plain"),
))]
pub(crate) async fn scrape(State(app): State<App>, Extension(gauges): Extension<Arc<Gauges>>) -> Response {
    gauges.count(app.node()).await;
    let handle = app.metrics();
    handle.run_upkeep();
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], handle.render()).into_response()
}

/// A recorder as `install` makes it, for tests.
#[cfg(test)]
pub(crate) fn recorder() -> metrics_exporter_prometheus::PrometheusRecorder {
    builder().unwrap_or_default().build_recorder()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_docs_equals_the_metrics() {
        let page = include_str!("../../../../docs/metrics.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let ours: Vec<String> = METRICS
            .iter()
            .map(|(name, kind, labels, meaning)| {
                let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
                let kind = format!("{kind:?}").to_lowercase();
                let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
                format!("| `{name}` | {kind} | {labels} | {meaning} |")
            })
            .collect();
        assert_eq!(rows, ours);
    }

    /// The names in quotes in the sources of the library and the server.
    fn names_in(folder: &std::path::Path, names: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                names_in(&entry.path(), names);
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let quoted = text
                .split('"')
                .filter(|part| part.len() > 9 && part.starts_with("moorline_") && !part.contains(' '));
            names.extend(quoted.filter(|name| !name.contains(['{', '(', '…'])).map(str::to_owned));
        }
    }

    #[test]
    fn what_is_counted_is_described_and_nothing_else() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut counted = std::collections::BTreeSet::new();
        names_in(&crates.join("src"), &mut counted);
        names_in(&crates.join("../moorline/src"), &mut counted);
        names_in(&crates.join("../moorline-disk/src"), &mut counted);
        let described = METRICS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(counted, described);
    }

    #[test]
    fn each_is_described_and_rendered() {
        let recorder = recorder();
        let handle = recorder.handle();
        ::metrics::with_local_recorder(&recorder, || {
            describe();
            let requests = Requests::new(&handle);
            requests.count("GET", "/v1/stats", StatusCode::OK, Duration::from_millis(2));
            histogram!("moorline_store_commit_seconds").record(0.000_2);
        });
        let text = handle.render();
        for line in [
            "# HELP moorline_http_requests_total HTTP requests answered",
            "moorline_http_requests_total{method=\"GET\",route=\"/v1/stats\",status=\"200\"} 1",
            "moorline_http_request_seconds_bucket{route=\"/v1/stats\",le=\"0.0025\"} 1",
            "moorline_store_commit_seconds_bucket{le=\"0.00025\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
