//! Resets are rare: where no data was destroyed there are none, so that a server cannot get by with always saying reset.

use super::super::{Entry, Index, Violation, What};

pub(super) fn check(index: &Index<'_>) -> Vec<Violation> {
    let Some(allowed) = index.history.resets_allowed else { return Vec::new() };
    let mut found = Vec::new();
    for (number, session) in index.sessions() {
        for (at, entry) in session.entries.iter().enumerate() {
            let is_first = || !session.entries[..at].iter().any(is_established);
            let what = match &entry.what {
                What::Reset { room, reason, from, to } => {
                    let from =
                        from.map_or("everything".to_owned(), |from| format!("what lies after {}", from.0));
                    format!(
                        "{} lost {from} up to {} of {room}: {}",
                        session.name,
                        to.offset.0,
                        reason.as_str()
                    )
                }
                What::Established { resumed: false } if !is_first() => {
                    format!("{} was not resumed: its session is gone", session.name)
                }
                _ => continue,
            };
            found.push(Violation {
                rule: "resets",
                session: Some(number),
                room: entry.what.room().cloned(),
                what,
            });
        }
    }
    if found.len() <= allowed { Vec::new() } else { found }
}

fn is_established(entry: &Entry) -> bool {
    matches!(entry.what, What::Established { .. })
}

#[cfg(test)]
mod tests {
    use super::super::super::support::Planted;
    use super::*;

    #[test]
    fn a_reset_and_a_session_that_is_gone_are_found() {
        let mut planted = Planted::new();
        planted.established(0, 1, 1, false);
        planted.established(0, 5, 2, true);
        assert_eq!(check(&Index::new(planted.history())), []);
        planted.reset(0, 6, None, 3);
        planted.established(0, 8, 3, false);
        assert_eq!(check(&Index::new(planted.history())).len(), 2);
        planted.history.resets_allowed = Some(2);
        assert_eq!(check(&Index::new(planted.history())), []);
    }
}
