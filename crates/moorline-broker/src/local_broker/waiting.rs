//! Who waits for an answer until what was asked for is kept.

use moorline_proto::stream::Done;
use tokio::sync::oneshot;

use crate::broker::{BrokerError, Published};

/// What somebody is told.
type Outcome<T> = Result<T, BrokerError>;

/// When somebody is answered.
pub(super) enum Answer<T> {
    /// At once.
    Now(T),
    /// When it is kept.
    Later(oneshot::Receiver<Outcome<T>>),
}

/// One who waits, and what it will be told.
pub(super) struct Asker<T> {
    sender: oneshot::Sender<Outcome<T>>,
    outcome: Outcome<T>,
}

impl<T> Asker<T> {
    fn new(outcome: Outcome<T>) -> (Self, Answer<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender, outcome }, Answer::Later(receiver))
    }

    fn tell(self) {
        let _gone = self.sender.send(self.outcome); // who asked may be
    }

    fn give_up(self) {
        let _gone = self.sender.send(Err(BrokerError::Unavailable)); // who asked may be
    }
}

/// One who waits, whatever it asked for.
pub(super) enum Waiting {
    Publish(Asker<Published>),
    Stream(Asker<Done>),
    Clear(Asker<()>),
}

impl Waiting {
    pub(super) fn publish(published: Published) -> (Self, Answer<Published>) {
        let (asker, answer) = Asker::new(Ok(published));
        (Self::Publish(asker), answer)
    }

    pub(super) fn stream(outcome: Outcome<Done>) -> (Self, Answer<Done>) {
        let (asker, answer) = Asker::new(outcome);
        (Self::Stream(asker), answer)
    }

    pub(super) fn clear() -> (Self, Answer<()>) {
        let (asker, answer) = Asker::new(Ok(()));
        (Self::Clear(asker), answer)
    }

    /// It is kept.
    pub(super) fn tell(self) {
        match self {
            Self::Publish(asker) => asker.tell(),
            Self::Stream(asker) => asker.tell(),
            Self::Clear(asker) => asker.tell(),
        }
    }

    /// It is not known whether it will be.
    pub(super) fn give_up(self) {
        match self {
            Self::Publish(asker) => asker.give_up(),
            Self::Stream(asker) => asker.give_up(),
            Self::Clear(asker) => asker.give_up(),
        }
    }
}
