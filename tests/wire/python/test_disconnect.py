"""Ending sessions, and what is left of them: nothing."""

import threading
import time

from client import SUBPROTOCOL
from raw import CLOSE, Raw, ended_within, tcp
from server import UPGRADE
from waiting import eventually, unique


def test_r02_the_application_ends_a_session(server, connect):
    room, user = unique("room"), unique("ann")
    client = connect(server, room, user=user)
    path = f"/v1/sessions/{client.session}"
    assert server.http("DELETE", path).status == 204
    client.closed(4002)
    server.http("GET", path).problem(404, "not_found")
    server.http("GET", f"/v1/users/{user}").problem(404)
    assert server.http("DELETE", path).status == 204, "idempotent"
    again = connect(server, user=user, session=client.session, resume_token=client.token)
    assert again.established["resumed"] is False and again.established["rooms"] == {}


def test_r02_an_absent_session_is_ended_too(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.drop()
    server.to_room(room, 2)
    assert server.http("DELETE", f"/v1/sessions/{client.session}").status == 204
    assert server.room(room)["absent"] == 0
    again = connect(server, room, session=client.session, resume_token=client.token)
    assert again.established["resumed"] is False
    again.nothing_new(room)


def test_r02_all_sessions_of_a_user_end(server, connect):
    user = unique("ann")
    clients = [connect(server, user=user) for _ in range(3)]
    other = connect(server, user=unique("bob"))
    answer = server.http("DELETE", f"/v1/users/{user}/sessions")
    assert answer.status == 200 and answer.json == {"disconnected": 3}
    for client in clients:
        client.closed(4002)
    assert server.http("DELETE", f"/v1/users/{user}/sessions").json == {"disconnected": 0}
    assert other.is_open()


def test_r02_a_close_of_the_client_is_answered(server, connect, raw):
    peer = raw(server).established()
    peer.send(b"\x03\xe8bye", opcode=CLOSE)
    peer.closed(1000)
    assert ended_within(peer.sock, 3)
    server.is_away(peer.session)


def _cycle(server, turn, room):
    """One connection's life: each turn ends it in another way, or never gets to its end."""
    if turn % 7 == 6:
        tcp(server).close()
        return
    if turn % 7 == 5:
        Raw(server, f"/ws/{room}", {"Sec-WebSocket-Protocol": SUBPROTOCOL}).reset()
        return
    peer = Raw(server, f"/ws/{room}?user=u{turn % 50}-{turn}" if turn % 2 else f"/ws/{room}")
    if turn % 7 < 3:
        peer.established()
    if turn % 3 == 0:
        peer.send(b"\x03\xe8", opcode=CLOSE)
        peer.close()
    elif turn % 3 == 1:
        peer.close()
    else:
        peer.reset()


def test_r02_nothing_is_left_of_thousands_of_connections(start, connect):
    server, room = start({"session.lifetime_ms": 0}), unique("room")
    staying = connect(server, room, user="staying")
    before = server.get("/v1/stats")
    failures = []

    def many(first):
        try:
            for turn in range(first, first + 1000):
                _cycle(server, turn, room)
        except Exception as error:  # reported below, from the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=many, args=(first,), daemon=True) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(45)
    assert not failures and not any(thread.is_alive() for thread in threads), failures

    def counts():
        stats = server.get("/v1/stats")
        return {name: stats[name] for name in before if name != "uptime_ms"}

    expected = {name: before[name] for name in before if name != "uptime_ms"}
    until = time.monotonic() + 10
    eventually(lambda: counts() == expected or time.monotonic() > until, 12)
    assert counts() == expected
    assert expected["connections"] == 1 and expected["connections_by_user"] == {"staying": 1}
    assert server.room(room)["sessions"] == [staying.session] and server.room(room)["absent"] == 0
    assert [each["session"] for each in server.get("/v1/sessions")["sessions"]] == [staying.session]
    assert staying.is_open()
    staying.cut()
    eventually(lambda: server.get("/v1/stats")["connections"] == 0)
    stats = server.get("/v1/stats")
    assert (stats["sessions"], stats["absent"], stats["users"], stats["rooms"]) == (0, 0, 0, 0), stats
    assert stats["connections_by_user"] == {}


def test_r02_absent_sessions_are_counted_exactly(start, connect):
    server = start()
    for _ in range(200):
        peer = Raw(server, "/ws?user=ann").established()
        peer.reset()
        eventually(lambda: server.get("/v1/stats")["connections"] == 0)
    stats = server.get("/v1/stats")
    assert (stats["connections"], stats["absent"]) == (0, 20), "20 absent ones are kept for a user"
    seen = server.get("/v1/users/ann")
    assert (seen["connected"], seen["absent"], len(seen["sessions"])) == (0, 20, 20)


def test_r02_a_handshake_that_is_never_used_leaves_no_session(server):
    before = server.get("/v1/stats")["sessions"]
    for _ in range(20):
        answer = server.upgrade("/ws", {**UPGRADE, "Sec-WebSocket-Protocol": SUBPROTOCOL})
        assert answer.status == 101
    assert server.get("/v1/stats")["sessions"] == before, "no hello, no session"
