//! How many files the process may have open: each connection is one.

/// Raises the limit as far as the system lets us; what it is then, where that is known.
#[cfg(unix)]
pub(crate) fn raise() -> Option<u64> {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    if let Err(error) = &raised {
        tracing::warn!(%error, "the limit of open files was not raised");
    }
    raised.or_else(|_| rlimit::Resource::NOFILE.get_soft()).ok()
}

/// There is no such limit here.
#[cfg(not(unix))]
pub(crate) fn raise() -> Option<u64> {
    None
}
