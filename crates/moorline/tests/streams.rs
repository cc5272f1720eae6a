//! Streams through a whole node: producers over its methods and over sockets, readers over sockets.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(unreachable_pub, dead_code, reason = "the other tests use it too")]
mod support;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use moorline::stream::{Lease, Outcome, StreamState};
use moorline::transport::{UpgradeError, axum::Upgrade};
use moorline::{
    Answer, Config, Endpoint, ErrorCode, History, Identity, Node, Offset, RoomName, SessionId, StreamAct,
    StreamName, UserId,
};
use serde_json::{Value, json};
use support::Client;
use tokio::net::{TcpListener, TcpStream};

#[derive(serde::Deserialize)]
struct Parameters {
    user: String,
    session: Option<String>,
}

async fn room(
    State(node): State<Node>,
    Path(room): Path<String>,
    Query(parameters): Query<Parameters>,
    upgrade: Upgrade,
) -> Result<Response, UpgradeError> {
    let endpoint = Endpoint {
        room: RoomName::new(&room).ok(),
        identity: UserId::new(&parameters.user).ok().map(Identity::user),
        session: parameters.session.and_then(|session| SessionId::new(&session).ok()),
        ..Endpoint::default()
    };
    upgrade.accept(&node, endpoint)
}

struct Ground {
    node: Node,
    address: std::net::SocketAddr,
}

