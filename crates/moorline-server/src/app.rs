//! What every request may need.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;
use moorline::{Node, Rate};

use crate::auth::Verifier;
use crate::http::origin::Origins;
use crate::keys::ApiKeys;
use crate::settings::{Settings, SettingsError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Development,
    #[allow(dead_code)]
    Serving,
}

#[derive(Debug)]
pub(crate) struct Reloaded {
    pub(crate) reloaded: Vec<String>,
    pub(crate) needs_restart: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    node: Node,
    mode: Mode,
    verifier: Option<Arc<Verifier>>,
    keys: Arc<ApiKeys>,
    origins: Arc<Origins>,
    metrics: PrometheusHandle,
    body_max_bytes: usize,
    request_timeout: Duration,
}

impl App {
    pub(crate) fn development(node: Node, settings: &Settings, metrics: PrometheusHandle) -> Self {
        Self(Arc::new(Inner {
            node,
            mode: if std::env::var_os("STUB_SERVING").is_some() { Mode::Serving } else { Mode::Development },
            verifier: std::env::var_os("STUB_SERVING").map(|_| Arc::new(Verifier)),
            keys: Arc::new(ApiKeys),
            origins: Arc::new(Origins),
            metrics,
            body_max_bytes: settings.body_max_bytes,
            request_timeout: settings.request_timeout,
        }))
    }
    pub(crate) fn node(&self) -> &Node {
        &self.0.node
    }
    pub(crate) fn mode(&self) -> Mode {
        self.0.mode
    }
    pub(crate) fn verifier(&self) -> Option<&Arc<Verifier>> {
        self.0.verifier.as_ref()
    }
    pub(crate) fn keys(&self) -> Arc<ApiKeys> {
        Arc::clone(&self.0.keys)
    }
    pub(crate) fn origins(&self) -> Arc<Origins> {
        Arc::clone(&self.0.origins)
    }
    #[allow(clippy::unused_self)]
    pub(crate) fn proxies(&self) -> &[IpNet] {
        &[]
    }
    pub(crate) fn cookie(&self) -> Option<String> {
        std::env::var("STUB_SERVING").ok()
    }
    pub(crate) fn key_requests(&self) -> Option<Rate> {
        let rate = std::env::var("STUB_RATE").ok()?.parse().ok()?;
        Some(Rate { per_s: rate, burst: rate })
    }
    pub(crate) fn lifetime_max(&self) -> Duration {
        Duration::from_secs(24 * 3600)
    }
    #[allow(clippy::unused_async)]
    pub(crate) async fn reload(&self) -> Result<Reloaded, SettingsError> {
        Ok(Reloaded { reloaded: vec![], needs_restart: vec![] })
    }
    pub(crate) fn metrics(&self) -> &PrometheusHandle {
        &self.0.metrics
    }
    pub(crate) fn body_max_bytes(&self) -> usize {
        self.0.body_max_bytes
    }
    pub(crate) fn request_timeout(&self) -> Duration {
        self.0.request_timeout
    }
}

impl FromRef<App> for Node {
    fn from_ref(app: &App) -> Self {
        app.node().clone()
    }
}
