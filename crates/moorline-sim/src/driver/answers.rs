//! Answers on their way to a shard.

use std::collections::VecDeque;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::shard::{Input, Output};

/// An answer on its way, or what it will be asked for when it is on its way.
pub(super) enum Pending {
    Answer(Box<Input>),
    /// The answer to who joins a room and reads it from before: with it what the session acknowledged there is taken back.
    Reread(Box<Input>, SessionId, RoomName),
    Ask(Box<Output>),
    /// The store has not answered.
    Later(BoxFuture<'static, Option<Input>>),
    /// Done, and nobody waits for it.
    Done,
}

impl Pending {
    /// Looks whether the store has answered by now.
    fn is_ready(&mut self) -> bool {
        let Self::Later(answer) = self else { return true };
        match answer.now_or_never() {
            Some(Some(input)) => *self = Self::Answer(Box::new(input)),
            Some(None) => *self = Self::Done,
            None => return false,
        }
        true
    }
}

/// Answers come in order within each kind.
#[derive(Default)]
pub(super) struct Answers([VecDeque<Pending>; Self::KINDS]);

impl Answers {
    const KINDS: usize = 7;

    /// The kind of an output that has an answer; outputs of one kind are served in their order.
    pub(super) const fn kind(output: &Output) -> Option<usize> {
        Some(match output {
            Output::Load(..) => 0,
            Output::Claim(..) => 1,
            Output::Survey { .. } => 2,
            Output::Save { .. } => 3,
            Output::Subscribe(..) => 4,
            Output::Read { .. } => 5,
            Output::Publish { .. } | Output::Stream { .. } | Output::Presence(..) => 6,
            _ => return None,
        })
    }

    pub(super) fn push(&mut self, kind: usize, pending: Option<Pending>) {
        self.0[kind].extend(pending);
    }

    /// The kinds of which an answer can be delivered now.
    pub(super) fn ready(&mut self) -> Vec<usize> {
        (0..Self::KINDS).filter(|&kind| self.0[kind].iter_mut().any(Pending::is_ready)).collect()
    }

    /// The first answer of a kind that can be delivered; what waits for the store is overtaken.
    pub(super) fn take(&mut self, kind: usize) -> Option<Pending> {
        let index = self.0[kind].iter_mut().position(Pending::is_ready)?;
        self.0[kind].remove(index)
    }
}
