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

#[cfg(unix)]
mod tell {
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use sd_notify::NotifyState;

    pub(super) fn ready() {
        say(&[NotifyState::Ready, NotifyState::Status("serving")]);
    }

    pub(super) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => say(&[NotifyState::Reloading, now, NotifyState::Status("reading the settings again")]),
            Err(error) => tracing::warn!(%error, "the service manager was not told of the reload"),
        }
    }

    pub(super) fn stopping() {
        say(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    fn say(state: &[NotifyState<'_>]) {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
        let lines: String = state.iter().map(|line| format!("{line}\n")).collect();
        if let Err(error) = address(&name).and_then(|address| send(&address, lines.as_bytes())) {
            tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) does not listen");
        }
    }

    fn send(address: &SocketAddr, lines: &[u8]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        // A manager whose queue is full must not hold us up.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(lines, address).map(drop)
    }

    /// A path, or after `@` a name in Linux's abstract namespace, which containers' managers use.
    fn address(name: &OsStr) -> io::Result<SocketAddr> {
        #[cfg(target_os = "linux")]
        if let Some(name) = name.as_bytes().strip_prefix(b"@") {
            use std::os::linux::net::SocketAddrExt as _;
            return SocketAddr::from_abstract_name(name);
        }
        SocketAddr::from_pathname(name)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_manager_is_found_by_its_path_and_by_its_abstract_name() {
            assert!(address(OsStr::new("/run/notify")).unwrap().as_pathname().is_some());
            #[cfg(target_os = "linux")]
            {
                let name = format!("@moorline-{}", std::process::id());
                let address = address(OsStr::new(&name)).unwrap();
                let manager = UnixDatagram::bind_addr(&address).unwrap();
                send(&address, b"READY=1\n").unwrap();
                let mut heard = [0; 64];
                let count = manager.recv(&mut heard).unwrap();
                assert_eq!(&heard[..count], b"READY=1\n");
            }
        }
    }
}

#[cfg(not(unix))]
mod tell {
    pub(super) fn ready() {}
    pub(super) fn reloading() {}
    pub(super) fn stopping() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_there_is_no_socket() {
        assert!(only(ListenFd::empty()).unwrap().is_none());
    }
}
