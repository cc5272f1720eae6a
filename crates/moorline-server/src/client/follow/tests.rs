use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::Parser;
use moorline::stream::{Lease, Outcome};
use moorline::{Answer, Node, Publish, SessionFilter, StreamAct};
use moorline_proto::id::StreamName;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::app::tests::serve;
use crate::client::ServerArgs;

const LONG: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    server: ServerArgs,
}

fn client(address: SocketAddr) -> Server {
    let line = Line::parse_from(["", "--url", &format!("http://{address}")]);
    Server::new(&line.server).unwrap()
}

fn room() -> RoomName {
    RoomName::new("r").unwrap()
}

/// Asks something of the stream `a`.
async fn ask(node: &Node, act: StreamAct) -> Answer {
    let stream = StreamName::new("a").unwrap();
    node.stream(room(), Some(stream), act, "test").await.unwrap()
}

async fn open(node: &Node) -> u64 {
    let act = StreamAct::Open { data: None, except: None, lease: Lease::DEFAULT };
    let Answer::Opened { fence, .. } = ask(node, act).await else { panic!("not opened") };
    fence
}

async fn append(node: &Node, fence: u64, at: u64, content: &str) {
    ask(node, StreamAct::Append { fence, at, content: content.into() }).await;
}

async fn complete(node: &Node, fence: u64) {
    ask(node, StreamAct::End { fence, outcome: Outcome::Complete { message: None } }).await;
}

/// Something between client and server that cuts their connections when it is told to.
async fn between(server: SocketAddr) -> (SocketAddr, Arc<Notify>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, cut) = (listener.local_addr().unwrap(), Arc::new(Notify::new()));
    let told = Arc::clone(&cut);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    () = told.notified() => {}
                }
            });
        }
    });
    (address, cut)
}

/// Type, beginning and text of each message until a stream's end; whether each connection was resumed.
async fn told(follower: &mut Follower<'_>, until: &str) -> (Vec<String>, Vec<bool>) {
    let (mut messages, mut resumptions) = (Vec::new(), Vec::new());
    let follow = async {
        loop {
            match follower.next().await.unwrap() {
                Seen::Message(text) => {
                    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                    let kind = message["type"].as_str().unwrap().to_owned();
                    let content = message["content"].as_str().unwrap_or_default();
                    messages
                        .push(message["at"].as_u64().map_or(kind.clone(), |at| format!("{at} {content}")));
                    if text.contains(until) {
                        return;
                    }
                }
                Seen::Connected { resumed } => resumptions.push(resumed),
                _ => {}
            }
        }
    };
    tokio::time::timeout(LONG, follow).await.unwrap();
    (messages, resumptions)
}

fn subject(start: Start) -> Subject {
    Subject { room: room(), user: "ann".to_owned(), start }
}

#[tokio::test]
async fn r27_streams_a_text_is_told_once_also_by_another_session() {
    let (app, server, address) = serve(None).await;
    let node = app.node();
    let (address, cut) = between(address).await;
    let (client, tokens) = (client(address), TokenSource::Nobody);
    let fence = open(node).await;
    append(node, fence, 0, "aé").await;
    let mut follower = Follower::new(&client, &tokens, subject(Start::Now)).unwrap();
    let (messages, _) = told(&mut follower, "aé").await;
    assert_eq!(messages.last().unwrap(), "0 aé");
    for is_session_lost in [false, true] {
        cut.notify_waiters();
        if is_session_lost {
            end_absent_session(node).await;
        }
        let (at, text) = if is_session_lost { (4, "ef") } else { (2, "cd") };
        append(node, fence, at, text).await;
        let (messages, resumptions) = told(&mut follower, text).await;
        assert_eq!(messages, [format!("{at} {text}")]);
        assert_eq!(resumptions, [!is_session_lost]);
    }
    complete(node, fence).await;
    assert_eq!(told(&mut follower, "complete").await.0, ["complete"]);
    follower.leave().await;
    server.stop().await;
}

/// Waits until the only session is absent, and ends it.
async fn end_absent_session(node: &Node) {
    let wait = async {
        loop {
            let session = node.sessions(SessionFilter::default()).await.items.into_iter().next().unwrap();
            if !session.connected {
                node.disconnect(&session.session).await.unwrap();
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap();
}

#[tokio::test]
async fn r27_streams_from_a_message_on_a_text_is_told_from_its_beginning() {
    let (app, server, address) = serve(None).await;
    let node = app.node();
    let (client, tokens) = (client(address), TokenSource::Nobody);
    let publish = || async {
        let publish = Publish::parse(r#"{"to":{"room":"r"},"message":{"type":"x"}}"#).unwrap();
        node.publish(publish, "test").await.unwrap();
    };
    publish().await;
    let fence = open(node).await;
    append(node, fence, 0, "abc").await;
    publish().await;
    // After the first message, which has the number 1; the stream was open then or began later.
    for start in [Start::After(Offset(1)), Start::Oldest, Start::Now] {
        let mut follower = Follower::new(&client, &tokens, subject(start)).unwrap();
        let (messages, _) = told(&mut follower, "abc").await;
        let expected: &[&str] = if start == Start::Oldest { &["x", "0 abc"] } else { &["0 abc"] };
        assert_eq!(messages, expected, "{start:?}");
        follower.leave().await;
    }
    server.stop().await;
}
