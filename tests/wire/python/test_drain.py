"""Starting with the application, and going away cleanly with it."""

import signal
import socket
import threading
import time

import pytest

from client import Client
from raw import CLOSE, TEXT
from server import UPGRADE
from waiting import eventually, unique


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_r32_everyone_is_told_and_the_process_ends(start, connect, number):
    server, room = start(), unique("room")
    clients = [connect(server, room, user=unique("ann")) for _ in range(20)]
    clients.append(connect(server, hello={}))
    began = time.monotonic()
    server.signal(number)
    delays = []
    for client in clients:
        frames = client.closed(1001, timeout=10)
        assert [frame["type"] for frame in frames] == ["closing"], frames
        assert frames[0]["reason"] == "drain"
        delays.append(frames[0]["reconnect_in_ms"])
    assert server.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 10
    assert all(isinstance(delay, int) and 0 <= delay <= 5000 for delay in delays)
    assert max(delays) - min(delays) >= 2500, sorted(delays)
    for second in range(0, 5000, 500):
        inside = [delay for delay in delays if second <= delay < second + 1000]
        assert len(inside) <= 9, f"{len(inside)} of {len(delays)} return within one second: {sorted(delays)}"


def test_r32_what_was_sent_before_still_arrives(start, connect):
    server, room = start(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 50)
    server.signal(signal.SIGTERM)
    frames = client.closed(1001)
    assert [frame.get("message_id") for frame in frames if frame["type"] == "note"] == ids
    assert frames[-1]["type"] == "closing"
    assert server.process.wait(timeout=10) == 0


def test_r32_while_it_drains_it_says_so(start, connect, raw):
    server = start({"drain.timeout_ms": 3000})
    assert server.get("/readyz") == {"status": "ok"} and server.get("/livez") == {"status": "ok"}
    stuck = raw(server).established()  # it will not answer the close, which keeps the drain going
    others = [connect(server) for _ in range(5)]
    answers = []

    def look():
        """New connections while it drains: all are answered by 503, until none are answered at all."""
        try:
            while True:
                answers.append((server.http("GET", "/readyz", timeout=2), server.upgrade("/ws")))
        except OSError:
            pass

    began = time.monotonic()
    server.signal(signal.SIGTERM)
    looking = threading.Thread(target=look)
    looking.start()
    for other in others:
        assert [frame["type"] for frame in other.closed(1001)] == ["closing"]
    seen = []
    while not seen or seen[-1][0] != CLOSE:
        seen.append(stuck.frame())
    assert [opcode for opcode, _ in seen if opcode == TEXT], "it was told as well"
    assert server.process.wait(timeout=5) == 0, "whatever one peer does"
    assert time.monotonic() - began < 4
    looking.join(5)
    draining = [(ready, upgrade) for ready, upgrade in answers if ready.status == 503]
    assert draining, "nobody could see it drain"
    for ready, upgrade in draining:
        assert ready.json == {"status": "draining"}
        assert upgrade.status == 503 and int(upgrade.headers["retry-after"]) >= 0
    first = answers.index(draining[0])
    assert all(ready.status == 503 for ready, _ in answers[first:]), "it does not change its mind"


def test_r32_one_that_does_not_read_does_not_hold_it_up(start, connect, raw):
    server, room = start({"drain.timeout_ms": 2000}), unique("room")
    stuck = raw(server, f"/ws/{room}", rcvbuf=4096).established()
    well = connect(server, room)
    for _ in range(120):
        server.publish({"room": room}, {"type": "big", "fill": "x" * 60000})
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert well.closed(1001, timeout=10)[-1]["type"] == "closing"
    assert server.process.wait(timeout=5) == 0
    assert time.monotonic() - began < 3
    assert stuck.session


def test_r32_an_idle_server_ends_at_once(start):
    server = start()
    idle = socket.create_connection(("127.0.0.1", server.port))  # connected, and silent
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 10
    idle.close()


def test_r32_it_can_start_again_where_it_was(start, connect):
    server = start()
    for client in [connect(server) for _ in range(5)]:
        assert client.is_open()
    server.signal(signal.SIGTERM)
    assert server.process.wait(timeout=10) == 0
    again = start(port=server.port)
    assert connect(again).is_open()


def test_r32_clients_come_back_after_their_delay(start):
    """The whole round as a client sees it: told when, closed, and welcome on the next process."""
    server, room = start({"drain.spread_ms": 300}), unique("room")
    client = Client(server, room).establish()
    server.signal(signal.SIGTERM)
    (closing,) = client.closed(1001)
    assert 0 <= closing["reconnect_in_ms"] <= 300
    server.process.wait(timeout=10)
    server = start(port=server.port)
    time.sleep(closing["reconnect_in_ms"] / 1000)  # what the client was asked to do
    again = Client(server, room).establish()
    again.messages(server.to_room(room, 1))
    again.close()
    assert eventually(lambda: server.http("GET", "/ws", headers=UPGRADE).status == 101)
