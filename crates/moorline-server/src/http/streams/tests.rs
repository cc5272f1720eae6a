use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use moorline_proto::stream::{Outcome, StreamState, StreamView};
use reqwest::{Body, Client, Method, StatusCode as Status};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::app::App;
use crate::app::tests::serve;
use crate::listen;

const LONG: Duration = Duration::from_secs(20);

struct Served {
    app: App,
    server: listen::Server,
    address: SocketAddr,
    client: Client,
}

impl Served {
    async fn start() -> Self {
        Self::with_settings(None).await
    }

    async fn with_settings(text: Option<&str>) -> Self {
        let folder = std::env::temp_dir().join(format!("moorline-streams-{}", uuid::Uuid::now_v7()));
        let file = text.map(|text| {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("moorline.toml"), text).unwrap();
            folder.join("moorline.toml")
        });
        let (app, server, address) = serve(file).await;
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        let client = Client::builder().no_hickory_dns().no_proxy().tls_certs_only(Vec::new());
        Self { app, server, address, client: client.build().unwrap() }
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> (Status, Value) {
        let url = format!("http://{}/v1/rooms/{path}", self.address);
        let answer = self.client.request(method, url).body(body).timeout(LONG).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    async fn post(&self, path: &str, body: Value) -> (Status, Value) {
        self.ask(Method::POST, path, body.to_string()).await
    }

    async fn get(&self, path: &str) -> (Status, Value) {
        self.ask(Method::GET, path, "").await
    }

    /// The stream `a` of the room `r`, once it is as wanted.
    async fn wait_for(&self, wanted: impl Fn(&StreamView) -> bool) -> StreamView {
        let (room, stream) = (RoomName::new("r").unwrap(), StreamName::new("a").unwrap());
        let wait = async {
            loop {
                let view = self.app.node().view_stream(&room, &stream).await.unwrap();
                if let Some(view) = view.filter(|view| wanted(view)) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap()
    }

    async fn state(&self) -> StreamState {
        self.wait_for(|view| view.state != StreamState::Open).await.state
    }

    async fn connect(&self, head: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{head} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        socket
    }
}

/// A body that is sent part by part.
fn body() -> (mpsc::Sender<Vec<u8>>, Body) {
    let (sender, mut receiver) = mpsc::channel(64);
    let parts =
        futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|part| part.map(io::Result::Ok)));
    (sender, Body::wrap_stream(parts))
}

fn failed(error: &'static str) -> StreamState {
    StreamState::Ended(Outcome::Error { error: Some(Bytes::from_static(error.as_bytes())) })
}

const COMPLETE: StreamState = StreamState::Ended(Outcome::Complete { message: None });

#[tokio::test]
async fn r27_streams_over_http_from_opening_to_the_end() {
    let served = Served::start().await;
    let open = json!({ "stream": "a/b ö%", "data": { "n": 1 }, "lease_ms": 60_000 });
    let (status, opened) = served.post("r/streams", open).await;
    let fence = &opened["fence"];
    assert_eq!(status, Status::CREATED, "{opened}");
    assert_eq!(opened, json!({ "room": "r", "stream": "a/b ö%", "fence": fence, "at": 0 }));
    let path = |rest: &str| format!("r/streams/a%2Fb%20%C3%B6%25{rest}");
    let append = |at: u64, content: &str| json!({ "fence": fence, "at": at, "content": content });
    let (status, answer) = served.post(&path("/append"), append(0, "aé😀")).await;
    assert_eq!((status, answer), (Status::OK, json!({ "at": 3 })));
    let (status, problem) = served.post(&path("/append"), append(4, "x")).await;
    assert_eq!(
        (status, &problem["code"], &problem["at"]),
        (Status::CONFLICT, &json!("at_mismatch"), &json!(3))
    );
    let (status, problem) = served.post(&path("/append"), append(0, "x")).await;
    assert_eq!((status, &problem["code"], problem.get("at")), (Status::CONFLICT, &json!("conflict"), None));
    let (_, list) = served.get("r/streams").await;
    let listed = json!({ "stream": "a/b ö%", "at": 3, "data": { "n": 1 }, "cancel": false });
    assert_eq!(list, json!({ "room": "r", "streams": [listed] }));
    assert_eq!(served.post(&path("/cancel"), Value::Null).await.0, Status::NO_CONTENT);
    let (_, answer) = served.post(&path("/append"), append(3, "")).await;
    assert_eq!(answer, json!({ "at": 3, "cancel": true }));
    let end = json!({ "fence": fence, "outcome": "complete", "message": [1.0] });
    let (status, ended) = served.post(&path("/end"), end.clone()).await;
    assert!(status == Status::OK && ended["message_id"].is_u64(), "{ended}");
    assert_eq!(served.post(&path("/end"), end).await.1, ended);
    let (_, shown) = served.get(&path("")).await;
    assert_eq!((&shown["state"], &shown["content"]), (&json!("complete"), &json!("aé😀")));
    assert_eq!((&shown["message"], &shown["cancel"], &shown["at"]), (&json!([1.0]), &json!(true), &json!(3)));
    let (status, problem) = served.post(&path("/append"), append(3, "x")).await;
    assert_eq!((status, &problem["code"]), (Status::CONFLICT, &json!("stream_ended")));
    assert_eq!(served.get("r/streams").await.1["streams"], json!([]));
    served.server.stop().await;
}

#[tokio::test]
async fn r27_streams_requests_that_cannot_be_are_refused() {
    let served = Served::start().await;
    for (method, path, body, code) in [
        (Method::POST, "@all/streams", "{}", "room_invalid"),
        (Method::GET, "@all/streams", "", "room_invalid"),
        (Method::PUT, "@user%2Fann/streams/a", "x", "room_invalid"),
        (Method::POST, "r/streams", r#"{"stream":"@a"}"#, "id_invalid"),
        (Method::PUT, "r/streams/%40a", "x", "id_invalid"),
        (Method::PUT, "r/streams/%ff", "x", "bad_frame"),
        (Method::PUT, "r/streams/a?at=-1", "x", "bad_frame"),
        (Method::PUT, "r/streams/a?to=1", "x", "bad_frame"),
        (Method::PUT, "r/streams/a?at=1", "x", "not_found"),
        (Method::GET, "r/streams/a", "", "not_found"),
        (Method::POST, "r/streams/a/cancel", "", "not_found"),
        (Method::POST, "r/streams/a/append", r#"{"fence":1,"at":0,"content":""}"#, "not_found"),
        (Method::POST, "r/streams/a/append", r#"[1,0,""]"#, "bad_frame"),
        (Method::POST, "r/streams/a/append", r#"{"fence":1,"at":0,"content":"\ud800"}"#, "bad_frame"),
        (Method::POST, "r/streams/a/end", r#"{"fence":1,"outcome":"done"}"#, "bad_frame"),
        (Method::DELETE, "r/streams/a", "", "not_found"),
    ] {
        let (_, problem) = served.ask(method.clone(), path, body).await;
        assert_eq!(problem["code"], code, "{method} {path} {body}");
    }
    served.server.stop().await;
}

#[tokio::test]
async fn r27_streams_a_body_is_appended_as_it_comes() {
    let served =
        Served::with_settings(Some("[http]\nrequest_timeout_ms = 100\nbody_max_bytes = 1024\n")).await;
    let (parts, body) = body();
    let text = "aé漢😀".repeat(1_000);
    let (put, ()) = tokio::join!(served.ask(Method::PUT, "r/streams/a", body), async {
        let (first, rest) = text.as_bytes().split_at(4_002); // within a character
        parts.try_send(first.to_vec()).unwrap();
        served.wait_for(|view| view.at >= 1_600).await;
        tokio::time::sleep(Duration::from_millis(300)).await; // longer than a request may take
        parts.try_send(rest.to_vec()).unwrap();
        drop(parts);
    });
    assert_eq!((put.0, &put.1["at"]), (Status::OK, &json!(4_000)), "{}", put.1);
    let view = served.wait_for(|view| view.state == COMPLETE).await;
    assert!(view.content == text && put.1["message_id"].is_u64());
    // The length of this one is announced.
    let (status, put) = served.ask(Method::PUT, "r/streams/b?at=0", text.clone()).await;
    assert_eq!((status, &put["at"]), (Status::OK, &json!(4_000)), "{put}");
    assert_eq!(served.get("r/streams/b").await.1["content"], text);
    let (status, put) = served.ask(Method::PUT, "r/streams/c", "").await;
    assert_eq!((status, &put["at"]), (Status::OK, &json!(0)));
    served.server.stop().await;
}

#[tokio::test]
async fn r27_streams_a_body_that_is_no_text_ends_the_stream_as_error() {
    for bytes in [&b"ab\xffcd"[..], b"ab\xe6\xbc"] {
        let served = Served::start().await;
        let (status, problem) = served.ask(Method::PUT, "r/streams/a", bytes.to_vec()).await;
        assert_eq!((status, &problem["code"]), (Status::BAD_REQUEST, &json!("bad_frame")));
        assert!(problem["detail"].as_str().unwrap().contains("byte 2"), "{problem}");
        assert_eq!(served.state().await, failed("\"not_utf8\""));
        assert_eq!(served.get("r/streams/a").await.1["content"], "ab");
        served.server.stop().await;
    }
}

#[tokio::test]
async fn r27_streams_a_body_that_is_too_long_is_refused_within_it() {
    let served = Served::start().await;
    for at in ["a", "b?at=0"] {
        let (status, problem) =
            served.ask(Method::PUT, &format!("r/streams/{at}"), vec![b'x'; 10_000_000]).await;
        assert_eq!((status, &problem["code"]), (Status::PAYLOAD_TOO_LARGE, &json!("stream_too_big")));
    }
    assert_eq!(served.state().await, failed("\"too_big\""));
    served.server.stop().await;
}

#[tokio::test]
async fn r27_streams_a_body_that_breaks_off_ends_the_stream_as_error() {
    for rest in ["", "5\r\nab", "what is this"] {
        let served = Served::start().await;
        let mut socket = served.connect("PUT /v1/rooms/r/streams/a").await;
        socket.write_all(b"\r\n3\r\nabc\r\n").await.unwrap();
        served.wait_for(|view| view.content == "abc").await;
        socket.write_all(rest.as_bytes()).await.unwrap();
        drop(socket);
        assert_eq!(served.state().await, failed("\"body_incomplete\""), "{rest:?}");
        served.server.stop().await;
    }
}

#[tokio::test]
async fn r27_streams_a_body_stops_where_somebody_asks() {
    let served = Served::start().await;
    let (parts, body) = body();
    let (put, ()) = tokio::join!(served.ask(Method::PUT, "r/streams/a", body), async {
        parts.try_send(b"abc".to_vec()).unwrap();
        served.wait_for(|view| view.at == 3).await;
        assert_eq!(served.post("r/streams/a/cancel", Value::Null).await.0, Status::NO_CONTENT);
    });
    // The body had not ended.
    drop(parts);
    assert_eq!((put.0, &put.1["code"]), (Status::CONFLICT, &json!("stream_cancelled")), "{}", put.1);
    assert_eq!(served.state().await, StreamState::Ended(Outcome::Cancelled));
    served.server.stop().await;
}

#[tokio::test]
async fn r27_streams_one_that_is_open_is_gone_on_with_by_its_length_alone() {
    let served = Served::start().await;
    let (_, opened) = served.post("r/streams", json!({ "stream": "a" })).await;
    let append = |fence: &Value| json!({ "fence": fence, "at": 0, "content": "abc" });
    served.post("r/streams/a/append", append(&opened["fence"])).await;
    let (status, problem) = served.ask(Method::PUT, "r/streams/a", "x").await;
    assert_eq!((status, &problem["code"]), (Status::CONFLICT, &json!("conflict")));
    let (status, problem) = served.ask(Method::PUT, "r/streams/a?at=2", "x").await;
    assert_eq!(
        (status, &problem["code"], &problem["at"]),
        (Status::CONFLICT, &json!("at_mismatch"), &json!(3))
    );
    let (status, _) = served.post("r/streams/a/append", append(&opened["fence"])).await;
    assert_eq!(status, Status::OK, "what was refused leaves the stream to its holder");
    let (status, put) = served.ask(Method::PUT, "r/streams/a?at=3", "déf").await;
    assert_eq!((status, &put["at"]), (Status::OK, &json!(6)), "{put}");
    assert_eq!(served.wait_for(|view| view.state == COMPLETE).await.content, "abcdéf");
    for path in ["r/streams/a", "r/streams/a?at=6"] {
        let (status, problem) = served.ask(Method::PUT, path, "x").await;
        assert_eq!((status, &problem["code"]), (Status::CONFLICT, &json!("stream_ended")), "{path}");
    }
    served.server.stop().await;
}

#[tokio::test]
async fn r27_streams_of_two_that_begin_the_same_at_once_one_does() {
    let served = Served::start().await;
    for round in 0..20 {
        let path = format!("r/streams/{round}");
        let (one, other) =
            tokio::join!(served.ask(Method::PUT, &path, "one"), served.ask(Method::PUT, &path, "two"));
        let mut statuses = [one.0, other.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [Status::OK, Status::CONFLICT], "{} {}", one.1, other.1);
    }
    served.server.stop().await;
}

#[tokio::test]
async fn r27_streams_one_that_was_taken_over_is_left() {
    let served = Served::start().await;
    let (parts, body) = body();
    let (put, opened) = tokio::join!(served.ask(Method::PUT, "r/streams/a", body), async {
        parts.try_send(b"abc".to_vec()).unwrap();
        served.wait_for(|view| view.at == 3).await;
        served.post("r/streams", json!({ "stream": "a" })).await.1
    });
    assert_eq!((put.0, &put.1["code"]), (Status::CONFLICT, &json!("fenced")), "{}", put.1);
    let append = json!({ "fence": opened["fence"], "at": 3, "content": "d" });
    assert_eq!(served.post("r/streams/a/append", append).await.1, json!({ "at": 4 }));
    served.server.stop().await;
}

#[tokio::test]
async fn r27_streams_a_server_that_drains_leaves_the_stream_open() {
    let served = Served::start().await;
    let (parts, body) = body();
    let (put, ()) = tokio::join!(served.ask(Method::PUT, "r/streams/a", body), async {
        parts.try_send(b"abc".to_vec()).unwrap();
        served.wait_for(|view| view.at == 3).await;
        served.app.node().drain().await;
    });
    assert_eq!((put.0, &put.1["code"]), (Status::SERVICE_UNAVAILABLE, &json!("unavailable")), "{}", put.1);
    assert_eq!(put.1["at"], 3);
    assert_eq!(served.wait_for(|_| true).await.state, StreamState::Open);
    drop(parts);
    served.server.stop().await;
}

/// Reads until what was read ends with `end`.
async fn read_to(socket: &mut TcpStream, end: &str) -> String {
    let read = async {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            read.push(socket.read_u8().await.unwrap());
        }
        String::from_utf8(read).unwrap()
    };
    tokio::time::timeout(LONG, read).await.unwrap()
}

#[tokio::test]
async fn r27_streams_who_waits_for_leave_to_send_is_let_or_refused_before() {
    let served = Served::start().await;
    let mut socket = served.connect("PUT /v1/rooms/r/streams/a").await;
    socket.write_all(b"Expect: 100-continue\r\n\r\n").await.unwrap();
    assert_eq!(read_to(&mut socket, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"3\r\nabc\r\n0\r\n\r\n").await.unwrap();
    assert!(read_to(&mut socket, "\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    let mut socket = served.connect("PUT /v1/rooms/r/streams/a").await;
    socket.write_all(b"Expect: 100-continue\r\n\r\n").await.unwrap();
    assert!(read_to(&mut socket, "\r\n\r\n").await.starts_with("HTTP/1.1 409 "));
    served.server.stop().await;
}
