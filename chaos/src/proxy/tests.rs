use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// How long a test waits for what must not happen, and for what must.
const A_MOMENT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(10);

/// A client and its server, with the proxy between them.
async fn connected() -> (Proxy, TcpStream, TcpStream, Arc<Link>) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(address) = server.local_addr().unwrap() else { unreachable!("bound to IPv4") };
    let proxy = Proxy::start(address).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut at_server, _) = server.accept().await.unwrap();
    client.write_all(b"!").await.unwrap();
    assert_eq!(at_server.read_u8().await.unwrap(), b'!');
    let link = proxy.link(client.local_addr().unwrap()).unwrap();
    (proxy, client, at_server, link)
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    tokio::time::timeout(LONG, stream.read_exact(&mut bytes)).await.expect("in time").unwrap();
    bytes
}

#[tokio::test]
async fn bytes_pass_both_ways_whole_in_slices_and_throttled() {
    let (_proxy, mut client, mut server, link) = connected().await;
    for flow in [Flow::Pass, Flow::Slice(3), Flow::Throttle(100_000)] {
        link.set(flow, flow);
        let sent: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        client.write_all(&sent).await.unwrap();
        assert!(read(&mut server, sent.len()).await == sent, "{flow:?}");
        server.write_all(&sent).await.unwrap();
        assert!(read(&mut client, sent.len()).await == sent, "{flow:?}");
    }
}

#[tokio::test]
async fn a_held_connection_tells_neither_bytes_nor_its_end_until_it_is_let_go() {
    let (_proxy, mut client, mut server, link) = connected().await;
    link.set(Flow::Hold, Flow::Hold);
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    let mut byte = [0];
    assert!(tokio::time::timeout(A_MOMENT, server.read(&mut byte)).await.is_err());
    link.set(Flow::Pass, Flow::Pass);
    assert_eq!(read(&mut server, 4).await, b"late");
    assert_eq!(server.read(&mut byte).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_comes_after_so_many_bytes_and_is_a_reset() {
    let (_proxy, mut client, mut server, link) = connected().await;
    link.set(Flow::Pass, Flow::Cut(3));
    server.write_all(b"abcdef").await.unwrap();
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(LONG, client.read_to_end(&mut bytes)).await.expect("in time");
    assert!(ended.is_err() && bytes.len() <= 3, "{ended:?} after {bytes:?}");
}

#[tokio::test]
async fn a_reset_reaches_both_sides_at_once() {
    let (_proxy, mut client, mut server, link) = connected().await;
    link.set(Flow::Reset, Flow::Pass);
    let mut byte = [0];
    assert!(tokio::time::timeout(LONG, client.read(&mut byte)).await.expect("in time").is_err());
    assert!(tokio::time::timeout(LONG, server.read(&mut byte)).await.expect("in time").is_err());
}

#[tokio::test]
async fn a_half_closed_connection_goes_on_in_the_other_direction() {
    let (_proxy, mut client, mut server, link) = connected().await;
    link.set(Flow::Pass, Flow::HalfClose);
    let mut byte = [0];
    assert_eq!(tokio::time::timeout(LONG, client.read(&mut byte)).await.expect("in time").unwrap(), 0);
    client.write_all(b"on").await.unwrap();
    assert_eq!(read(&mut server, 2).await, b"on");
}
