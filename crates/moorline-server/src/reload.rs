//! Settings, keys and certificates are read again while the server runs.

use std::sync::Arc;

use crate::app::{App, Current, Reloaded};
use crate::assemble::Files;
use crate::settings::SettingsError;

impl App {
    /// Reads everything again, checks all of it, and takes over what can be; one reload at a time.
    ///
    /// # Errors
    /// Names what is wrong; then nothing was changed.
    pub(crate) async fn reload(&self) -> Result<Reloaded, SettingsError> {
        let turn = self.reloads().lock_owned().await;
        let app = self.clone();
        // Who asked may go meanwhile: the turn ends with the work.
        let work = tokio::task::spawn_blocking(move || {
            let result = app.reload_now();
            drop(turn);
            result
        });
        let result = work.await.unwrap_or_else(|error| {
            Err(SettingsError::new(format!("reading the settings again ended badly: {error}")))
        });
        tell(&result);
        result
    }

    fn reload_now(&self) -> Result<Reloaded, SettingsError> {
        let new = self.sources().load()?;
        let (next, change) = self.current().loaded.taking_over(&new)?;
        let settings = &next.settings;
        let files = Files::load(settings, self.mode())?;
        // Nothing was changed so far. These two read their files once more, each all or nothing.
        if let (Some(verifier), Some(_checked)) = (self.verifier(), &files.verifier) {
            verifier.reload(&settings.auth)?;
        }
        if let (Some(tls), Some(paths)) = (self.tls(), &settings.tls) {
            tls.reload(paths)?;
        }
        self.node().set_limits(settings.node.limits, settings.node.users);
        self.replace(Current::new(next, Arc::clone(&files.keys))?);
        Ok(change)
    }
}

fn tell(result: &Result<Reloaded, SettingsError>) {
    match result {
        Ok(change) => {
            tracing::info!(reloaded = ?change.reloaded, "settings, keys and certificates were read again");
            if !change.needs_restart.is_empty() {
                tracing::warn!(settings = ?change.needs_restart, "these changed too, and count after a restart");
            }
        }
        Err(error) => tracing::error!(%error, "nothing was taken over from the settings"),
    }
}

/// Reloads whenever the process is sent SIGHUP, for as long as it is awaited.
///
/// # Errors
/// The system does not let us listen for signals.
#[cfg(unix)]
pub(crate) fn on_hangup(app: App) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    use crate::systemd;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            systemd::reloading();
            // The log has it.
            let _told = app.reload().await;
            systemd::ready();
        }
    })
}

/// There is no SIGHUP here: `POST /v1/reload` does it.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(crate) fn on_hangup(_app: App) -> std::io::Result<impl Future<Output = ()>> {
    Ok(std::future::pending())
}
