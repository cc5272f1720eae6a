"""Who does not read: control frames overtake what waits for it, it loses nothing, and nobody else notices."""

import json
import socket
import sys
import time

import pytest

from raw import CLOSE, PING, PONG, TEXT, Raw
from waiting import eventually, unique

pytestmark = pytest.mark.alone

FILL = 60_000
ROOMY = {"retention.room_bytes": 67108864}


def flood(server, room, count):
    """Publishes numbered big messages, many in a request; their ids."""
    ids = []
    for first in range(0, count, 16):
        publishes = [{"to": {"room": room}, "message": {"type": "big", "n": n, "fill": "x" * FILL}}
                     for n in range(first, min(first + 16, count))]
        answer = server.http("POST", "/v1/batch", {"publishes": publishes}, timeout=20)
        assert answer.status == 200, answer
        ids += [each["message_id"] for each in answer.json["results"]]
    return ids


def reads_again(peer):
    """It takes big pieces from now on."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)


def read_until(peer, done, timeout=30):
    """All frames, as (opcode, JSON or bytes), until `done` of one of them and those before."""
    frames, deadline = [], time.monotonic() + timeout
    while not done(frames):
        opcode, payload = peer.frame(deadline - time.monotonic())
        frames.append((opcode, json.loads(payload) if opcode == TEXT else payload))
        assert opcode != CLOSE, frames[-1]
    return frames


def messages_of(frames, room):
    return [frame["message_id"] for opcode, frame in frames
            if opcode == TEXT and frame.get("room") == room and frame["type"] == "big"]


def index(frames, test):
    return next(number for number, (opcode, frame) in enumerate(frames) if test(opcode, frame))


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_r21_answers_overtake_the_messages_that_wait(start, kept, connect, mode):
    server, room, other = (start if mode == "memory" else kept)(ROOMY), unique("room"), unique("other")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    well, observer = connect(server, room), connect(server, other)
    ids = flood(server, room, 400)  # 24 MB: far more than all the buffers between us
    well.messages(ids)
    stuck.text({"type": "ping", "ref": "late"})
    stuck.text({"type": "presence", "room": room, "ref": "who"})
    stuck.text({"type": "nonsense"})
    stuck.send(b"are you there", opcode=PING)
    stuck.text({"type": "publish", "to": {"room": other}, "message": {"type": "said"}, "ref": "said"})
    observer.expect("said")  # all of it was read and answered while the messages wait
    reads_again(stuck)
    waited = {
        "reply": lambda opcode, frame: opcode == TEXT and frame.get("ref") == "late",
        "pong": lambda opcode, frame: opcode == TEXT and frame["type"] == "pong",
        "presence": lambda opcode, frame: opcode == TEXT and frame["type"] == "presence",
        "error": lambda opcode, frame: opcode == TEXT and frame.get("code") == "no_handler",
        "PONG": lambda opcode, frame: opcode == PONG and frame == b"are you there",
        "published": lambda opcode, frame: opcode == TEXT and frame.get("ref") == "said",
    }

    frames = read_until(stuck, lambda frames: messages_of(frames[-1:], room) == ids[-1:])
    assert messages_of(frames, room) == ids, "nothing is lost or doubled"
    for name, test in waited.items():
        assert any(test(*each) for each in frames), f"{name} came after the last message"
        after = len(messages_of(frames[index(frames, test):], room))
        assert after > 100, f"{name} waited for all but {after} of {len(ids)} messages"
    assert index(frames, waited["reply"]) < index(frames, waited["pong"])
    stuck.close()


def test_r18_pings_overtake_too_and_a_slow_one_is_not_declared_dead(start, connect):
    server, room = start({**ROOMY, "heartbeat.interval_ms": 300, "heartbeat.idle_timeout_ms": 60000}), unique("room")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    ids = flood(server, room, 300)
    time.sleep(0.7)  # two pings are due
    reads_again(stuck)
    frames = read_until(stuck, lambda frames: messages_of(frames[-1:], room) == ids[-1:])
    assert messages_of(frames, room) == ids
    first = index(frames, lambda opcode, frame: opcode == PING)
    assert len(messages_of(frames[first:], room)) > 50
    assert server.session(stuck.session)["connected"]
    stuck.close()


def test_r08_a_join_of_a_slow_one_is_answered_at_once_and_keeps_its_place(start, connect):
    server, room, other = start(ROOMY), unique("room"), unique("other")
    others = server.to_room(other, 3)
    stuck, observer = Raw(server, f"/ws/{room}", rcvbuf=4096).established(), connect(server, unique("third"))
    ids = flood(server, room, 400)
    stuck.text({"type": "join", "room": other, "since": "start", "ref": "join"})
    stuck.text({"type": "publish", "to": {"session": observer.session}, "message": {"type": "said"}})
    observer.expect("said")
    reads_again(stuck)

    def done(frames):
        return messages_of(frames, room)[-1:] == ids[-1:] and \
            [frame["message_id"] for opcode, frame in frames if opcode == TEXT and frame["type"] == "note"] == others

    frames = read_until(stuck, done)
    assert messages_of(frames, room) == ids
    reply = index(frames, lambda opcode, frame: opcode == TEXT and frame.get("ref") == "join")
    joined = index(frames, lambda opcode, frame: opcode == TEXT and frame["type"] == "joined")
    note = index(frames, lambda opcode, frame: opcode == TEXT and frame["type"] == "note")
    assert reply < joined < note
    assert len(messages_of(frames[reply:], room)) > 100, "the reply did not wait"
    stuck.close()


def test_r10_many_that_do_not_read_delay_nobody(start, connect):
    server, room = start(ROOMY), unique("room")
    stuck = [Raw(server, f"/ws/{room}", rcvbuf=4096).established() for _ in range(10)]
    well, elsewhere = connect(server, room), connect(server, unique("other"))
    ids = flood(server, room, 160)
    for _ in range(10):
        began = time.monotonic()
        ids.append(server.publish({"room": room}, {"type": "big", "n": -1})["message_id"])
        assert elsewhere.is_open()
        assert time.monotonic() - began < 2
    well.messages(ids)
    for peer in stuck:
        reads_again(peer)
        assert messages_of(read_until(peer, lambda frames: messages_of(frames[-1:], room) == ids[-1:]), room) == ids
        peer.close()


def ended(peer, timeout=20):
    """Reads to the end of a connection; the close code, or None where the cut came before it."""
    deadline, frames = time.monotonic() + timeout, []
    try:
        while True:
            opcode, payload = peer.frame(deadline - time.monotonic())
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big"), frames
            frames.append((opcode, json.loads(payload) if opcode == TEXT else payload))
    except (EOFError, ConnectionError):
        return None, frames


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_r10_one_that_takes_nothing_is_sent_away_and_may_come_back(start, kept, connect, mode):
    settings = {**ROOMY, "connection.stall_timeout_ms": 1000}
    server, room = (start if mode == "memory" else kept)(settings), unique("room")
    stuck, well = Raw(server, f"/ws/{room}", rcvbuf=4096).established(), connect(server, room)
    ids = flood(server, room, 160)  # 10 MB
    began = time.monotonic()
    server.is_away(stuck.session, 10)
    assert time.monotonic() - began < 8
    well.messages(ids)
    reads_again(stuck)
    code, frames = ended(stuck)
    assert code in (1013, None), code  # its socket may never have taken the close
    got = messages_of(frames, room)
    assert got == ids[:len(got)]
    if mode == "disk":
        server.restart("kill")
    back = connect(server, room, session=stuck.session, resume_token=stuck.token,
                   last_message_id=got[-1] if got else 0)
    assert back.established["resumed"] is True
    back.messages(ids[len(got):])
    back.nothing_new(room)
    stuck.close()


def test_r10_one_that_reads_slowly_stays(start, connect):
    """It takes a little, again and again: that is no stall, however long it is behind."""
    server, room = start({**ROOMY, "connection.stall_timeout_ms": 1500}), unique("room")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=65536).established()
    ids = flood(server, room, 320)  # 19 MB
    began, taken = time.monotonic(), b""
    while time.monotonic() - began < 4:
        piece = stuck.sock.recv(131072)
        assert piece, "cut"
        taken += piece
        time.sleep(0.02)
    assert server.session(stuck.session)["connected"]
    stuck.buffer = taken + stuck.buffer
    reads_again(stuck)
    frames = read_until(stuck, lambda frames: messages_of(frames[-1:], room) == ids[-1:])
    assert messages_of(frames, room) == ids
    stuck.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the kernel takes megabytes at a time")
def test_r10_one_that_reads_very_slowly_stays_too(start):
    """20 KB/s are far less than the kernel's buffers, and far more than nothing."""
    server, room = start({**ROOMY, "connection.stall_timeout_ms": 2000}), unique("room")
    slow, idle = (Raw(server, f"/ws/{room}", rcvbuf=4096).established() for _ in range(2))
    ids = flood(server, room, 160)  # 10 MB
    began, taken = time.monotonic(), b""
    while time.monotonic() - began < 8:
        piece = slow.sock.recv(2000)
        assert piece, "cut"
        taken += piece
        time.sleep(max(0.0, began + len(taken) / 20_000 - time.monotonic()))
    assert server.session(slow.session)["connected"] and not server.session(idle.session)["connected"]
    assert len(taken) < 200_000
    slow.buffer = taken + slow.buffer
    reads_again(slow)
    frames = read_until(slow, lambda frames: messages_of(frames[-1:], room) == ids[-1:])
    assert messages_of(frames, room) == ids
    for peer in (slow, idle):
        peer.close()


