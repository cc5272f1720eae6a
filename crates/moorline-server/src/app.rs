//! What every request may need, shared. What a reload replaces is behind a lock that is held for a moment.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::FromRef;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;
use moorline::{Node, Rate};

use crate::assemble::{Assembled, Files, Prints, Trouble};
use crate::auth::Verifier;
use crate::http::origin::Origins;
use crate::keys::ApiKeys;
use crate::settings::{Loaded, Settings, SettingsError, Sources};
use crate::tls::Tls;

/// Who the server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One person on this machine: who clients say they are is believed.
    Development,
    /// Anyone: tokens and API keys are checked.
    Serving,
}

/// What a reload did: names of settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// They were different, and count now.
    pub(crate) reloaded: Vec<String>,
    /// They were different, and count from the next start on.
    pub(crate) needs_restart: Vec<String>,
}

/// The running server.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    node: Node,
    trouble: Option<Trouble>,
    sources: Sources,
    verifier: Option<Arc<Verifier>>,
    tls: Option<Arc<Tls>>,
    metrics: PrometheusHandle,
    /// As they were at the start, for what no reload changes.
    settings: Settings,
    current: RwLock<Current>,
    reloads: Arc<tokio::sync::Mutex<()>>,
}

/// What a reload replaces.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) keys: Arc<ApiKeys>,
    pub(crate) origins: Arc<Origins>,
    pub(crate) prints: Arc<Prints>,
}

impl Current {
    /// # Errors
    /// An origin is none.
    pub(crate) fn new(loaded: Loaded, keys: Arc<ApiKeys>, prints: Prints) -> Result<Self, SettingsError> {
        let origins = Arc::new(Origins::parse(&loaded.settings.origins)?);
        Ok(Self { loaded: Arc::new(loaded), keys, origins, prints: Arc::new(prints) })
    }
}

impl App {
    /// # Errors
    /// An origin is none.
    pub(crate) fn new(
        assembled: Assembled,
        sources: Sources,
        loaded: Loaded,
        files: Files,
        metrics: PrometheusHandle,
    ) -> Result<Self, SettingsError> {
        let Assembled { node, trouble } = assembled;
        let Files { verifier, keys, tls, prints } = files;
        if let Some(tls) = &tls {
            tls.measure();
        }
        let settings = loaded.settings.clone();
        let current = RwLock::new(Current::new(loaded, keys, prints)?);
        let reloads = Arc::default();
        Ok(Self(Arc::new(Inner {
            node,
            trouble,
            sources,
            verifier,
            tls,
            metrics,
            settings,
            current,
            reloads,
        })))
    }

    pub(crate) fn node(&self) -> &Node {
        &self.0.node
    }

    /// Why the store cannot write, while it cannot.
    pub(crate) fn store_trouble(&self) -> Option<String> {
        self.0.trouble.as_ref().and_then(|trouble| trouble())
    }

    /// Where messages and sessions are kept; none is in memory.
    pub(crate) fn store_directory(&self) -> Option<&Path> {
        self.0.settings.store.directory.as_deref()
    }

    pub(crate) fn mode(&self) -> Mode {
        self.0.sources.mode
    }

    /// None in development.
    pub(crate) fn verifier(&self) -> Option<&Arc<Verifier>> {
        self.0.verifier.as_ref()
    }

    /// None where connections are not encrypted here.
    pub(crate) fn tls(&self) -> Option<&Arc<Tls>> {
        self.0.tls.as_ref()
    }

    /// As of now.
    pub(crate) fn keys(&self) -> Arc<ApiKeys> {
        self.current().keys
    }

    /// As of now.
    pub(crate) fn origins(&self) -> Arc<Origins> {
        self.current().origins
    }

    pub(crate) fn proxies(&self) -> &[IpNet] {
        &self.0.settings.trusted_proxies
    }

    pub(crate) fn cookie(&self) -> Option<String> {
        self.0.settings.auth.cookie.clone()
    }

    /// As of now; none is no limit.
    pub(crate) fn key_requests(&self) -> Option<Rate> {
        self.current().loaded.settings.key_requests
    }

    pub(crate) fn lifetime_max(&self) -> Duration {
        self.0.settings.auth.lifetime_max
    }

    pub(crate) fn metrics(&self) -> &PrometheusHandle {
        &self.0.metrics
    }

    pub(crate) fn body_max_bytes(&self) -> usize {
        self.0.settings.body_max_bytes
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.0.settings.request_timeout
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// For one reload at a time.
    pub(crate) fn reloads(&self) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.0.reloads)
    }

    pub(crate) fn current(&self) -> Current {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, current: Current) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// Where clients find the server that listens there.
    pub(crate) fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls().is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }
}

impl FromRef<App> for Node {
    fn from_ref(app: &App) -> Self {
        app.node().clone()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::{assemble, listen};

    /// A server in memory, which is told by `trouble` that its store cannot write.
    pub(crate) fn app(sources: Sources, trouble: Option<Trouble>) -> App {
        let loaded = sources.load().unwrap();
        let files = Files::load(&loaded.settings, sources.mode).unwrap();
        let Assembled { node, .. } = assemble::node(loaded.settings.node.clone(), None, None).unwrap();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        App::new(Assembled { node, trouble }, sources, loaded, files, metrics).unwrap()
    }

    /// A server for development that listens, and where.
    pub(crate) async fn serve(file: Option<PathBuf>) -> (App, listen::Server, SocketAddr) {
        let app = app(Sources::new(Mode::Development, file), None);
        let listener = listen::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap();
        let address = listener.local_addr().unwrap();
        let settings = app.current().loaded.settings.clone();
        let most = listen::Most::of(&settings, app.mode(), None);
        let server = listen::Server::start(listener, crate::http::front(&app), None, &settings, most);
        (app, server, address)
    }
}
