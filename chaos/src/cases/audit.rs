//! What the server keeps, read from it and compared with what it acknowledged.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use moorline_proto::id::RoomName;

use crate::content::Key;
use crate::history::{Outcome, Publication};
use crate::http::Api;
use crate::report::Bar;

const PAGE: usize = 1_000;

/// Every acknowledged message of named rooms is kept at the place that was told.
pub(super) async fn audit(api: &Api, publications: &[Publication]) -> Result<Bar> {
    let mut rooms: BTreeMap<&RoomName, Vec<(u64, Key)>> = BTreeMap::new();
    for publication in publications.iter().filter(|publication| !publication.room.is_own()) {
        if let Outcome::Accepted { position, .. } = publication.outcome {
            rooms.entry(&publication.room).or_default().push((position.offset.0, publication.key));
        }
    }
    let (mut checked, mut missing) = (0, Vec::new());
    for (room, accepted) in rooms {
        let kept = kept(api, room).await?;
        checked += accepted.len();
        missing
            .extend(accepted.into_iter().filter(|(offset, key)| kept.get(offset) != Some(&key.to_string())));
    }
    for (offset, key) in missing.iter().take(5) {
        println!("  acknowledged and not kept: {key}, as message {offset}");
    }
    let what = format!("all {checked} acknowledged messages are kept ({} missing)", missing.len());
    Ok(Bar::new(what, missing.is_empty()))
}

/// The keys of a room's messages by their ids.
async fn kept(api: &Api, room: &RoomName) -> Result<HashMap<u64, String>> {
    let (mut kept, mut after) = (HashMap::new(), 0);
    loop {
        let page = api.read(&format!("/v1/rooms/{room}/messages?after={after}&limit={PAGE}")).await?;
        let messages = page["messages"].as_array().context("no `messages` in the answer")?;
        for message in messages {
            let id = message["message_id"].as_u64().context("a message without `message_id`")?;
            kept.insert(id, message["key"].as_str().unwrap_or_default().to_owned());
            after = id;
        }
        if messages.len() < PAGE {
            return Ok(kept);
        }
    }
}
