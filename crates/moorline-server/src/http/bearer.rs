//! `Authorization: Bearer …`.

use http::{HeaderMap, header};

/// An `Authorization` that says nothing, or something else, or several things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`Authorization` is to stand once, as `Bearer` and what it was given")]
pub(crate) struct NotBearer;

/// What a request presents, where it presents anything.
///
/// # Errors
/// It presents something, in a way that nobody can check.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, NotBearer> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let (scheme, presented) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(NotBearer)?;
    let presented = presented.trim_matches(' ');
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !presented.is_empty();
    let is_one = values.next().is_none() && !presented.contains([' ', ',']);
    if is_bearer && is_one { Ok(Some(presented)) } else { Err(NotBearer) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (header::AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect()
    }

    #[test]
    fn one_bearer_and_nothing_else() {
        for (values, presented) in [
            (&[][..], Ok(None)),
            (&["Bearer a.b.c"], Ok(Some("a.b.c"))),
            (&["bearer  a"], Ok(Some("a"))),
            (&["Bearer"], Err(NotBearer)),
            (&["Bearer "], Err(NotBearer)),
            (&["Basic YTpi"], Err(NotBearer)),
            (&["Bearer a b"], Err(NotBearer)),
            (&["Bearer a, Bearer b"], Err(NotBearer)),
            (&["Bearer a", "Bearer a"], Err(NotBearer)),
            (&["Bearer é"], Err(NotBearer)),
            (&[""], Err(NotBearer)),
        ] {
            assert_eq!(bearer(&headers(values)), presented, "{values:?}");
        }
    }
}
