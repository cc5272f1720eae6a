//! Every rule of §4.2.1, kept and broken.

use http::{HeaderMap, Method, Request, StatusCode, Version};
use moorline_ws::handshake::{Accepted, HandshakeError, MAX_PROTOCOLS, check};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The headers of the RFC's example, without those named in `changes`, then with the changes added.
fn request(changes: &[(&str, &str)]) -> Request<()> {
    let example = [
        ("host", "server.example.com"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
    ];
    let kept = example.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let mut builder = Request::get("/chat");
    for (name, value) in kept.chain(changes.iter().filter(|(_, value)| *value != "ABSENT")) {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("the table holds valid header values")
}

fn judge(changes: &[(&str, &str)]) -> Result<Accepted, HandshakeError> {
    check(&request(changes))
}

#[test]
fn what_is_accepted() {
    let table: &[&[(&str, &str)]] = &[
        &[],
        &[("upgrade", "WebSocket")],
        &[("upgrade", "h2c, websocket")],
        &[("upgrade", "h2c"), ("upgrade", "websocket")],
        &[("connection", "keep-alive, UPGRADE")],
        &[("connection", "keep-alive"), ("connection", "upgrade")],
        &[("connection", " , upgrade ,,")],
        &[("host", "")],
        &[("origin", "null")],
        // The last character before the padding has four bits to spare; not all clients leave them zero.
        &[("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAB==")],
        &[("sec-websocket-protocol", "")],
    ];
    for changes in table {
        assert!(judge(changes).is_ok(), "{changes:?}: {:?}", judge(changes));
    }
}

#[test]
fn what_is_refused() {
    use HandshakeError::*;
    let long = "p".repeat(16_385);
    let many = vec!["p"; MAX_PROTOCOLS + 1];
    let many: Vec<String> = many.iter().enumerate().map(|(i, p)| format!("{p}{i}")).collect();
    let many = many.join(",");
    let table: &[(&[(&str, &str)], HandshakeError)] = &[
        (&[("host", "ABSENT")], Host),
        (&[("host", "a"), ("host", "b")], Host),
        (&[("upgrade", "ABSENT")], Upgrade),
        (&[("upgrade", "h2c")], Upgrade),
        (&[("upgrade", "websockets")], Upgrade),
        (&[("upgrade", "web socket")], Upgrade),
        (&[("connection", "ABSENT")], Connection),
        (&[("connection", "close")], Connection),
        (&[("connection", "upgraded")], Connection),
        (&[("sec-websocket-version", "ABSENT")], ProtocolVersion),
        (&[("sec-websocket-version", "8")], ProtocolVersion),
        (&[("sec-websocket-version", "013")], ProtocolVersion),
        (&[("sec-websocket-version", "13, 8")], ProtocolVersion),
        (&[("sec-websocket-version", "13"), ("sec-websocket-version", "13")], ProtocolVersion),
        (&[("sec-websocket-key", "ABSENT")], Key),
        (&[("sec-websocket-key", KEY), ("sec-websocket-key", KEY)], Key),
        (&[("sec-websocket-key", "")], Key),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")], Key),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZSE=")], Key),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25j")], Key),
        (&[("sec-websocket-key", "dGhl!HNhbXBsZSBub25jZQ==")], Key),
        (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ== dGhl")], Key),
        (&[("sec-websocket-key", "clé")], Key),
        (&[("sec-websocket-protocol", "chat room")], Protocol),
        (&[("sec-websocket-protocol", "chat;v=1")], Protocol),
        (&[("sec-websocket-protocol", "é")], Protocol),
        (&[("sec-websocket-protocol", "a, b, a")], Protocol),
        (&[("sec-websocket-protocol", "a"), ("sec-websocket-protocol", "a")], Protocol),
        (&[("sec-websocket-protocol", &long)], Protocol),
        (&[("sec-websocket-protocol", &many)], TooManyProtocols),
    ];
    for (changes, error) in table {
        assert_eq!(judge(changes), Err(*error), "{changes:?}");
    }
}

#[test]
fn only_get_over_http_1_1() {
    for (method, version, error) in [
        (Method::POST, Version::HTTP_11, HandshakeError::Method),
        (Method::HEAD, Version::HTTP_11, HandshakeError::Method),
        (Method::GET, Version::HTTP_09, HandshakeError::HttpVersion),
        (Method::GET, Version::HTTP_10, HandshakeError::HttpVersion),
        (Method::GET, Version::HTTP_2, HandshakeError::HttpVersion),
    ] {
        let mut request = request(&[]);
        *request.method_mut() = method;
        *request.version_mut() = version;
        assert_eq!(check(&request), Err(error));
    }
}

#[test]
fn each_refusal_has_its_status_and_headers() {
    use HandshakeError::*;
    let errors = [Method, HttpVersion, Host, Upgrade, Connection, ProtocolVersion, Key, Protocol];
    for error in errors.into_iter().chain([TooManyProtocols]) {
        let response = error.response();
        let headers = response.headers();
        assert_eq!(response.status(), error.status());
        assert_eq!(response.body().trim_end(), error.to_string());
        let upgrade = error.status() == StatusCode::UPGRADE_REQUIRED;
        assert_eq!(headers.get("sec-websocket-version").is_some_and(|v| v == "13"), upgrade, "{error:?}");
        assert_eq!(headers.get("upgrade").is_some_and(|v| v == "websocket"), upgrade, "{error:?}");
        assert_eq!(headers.get("allow").is_some_and(|v| v == "GET"), error == Method);
    }
    assert_eq!(ProtocolVersion.status(), 426);
    assert_eq!(Method.status(), 405);
    assert_eq!(Key.status(), 400);
}

#[test]
fn protocols_keep_their_order_over_several_lines() {
    let offered = [("sec-websocket-protocol", "v2.json, v1.json"), ("sec-websocket-protocol", "*~1")];
    let accepted = judge(&offered).unwrap();
    assert_eq!(accepted.key, KEY);
    assert_eq!(accepted.protocols, ["v2.json", "v1.json", "*~1"]);
    let header = |chosen| accepted.response(chosen).headers().get("sec-websocket-protocol").cloned();
    assert_eq!(header(Some("v1.json")).unwrap(), "v1.json");
    assert_eq!(header(Some("V1.JSON")), None, "names are compared as they are");
    assert_eq!(header(None), None);
}

#[test]
fn the_answer_is_that_of_the_rfc() {
    let response = judge(&[]).unwrap().response(None);
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut expected = HeaderMap::new();
    expected.insert("upgrade", "websocket".parse().unwrap());
    expected.insert("connection", "Upgrade".parse().unwrap());
    expected.insert("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".parse().unwrap());
    assert_eq!(response.headers(), &expected);
}
