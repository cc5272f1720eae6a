//! Who may do what in an embedded node: authenticators, authorizers, limits and revocation.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use moorline::transport::{UpgradeError, axum::Upgrade};
use moorline::{
    Action, AuthenticateError, Authenticator, AuthorizeError, AuthorizeRequest, Authorizer, Config, Endpoint,
    Grants, Hooks, Identity, Limits, Names, Node, Rate, RoomName, Token, TokenId, UserId, UserLimits,
};
use serde_json::{Value, json};
use support::{Client, Got};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Believes a token that is a user's name; `away` has nobody to ask.
struct NamesAlone;

impl Authenticator for NamesAlone {
    fn authenticate<'a>(&'a self, token: &'a Token) -> BoxFuture<'a, Result<Identity, AuthenticateError>> {
        let outcome = match token.expose() {
            "away" => Err(AuthenticateError::Unavailable {
                why: "nobody is there".to_owned(),
                retry_in: std::time::Duration::from_secs(1),
            }),
            "" => Err(AuthenticateError::Refused("this is no name".to_owned())),
            name => Ok(Identity {
                grants: Grants { session: Names::All, ..Grants::ALL },
                token: TokenId::new(name).ok(),
                ..Identity::user(UserId::new(name).unwrap())
            }),
        };
        async { outcome }.boxed()
    }
}

/// Forbids rooms and messages by name, and takes its time where it is told to.
#[derive(Default)]
struct Doorkeeper {
    asked: Mutex<Vec<String>>,
    go: Notify,
}

impl Authorizer for Doorkeeper {
    fn authorize<'a>(&'a self, request: AuthorizeRequest<'a>) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        async move {
            let verb = if request.action == Action::Join { "join" } else { "publish" };
            let user = request.user.map_or("nobody", |user| user.as_str());
            self.asked.lock().unwrap().push(format!("{user} {verb} {}", request.room));
            match request.room.as_str() {
                "slow" => self.go.notified().await,
                "forbidden" => return Err(AuthorizeError::Forbidden("not you".to_owned())),
                _ => {}
            }
            Ok(())
        }
        .boxed()
    }
}

#[derive(serde::Deserialize)]
struct Parameters {
    token: Option<String>,
}

async fn room(
    State(node): State<Node>,
    Path(room): Path<String>,
    Query(parameters): Query<Parameters>,
    upgrade: Upgrade,
) -> Result<Response, UpgradeError> {
    let endpoint = Endpoint {
        room: RoomName::new(&room).ok(),
        token: parameters.token.as_deref().map(Token::presented),
        address: Some("10.0.0.1".parse().unwrap()),
        ..Endpoint::default()
    };
    upgrade.accept(&node, endpoint)
}

struct Stage {
    node: Node,
    address: std::net::SocketAddr,
}

impl Stage {
    async fn start(config: Config, hooks: Hooks) -> Self {
        let node = Node::in_memory_with(Config { shards: 2, ..config }, hooks).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/ws/{room}", get(room)).with_state(node.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { node, address }
    }

    async fn connect(&self, path: &str) -> Client {
        Client::connect(Box::new(TcpStream::connect(self.address).await.unwrap()), path).await
    }
}

fn with_names() -> Hooks {
    Hooks { authenticator: Some(Arc::new(NamesAlone)), ..Hooks::default() }
}

async fn is_refused(mut client: Client, code: &str, close: u16) {
    let error = client.frame().await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
    assert_eq!(client.next().await, Got::Closed(close));
}

#[tokio::test]
async fn r22_a_pluggable_authenticator_decides_who_comes_in() {
    let stage = Stage::start(Config::default(), with_names()).await;
    let mut ann = stage.connect("/ws/lobby?token=ann").await;
    assert_eq!(ann.frame().await["type"], "connection_established");
    assert_eq!(stage.node.user(&UserId::new("ann").unwrap()).await.unwrap().connected, 1);
    is_refused(stage.connect("/ws/lobby").await, "not_authenticated", 1008).await;
    is_refused(stage.connect("/ws/lobby?token=").await, "not_authenticated", 1008).await;
    is_refused(stage.connect("/ws/lobby?token=away").await, "unavailable", 1013).await;
}

#[tokio::test]
async fn r22_a_token_that_nothing_checks_is_refused() {
    let stage = Stage::start(Config::default(), Hooks::default()).await;
    is_refused(stage.connect("/ws/lobby?token=ann").await, "no_authenticator", 1008).await;
    let mut anonymous = stage.connect("/ws/lobby").await;
    assert_eq!(anonymous.frame().await["type"], "connection_established");
}

#[tokio::test]
async fn r22_a_fresh_token_is_checked_by_the_authenticator() {
    let stage = Stage::start(Config::default(), with_names()).await;
    let mut ann = stage.connect("/ws/lobby?token=ann").await;
    ann.frame().await;
    for (token, ok, code) in [
        ("ann", true, Value::Null),
        ("bob", false, json!("forbidden")),
        ("away", false, json!("unavailable")),
    ] {
        ann.send(json!({"type": "auth", "token": token, "ref": token})).await;
        let reply = ann.frame().await;
        assert_eq!((&reply["ok"], &reply["error"]["code"]), (&json!(ok), &code), "{reply}");
    }
}

