use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use moorline_proto::stream::{Outcome, StreamState, StreamView};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::app::App;
use crate::app::tests::serve;

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

fn names() -> (RoomName, StreamName) {
    (RoomName::new("r/1").unwrap(), StreamName::new("a b").unwrap())
}

type Parts = mpsc::Sender<io::Result<Bytes>>;

/// Input that comes part by part.
fn parts() -> (Parts, Incoming<impl futures_util::Stream<Item = io::Result<Bytes>> + Unpin>) {
    let (sender, mut receiver) = mpsc::channel(64);
    let source = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, Inflow::new(source, TAKE_MAX))
}

fn put(parts: &Parts, bytes: &[u8]) {
    parts.try_send(Ok(Bytes::copy_from_slice(bytes))).unwrap();
}

/// The stream, once it is as wanted.
async fn wait_for(app: &App, wanted: impl Fn(&StreamView) -> bool) -> StreamView {
    let (room, stream) = names();
    let wait = async {
        loop {
            let view = app.node().view_stream(&room, &stream).await.unwrap();
            if let Some(view) = view.filter(|view| wanted(view)) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap()
}

async fn ended(app: &App) -> StreamView {
    wait_for(app, |view| view.state != StreamState::Open).await
}

fn error_of(written: anyhow::Result<Written>) -> String {
    format!("{:#}", written.unwrap_err())
}

fn failed(error: &'static str) -> StreamState {
    StreamState::Ended(Outcome::Error { error: Some(Bytes::from_static(error.as_bytes())) })
}

const COMPLETE: StreamState = StreamState::Ended(Outcome::Complete { message: None });
const CANCELLED: StreamState = StreamState::Ended(Outcome::Cancelled);

#[tokio::test]
async fn r27_streams_what_is_piped_in_is_a_stream_as_it_comes() {
    let (app, server, address) = serve(None).await;
    let (client, (room, stream)) = (client(address), names());
    let (parts, incoming) = parts();
    let text = "aé漢😀".repeat(10_000);
    let producer = Producer::new(&client, &room, &stream);
    let (written, ()) = tokio::join!(write(producer, || incoming, pending()), async {
        let (first, rest) = text.as_bytes().split_at(2); // within a character
        put(&parts, first);
        wait_for(&app, |view| view.content == "a").await;
        put(&parts, rest);
        drop(parts);
    });
    let view = ended(&app).await;
    assert_eq!((written.unwrap().0, view.at, view.state), (40_000, 40_000, COMPLETE));
    assert!(view.content == text);
    server.stop().await;
}

#[tokio::test]
async fn r27_streams_the_command_ends_as_cancelled_where_somebody_asks() {
    let (app, server, address) = serve(None).await;
    let (client, (room, stream)) = (client(address), names());
    let (parts, incoming) = parts();
    let producer = Producer::new(&client, &room, &stream);
    let (written, ()) = tokio::join!(write(producer, || incoming, pending()), async {
        put(&parts, b"abc");
        wait_for(&app, |view| view.at == 3).await;
        client.send(&["v1", "rooms", "r/1", "streams", "a b", "cancel"], String::new()).await.unwrap();
    });
    assert!(error_of(written).contains("a reader asked to stop"));
    assert_eq!(ended(&app).await.state, CANCELLED);
    drop(parts);
    server.stop().await;
}

#[tokio::test]
async fn r27_streams_the_command_ends_as_cancelled_when_it_is_interrupted() {
    let (app, server, address) = serve(None).await;
    let (client, (room, stream)) = (client(address), names());
    let (parts, incoming) = parts();
    let (interrupt, interrupted) = oneshot::channel::<()>();
    let producer = Producer::new(&client, &room, &stream);
    let stopped = async { drop(interrupted.await) };
    let (written, ()) = tokio::join!(write(producer, || incoming, stopped), async {
        put(&parts, b"abc");
        wait_for(&app, |view| view.at == 3).await;
        interrupt.send(()).unwrap();
    });
    assert!(written.unwrap_err().is::<Interrupted>());
    assert_eq!(ended(&app).await.state, CANCELLED);
    server.stop().await;
}

#[tokio::test]
async fn r27_streams_input_that_is_no_text_or_fails_ends_it_as_error() {
    let cut = || io::Error::from(io::ErrorKind::ConnectionReset);
    for (bad, said, state) in [
        (Ok(Bytes::from_static(b"d\xff")), "byte 4", failed("\"not_utf8\"")),
        (Err(cut()), "standard input", failed("\"input_failed\"")),
    ] {
        let (app, server, address) = serve(None).await;
        let (client, (room, stream)) = (client(address), names());
        let (parts, incoming) = parts();
        put(&parts, b"abc");
        parts.try_send(bad).unwrap();
        let producer = Producer::new(&client, &room, &stream);
        let why = error_of(write(producer, || incoming, pending()).await);
        assert!(why.contains(said), "{why}");
        let view = ended(&app).await;
        assert!(view.state == state && view.content.starts_with("abc"), "{view:?}");
        server.stop().await;
    }
}

#[tokio::test]
async fn r27_streams_what_is_too_long_or_taken_over_is_said() {
    let (app, server, address) = serve(None).await;
    let (client, (room, stream)) = (client(address), names());
    let (parts, incoming) = parts();
    put(&parts, "x".repeat(1024 * 1024 + 1).as_bytes());
    let producer = Producer::new(&client, &room, &stream);
    let why = error_of(write(producer, || incoming, pending()).await);
    assert!(why.starts_with("stream_too_big"), "{why}");
    assert_eq!(ended(&app).await.state, failed("\"too_big\""));
    let why = error_of(write(Producer::new(&client, &room, &stream), || parts_of(b"x"), pending()).await);
    assert!(why.starts_with("stream_ended"), "{why}");
    server.stop().await;
}

fn parts_of(bytes: &[u8]) -> Incoming<impl futures_util::Stream<Item = io::Result<Bytes>> + Unpin> {
    let (sender, incoming) = parts();
    put(&sender, bytes);
    incoming
}

#[tokio::test]
async fn r27_streams_the_command_goes_on_with_what_is_open() {
    let (app, server, address) = serve(None).await;
    let (client, (room, stream)) = (client(address), names());
    let (parts, incoming) = parts();
    let first = Producer::new(&client, &room, &stream);
    let (former, latter) = tokio::join!(write(first, || incoming, pending()), async {
        put(&parts, "é".as_bytes());
        wait_for(&app, |view| view.at == 1).await;
        let second = Producer::new(&client, &room, &stream);
        write(second, || parts_of(b"bc"), pending()).await
    });
    assert_eq!(latter.unwrap().0, 3);
    let why = error_of(former);
    assert!(why.starts_with("stream_ended") || why.starts_with("fenced"), "{why}");
    let view = ended(&app).await;
    assert_eq!((view.content.as_str(), view.state), ("ébc", COMPLETE));
    server.stop().await;
}

/// Something between client and server that takes requests to the server, and loses the answers whose numbers are given: each with
/// its connection.
async fn lossy(server: SocketAddr, lost: &'static [usize]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&answers);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(between(socket, server, lost, Arc::clone(&counted)));
        }
    });
    (address, answers)
}

