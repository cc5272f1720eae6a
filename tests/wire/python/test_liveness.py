"""Who is alive stays, whatever the settings; who is not is noticed in time, and may come back."""

import json
import threading
import time
from datetime import datetime

import pytest

from raw import PING, PONG, TEXT, ended_within, tcp
from waiting import eventually, unique

pytestmark = pytest.mark.alone


def watch(peer, seconds, answer):
    """Reads for so long, hands each (opcode, payload) to `answer`, and returns what came, with its time."""
    seen, until = [], time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            opcode, payload = peer.frame(left)
        except AssertionError:  # nothing within the time that was left
            break
        seen.append((time.monotonic(), opcode, payload))
        answer(opcode, payload)
    return seen


def is_json_ping(opcode, payload, type="ping"):
    return opcode == TEXT and payload != b"pong" and json.loads(payload)["type"] == type


def answers(peer, how):
    """A healthy client that knows only one way to say that it lives."""
    def answer(opcode, payload):
        if how == "websocket pong" and opcode == PING:
            peer.send(payload, opcode=PONG)
        elif is_json_ping(opcode, payload):
            if how == "json pong":
                peer.text({"type": "pong"})
            elif how == "heartbeat_response":
                peer.text({"type": "heartbeat_response"})
            elif how == "text ping":
                peer.text("ping")
            elif how == "websocket ping":
                peer.send(b"", opcode=PING)
            elif how == "any frame":
                peer.text({"type": "nobody-knows-this"})
    return answer


HOWS = ["websocket pong", "json pong", "heartbeat_response", "text ping", "websocket ping", "any frame"]
TIGHT = [
    {"interval": 60000, "idle": 300, "pong": 0},  # idle runs out long before the first ping is due
    {"interval": 500, "idle": 150, "pong": 0},
    {"interval": 60000, "idle": 250, "pong": 250},
    {"interval": 200, "idle": 60000, "pong": 250},
    {"interval": 600, "idle": 60000, "pong": 250},
]


def settings(interval, idle, pong=0):
    return {"heartbeat.interval_ms": interval, "heartbeat.idle_timeout_ms": idle, "heartbeat.pong_timeout_ms": pong}