def test_r10_one_that_asks_and_asks_and_never_reads_is_sent_away(start, connect):
    server, room = start(), unique("room")
    stuck, well = Raw(server, f"/ws/{room}", rcvbuf=4096).established(), connect(server, room)
    ask = {"type": "ping", "ref": "r" * 120}
    asked, deadline = 0, time.monotonic() + 20
    try:
        stuck.sock.settimeout(2)
        while server.session(stuck.session)["connected"]:
            assert time.monotonic() < deadline, f"{asked} asked, and still connected"
            for _ in range(500):
                stuck.text(ask)
                asked += 1
    except (ConnectionError, TimeoutError):
        pass
    server.is_away(stuck.session, 10)
    well.messages(server.to_room(room, 3))
    assert ended(stuck)[0] in (1013, None)
    back = connect(server, session=stuck.session, resume_token=stuck.token)
    assert back.established["resumed"] is True
    back.expect("note")
    stuck.close()


def test_r14_a_slow_one_loses_nothing_by_a_crash(kept, connect, how):
    server, room = kept({**ROOMY, "drain.timeout_ms": 1000}), unique("room")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    ids = flood(server, room, 160)
    server.restart(how)
    reads_again(stuck)
    got = messages_of(ended(stuck)[1], room)
    assert got == ids[:len(got)]
    back = connect(server, room, session=stuck.session, resume_token=stuck.token,
                   last_message_id=got[-1] if got else 0)
    assert back.established["resumed"] is True
    back.messages(ids[len(got):])
    assert eventually(lambda: server.room(room)["connected"] == 1)
    stuck.close()
