//! Bugs that the world can be told to have, so that the checks are checked too.

use crate::world::Scenario;

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
    /// What sessions acknowledged is not saved with them: they go on from where their clients say.
    ForgetAcks,
    /// Who reads a log is shown what it is excluded from.
    ForgetExceptOnReplay,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 13] = [
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
        Self::ForgetAcks,
        Self::ForgetExceptOnReplay,
    ];

    /// Where it shows.
    #[must_use]
    pub const fn scenario(self) -> Scenario {
        match self {
            Self::AckBeforeCommit | Self::ForgetIdsAtRestart | Self::KeepEpoch | Self::ForgetSaves => {
                Scenario::Model
            }
            Self::ForgetAcks => Scenario::Store,
            _ => Scenario::Network,
        }
    }
}
