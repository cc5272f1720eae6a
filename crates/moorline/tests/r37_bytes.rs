//! What a connection and a delivery cost a whole node of the allocator: sockets, tasks, shard, store and counts. The clients are bare sockets,
//! which hold none.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail where it stands")]

use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use moorline::transport::{UpgradeError, axum::Upgrade};
use moorline::{Config, Endpoint, Identity, Limits, Node, Publish, Rate, RoomName, UserId};
use stats_alloc::{INSTRUMENTED_SYSTEM, Stats, StatsAlloc};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Few enough for 1,024 descriptors, with both ends of each connection here.
const CONNECTIONS: usize = 400;
/// What comes once, for all of them.
const FIRST: usize = 40;
/// More messages than a room keeps by default.
const WARM: usize = 1_100;
/// What one connection may cost, in a room and in everyone's: little more than what was measured.
const CONNECTION_BYTES: isize = 1_410;

/// The bytes that are held now.
fn held() -> isize {
    let Stats { bytes_allocated, bytes_deallocated, .. } = ALLOCATOR.stats();
    bytes_allocated.cast_signed() - bytes_deallocated.cast_signed()
}

async fn room(
    State(node): State<Node>,
    Path((room, user)): Path<(String, String)>,
    upgrade: Upgrade,
) -> Result<Response, UpgradeError> {
    let identity = UserId::new(&user).ok().map(Identity::user);
    let address = Some(Ipv4Addr::LOCALHOST.into());
    let room = RoomName::new(&room).ok();
    upgrade.accept(&node, Endpoint { room, identity, address, ..Endpoint::default() })
}

/// A node with the rates that the server has by default.
fn start(runtime: &Runtime) -> (Node, SocketAddr) {
    let rate = |per_s, burst| Some(Rate { per_s: number(per_s), burst: number(burst) });
    let limits =
        Limits { connection_messages: rate(50, 200), user_messages: rate(200, 800), ..Limits::default() };
    runtime.block_on(async {
        let node = Node::in_memory(Config { shards: 1, limits, ..Config::default() }).unwrap();
        let router = Router::new().route("/ws/{room}/{user}", get(room)).with_state(node.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (node, address)
    })
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// One more user's connection, established and in the room.
fn connect(address: SocketAddr, user: usize) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!(
        "GET /ws/lobby/user-{user} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    read_until(&mut socket, "connection_established");
    socket
}

/// Reads until a text came, which is the last thing to come.
fn read_until(socket: &mut TcpStream, text: &str) {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !seen.windows(text.len()).any(|window| window == text.as_bytes()) {
        let count = socket.read(&mut buffer).expect("what is waited for comes");
        assert!(count > 0, "the connection ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
}

/// Publishes so many to everyone, who read them.
fn publish(runtime: &Runtime, node: &Node, sockets: &mut [TcpStream], count: usize, last: &str) {
    let to_lobby = |text: &str| {
        let publish = format!(r#"{{"to":{{"room":"lobby"}},"message":{{"type":"said","text":"{text}"}}}}"#);
        let publish = Publish::parse(&publish).unwrap();
        runtime.block_on(node.publish(publish, "test")).unwrap();
    };
    (1..count).for_each(|_| to_lobby("again"));
    to_lobby(last);
    sockets.iter_mut().for_each(|socket| read_until(socket, last));
}

/// What is held once nothing more is let go of.
fn held_at_rest() -> isize {
    let (begun, mut least, mut since) = (Instant::now(), held(), Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never comes to rest");
        std::thread::sleep(Duration::from_millis(5));
        if held() < least {
            (least, since) = (held(), Instant::now());
        }
    }
    least
}

/// The tests of this file count for the whole process, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

fn my_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn r37_an_idle_connection_costs_few_bytes_and_no_more_after_traffic() {
    let _turn = my_turn();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (node, address) = start(&runtime);
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(CONNECTIONS);
    sockets.extend((0..FIRST).map(|user| connect(address, user)));
    publish(&runtime, &node, &mut sockets, WARM, "warmed");
    let before = held_at_rest();
    sockets.extend((FIRST..CONNECTIONS).map(|user| connect(address, user)));
    let each = |held: isize| (held - before) / (CONNECTIONS - FIRST).cast_signed();
    let idle = each(held_at_rest());
    publish(&runtime, &node, &mut sockets, 100, "over");
    let after = each(held_at_rest());
    println!("{idle} bytes each, {after} after traffic");
    assert!(idle <= CONNECTION_BYTES, "{idle} bytes for each connection");
    assert!(after * 100 <= idle * 105, "{after} bytes after traffic, {idle} before");
}

/// What a broadcast of so many messages allocates, until everyone has all of them.
fn allocations(runtime: &Runtime, node: &Node, sockets: &mut [TcpStream], messages: usize) -> usize {
    let before = ALLOCATOR.stats().allocations;
    for number in 1..=messages {
        let text = if number == messages { "!" } else { "again" };
        let publish = format!(r#"{{"to":{{"room":"lobby"}},"message":{{"type":"said","text":"{text}"}}}}"#);
        runtime.block_on(node.publish(Publish::parse(&publish).unwrap(), "test")).unwrap();
    }
    // Read without a buffer that grows: nothing else has this mark.
    let mut buffer = [0; 4096];
    for socket in sockets {
        let mut has_all = false;
        while !has_all {
            let count = socket.read(&mut buffer).expect("what is waited for comes");
            assert!(count > 0, "the connection ended");
            has_all = buffer[..count].contains(&b'!');
        }
    }
    ALLOCATOR.stats().allocations - before
}

#[test]
fn r37_a_delivery_allocates_nothing() {
    const MESSAGES: usize = 200;
    let _turn = my_turn();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (node, address) = start(&runtime);
    let mut sockets: Vec<TcpStream> = (0..FIRST).map(|user| connect(address, user)).collect();
    publish(&runtime, &node, &mut sockets, WARM, "warmed");
    let few = allocations(&runtime, &node, &mut sockets, MESSAGES);
    sockets.extend((FIRST..CONNECTIONS).map(|user| connect(address, user)));
    publish(&runtime, &node, &mut sockets, FIRST, "warmed");
    let many = allocations(&runtime, &node, &mut sockets, MESSAGES);
    let deliveries = (CONNECTIONS - FIRST) * MESSAGES;
    println!("{few} allocations for {FIRST} receivers, {many} for {CONNECTIONS}");
    // How many messages leave together is the scheduler's choice, and each time costs a few.
    assert!(many.saturating_sub(few) * 50 < deliveries, "{few} allocations for few, {many} for many");
}
