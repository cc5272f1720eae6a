//! What somebody may have meant.

/// How near a name must be to be offered: below it the offer would be a guess.
const NEAR: f64 = 0.7;

/// The known name that is nearest to `name`, if any is near. A name without its section, or in another one, is near.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|candidate| (likeness(name, candidate), candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= NEAR).then_some(best.1)
}

fn likeness(name: &str, candidate: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(name, candidate);
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    if candidate.contains('.') && last(name) == last(candidate) { whole.max(0.9) } else { whole }
}

/// The rest of a message about a name that is not known.
pub(super) fn offer<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_offered() {
        let known = ["http.listen", "http.origins", "heartbeat.interval_ms", "auth.key"];
        for (name, near) in [
            ("http.listn", Some("http.listen")),
            ("heartbeat.listen", Some("http.listen")),
            ("listen", Some("http.listen")),
            ("heartbeat.intervl_ms", Some("heartbeat.interval_ms")),
            ("auth.keys", Some("auth.key")),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), near, "{name}");
        }
    }
}