@pytest.mark.parametrize("values", TIGHT, ids=lambda values: "-".join(map(str, values.values())))
def test_mistake1_a_healthy_connection_is_never_dropped(start, raw, values):
    server, room = start(settings(**values)), unique("room")
    peers = {how: raw(server, f"/ws/{room}").established() for how in HOWS}
    threads = [threading.Thread(target=watch, args=(peer, 2, answers(peer, how))) for how, peer in peers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    for how, peer in peers.items():
        seen = server.session(peer.session)
        assert seen["connected"] is True and seen["reconnection_count"] == 0, how
    reached = server.publish({"room": room}, {"type": "note"})["reached"]
    assert reached == len(HOWS)
    for how, peer in peers.items():
        while peer.json()["type"] != "note":
            pass


def test_r18_a_ping_comes_every_interval(start, raw):
    server = start({"heartbeat.interval_ms": 1000})
    peer = raw(server).established()
    assert peer.first["heartbeat_ms"] == 1000
    seen = watch(peer, 4.4, answers(peer, "json pong"))
    for kind, times in {
        "JSON": [at for at, opcode, payload in seen if is_json_ping(opcode, payload)],
        "WebSocket": [at for at, opcode, _ in seen if opcode == PING],
    }.items():
        assert len(times) in (4, 5), f"{len(times)} {kind} pings in 4.4 s"
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        assert all(abs(gap - 1) <= 5 / 30 for gap in gaps), f"{kind}: {gaps}"  # 30 s ± 5 s, to scale
    pings = [(at, opcode) for at, opcode, payload in seen if opcode == PING or is_json_ping(opcode, payload)]
    for (one, a), (two, b) in zip(pings[::2], pings[1::2]):
        assert {a, b} == {TEXT, PING} and two - one < 0.05, "both in one write"


def test_r18_the_default_interval_is_thirty_seconds(server, connect):
    assert connect(server).established["heartbeat_ms"] == 30000


def test_r18_the_ping_may_have_another_type(start, raw):
    server = start({"heartbeat.interval_ms": 200, "heartbeat.frame": "heartbeat"})
    peer = raw(server).established()
    assert peer.json() == {"type": "heartbeat"}
    peer.text({"type": "heartbeat_response"})
    assert peer.json() == {"type": "heartbeat"}


def test_r18_one_connections_trouble_does_not_stop_the_pings(start, raw):
    server = start({"heartbeat.interval_ms": 300})
    well, broken = raw(server).established(), [raw(server).established() for _ in range(10)]
    assert well.json()["type"] == "ping"
    for peer in broken:
        peer.reset()
    for _ in range(3):
        well.text({"type": "pong"})
        assert well.json()["type"] == "ping"


@pytest.mark.parametrize("values, seconds", [
    ({"interval": 200, "idle": 800}, 0.8),
    ({"interval": 300, "idle": 60000, "pong": 400}, 0.7),
    ({"interval": 60000, "idle": 400, "pong": 400}, 0.8),
], ids=["idle timeout", "pong timeout", "idle before the first ping"])
def test_r19_one_that_answers_nothing_is_closed(start, connect, raw, values, seconds):
    server, room = start(settings(**values)), unique("room")
    peer = raw(server, f"/ws/{room}").established()
    well = connect(server, room)
    began = time.monotonic()
    threading.Thread(target=lambda: watch_forever(well), daemon=True).start()
    peer.closed(1001, timeout=seconds + 2)
    took = time.monotonic() - began
    assert seconds - 0.15 <= took <= seconds + 1, f"closed after {took:.2f} s"
    server.is_away(peer.session, 1)
    assert server.session(peer.session)["liveness"]["alive"] is False
    assert server.session(well.session)["connected"] is True


def watch_forever(client):
    """Keeps a proper client answering."""
    try:
        while True:
            client.next(30)
    except Exception:
        pass


def test_r19_a_ping_is_sent_before_anyone_is_declared_dead(start, raw):
    server = start(settings(60000, 300, 500))
    peer = raw(server).established()
    began = time.monotonic()
    opcode, payload = peer.frame()
    assert opcode == PING or is_json_ping(opcode, payload)
    assert time.monotonic() - began >= 0.2
    peer.closed(1001)


def test_r19_a_half_open_peer_is_noticed_and_may_come_back(start, connect, raw):
    server, room = start(settings(300, 900)), unique("room")
    peer = raw(server, f"/ws/{room}", rcvbuf=4096).established()
    # From here on it reads nothing and answers nothing, not even the close: as behind a cut cable.
    began = time.monotonic()
    server.is_away(peer.session, 0.9 + 1)
    assert time.monotonic() - began > 0.7, "too soon"
    ids = server.to_room(room, 3)
    back = connect(server, session=peer.session, resume_token=peer.token)
    assert back.established["resumed"] is True
    back.messages(ids, room=room)
    assert server.room(room)["connected"] == 1


def test_r19_many_half_open_peers_are_all_noticed(start, raw):
    server, room = start(settings(300, 900)), unique("room")
    peers = [raw(server, f"/ws/{room}").established() for _ in range(100)]
    eventually(lambda: server.room(room)["connected"] == 0, 0.9 + 1)
    assert server.room(room)["absent"] == len(peers)
    assert server.get("/v1/stats")["connections"] == 0
    assert all(ended_within(peer.sock, 5) for peer in peers), "their sockets are given up too"


def test_r19_any_activity_keeps_a_connection(start, raw):
    """Even one that never answers pings, but publishes."""
    server = start(settings(300, 600))
    peer = raw(server).established()
    until = time.monotonic() + 2
    while time.monotonic() < until:
        peer.text({"type": "publish", "to": {"room": "r"}, "message": {"type": "note"}})
        time.sleep(0.1)
    assert server.session(peer.session)["connected"] is True


def test_r20_liveness_can_be_read(start, raw, connect):
    server = start({"heartbeat.interval_ms": 300})
    peer, silent = raw(server).established(), raw(server).established()
    liveness = server.session(peer.session)["liveness"]
    assert liveness["alive"] is True and liveness["missed"] == 0
    began = datetime.fromisoformat(server.session(peer.session)["connected_at"])
    watch(peer, 1.1, answers(peer, "json pong"))
    seen = server.session(peer.session)
    liveness = seen["liveness"]
    assert liveness["alive"] is True and liveness["missed"] <= 1
    assert datetime.fromisoformat(liveness["last_ping"]) > began
    assert datetime.fromisoformat(liveness["last_pong"]) > began
    assert datetime.fromisoformat(seen["last_heartbeat"]) > began
    assert 0 <= liveness["rtt_ms"] < 300
    before = server.session(silent.session)["liveness"]
    assert before["missed"] >= 2 and before["last_pong"] is None
    eventually(lambda: server.session(silent.session)["liveness"]["missed"] > before["missed"])
    silent.text({"type": "pong"})
    eventually(lambda: server.session(silent.session)["liveness"]["missed"] == 0)
    everyone = {each["session"]: each["liveness"] for each in server.get("/v1/sessions")["sessions"]}
    assert set(everyone) == {peer.session, silent.session}
    assert all(each["alive"] for each in everyone.values())


def test_r21_pings_of_the_client_are_answered(server, connect, raw):
    client = connect(server)
    client.send({"type": "ping"})
    assert client.next() == {"type": "pong"}
    client.send("ping")
    assert client.next_text() == "pong"
    reply = client.ok({"type": "ping"})
    assert reply["ok"] is True
    assert client.next() == {"type": "pong"}
    peer = raw(server).established()
    peer.send(b"are you there", opcode=PING)
    assert peer.answer() == (PONG, b"are you there")
    peer.send("pi", fin=False)
    peer.send(b"between", opcode=PING)
    peer.send("ng", opcode=0)
    assert peer.answer() == (PONG, b"between")
    assert peer.answer() == (TEXT, b"pong"), "a message in fragments"


def test_r21_a_healthy_client_library_lives_through_many_heartbeats(start, connect):
    server, room = start(settings(100, 400)), unique("room")
    client = connect(server, room, answer_pings=False)  # only its library's WebSocket pongs
    began = time.monotonic()
    while time.monotonic() - began < 2:
        client.messages(server.to_room(room, 1))
    assert server.session(client.session)["reconnection_count"] == 0


def test_r19_one_that_says_nothing_after_the_tcp_connect_is_let_go(start):
    server = start({"http.head_timeout_ms": 500})
    silent, slow = tcp(server), tcp(server)
    slow.sendall(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    stop = threading.Event()

    def drip():
        try:
            while not stop.wait(0.1):
                slow.sendall(b"x")
        except OSError:
            pass

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        began = time.monotonic()
        assert ended_within(silent, 1.5), "silence"
        assert time.monotonic() - began > 0.4, "too soon"
        assert ended_within(slow, 1.5), "one byte at a time"
    finally:
        stop.set()
        dripping.join()
        slow.close(), silent.close()

