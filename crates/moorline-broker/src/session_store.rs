//! The seam of what is kept of sessions.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use moorline_proto::id::SessionId;
use moorline_proto::session_record::SessionRecord;

/// Names a node as the owner of session records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub Arc<str>);

/// Rises with each change of a record's owner; who holds an older one may no longer write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// A record, and the right to write it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What is kept; none where the id is free.
    pub record: Option<Arc<SessionRecord>>,
    /// The claim's fence.
    pub fence: Fence,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another node claimed the session since. This one must let go of it.
    #[error("the session belongs to another node now")]
    Fenced,
    /// It did not answer. Retry later.
    #[error("the session store is unavailable")]
    Unavailable,
}

/// Keeps session records, each with one owner at a time.
///
/// The contract, which [`conformance::session_store`](crate::conformance::session_store()) checks: a claim gives a higher
/// fence than every one before it for that id, also where the id was free in between, and from then on writes under lower
/// ones are refused; a save that was answered is what the next load or claim returns; removing makes the id free and ends
/// the claim, so that a late save does not bring the record back; removing what is not there is no error.
///
/// A claim of a free id may take memory until it is removed: who does not establish the session removes it.
pub trait SessionStore: Send + Sync + 'static {
    /// What is kept under an id, whoever owns it; none where it is free.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn load(&self, id: SessionId) -> BoxFuture<'static, Result<Option<Arc<SessionRecord>>, StoreError>>;

    /// Takes ownership of a session id, whether or not a record exists.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn claim(&self, id: SessionId, owner: NodeId) -> BoxFuture<'static, Result<Stored, StoreError>>;

    /// Keeps a record.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]: what is kept is unchanged. [`StoreError::Unavailable`]: it is not known whether the record is kept, or will
    /// be once the store can write.
    fn save(&self, record: Arc<SessionRecord>, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Waits until everything that was saved or removed before is as safe as it gets.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: it is not known.
    fn settled(&self) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Forgets a record.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], or that it is unavailable.
    fn remove(&self, id: SessionId, fence: Fence) -> BoxFuture<'static, Result<(), StoreError>>;
}
