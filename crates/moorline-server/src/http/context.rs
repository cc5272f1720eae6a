//! What a request is called, by us and by those who trace it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header with a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id that the request brings, where it can be one; else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let presented = only(headers, &REQUEST_ID).filter(|id| {
        let bytes = id.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    presented.cloned().unwrap_or_else(|| {
        let text = uuid::Uuid::now_v7().to_string();
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// The trace id of a W3C `traceparent`; none where it is not one to the letter.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = only(headers, &TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let has_more = parts.next().is_some();
    let is_version = is_hex(version, 2) && version != "ff" && (version != "00" || !has_more);
    let are_ids = is_hex(trace, 32) && !is_zero(trace) && is_hex(parent, 16) && !is_zero(parent);
    (is_version && are_ids && is_hex(flags, 2)).then_some(trace)
}

/// A header that stands once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn an_id_is_kept_where_it_can_be_one() {
        for (given, is_kept) in
            [("a", true), ("req-1/2;x", true), ("", false), ("a b", false), ("a\tb", false)]
        {
            let id = request_id(&with(REQUEST_ID, given));
            assert_eq!(id == given, is_kept, "{given:?}");
            assert!(!id.is_empty());
        }
        assert_eq!(request_id(&with(REQUEST_ID, &"x".repeat(128))), "x".repeat(128));
        assert_ne!(request_id(&with(REQUEST_ID, &"x".repeat(129))), "x".repeat(129));
        let mut two = with(REQUEST_ID, "a");
        two.append(REQUEST_ID, HeaderValue::from_static("a"));
        assert_ne!(request_id(&two), "a");
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_trace_parent_is_one_to_the_letter() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (text, is_one) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", false),
            ("0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("", false),
        ] {
            assert_eq!(trace_id(&with(TRACEPARENT, text)), is_one.then_some(TRACE), "{text}");
        }
    }
}
