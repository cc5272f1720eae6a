//! The contract of [`SessionStore`].

use std::sync::Arc;

use moorline_proto::identity::TokenId;
use moorline_proto::position::{Epoch, Offset, Position};
use moorline_proto::session_record::{Mark, SessionRecord};
use moorline_proto::time::Timestamp;
use moorline_proto::token::{TokenHash, TokenSet};

use super::{room, session, user};
use crate::session_store::{Fence, NodeId, SessionStore, StoreError, Stored};

/// Runs all clauses. `make` gives a store without sessions, each time one of its own.
pub async fn session_store<S: SessionStore>(make: impl Fn() -> S) {
    a_free_id_has_no_record(make()).await;
    what_was_saved_is_loaded_and_claimed(make()).await;
    each_claim_has_a_higher_fence(make()).await;
    who_was_fenced_writes_nothing(make()).await;
    removing_frees_the_id(make()).await;
    a_late_save_brings_nothing_back(make()).await;
    ids_have_nothing_to_do_with_each_other(make()).await;
    of_claims_at_once_the_highest_fence_alone_may_write(make()).await;
}

fn node(name: &str) -> NodeId {
    NodeId(name.into())
}

/// A record that tells itself apart by `reconnections`.
fn record(id: &str, reconnections: u32) -> Arc<SessionRecord> {
    let acked = Position { epoch: Epoch(u64::MAX), offset: Offset::MAX };
    Arc::new(SessionRecord {
        id: session(id),
        user: Some(user("u")),
        token: TokenId::new("t").ok(),
        tokens: TokenSet::stored(TokenHash([1; 32]), [Some(TokenHash([2; 32])), Some(TokenHash([3; 32]))]),
        metadata: Some(r#"{"a":"ö"}"#.into()),
        connected_at: Timestamp(1_700_000_000_001),
        disconnected_at: Some(Timestamp(1_700_000_000_002)),
        reconnections,
        own_rooms: true,
        rooms: vec![
            Mark { room: room("a"), acked, begin: Offset(1), is_added: true },
            Mark { room: room("@user/u"), acked: Position::default(), begin: Offset::START, is_added: false },
        ],
    })
}

async fn claim(store: &impl SessionStore, id: &str, owner: &str) -> Stored {
    store.claim(session(id), node(owner)).await.expect("a claim")
}

async fn save(store: &impl SessionStore, id: &str, number: u32, fence: Fence) -> Result<(), StoreError> {
    store.save(record(id, number), fence).await
}

/// The number of the record that is kept.
async fn kept(store: &impl SessionStore, id: &str) -> Option<u32> {
    let loaded = store.load(session(id)).await.expect("a load");
    loaded.map(|record| record.reconnections)
}

/// Neither loading nor claiming a free id finds anything, and claiming does not make a record.
pub async fn a_free_id_has_no_record(store: impl SessionStore) {
    assert_eq!(kept(&store, "s").await, None);
    assert!(claim(&store, "s", "n").await.record.is_none());
    assert_eq!(kept(&store, "s").await, None, "a claim is no session");
    assert!(claim(&store, "s", "n").await.record.is_none());
}

/// A save that was answered is what the next load and the next claim return, in every field.
pub async fn what_was_saved_is_loaded_and_claimed(store: impl SessionStore) {
    let Stored { fence, .. } = claim(&store, "s", "n").await;
    for number in 0..3 {
        let saved = record("s", number);
        assert_eq!(store.save(Arc::clone(&saved), fence).await, Ok(()));
        let loaded = store.load(session("s")).await.expect("a load").expect("a record");
        // Records do not compare (tokens do so in constant time alone), but all they hold shows, except the hashes.
        assert_eq!(format!("{loaded:?}"), format!("{saved:?}"));
        let hashes = |record: &SessionRecord| {
            let (current, others) = record.tokens.hashes();
            (current.0, others.map(|hash| hash.map(|hash| hash.0)))
        };
        assert_eq!(hashes(&loaded), hashes(&saved));
    }
    let taken = claim(&store, "s", "m").await;
    assert_eq!(taken.record.map(|record| record.reconnections), Some(2));
    assert_eq!(kept(&store, "s").await, Some(2), "a claim changes no record");
}

/// A claim's fence is higher than those of all claims before it for the id, by whomever, removed in between or not.
pub async fn each_claim_has_a_higher_fence(store: impl SessionStore) {
    let mut last = claim(&store, "s", "n").await.fence;
    for (number, owner) in (0..12).zip(["n", "m", "m", "o"].into_iter().cycle()) {
        if number % 3 == 0 {
            assert_eq!(store.remove(session("s"), last).await, Ok(()));
        }
        let next = claim(&store, "s", owner).await.fence;
        assert!(next > last, "{next:?} after {last:?}");
        last = next;
    }
}

/// Under a fence below the last claim's nothing can be saved or removed, and what is kept stays.
pub async fn who_was_fenced_writes_nothing(store: impl SessionStore) {
    let former = claim(&store, "s", "n").await.fence;
    assert_eq!(save(&store, "s", 1, former).await, Ok(()));
    let owner = claim(&store, "s", "m").await.fence;
    assert_eq!(save(&store, "s", 2, former).await, Err(StoreError::Fenced));
    assert_eq!(store.remove(session("s"), former).await, Err(StoreError::Fenced));
    assert_eq!(kept(&store, "s").await, Some(1), "what is kept is unchanged");
    assert_eq!(save(&store, "s", 3, owner).await, Ok(()));
    assert_eq!(kept(&store, "s").await, Some(3));
    let itself = claim(&store, "s", "m").await.fence;
    assert_eq!(save(&store, "s", 4, owner).await, Err(StoreError::Fenced), "its own older fence neither");
    assert_eq!(save(&store, "s", 5, itself).await, Ok(()));
}

/// What was removed is neither loaded nor claimed; removing it again, or what never was, is no error.
pub async fn removing_frees_the_id(store: impl SessionStore) {
    let fence = claim(&store, "s", "n").await.fence;
    assert_eq!(save(&store, "s", 1, fence).await, Ok(()));
    for id in ["s", "s", "never"] {
        assert_eq!(store.remove(session(id), fence).await, Ok(()), "{id}");
        assert_eq!(kept(&store, id).await, None);
    }
    let next = claim(&store, "s", "n").await;
    assert!(next.record.is_none());
    assert_eq!(save(&store, "s", 2, next.fence).await, Ok(()));
    assert_eq!(kept(&store, "s").await, Some(2));
}

/// Removing ends the claim: a save under it that arrives later is refused.
pub async fn a_late_save_brings_nothing_back(store: impl SessionStore) {
    let fence = claim(&store, "s", "n").await.fence;
    assert_eq!(store.remove(session("s"), fence).await, Ok(()));
    assert_eq!(save(&store, "s", 1, fence).await, Err(StoreError::Fenced));
    assert_eq!(kept(&store, "s").await, None);
    let next = claim(&store, "s", "n").await.fence;
    assert_eq!(save(&store, "s", 2, fence).await, Err(StoreError::Fenced));
    assert_eq!(store.remove(session("s"), fence).await, Err(StoreError::Fenced));
    assert_eq!(save(&store, "s", 3, next).await, Ok(()));
}

/// Claiming, saving and removing one session leaves the others.
pub async fn ids_have_nothing_to_do_with_each_other(store: impl SessionStore) {
    let ids = ["a", "b", "A", "ö", "a b", "a/b"];
    let mut fences = Vec::new();
    for (number, id) in (0..).zip(ids) {
        let fence = claim(&store, id, "n").await.fence;
        assert_eq!(save(&store, id, number, fence).await, Ok(()));
        fences.push(fence);
    }
    claim(&store, "a", "m").await;
    assert_eq!(store.remove(session("b"), fences[1]).await, Ok(()));
    for (number, (id, fence)) in (0..).zip(ids.into_iter().zip(fences)).skip(2) {
        assert_eq!(kept(&store, id).await, Some(number));
        assert_eq!(save(&store, id, number + 10, fence).await, Ok(()), "{id}");
    }
    assert_eq!(kept(&store, "a").await, Some(0));
}

/// Of any number of nodes that claim a session at once, one owns it in the end, and it alone writes.
pub async fn of_claims_at_once_the_highest_fence_alone_may_write(store: impl SessionStore) {
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { claim(&*store, "s", &format!("node {number}")).await.fence })
        })
        .collect();
    let mut fences = Vec::new();
    for task in tasks {
        fences.push(task.await.expect("a claim"));
    }
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences.len(), 16, "no fence is given twice");
    let highest = fences.pop();
    for fence in fences {
        assert_eq!(save(&*store, "s", 1, fence).await, Err(StoreError::Fenced));
    }
    assert_eq!(save(&*store, "s", 2, highest.expect("sixteen")).await, Ok(()));
    assert_eq!(kept(&*store, "s").await, Some(2));
}