impl Ground {
    async fn start() -> Self {
        let node = Node::in_memory(Config { shards: 2, ..Config::default() }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/ws/{room}", get(room)).with_state(node.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { node, address }
    }

    /// A connection of a user to the room, with what it is established with.
    async fn connect(&self, parameters: &str) -> (Client, Value) {
        let path = format!("/ws/lobby?{parameters}");
        let mut client =
            Client::connect(Box::new(TcpStream::connect(self.address).await.unwrap()), &path).await;
        let established = client.frame().await;
        assert_eq!(established["type"], "connection_established", "{established}");
        (client, established)
    }

    /// Waits until readers were sent all of the text.
    async fn shown(&self, producer: &Producer) {
        let (mut client, _) = self.connect("user=shown").await;
        let view = self.node.view_stream(&lobby(), &producer.stream).await.unwrap().unwrap();
        Text::default().read(&mut client, Some(&view.content)).await;
    }

    async fn open(&self, lease: Lease) -> Producer {
        let open = StreamAct::Open { data: Some(r#"{"reply_to":7}"#.into()), except: None, lease };
        match self.node.stream(lobby(), None, open, "test").await.unwrap() {
            Answer::Opened { stream, fence, at: 0, .. } => {
                Producer { node: self.node.clone(), stream, fence, at: 0 }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn lobby() -> RoomName {
    RoomName::new("lobby").unwrap()
}

/// Writes over the node's methods.
struct Producer {
    node: Node,
    stream: StreamName,
    fence: u64,
    at: u64,
}

impl Producer {
    async fn ask(&self, act: StreamAct) -> Value {
        let answer = self.node.stream(lobby(), Some(self.stream.clone()), act, "test").await.unwrap();
        serde_json::to_value(answer).unwrap()
    }

    async fn append(&mut self, content: &str) -> Value {
        let act = StreamAct::Append { fence: self.fence, at: self.at, content: content.into() };
        let answer = self.ask(act).await;
        self.at = answer["at"].as_u64().unwrap();
        answer
    }

    async fn end(&self) -> u64 {
        let outcome = Outcome::Complete { message: Some(r#"{"tokens":2}"#.into()) };
        let answer = self.ask(StreamAct::End { fence: self.fence, outcome }).await;
        answer["message_id"].as_u64().unwrap()
    }
}

/// One stream, as a reader keeps it.
#[derive(Debug, Default)]
struct Text {
    text: String,
    data: Value,
    end: Option<Value>,
}

impl Text {
    fn hear(&mut self, frame: &Value) {
        assert!(self.end.is_none(), "{frame} behind the end");
        if frame["type"] != "chunk" {
            self.end = Some(frame.clone());
            return;
        }
        let at = usize::try_from(frame["at"].as_u64().unwrap()).unwrap();
        let known = self.text.chars().count();
        assert!(at <= known, "a gap before {frame}");
        self.text.extend(frame["content"].as_str().unwrap().chars().skip(known - at));
        if frame["data"].is_object() {
            self.data = frame["data"].clone();
        }
    }

    /// Hears what the connection gets of the stream until it has the text, or without one until the end.
    async fn read(&mut self, client: &mut Client, text: Option<&str>) {
        loop {
            match text {
                Some(text) if self.text == text => return,
                None if self.end.is_some() => return,
                _ => {}
            }
            let frame = client.frame().await;
            if frame["stream"].is_string() {
                self.hear(&frame);
            }
        }
    }
}

#[tokio::test]
async fn r27_streams_a_member_gets_the_text_as_it_grows() {
    let ground = Ground::start().await;
    let (mut client, _) = ground.connect("user=ann").await;
    let mut producer = ground.open(Lease::DEFAULT).await;
    let first = client.frame().await;
    assert_eq!((&first["type"], &first["at"], &first["content"]), (&json!("chunk"), &json!(0), &json!("")));
    let (mut text, mut whole) = (Text::default(), String::new());
    text.hear(&first);
    assert_eq!(text.data, json!({"reply_to": 7}));
    for word in ["The ", "answer ", "is ", "42", "\u{1f600}"] {
        producer.append(word).await;
        whole.push_str(word);
        // Nothing more is appended: what waits is shown by the node's timer.
        text.read(&mut client, Some(&whole)).await;
    }
    let end = producer.end().await;
    text.read(&mut client, None).await;
    let complete = text.end.unwrap();
    assert_eq!((&complete["type"], &complete["message_id"]), (&json!("complete"), &json!(end)));
    assert_eq!((&complete["room"], &complete["message"]), (&json!("lobby"), &json!({"tokens": 2})));
}

#[tokio::test]
async fn r27_streams_a_reader_that_drops_has_all_of_it_when_it_resumes() {
    let ground = Ground::start().await;
    let (mut client, established) = ground.connect("user=ann").await;
    let mut producer = ground.open(Lease::DEFAULT).await;
    producer.append("The ").await;
    let mut before = Text::default();
    before.read(&mut client, Some("The ")).await;
    drop(client);
    producer.append("answer ").await;
    let resume = format!("user=ann&session={}", established["session"].as_str().unwrap());
    let (mut client, established) = ground.connect(&resume).await;
    assert_eq!(established["resumed"], true);
    // A page that kept its position and not the text has all of it again.
    let mut after = Text::default();
    after.read(&mut client, Some("The answer ")).await;
    assert_eq!(after.data, json!({"reply_to": 7}));
    producer.append("is 42").await;
    producer.end().await;
    after.read(&mut client, None).await;
    assert_eq!((&after.text[..], &after.end.unwrap()["type"]), ("The answer is 42", &json!("complete")));
}

#[tokio::test]
async fn r27_streams_who_joins_late_gets_what_was_said_before() {
    let ground = Ground::start().await;
    let (mut early, _) = ground.connect("user=eve").await;
    let mut producer = ground.open(Lease::DEFAULT).await;
    // In JSON each of the latter takes six bytes: a frame may be larger than what usually waits for a connection.
    let long = ["word ".repeat(40_000), "\u{1}".repeat(200_000)].concat();
    producer.append(&long).await;
    let mut heard = Text::default();
    heard.read(&mut early, Some(&long)).await;
    let mut readers = vec![(early, heard)];
    for user in ["ann", "ben"] {
        let (mut client, _) = ground.connect(&format!("user={user}")).await;
        let mut text = Text::default();
        text.read(&mut client, Some(&long)).await;
        readers.push((client, text));
    }
    producer.append("!").await;
    producer.end().await;
    for (mut client, mut text) in readers {
        text.read(&mut client, None).await;
        assert_eq!(text.text, format!("{long}!"));
        assert_eq!(text.data, json!({"reply_to": 7}));
    }
}

#[tokio::test]
async fn r27_streams_a_socket_producer_is_asked_to_stop() {
    let ground = Ground::start().await;
    let (mut client, _) = ground.connect("user=ann").await;
    let stream = json!("s");
    client.send(json!({"type": "stream_open", "ref": 1, "room": "talk", "stream": stream})).await;
    let opened = client.frame().await;
    assert_eq!((&opened["ok"], &opened["stream"], &opened["at"]), (&json!(true), &stream, &json!(0)));
    let cancel = |node: Node| async move {
        let (room, stream) = (RoomName::new("talk").unwrap(), StreamName::new("s").ok());
        node.stream(room, stream, StreamAct::Cancel, "test").await
    };
    for _ in 0..2 {
        assert!(matches!(cancel(ground.node.clone()).await, Ok(Answer::Done {})));
    }
    let asked = client.frame().await;
    assert_eq!((&asked["type"], &asked["room"]), (&json!("stream_cancel"), &json!("talk")));
    assert_eq!((&asked["stream"], &asked["by"]), (&stream, &json!({"session": null, "user": null})));
    let about = |kind: &str, reference: u64| json!({"type": kind, "ref": reference, "room": "talk", "stream": "s", "fence": opened["fence"]});
    let mut append = about("stream_append", 2);
    (append["at"], append["content"]) = (json!(0), json!("The "));
    client.send(append).await;
    let appended = client.frame().await;
    assert_eq!(
        (&appended["ref"], &appended["at"], &appended["cancel"]),
        (&json!(2), &json!(4), &json!(true))
    );
    let mut end = about("stream_end", 3);
    end["outcome"] = json!("cancelled");
    client.send(end).await;
    let ended = client.frame().await;
    assert_eq!((&ended["ref"], &ended["ok"]), (&json!(3), &json!(true)));
    assert_eq!(cancel(ground.node.clone()).await.unwrap_err().code, ErrorCode::StreamEnded);
}

#[tokio::test]
async fn r27_streams_one_whose_producer_is_gone_ends_by_itself() {
    let ground = Ground::start().await;
    let (mut client, _) = ground.connect("user=ann").await;
    let mut producer = ground.open(Lease::new(Lease::MIN).unwrap()).await;
    producer.append("The ").await;
    let mut text = Text::default();
    text.read(&mut client, None).await;
    assert_eq!((&text.text[..], &text.end.unwrap()["type"]), ("The ", &json!("orphaned")));
    let view = ground.node.view_stream(&lobby(), &producer.stream).await.unwrap().unwrap();
    assert_eq!(view.state, StreamState::Orphaned);
}

#[tokio::test]
async fn r27_streams_are_listed_and_shown() {
    let ground = Ground::start().await;
    assert_eq!(ground.node.open_streams(&lobby()).await.unwrap(), []);
    let mut producer = ground.open(Lease::DEFAULT).await;
    producer.append("The ").await;
    let open = ground.node.open_streams(&lobby()).await.unwrap();
    assert_eq!((open.len(), &open[0].stream, &open[0].content[..]), (1, &producer.stream, ""));
    producer.end().await;
    assert_eq!(ground.node.open_streams(&lobby()).await.unwrap(), []);
    let view = ground.node.view_stream(&lobby(), &producer.stream).await.unwrap().unwrap();
    assert_eq!((view.at, &view.content[..]), (4, "The "));
    let other = StreamName::new("other").unwrap();
    assert_eq!(ground.node.view_stream(&lobby(), &other).await.unwrap(), None);
    let refused = ground.node.stream(lobby(), Some(other), StreamAct::Cancel, "test").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn r27_streams_messages_begin_behind_what_is_said_to_be_lost() {
    let ground = Ground::start().await;
    let (node, room) = (&ground.node, lobby());
    let history = async |after: Option<u64>| node.history(&room, after.map(Offset), 100).await.unwrap();
    let mut producer = ground.open(Lease::DEFAULT).await;
    producer.append("before ").await;
    ground.shown(&producer).await;
    node.clear(&room).await.unwrap();
    let cut = node.room(&room).await.unwrap().message_id;
    producer.append("after").await;
    let text = |history: &History| {
        let envelopes = history.records.iter().map(|record| {
            let envelope = record.message.envelope(&room, Some(record.offset), record.timestamp);
            serde_json::from_slice::<Value>(&envelope).unwrap()
        });
        envelopes.filter_map(|chunk| Some(chunk["content"].as_str()?.to_owned())).collect::<String>()
    };
    ground.shown(&producer).await;
    let whole = history(None).await;
    assert!(whole.reset.is_none() && text(&whole) == "before after");
    for after in (0..cut.0).chain([1_000]) {
        let history = history(Some(after)).await;
        assert_eq!(history.reset.map(|(.., to)| to), Some(cut), "after {after}");
        assert!(history.records.iter().all(|record| record.offset > cut), "after {after}: {history:?}");
        assert_eq!(text(&history), "after", "after {after}");
    }
    let rest = history(Some(cut.0)).await;
    assert!(rest.reset.is_none() && text(&rest) == "after");
}

#[tokio::test]
async fn r27_streams_live_in_named_rooms_alone() {
    let ground = Ground::start().await;
    let own = RoomName::stored("@user/ann").unwrap();
    let open = StreamAct::Open { data: None, except: None, lease: Lease::DEFAULT };
    let asked = ground.node.stream(own.clone(), None, open, "test").await;
    assert_eq!(asked.unwrap_err().code, ErrorCode::RoomInvalid);
    assert_eq!(ground.node.open_streams(&own).await.unwrap_err().code, ErrorCode::RoomInvalid);
    let name = StreamName::new("s").unwrap();
    assert_eq!(ground.node.view_stream(&own, &name).await.unwrap_err().code, ErrorCode::RoomInvalid);
}
