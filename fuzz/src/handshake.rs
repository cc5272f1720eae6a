//! The head of a handshake: the upgrade, the extensions that it offers, and whose page it comes from.
//!
//! Input: the method and the version, whether a good head lies under it, and then lines of `name: value`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HOST, ORIGIN, SEC_WEBSOCKET_KEY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use moorline_server::testing;
use moorline_ws::deflate::{Parameters, Settings, WindowBits, negotiate};
use moorline_ws::handshake::{self, Accepted, MAX_PROTOCOL_LEN, MAX_PROTOCOLS};

const GOOD: [(&str, &str); 5] = [
    ("host", "chat.example.com"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const LISTED: &str = "https://app.example.com";
/// Every other way to write it.
const ALSO_LISTED: &str = "https://app.example.com:443";

pub(crate) fn run(input: &[u8]) {
    let Some((&how, lines)) = input.split_first() else { return };
    let request = request(how, lines);
    let headers = request.headers();
    let checked = handshake::check(&request);
    match &checked {
        Ok(accepted) => check_accepted(headers, accepted),
        Err(error) => assert!(error.status().is_client_error() && !error.response().body().is_empty()),
    }
    for settings in [Settings::default(), small()] {
        check_extensions(headers, &settings);
    }
    check_page(headers);
}

fn request(how: u8, lines: &[u8]) -> Request<()> {
    let mut request = Request::new(());
    if how & 1 != 0 {
        *request.method_mut() = Method::POST;
    }
    *request.version_mut() = if how & 2 == 0 { Version::HTTP_11 } else { Version::HTTP_10 };
    let headers = request.headers_mut();
    if how & 4 == 0 {
        for (name, value) in GOOD {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    for line in lines.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), &line[colon + 1..]);
        // As the HTTP parser hands them over: without the white space around them.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    request
}

fn check_accepted(headers: &HeaderMap, accepted: &Accepted) {
    assert_eq!(headers.get_all(HOST).iter().count(), 1);
    assert_eq!(headers.get_all(SEC_WEBSOCKET_KEY).iter().count(), 1);
    let bits_to_spare = accepted.key.trim_end_matches('=').len();
    assert_eq!((accepted.key.len(), bits_to_spare), (24, 22), "{:?}", accepted.key);
    assert!(accepted.protocols.len() <= MAX_PROTOCOLS);
    for (index, name) in accepted.protocols.iter().enumerate() {
        assert!(!name.is_empty() && name.len() <= MAX_PROTOCOL_LEN && name.is_ascii());
        assert!(!accepted.protocols[..index].contains(name), "{name} twice");
        let response = accepted.response(Some(name));
        assert_eq!(response.headers()["sec-websocket-protocol"], name.as_str());
        let hash = STANDARD.decode(response.headers()["sec-websocket-accept"].as_bytes());
        assert_eq!(hash.map(|hash| hash.len()), Ok(20));
    }
    assert!(!accepted.response(Some("never offered,")).headers().contains_key("sec-websocket-protocol"));
}

fn small() -> Settings {
    let bits = WindowBits::new(9).expect("a size");
    Settings {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: bits,
        client_max_window_bits: bits,
    }
}

/// What is agreed keeps the settings, and a client that offered everything takes the answer for the same.
fn check_extensions(headers: &HeaderMap, settings: &Settings) {
    let Ok(Some(negotiated)) = negotiate(headers, settings) else { return };
    let agreed = negotiated.agreed;
    assert!(!(settings.server_no_context_takeover && agreed.server.context_takeover));
    assert!(!(settings.client_no_context_takeover && agreed.client.context_takeover));
    assert!(agreed.server.max_window_bits <= settings.server_max_window_bits);
    if agreed.client.context_takeover {
        assert!(agreed.client.max_window_bits <= settings.client_max_window_bits);
    }
    let mut answer = HeaderMap::new();
    answer.insert("sec-websocket-extensions", negotiated.answer.clone());
    let offer = Parameters { client_max_window_bits: Some(WindowBits::MAX), ..Parameters::OFFER };
    match offer.check(&answer) {
        Ok(Some(understood)) => assert_eq!(understood, agreed, "{:?}", negotiated.answer),
        other => panic!("{:?} is understood as {other:?}", negotiated.answer),
    }
}

/// A page is foreign unless its origin can be shown to be one of ours.
fn check_page(headers: &HeaderMap) {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let verdict = testing::page(&[LISTED.to_owned()], headers, host).expect("an origin is listed");
    let mut origins = headers.get_all(ORIGIN).iter();
    let first = origins.next().map(|origin| String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase());
    let is_alone = origins.next().is_none();
    match (verdict, first) {
        ("none", first) => assert_eq!(first, None),
        ("own", Some(origin)) => {
            let host = host.expect("it called a name").to_ascii_lowercase();
            let name =
                host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(&*host, |(name, _)| name);
            assert!(is_alone && origin.contains(&format!("://{name}")), "{origin} at {host}");
        }
        ("listed", Some(origin)) => {
            assert!(is_alone && [LISTED, ALSO_LISTED].contains(&&*plain(&origin)), "{origin}")
        }
        ("foreign", Some(origin)) => assert!(!is_alone || origin != LISTED),
        other => panic!("{other:?}"),
    }
    if testing::is_local(headers) {
        for header in headers.get_all(ORIGIN).iter().chain(headers.get_all(HOST)) {
            let text = String::from_utf8_lossy(header.as_bytes()).to_ascii_lowercase();
            assert!(["localhost", "127.", ":1"].iter().any(|ours| text.contains(ours)), "{text}");
        }
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An origin whose port has no zeros before it.
fn plain(origin: &str) -> String {
    match origin.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && is_port(port) => {
            format!("{name}:{}", port.trim_start_matches('0'))
        }
        _ => origin.to_owned(),
    }
}
