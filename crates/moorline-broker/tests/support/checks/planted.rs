//! Bugs that the world can be told to have, so that the checks are checked too.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl Planted {
    pub const ALL: [Self; 7] = [
        Self::DropDeliveries,
        Self::SwallowResets,
        Self::ForgetExcept,
        Self::NeverTellLost,
        Self::ForgetPublishIds,
        Self::KeepSubscribed,
        Self::RepeatDeliveries,
    ];
}
