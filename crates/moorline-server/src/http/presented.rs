//! The token that a handshake shows (spec/protocol.md, section 2, "Who connects"). Nothing here says what it was.

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use moorline::{ErrorCode, Token};

use super::bearer::bearer;
use super::origin::OriginVerdict;
use super::problem::Problem;

/// What stands before a token among the subprotocols.
const PROTOCOL_PREFIX: &str = "moorline.token.";

/// The token of the first place that has one; `hello` comes before all of them, and is the library's business. What stands
/// there in a way that cannot be checked is presented as an empty token, which nobody accepts: it is refused, after
/// the handshake, and no later place is looked at.
pub(crate) fn presented(parts: &Parts, query: Option<&str>) -> Option<Token> {
    let header = match bearer(&parts.headers) {
        Ok(token) => token.map(Token::presented),
        Err(_) => Some(unacceptable()),
    };
    header.or_else(|| from_protocols(&parts.headers)).or_else(|| query.map(Token::presented))
}

/// The token of the cookie of that name, where the page may speak for who holds it.
///
/// # Errors
/// `forbidden_origin`: the browser sent it for a page of somebody else.
pub(crate) fn from_cookie(
    headers: &HeaderMap,
    name: &str,
    origin: OriginVerdict,
) -> Result<Option<Token>, Problem> {
    let Some(token) = cookie(headers, name) else { return Ok(None) };
    if origin == OriginVerdict::Foreign {
        let why = "a cookie counts for pages of this server and of http.origins alone";
        return Err(Problem::of(ErrorCode::ForbiddenOrigin, why));
    }
    Ok(Some(token))
}

fn unacceptable() -> Token {
    Token::presented("")
}

fn from_protocols(headers: &HeaderMap) -> Option<Token> {
    let entries = items(headers, &header::SEC_WEBSOCKET_PROTOCOL, b',');
    only(entries.filter_map(|entry| entry.strip_prefix(PROTOCOL_PREFIX.as_bytes())))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Token> {
    let pairs = items(headers, &header::COOKIE, b';');
    only(pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")))
}

/// The only one there is. Of several nobody knows which is meant: somebody else may have set one of two cookies.
fn only<'a>(mut tokens: impl Iterator<Item = &'a [u8]>) -> Option<Token> {
    let first = tokens.next()?;
    let text = std::str::from_utf8(first).ok().filter(|_| tokens.next().is_none());
    Some(text.map_or_else(unacceptable, Token::presented))
}

/// What a header lists, in bytes: what somebody else put beside a token may be no text.
fn items<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    separator: u8,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let values = headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    values.flat_map(move |value| value.split(move |byte| *byte == separator)).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn shown(headers: &[(&str, &str)], query: Option<&str>) -> Option<String> {
        presented(&parts(headers), query).map(|token| token.expose().to_owned())
    }

    #[test]
    fn the_first_place_that_has_a_token_counts() {
        const HEADER: (&str, &str) = ("authorization", "Bearer h");
        const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "moorline.v1.json, moorline.token.p");
        for (headers, query, token) in [
            (&[][..], None, None),
            (&[HEADER, PROTOCOL], Some("q"), Some("h")),
            (&[PROTOCOL], Some("q"), Some("p")),
            (&[], Some("q"), Some("q")),
            (&[("sec-websocket-protocol", "moorline.v1.json")], None, None),
            (
                &[
                    ("sec-websocket-protocol", "moorline.v1.json"),
                    ("sec-websocket-protocol", "moorline.token.p"),
                ],
                None,
                Some("p"),
            ),
        ] {
            assert_eq!(shown(headers, query).as_deref(), token, "{headers:?}");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_refused_and_not_replaced() {
        for header in [
            ("authorization", "Basic YTpi"),
            ("authorization", "Bearer "),
            ("authorization", "x"),
            ("sec-websocket-protocol", "moorline.token."),
            ("sec-websocket-protocol", "moorline.token.a, moorline.token.a"),
        ] {
            assert_eq!(shown(&[header], Some("q")).as_deref(), Some(""), "{header:?}");
        }
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
        assert_eq!(shown(&two, Some("q")).as_deref(), Some(""));
        assert_eq!(shown(&[], Some("")).as_deref(), Some(""));
        assert_eq!(shown(&[], Some(&"x".repeat(Token::MAX_BYTES + 1))).as_deref(), Some(""));
    }

    #[test]
    fn a_cookie_counts_for_our_own_pages_alone() {
        use OriginVerdict::{Foreign, Listed, None as NoOrigin, Own};
        let ask = |cookies: &[(&str, &str)], origin| {
            let token = from_cookie(&parts(cookies).headers, "auth", origin);
            token.map(|token| token.map(|token| token.expose().to_owned())).ok()
        };
        for origin in [NoOrigin, Own, Listed] {
            assert_eq!(ask(&[("cookie", "a=1; auth=t; b=2")], origin), Some(Some("t".to_owned())));
        }
        assert_eq!(ask(&[("cookie", "a=1; auth=t")], Foreign), None);
        assert_eq!(ask(&[("cookie", "a=1; xauth=t")], Foreign), Some(None));
        assert_eq!(ask(&[("cookie", "auth=t"), ("cookie", "auth=u")], Own), Some(Some(String::new())));
    }

    #[test]
    fn what_is_no_text_hides_nothing() {
        let ask = |cookies: &[&[u8]]| {
            let cookies =
                cookies.iter().map(|value| (header::COOKIE, HeaderValue::from_bytes(value).unwrap()));
            let token = from_cookie(&cookies.collect(), "auth", OriginVerdict::Own).unwrap();
            token.map(|token| token.expose().to_owned())
        };
        assert_eq!(ask(&[b"name=\xe9; auth=t"]).as_deref(), Some("t"));
        assert_eq!(ask(&[b"auth=t", b"auth=u; name=\xe9"]).as_deref(), Some(""));
        assert_eq!(ask(&[b"auth=\xe9"]).as_deref(), Some(""));
        assert_eq!(ask(&[b"name=\xe9"]), None);
    }
}
