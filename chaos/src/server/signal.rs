//! Signals to the server's process.

use std::process::Child;

use anyhow::Result;

/// What it may be sent, beside the end that every system knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// End, in order.
    Terminate,
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
}

#[cfg(unix)]
pub(super) fn send(child: &Child, signal: Signal) -> Result<()> {
    use anyhow::Context as _;
    use rustix::process::{Pid, Signal as System, kill_process};

    let signal = match signal {
        Signal::Terminate => System::TERM,
        Signal::Stop => System::STOP,
        Signal::Continue => System::CONT,
    };
    kill_process(Pid::from_child(child), signal).with_context(|| format!("sending {signal:?} to the server"))
}

#[cfg(not(unix))]
pub(super) fn send(_child: &Child, signal: Signal) -> Result<()> {
    anyhow::bail!("this system has no signal for {signal:?}: choose a case that needs none")
}
