//! Settings, keys and certificates are read again while the server runs.

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
        let current = self.current();
        let (next, mut change) = current.loaded.taking_over(&new)?;
        let Files { verifier, keys, tls, prints } = Files::load(&next.settings, self.mode())?;
        let next = Current::new(next, keys, prints)?;
        // Nothing was changed so far, and from here on nothing fails.
        if let (Some(current), Some(prepared)) = (self.verifier(), &verifier) {
            current.take_over(prepared);
        }
        if let (Some(current), Some(prepared)) = (self.tls(), &tls) {
            current.take_over(prepared);
        }
        let node = &next.loaded.settings.node;
        self.node().set_limits(node.limits, node.users);
        let is_news = |name: &&str| next.prints.get(name) != current.prints.get(name);
        let changed = next.prints.keys().copied().filter(is_news).map(str::to_owned);
        change.reloaded.extend(changed);
        change.reloaded.sort_unstable();
        change.reloaded.dedup();
        self.replace(next);
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
        Err(error) => {
            for mistake in error.to_string().lines() {
                tracing::error!(mistake, "settings were read again, and nothing was taken over");
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Mode;
    use crate::settings::Sources;
    use crate::settings::tests::Folder;

    fn app(file: std::path::PathBuf) -> App {
        crate::app::tests::app(Sources::new(Mode::Development, Some(file)), None)
    }

    #[tokio::test]
    async fn what_changed_counts_and_is_told_once() {
        let folder = Folder::new();
        let app = app(folder.file("moorline.toml", ""));
        assert!(app.key_requests().is_none());
        assert_eq!(app.reload().await.unwrap(), Reloaded::default());
        folder.file("moorline.toml", "[limits]\nkey_requests_per_s = 7\n[session]\nrooms_max = 3");
        let change = app.reload().await.unwrap();
        assert_eq!(change.reloaded, ["limits.key_requests_per_s"]);
        assert_eq!(change.needs_restart, ["session.rooms_max"]);
        assert_eq!(app.key_requests().unwrap().per_s.get(), 7);
        // What waits for a restart is told each time; what was taken over is not.
        let change = app.reload().await.unwrap();
        assert_eq!((change.reloaded.len(), change.needs_restart.len()), (0, 1));
    }

    #[tokio::test]
    async fn what_is_wrong_changes_nothing() {
        let folder = Folder::new();
        let app = app(folder.file("moorline.toml", "[limits]\nkey_requests_per_s = 7"));
        for wrong in [
            "[limits]\nkey_requests_per_s = 8\nkey_requests_burst = 0",
            "[limits]\nkey_requests_per_s = 8\n[keys]\nfile = \"x\"",
            "[limits",
        ] {
            folder.file("moorline.toml", wrong);
            app.reload().await.unwrap_err();
            assert_eq!(app.key_requests().unwrap().per_s.get(), 7, "{wrong}");
        }
        std::fs::remove_file(folder.0.join("moorline.toml")).unwrap();
        assert!(app.reload().await.unwrap_err().to_string().contains("does not exist"));
    }

    #[tokio::test]
    async fn many_at_once_take_turns() {
        let folder = Folder::new();
        let app = app(folder.file("moorline.toml", ""));
        folder.file("moorline.toml", "[limits]\nkey_requests_per_s = 7");
        let all = (0..20).map(|_| app.reload());
        let changes = futures_util::future::join_all(all).await;
        let taken = changes.into_iter().filter(|change| !change.as_ref().unwrap().reloaded.is_empty());
        assert_eq!(taken.count(), 1);
    }
}
