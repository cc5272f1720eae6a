//! The service manager: it may hand down the socket, and is told how we are. Without one nothing here does anything.

use std::net::TcpListener;

use listenfd::ListenFd;

use crate::settings::SettingsError;

/// The socket that the service manager opened for us (`LISTEN_FDS`), where it did.
///
/// Reads and removes environment variables: to be called before there is a second thread.
///
/// # Errors
/// There is more than one socket, or what there is cannot be accepted on.
pub(crate) fn inherited_listener() -> Result<Option<TcpListener>, SettingsError> {
    only(ListenFd::from_env())
}

fn only(mut sockets: ListenFd) -> Result<Option<TcpListener>, SettingsError> {
    if sockets.len() > 1 {
        let (count, mend) = (sockets.len(), "keep one ListenStream= in the socket unit");
        return Err(SettingsError::new(format!("{count} sockets were handed down (LISTEN_FDS): {mend}")));
    }
    sockets.take_tcp_listener(0).map_err(|error| {
        let mend = "the socket unit needs ListenStream= with an address and a port, and Accept=no";
        SettingsError::new(format!("the socket that was handed down (LISTEN_FDS): {error}; {mend}"))
    })
}

/// Everything is up, or up again after [`reloading`].
pub(crate) fn ready() {
    tell::ready();
}

/// Settings are being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    tell::reloading();
}

/// The end has begun.
pub(crate) fn stopping() {
    tell::stopping();
}

/// One line about how things are, for `systemctl status`.
pub(crate) fn status(line: &str) {
    tell::status(line);
}

#[cfg(unix)]
mod tell {
    use sd_notify::NotifyState;

    pub(super) fn ready() {
        say(&[NotifyState::Ready]);
    }

    pub(super) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => say(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the service manager was not told of the reload"),
        }
    }

    pub(super) fn stopping() {
        say(&[NotifyState::Stopping]);
    }

    pub(super) fn status(line: &str) {
        // A line: what follows another one would be read as a message of its own.
        say(&[NotifyState::Status(line.lines().next().unwrap_or_default())]);
    }

    fn say(state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) does not listen");
        }
    }
}

#[cfg(not(unix))]
mod tell {
    pub(super) fn ready() {}
    pub(super) fn reloading() {}
    pub(super) fn stopping() {}
    pub(super) fn status(_line: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_there_is_no_socket() {
        assert!(only(ListenFd::empty()).unwrap().is_none());
    }
}
