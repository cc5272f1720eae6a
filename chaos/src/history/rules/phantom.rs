//! Nothing is delivered that was refused, never sent, or sent elsewhere; and what is delivered is whole.

use super::super::{Index, Outcome, Violation, What};
use crate::content::Content;

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, session) in index.sessions() {
        for entry in &session.entries {
            let What::Message { room, content, .. } = &entry.what else { continue };
            let what = match content {
                Content::Torn(text) => Some(format!("is not what anyone published: {text}")),
                Content::Whole(key) => match index.publication(*key) {
                    None => Some(format!("{key} was never sent")),
                    Some(sent) if sent.room != *room => Some(format!("{key} was sent to {}", sent.room)),
                    Some(sent) if sent.outcome == Outcome::Refused => Some(format!("{key} was refused")),
                    Some(_) => None,
                },
            };
            found.extend(what.map(|what| Violation {
                rule: "phantom",
                session: Some(number),
                room: Some(room.clone()),
                what: format!("{} got through {room} what {what}", session.name),
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::support::{Planted, key};
    use super::*;

    #[test]
    fn what_was_refused_or_never_sent_is_found_and_the_unknown_may_appear() {
        let mut planted = Planted::new();
        planted.answered(1, key(1, 1), Outcome::Unknown);
        planted.message(0, 2, key(1, 1), 1);
        assert_eq!(check(&Index::new(planted.history())), []);
        planted.answered(1, key(1, 2), Outcome::Refused);
        planted.message(0, 3, key(1, 2), 2);
        planted.message(0, 4, key(1, 3), 3);
        planted.accepted_in("elsewhere", 1, key(1, 4), 4);
        planted.message(0, 5, key(1, 4), 4);
        planted.torn(0, 6, 5);
        assert_eq!(check(&Index::new(planted.history())).len(), 4);
    }
}
