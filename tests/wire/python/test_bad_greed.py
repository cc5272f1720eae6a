"""One peer that wants too much: the others do not notice, and nothing grows without bound."""

import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed

from client import SUBPROTOCOL
from raw import tcp
from waiting import eventually, unique

pytestmark = pytest.mark.alone


def test_r06_ending_a_session_expires_no_other(start, connect):
    server, user = start({"session.absent_per_user_max": 3}), unique("ann")
    away = []
    for _ in range(3):
        client = connect(server, user=user)
        client.drop()
        away.append(client)
    staying = connect(server, user=user)
    assert server.http("DELETE", f"/v1/sessions/{staying.session}").status == 204
    assert sorted(server.get(f"/v1/users/{user}")["sessions"]) == sorted(client.session for client in away)


def test_r06_many_that_go_at_once_leave_no_more_than_the_bound(start, connect):
    server, user = start({"session.absent_per_user_max": 4, "session.per_user_max": 50}), unique("ann")
    clients = [connect(server, user=user) for _ in range(40)]
    for client in clients:
        client.cut()
    eventually(lambda: server.get("/v1/stats")["connections"] == 0)
    eventually(lambda: server.get("/v1/stats")["absent"] == 4)


def test_r01_a_token_that_was_never_the_session_s_does_not_become_its(server, connect):
    user, session = unique("ann"), unique("s")
    connect(server, user=user, session=session).drop()
    for junk in ("junk", "x" * 200):
        owner = connect(server, user=user, session=session, resume_token=junk)
        # The owner has its session, but what it holds is of an earlier one of that id.
        assert owner.session == session and owner.established["resumed"] is False
        owner.drop()
        thief = connect(server, session=session, resume_token=junk)
        assert thief.established["resumed"] is False and thief.session != session


def test_bad_abandoned_sessions_are_bounded_together(start, connect):
    server = start({"session.absent_max_bytes": 1_048_576})
    clients = []
    for _ in range(30):
        client = connect(server)
        for _ in range(100):
            client.send({"type": "join", "room": unique("room")})
        client.send({"type": "ping", "ref": "last"})
        while client.next().get("ref") != "last":
            pass
        client.drop()
        clients.append(client)
    # Each is reckoned at some 81 KiB, so about six stay on each shard.
    eventually(lambda: 0 < server.get("/v1/stats")["absent"] <= 14)
    assert server.http("GET", f"/v1/sessions/{clients[0].session}").status == 404
    assert connect.back(clients[-1]).established["resumed"] is True


def test_bad_a_body_that_never_comes(start):
    server = start({"http.request_timeout_ms": 300})
    peer = tcp(server)
    peer.settimeout(5)
    peer.sendall(b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert b" 408 " in peer.recv(4096)
    rest = b"."
    while rest:
        rest = peer.recv(4096)
    peer.close()


def test_r32_who_has_not_said_hello_is_told_too(start, raw):
    server = start()
    silent = raw(server, headers={"Sec-WebSocket-Protocol": SUBPROTOCOL})
    began = time.monotonic()
    server.process.terminate()
    closing = silent.json()
    assert closing["type"] == "closing" and closing["reason"] == "drain"
    silent.closed(1001)
    assert server.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 6


def test_bad_resumes_of_a_dear_session_delay_nobody(start, connect):
    """A session of many full rooms, resumed again and again by sockets that are gone before they are answered."""
    server = start()
    rooms = [unique("full") for _ in range(100)]
    dear = connect(server, session="dear")
    for room in rooms:
        dear.join(room)
    dear.drop()
    token = dear.token
    for room in rooms:
        publishes = [{"to": {"room": room}, "message": {"type": "m"}} for _ in range(1000)]
        assert server.http("POST", "/v1/batch", {"publishes": publishes}).status == 200
    other = connect(server)
    for _ in range(150):
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            peer.sendall(
                f"GET /ws?session=dear&resume_token={token} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    slowest = 0
    until = time.monotonic() + 3
    while time.monotonic() < until:
        began = time.monotonic()
        other.send("ping")
        assert other.next(10) == "pong"
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 2, f"somebody else waited {slowest:.2f} s"
    assert connect.raw(server, session="dear", resume_token=token).next()["resumed"] is True


def test_r14_metadata_that_grows_beyond_its_bound_is_refused_at_a_resume(server, connect):
    first = connect(server, hello={"metadata": {"a": "x" * 3000}})
    first.drop()
    greedy = {"session": first.session, "resume_token": first.token, "metadata": {"b": "y" * 3000}}
    connect.raw(server, hello=greedy).closed(1008, "metadata")
    again = connect(server, hello={"session": first.session, "resume_token": first.token})
    assert again.established["resumed"] is True and set(server.session(first.session)["metadata"]) == {"a"}


def test_strangers_have_small_messages(start, connect):
    server = start({"connection.message_max_bytes": 1_048_576})
    large = {"type": "publish", "to": {"room": "r"}, "message": {"type": "m", "text": "x" * 100_000}}
    connect.raw(server, hello={"metadata": {"text": "x" * 70_000}}).closed(1009)
    client = connect(server, hello={})
    assert client.ok(large)["message_id"] == 1


def test_r23_a_publish_to_many_counts_as_many(start, connect):
    server = start({"limits.connection_messages_per_s": 1, "limits.connection_messages_burst": 50})
    client = connect(server)
    to = {"sessions": [f"s{number}" for number in range(40)]}
    assert len(client.publish(to, {"type": "m"})["results"]) == 40
    error = client.fails({"type": "publish", "to": to, "message": {"type": "m"}}, "rate_limited")
    assert client.is_open() and error


def test_r23_pings_of_the_transport_count(start, connect):
    server = start({"limits.connection_messages_per_s": 1, "limits.connection_messages_burst": 5})
    client = connect(server)
    for _ in range(5):
        assert client.ws.ping().wait(timeout=5)
    try:
        for _ in range(150):
            client.ws.ping()
    except ConnectionClosed:
        pass  # the server was quicker
    client.closed(1008, "rate limit")


def test_one_client_leaves_room_for_the_publish_ids_of_others(start, connect):
    # 640 ids in all: of them 320 for clients, 40 for each.
    server = start({"publish.id_max_bytes": 160 * 640})
    greedy, other = connect(server, user="greedy"), connect(server, user="other")

    def publish(client, id):
        return client.ask({"type": "publish", "to": {"room": "r"}, "message": {"type": "m"}, "id": id})

    answers = [publish(greedy, f"id{number}") for number in range(60)]
    assert sum(answer["ok"] for answer in answers) == 40
    assert answers[-1]["error"]["code"] == "overloaded"
    assert publish(other, "mine")["ok"]
    body = {"to": {"room": "r"}, "message": {"type": "m"}, "id": "of the application"}
    assert server.http("POST", "/v1/publish", body).status == 200