#[tokio::test]
async fn r22_what_was_revoked_ends_and_does_not_come_back() {
    let stage = Stage::start(Config::default(), with_names()).await;
    let mut ann = stage.connect("/ws/lobby?token=ann").await;
    let mut bob = stage.connect("/ws/lobby?token=bob").await;
    ann.frame().await;
    bob.frame().await;
    assert_eq!(stage.node.revoke_token(TokenId::new("ann").unwrap()).await, Ok(1));
    assert_eq!(ann.next().await, Got::Closed(4003));
    is_refused(stage.connect("/ws/lobby?token=ann").await, "not_authenticated", 1008).await;
    assert_eq!(stage.node.revoke_user(&UserId::new("bob").unwrap()).await, Ok(1));
    assert_eq!(bob.next().await, Got::Closed(4003));
    is_refused(stage.connect("/ws/lobby?token=bob").await, "not_authenticated", 1008).await;
}

#[tokio::test]
async fn an_authorizer_forbids_joins_and_publishes_and_keeps_their_order() {
    let doorkeeper = Arc::new(Doorkeeper::default());
    let hooks = Hooks { authorizer: Some(Arc::clone(&doorkeeper) as _), ..with_names() };
    let stage = Stage::start(Config::default(), hooks).await;
    is_refused(stage.connect("/ws/forbidden?token=ann").await, "forbidden", 1008).await;
    let mut ann = stage.connect("/ws/lobby?token=ann").await;
    ann.frame().await;
    ann.send(json!({"type": "join", "room": "forbidden", "ref": 1})).await;
    assert_eq!(ann.frame().await["error"]["code"], "forbidden");
    for (room, reference) in [("slow", 2), ("forbidden", 3), ("lobby", 4)] {
        let frame =
            json!({"type": "publish", "to": {"room": room}, "message": {"type": "m"}, "ref": reference});
        ann.send(frame).await;
    }
    // Nothing overtakes the slow one; other frames are answered meanwhile.
    ann.send(json!({"type": "ping"})).await;
    assert_eq!(ann.frame().await["type"], "pong");
    doorkeeper.go.notify_one();
    let mut answers = Vec::new();
    while answers.len() < 3 {
        let frame = ann.frame().await;
        if frame["type"] == "reply" {
            answers.push((frame["ref"].as_u64().unwrap(), frame["ok"].as_bool().unwrap()));
        }
    }
    answers.sort_unstable();
    assert_eq!(answers, [(2, true), (3, false), (4, true)]);
    let asked = doorkeeper.asked.lock().unwrap().join(", ");
    let expected = "ann join forbidden, ann join lobby, ann join forbidden, ann publish slow, ann publish forbidden, ann publish lobby";
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn r23_frames_over_the_limit_are_refused_with_a_time() {
    let rate = Rate { per_s: NonZeroU32::new(1).unwrap(), burst: NonZeroU32::new(2).unwrap() };
    let limits = Limits { connection_messages: Some(rate), ..Limits::default() };
    let stage = Stage::start(Config { limits, ..Config::default() }, Hooks::default()).await;
    let mut client = stage.connect("/ws/lobby").await;
    client.frame().await;
    for reference in 1..=3 {
        client.send(json!({"type": "presence", "room": "lobby", "ref": reference})).await;
    }
    let mut replies = Vec::new();
    while replies.len() < 3 {
        let frame = client.frame().await;
        if frame["type"] == "reply" {
            replies.push(frame);
        }
    }
    let refused: Vec<&Value> = replies.iter().filter(|reply| reply["ok"] == false).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["ref"], 3);
    assert_eq!(refused[0]["error"]["code"], "rate_limited");
    assert!(refused[0]["error"]["retry_in_ms"].as_u64().unwrap() <= 1000, "{refused:?}");
    // Without the limit, at once.
    stage.node.set_limits(Limits::default(), UserLimits::default());
    client.send(json!({"type": "leave", "room": "lobby", "ref": 4})).await;
    while client.frame().await["ref"] != 4 {}
    // Who never listens is closed.
    stage.node.set_limits(limits, UserLimits::default());
    for _ in 0..200 {
        client.send(json!({"type": "heartbeat_response"})).await;
    }
    loop {
        match client.next().await {
            Got::Text(_) | Got::Ping => {}
            end => break assert_eq!(end, Got::Closed(1008)),
        }
    }
}

#[tokio::test]
async fn r23_handshakes_over_the_limit_are_told_when_to_come_back() {
    let limits = Limits { address_unestablished_max: 1, ..Limits::default() };
    let stage = Stage::start(Config { limits, ..Config::default() }, Hooks::default()).await;
    let request = |protocol: &str| {
        format!(
            "GET /ws/lobby HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
        )
    };
    let silent = request("Sec-WebSocket-Protocol: moorline.v1.json\r\n");
    let mut waiting = TcpStream::connect(stage.address).await.unwrap();
    let head = support::exchange(&mut waiting, &silent).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let mut other = TcpStream::connect(stage.address).await.unwrap();
    let head = support::exchange(&mut other, &silent).await;
    assert!(head.starts_with("HTTP/1.1 429") && head.to_lowercase().contains("retry-after: 1"), "{head}");
    drop(waiting);
    // Its place is free as soon as it is gone.
    loop {
        let mut again = TcpStream::connect(stage.address).await.unwrap();
        let head = support::exchange(&mut again, &request("")).await;
        if head.starts_with("HTTP/1.1 101") {
            break;
        }
        assert!(head.starts_with("HTTP/1.1 429"), "{head}");
        tokio::task::yield_now().await;
    }
}
