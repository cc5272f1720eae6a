//! Bugs that the world can be told to have, so that the checks are checked too.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Planted {
    /// Every 97th message never reaches its client.
    DropDeliveries,
    /// No reset reaches its client.
    SwallowResets,
    /// Announcements say nothing of who is left out.
    ForgetExcept,
    /// Shards are not told that announcements were lost.
    NeverTellLost,
    /// The broker is not given the publishes' ids.
    ForgetPublishIds,
    /// Every third unsubscription is forgotten.
    KeepSubscribed,
    /// Every 97th message reaches its client twice.
    RepeatDeliveries,
    /// The store answers publishes before its commit.
    AckBeforeCommit,
    /// A store that was opened again does not know publish ids any more.
    ForgetIdsAtRestart,
    /// A store whose node crashed goes on in the epoch that it had.
    KeepEpoch,
    /// Sessions are not what was saved last, after a crash.
    ForgetSaves,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::DropDeliveries,
        Self::SwallowResets,
        Self::ForgetExcept,
        Self::NeverTellLost,
        Self::ForgetPublishIds,
        Self::KeepSubscribed,
        Self::RepeatDeliveries,
        Self::AckBeforeCommit,
        Self::ForgetIdsAtRestart,
        Self::KeepEpoch,
        Self::ForgetSaves,
    ];
}
