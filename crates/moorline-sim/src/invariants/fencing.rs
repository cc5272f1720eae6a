//! Only the present holder of a stream writes: what an earlier one sends after another opened it never shows.

use std::sync::Arc;

use crate::written::{Rights, letter};

/// What is wrong with text that is shown at this place.
#[must_use]
pub fn text(rights: &Rights, stream: &str, at: usize, content: &str) -> Option<String> {
    (at..).zip(content.chars()).find_map(|(place, found)| {
        let holder = rights.given.iter().rev().find(|(_, right)| right.at <= place);
        let Some((fence, right)) = holder else {
            return Some(format!("text at {place}, which nobody may write"));
        };
        let is_sent = place < right.sent && letter(stream, *fence, place) == found;
        (!is_sent)
            .then(|| format!("{found:?} at {place}, which the holder of {fence} never sent: {rights:?}"))
    })
}

/// What is wrong with an opening that gives this fence.
#[must_use]
pub fn opened(rights: &Rights, principal: &Arc<str>, fence: u64) -> Option<String> {
    if let Some(own) = rights.principal.as_ref().filter(|own| *own != principal) {
        return Some(format!("it is {own}'s, and {principal} has opened it"));
    }
    let newest = rights.given.keys().next_back().filter(|newest| **newest >= fence)?;
    Some(format!("the fence {fence} is given behind {newest}"))
}

/// What is wrong with an append that was taken, though a newer fence had been given.
#[must_use]
pub fn appended(fence: u64, is_old: bool) -> Option<String> {
    is_old.then(|| format!("the fence {fence} is old, and was taken"))
}
