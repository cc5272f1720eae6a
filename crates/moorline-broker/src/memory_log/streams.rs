//! The streams of one room, and the order in which its readers get their pieces.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use moorline_proto::batch::ReadFrom;
use moorline_proto::id::StreamName;
use moorline_proto::position::Offset;
use moorline_proto::stream::{Entry, Piece, Stream};

use super::lapses::Ticket;
use crate::log::is_client;

/// A stream, and when the log is to look at it.
pub(super) struct Kept {
    pub(super) stream: Stream,
    /// For the end of its lease.
    pub(super) lease: Option<Ticket>,
    /// For text that waits.
    pub(super) show: Option<Ticket>,
}

/// Those that are open, and those whose terminal record is kept.
#[derive(Default)]
pub(super) struct Streams {
    /// Boxed: most rooms have one or none, and a node of the tree has space for eleven.
    by_name: BTreeMap<StreamName, Box<Kept>>,
    /// Which stream each kept terminal record ended.
    ends: BTreeMap<Offset, StreamName>,
}

impl Streams {
    /// How many of a room may be open: a reader that joins gets all of them.
    pub(super) const OPEN_MAX: usize = 64;

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn get(&self, name: &StreamName) -> Option<&Kept> {
        self.by_name.get(name).map(|kept| &**kept)
    }

    pub(super) fn get_mut(&mut self, name: &StreamName) -> Option<&mut Kept> {
        self.by_name.get_mut(name).map(|kept| &mut **kept)
    }

    pub(super) fn insert(&mut self, kept: Kept) {
        self.by_name.insert(kept.stream.name().clone(), Box::new(kept));
    }

    pub(super) fn remove_open(&mut self, name: &StreamName) -> Option<Kept> {
        self.by_name.get(name).filter(|kept| kept.stream.is_open())?;
        self.by_name.remove(name).map(|kept| *kept)
    }

    /// Whether a principal may open one more. One client has half of a room's, and all of them together three quarters: no client can take
    /// them from the application, nor one of them from all others.
    pub(super) fn has_place_for(&self, principal: &str) -> bool {
        let open = || self.iter().filter(|stream| stream.is_open()).map(Stream::principal);
        open().count() < Self::OPEN_MAX
            && (!is_client(principal)
                || open().filter(|other| is_client(other)).count() < Self::OPEN_MAX / 4 * 3
                    && open().filter(|other| ***other == *principal).count() < Self::OPEN_MAX / 2)
    }

    /// A stream has its terminal record.
    pub(super) fn ended(&mut self, name: &StreamName, end: Offset) {
        self.ends.insert(end, name.clone());
    }

    /// The record at an offset is gone, and with it the stream that it ended. Returns what that cost.
    pub(super) fn drop_ended(&mut self, end: Offset) -> usize {
        let Some(name) = self.ends.remove(&end) else { return 0 };
        let is_it = self.by_name.get(&name).is_some_and(|kept| kept.stream.end() == Some(end));
        let gone = if is_it { self.by_name.remove(&name) } else { None };
        gone.map_or(0, |kept| kept.stream.cost_bytes())
    }

    /// All that ended are gone. Returns what the others cost.
    pub(super) fn drop_all_ended(&mut self) -> usize {
        self.ends.clear();
        self.by_name.retain(|_, kept| kept.stream.is_open());
        self.by_name.values().map(|kept| kept.stream.cost_bytes()).sum()
    }

    /// All of them, by their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.by_name.values().map(|kept| &kept.stream)
    }

    /// Shows records and pieces in the order of their offsets.
    pub(super) fn visit<'a>(
        &'a self,
        records: impl Iterator<Item = Entry<'a>> + 'a,
        from: ReadFrom,
        visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let pieces = |stream: &'a Stream, after, up_to| -> Entries<'a> {
            let pieces = stream.pieces(after);
            Box::new(pieces.take_while(move |piece: &Piece<'_>| piece.offset <= up_to).map(Entry::Piece))
        };
        let mut sources: Vec<Entries<'a>> = match from {
            ReadFrom::After(after) => {
                let grown = self.iter().filter(|stream| stream.last().is_some_and(|last| last > after));
                grown.map(|stream| pieces(stream, after, Offset::MAX)).collect()
            }
            ReadFrom::Texts { at, after } => {
                let is_open_there = |stream: &&Stream| stream.end().is_none_or(|end| end > at);
                self.iter().filter(is_open_there).map(|stream| pieces(stream, after, at)).collect()
            }
        };
        if matches!(from, ReadFrom::After(_)) {
            sources.push(Box::new(records));
        }
        merge(sources, visit)
    }
}

type Entries<'a> = Box<dyn Iterator<Item = Entry<'a>> + 'a>;

/// Shows what several sources have in order, in order. Offsets are unique.
fn merge(
    mut sources: Vec<Entries<'_>>,
    visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut next = BTreeMap::new();
    for (index, source) in sources.iter_mut().enumerate() {
        next.extend(source.next().map(|entry| (entry.offset(), (index, entry))));
    }
    while let Some((_, (index, entry))) = next.pop_first() {
        visit(entry)?;
        next.extend(sources[index].next().map(|entry| (entry.offset(), (index, entry))));
    }
    ControlFlow::Continue(())
}
