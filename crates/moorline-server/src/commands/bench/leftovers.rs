//! What a run leaves in the server, and taking it away.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use futures_util::StreamExt as _;

use super::run::Run;
use crate::client::{ClientError, Server};

/// Requests at the same time.
const AT_ONCE: usize = 32;

/// What is left in the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leftovers {
    Nothing,
    /// So many sessions, and the messages in the rooms. Says why.
    Kept {
        sessions: u64,
        why: String,
    },
}

/// Ends the sessions and clears the rooms, as far as we may.
pub(super) async fn remove(run: &Run, server: &Server, sessions: &[String]) -> Leftovers {
    let removed = AtomicU64::new(0);
    let kept = |why: String| Leftovers::Kept { sessions: sessions.len() as u64 - removed.load(SeqCst), why };
    let all = async {
        // One alone first: where that is not allowed, nothing else is.
        if let Some((first, rest)) = sessions.split_first() {
            server.remove(&["v1", "sessions", first]).await?;
            removed.fetch_add(1, SeqCst);
            let ended = rest.iter().map(|session| async {
                server.remove(&["v1", "sessions", session]).await?;
                removed.fetch_add(1, SeqCst);
                Ok(())
            });
            together(ended).await?;
        }
        let rooms = run.rooms.iter().filter(|room| room.accepted.load(SeqCst) > 0);
        let cleared =
            rooms.map(|room| async { server.remove(&["v1", "rooms", &room.name, "messages"]).await });
        together(cleared).await
    };
    tokio::select! {
        done = all => match done {
            Ok(()) => Leftovers::Nothing,
            Err(error) => kept(format!("{:#}", anyhow::Error::new(error))),
        },
        () = run.hurried.cancelled() => kept("there was no time".to_owned()),
    }
}

/// Does them, several at a time, until the first that fails.
async fn together(
    work: impl Iterator<Item = impl Future<Output = Result<(), ClientError>>>,
) -> Result<(), ClientError> {
    let mut results = futures_util::stream::iter(work).buffer_unordered(AT_ONCE);
    while let Some(result) = results.next().await {
        result?;
    }
    Ok(())
}