async fn between(mut client: TcpStream, server: SocketAddr, lost: &[usize], answers: Arc<AtomicUsize>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(count) if count > 0 => server.write_all(&up[..count]).await.unwrap(),
                _ => return,
            },
            read = server.read(&mut down) => match read {
                // An answer of ours comes in one piece.
                Ok(count) if count > 0 && !lost.contains(&answers.fetch_add(1, Ordering::Relaxed)) => {
                    client.write_all(&down[..count]).await.unwrap();
                }
                _ => return,
            },
        }
    }
}

#[tokio::test]
async fn r27_streams_lost_answers_lose_and_repeat_nothing() {
    let (app, server, address) = serve(None).await;
    // The opening is answered; then several appends and the end are not.
    let (address, answers) = lossy(address, &[1, 2, 4, 7, 8, 9, 11]).await;
    let (client, (room, stream)) = (client(address), names());
    let (parts, incoming) = parts();
    let text = "aé漢😀".repeat(10);
    let producer = Producer::new(&client, &room, &stream);
    let (written, ()) = tokio::join!(write(producer, || incoming, pending()), async {
        for (count, part) in text.as_bytes().chunks(33).enumerate() {
            put(&parts, part);
            let so_far =
                std::str::from_utf8(&text.as_bytes()[..33 * count]).map_or(0, |text| text.chars().count());
            wait_for(&app, |view| view.at >= so_far as u64).await;
        }
        drop(parts);
    });
    let view = ended(&app).await;
    assert_eq!((view.content, view.state), (text, COMPLETE));
    assert_eq!(written.unwrap().0, 40);
    assert!(answers.load(Ordering::Relaxed) > 4);
    server.stop().await;
}

#[tokio::test]
async fn r27_streams_a_server_that_is_not_there_is_told_at_once() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (client, (room, stream)) = (client(address), names());
    let producer = Producer::new(&client, &room, &stream);
    let written = tokio::time::timeout(LONG, write(producer, || parts_of(b"x"), pending())).await.unwrap();
    assert!(error_of(written).contains("cannot reach"));
}
