//! The opening handshake, as the server sees it (RFC 6455 §4.2).

use base64::{
    Engine, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        ALLOW, CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use sha1::{Digest, Sha1};
use thiserror::Error;

use crate::deflate::{MAX_EXTENSIONS, MAX_PARAMETERS};

/// The most subprotocols a request may offer.
pub const MAX_PROTOCOLS: usize = 16;

/// The most bytes the name of an offered subprotocol may have: browsers can set no header, so tokens travel as names.
pub const MAX_PROTOCOL_LEN: usize = 16_384;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// The RFC wants sixteen bytes in base64 and nothing about the bits that its last character has to spare.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// A request that may be upgraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The client's `Sec-WebSocket-Key`, checked to be 16 bytes in base64.
    pub key: String,
    /// The subprotocols that the client offers, most wanted first; at most [`MAX_PROTOCOLS`] different ones.
    pub protocols: Vec<String>,
}

impl Accepted {
    /// The answer that completes the handshake (§4.2.2), with the subprotocol chosen from
    /// [`protocols`](Self::protocols), if any. A name that was not offered is left out, since a client that
    /// is told one must fail the connection (§4.1).
    #[must_use]
    pub fn response(&self, protocol: Option<&str>) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        put_upgrade(headers);
        insert(headers, SEC_WEBSOCKET_ACCEPT, &accept_key(&self.key));
        if let Some(chosen) = protocol.and_then(|name| self.protocols.iter().find(|offer| *offer == name)) {
            insert(headers, SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        response
    }
}

/// Why a request cannot be upgraded. The message says what to change and is the body of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Not a GET request.
    #[error("a WebSocket is opened by a GET request")]
    Method,
    /// HTTP/1.0, or HTTP/2 and later, which upgrade in other ways or not at all.
    #[error("a WebSocket is opened over HTTP/1.1; make the client or the proxy before it use that version")]
    HttpVersion,
    /// No Host header, or several.
    #[error("the request must have exactly one Host header")]
    Host,
    /// Not a request to upgrade to WebSocket.
    #[error("this address speaks WebSocket: send `Upgrade: websocket` (a proxy must forward that header)")]
    Upgrade,
    /// The Connection header does not name the upgrade.
    #[error("send `Connection: Upgrade` (a proxy must set that header; it is not forwarded by itself)")]
    Connection,
    /// No version of the protocol, several, or another than 13.
    #[error("send `Sec-WebSocket-Version: 13`, once")]
    ProtocolVersion,
    /// No key, several, or one that is not 16 bytes in base64.
    #[error("send one Sec-WebSocket-Key, of 16 random bytes in base64")]
    Key,
    /// An offered subprotocol is no token (RFC 9110 §5.6.2), is too long, or is offered twice.
    #[error("each name in Sec-WebSocket-Protocol must be a token of at most 16,384 bytes, named once")]
    Protocol,
    /// More than [`MAX_PROTOCOLS`] subprotocols are offered.
    #[error("offer at most 16 names in Sec-WebSocket-Protocol")]
    TooManyProtocols,
    /// The offered extensions are no list of names and parameters (§9.1), or too long a one; only
    /// [`deflate::negotiate`](crate::deflate::negotiate) looks at them.
    #[error(
        "Sec-WebSocket-Extensions must list at most {MAX_EXTENSIONS} names, with {MAX_PARAMETERS} parameters at most"
    )]
    Extensions,
}

impl HandshakeError {
    /// The status of the answer: 405, 426 (not an upgrade, or not to version 13, §4.4), or 400.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Upgrade | Self::ProtocolVersion => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer, with the message as plain text and the headers that its status demands.
    #[must_use]
    pub fn response(&self) -> Response<String> {
        let mut response = Response::new(format!("{self}\n"));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match self.status() {
            StatusCode::METHOD_NOT_ALLOWED => insert(headers, ALLOW, "GET"),
            StatusCode::UPGRADE_REQUIRED => {
                put_upgrade(headers);
                headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
            }
            _ => {}
        }
        response
    }
}

/// Judges a request to open a WebSocket by §4.2.1. Who may connect, from which origin and to which path is not
/// judged here.
///
/// ```
/// use moorline_ws::handshake;
///
/// let request = http::Request::get("/chat")
///     .header("Host", "server.example.com")
///     .header("Upgrade", "websocket")
///     .header("Connection", "keep-alive, Upgrade")
///     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .header("Sec-WebSocket-Version", "13")
///     .header("Sec-WebSocket-Protocol", "chat.v2, chat.v1")
///     .body(())?;
/// let accepted = handshake::check(&request)?;
/// assert_eq!(accepted.protocols, ["chat.v2", "chat.v1"]);
///
/// let response = accepted.response(Some("chat.v1"));
/// assert_eq!(response.status(), 101);
/// assert_eq!(response.headers()["Sec-WebSocket-Accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first rule that the request breaks; answer with [`HandshakeError::response`].
pub fn check<B>(request: &Request<B>) -> Result<Accepted, HandshakeError> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(HandshakeError::Method);
    }
    if request.version() != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    single(headers, &HOST).ok_or(HandshakeError::Host)?;
    if !names(headers, &UPGRADE, "websocket") {
        return Err(HandshakeError::Upgrade);
    }
    if !names(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if single(headers, &SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(HandshakeError::ProtocolVersion);
    }
    let key = key(headers).ok_or(HandshakeError::Key)?;
    Ok(Accepted { key, protocols: protocols(headers)? })
}

/// What `Sec-WebSocket-Accept` must be for a `Sec-WebSocket-Key` (§4.2.2): clients check it with this.
///
/// ```
/// # use moorline_ws::handshake::accept_key;
/// assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[must_use]
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

fn put_upgrade(headers: &mut HeaderMap) {
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
}

/// Inserts a value that was checked to be plain text; base64 and tokens always are.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The value of a header that must stand exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The elements of a header that is a list, over all its lines; empty ones do not count (RFC 9110 §5.6.1).
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list(headers, name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

fn key(headers: &HeaderMap) -> Option<String> {
    let key = single(headers, &SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let mut bytes = [0; 18];
    match KEY_BASE64.decode_slice(key, &mut bytes) {
        Ok(16) => Some(key.to_owned()),
        _ => None,
    }
}

fn protocols(headers: &HeaderMap) -> Result<Vec<String>, HandshakeError> {
    let mut protocols = Vec::new();
    for name in list(headers, &SEC_WEBSOCKET_PROTOCOL) {
        if protocols.len() == MAX_PROTOCOLS {
            return Err(HandshakeError::TooManyProtocols);
        }
        let name = token(name).ok_or(HandshakeError::Protocol)?;
        if protocols.contains(&name) {
            return Err(HandshakeError::Protocol);
        }
        protocols.push(name);
    }
    Ok(protocols)
}

fn token(name: &[u8]) -> Option<String> {
    let is_token = name.len() <= MAX_PROTOCOL_LEN
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b));
    if is_token { String::from_utf8(name.to_vec()).ok() } else { None }
}
