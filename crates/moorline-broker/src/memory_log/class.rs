//! The kinds of rooms.

/// Rooms that share their bounds, so that among them the record that was appended first is also too old first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// Rooms of the application's that no prefix names.
    pub(super) const NAMED: Self = Self(0);
    /// `@user/…`, `@session/…` and `@all`.
    pub(super) const OWN: Self = Self(1);
    /// Where the prefixes begin.
    const PREFIXES: u8 = 2;

    /// Rooms that the prefix of that index names; a log has few enough of them.
    pub(super) fn prefix(index: usize) -> Self {
        Self(u8::try_from(index).map_or(u8::MAX, |index| index.saturating_add(Self::PREFIXES)))
    }

    pub(super) fn prefix_index(self) -> Option<usize> {
        self.0.checked_sub(Self::PREFIXES).map(usize::from)
    }

    /// Its place in a list of all of them.
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All that a log with so many prefixes has.
    pub(super) fn all(prefixes: usize) -> impl Iterator<Item = Self> + Clone {
        [Self::NAMED, Self::OWN].into_iter().chain((0..prefixes).map(Self::prefix))
    }
}
