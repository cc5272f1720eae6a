use std::io;
use std::net::Ipv4Addr;

use axum::routing::get;
use axum::{Extension, Router};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::proxy::PeerAddress;
use crate::tls::tests::{Folder, Pair, pair};

async fn start(tls: Option<Arc<Tls>>, head_timeout: Duration) -> (Server, SocketAddr) {
    let listener = open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = |Extension(peer): Extension<PeerAddress>| async move { format!("{} seen", peer.0) };
    let router = Router::new().route("/", get(seen));
    let head = Head { max_bytes: 16_384, timeout: head_timeout };
    let places = Places::new(Most::new(64, 64), Vec::new());
    (Server::within(head, listener, router.into(), tls, places), address)
}

async fn tls_server(folder: &Folder, pair: &Pair, head_timeout: Duration) -> (Server, SocketAddr, Arc<Tls>) {
    folder.put(pair);
    let tls = Arc::new(Tls::load(&folder.settings()).unwrap());
    let (server, address) = start(Some(Arc::clone(&tls)), head_timeout).await;
    (server, address, tls)
}

/// A client that trusts this certificate alone, and offers these protocols.
async fn connect(address: SocketAddr, trusts: &Pair, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trusts.der.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b" seen") {
        let count = stream.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "the end, after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(answer).unwrap()
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_plain_request_knows_where_it_comes_from() {
    let (server, address) = start(None, LONG).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let own = stream.local_addr().unwrap();
    assert!(ask(stream).await.ends_with(&format!("\r\n\r\n{own} seen")));
    server.stop().await;
}

#[tokio::test]
async fn r36_a_request_over_tls_knows_where_it_comes_from() {
    let (folder, pair) = (Folder::new(), pair(2020, 2200));
    let (server, address, _tls) = tls_server(&folder, &pair, LONG).await;
    let mut stream = connect(address, &pair, &[b"http/1.1"]).await.unwrap();
    let own = stream.get_ref().0.local_addr().unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(ask(&mut stream).await.ends_with(&format!("\r\n\r\n{own} seen")));
    server.stop().await;
}

#[tokio::test]
async fn r36_a_reload_is_for_handshakes_from_then_on() {
    let (folder, first, second) = (Folder::new(), pair(2020, 2200), pair(2020, 2200));
    let (server, address, tls) = tls_server(&folder, &first, LONG).await;
    let mut open = connect(address, &first, &[]).await.unwrap();
    folder.put(&second);
    tls.take_over(&Tls::load(&folder.settings()).unwrap());
    assert!(connect(address, &first, &[]).await.is_err());
    ask(connect(address, &second, &[]).await.unwrap()).await;
    ask(&mut open).await;
    server.stop().await;
}

#[tokio::test]
async fn r36_bad_handshakes_end_alone() {
    let (folder, pair) = (Folder::new(), pair(2020, 2200));
    let (server, address, _tls) = tls_server(&folder, &pair, LONG).await;
    assert!(connect(address, &pair, &[b"h2"]).await.is_err());
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Reset or ended: either is an end.
    let _ended = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"));
    ask(connect(address, &pair, &[]).await.unwrap()).await;
    server.stop().await;
}

#[tokio::test]
async fn r36_a_handshake_that_does_not_go_on_holds_nobody_up_and_ends() {
    let (folder, pair) = (Folder::new(), pair(2020, 2200));
    let (server, address, _tls) = tls_server(&folder, &pair, Duration::from_millis(500)).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    ask(connect(address, &pair, &[]).await.unwrap()).await;
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let (folder, pair) = (Folder::new(), pair(2020, 2200));
    let (server, address, _tls) = tls_server(&folder, &pair, LONG).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    ask(connect(address, &pair, &[]).await.unwrap()).await;
    server.stop().await;
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn an_inherited_socket_is_accepted_on() {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), Some(socket)).unwrap();
    assert_eq!(listener.local_addr().unwrap(), address);
    let client = TcpStream::connect(address).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
}
