"""How long a stream is kept, what it counts as, what clearing a room does, and that what is left open is bounded."""

import pytest

from streaming import MIXED, Reader, Stream, answer, fails, listed, ok, path, pipelined, state, terminals, written
from waiting import eventually, unique


def away(server, connect, room):
    client = connect(server, room)
    client.drop()
    return client


# --- over HTTP ---

def test_r27_streams_are_listed_while_they_are_open(server, connect):
    room = unique("room")
    mine, theirs = Stream(server, room, "b", data={"n": 1}), Stream(connect(server), room, "a/é")
    mine.append(MIXED)
    for n in ("c", "B"):
        Stream(server, room, n)
    done = Stream(server, room, "done")
    done.end()
    listing = server.get(path(room))
    assert listing == {"room": room, "streams": [
        {"stream": "B", "at": 0, "data": None, "cancel": False}, {"stream": "a/é", "at": 0, "data": None, "cancel": False},
        {"stream": "b", "at": len(MIXED), "data": {"n": 1}, "cancel": False}, {"stream": "c", "at": 0, "data": None, "cancel": False},
    ]}
    theirs.end()
    assert listed(server, room) == ["B", "b", "c"]


def test_r27_streams_are_told_of_in_every_state(server, connect):
    room, data = unique("room"), {"reply_to": 7}
    ends = {"complete": {"message": {"n": 1}}, "error": {"error": ["e"]}, "cancelled": {}, "orphaned": {}, "open": {}}
    for name, carried in ends.items():
        stream = Stream(server, room, name, data=data, **({"lease_ms": 1000} if name == "orphaned" else {}))
        stream.append("text ☃")
        if name in ("complete", "error", "cancelled"):
            stream.end(name, **carried)
    eventually(lambda: listed(server, room) == ["open"])
    for name, carried in ends.items():
        assert state(server, room, name) == {
            "room": room, "stream": name, "state": name, "at": 6, "content": "text ☃", "data": data, "cancel": False, **carried}
    server.http("GET", path(room, "none")).problem(404, "not_found")
    server.http("GET", path(unique("none"), "none")).problem(404, "not_found")


# --- retention ---

@pytest.mark.parametrize("bound", ["records", "age", "bytes"])
def test_r27_streams_outlive_their_room_s_bounds_while_they_are_open(start, connect, bound):
    settings = {"records": {"retention.room_records": 10}, "age": {"retention.room_age_ms": 1000},
                "bytes": {"retention.room_bytes": 20_000}}[bound]
    server, room = start(settings), unique("room")
    client = away(server, connect, room)
    stream = Stream(server, room, "a", data={"n": 1})
    stream.append("kept " + MIXED)
    first = server.to_room(room, 1)[0]
    if bound != "age":
        for _ in range(30):
            server.publish({"room": room}, {"type": "note", "fill": "x" * 1000})
    eventually(lambda: first not in [frame["message_id"] for frame in server.messages(room) if frame["type"] == "note"])
    assert state(server, room, "a")["content"] == "kept " + MIXED
    stream.append(" and goes on")
    text = "kept " + MIXED + " and goes on"
    for reader, joins in ((Reader(room, connect(server)), True), (Reader(room, connect.back(client)), False)):
        if joins:
            reader.client.join(room, since="start")
        reader.has("a", text)
        assert reader.data["a"] == {"n": 1}
        if not joins:
            assert [reset["reason"] for reset in reader.resets] == ["retention"]
    id = stream.end()
    reader.ended("a", text)
    assert state(server, room, "a")["state"] == "complete"
    # It goes with its terminal record.
    if bound == "age":
        eventually(lambda: state(server, room, "a") is None)
    else:
        for _ in range(10):
            server.publish({"room": room}, {"type": "note", "fill": "x" * 2000})
        assert state(server, room, "a") is None
    assert id not in [frame["message_id"] for frame in server.messages(room)]
    assert not [frame for frame in server.messages(room) if frame.get("stream") == "a"], "and no part of it stays"
    assert Stream(server, room, "a").at == 0, "the name is free again"


def test_r27_streams_that_ended_count_as_one_record(start):
    server, room = start({"retention.room_records": 10}), unique("room")
    stream = Stream(server, room, "a")
    for n in range(50):
        stream.append(f"{n} ")
    stream.end()
    server.to_room(room, 9)
    assert state(server, room, "a") is not None and len(server.messages(room)) >= 10
    server.to_room(room, 1)
    assert state(server, room, "a") is None
    assert [frame["type"] for frame in server.messages(room)] == ["note"] * 10


def test_r27_streams_count_against_the_room_s_bytes(start):
    server, room = start({"retention.room_bytes": 20_000}), unique("room")
    for _ in range(10):
        server.publish({"room": room}, {"type": "note", "fill": "x" * 1000})
    written(server, room, "y" * 15_000, "a")
    kept = server.messages(room)
    assert len([frame for frame in kept if frame["type"] == "note"]) <= 5
    assert state(server, room, "a")["at"] == 15_000 and len(terminals(kept, "a")) == 1


# --- clearing a room ---

def test_r27_streams_that_are_open_stay_when_a_room_is_cleared(server, connect, by):
    room = unique("room")
    live, gone = Reader(room, connect(server, room)), connect(server, room)
    written(by, room, "gone", "over")
    server.to_room(room, 3)
    stream = Stream(by, room, "a", data={"n": 1})
    stream.append("before, ")
    live.has("a", "before, ")
    gone.drop()
    assert server.http("DELETE", f"/v1/rooms/{room}/messages").status == 204
    assert state(server, room, "over") is None
    assert state(server, room, "a")["content"] == "before, "
    assert listed(server, room) == ["a"]
    assert not [frame for frame in server.messages(room) if frame["type"] != "chunk"]
    stream.append("after")
    live.has("a", "before, after")
    back = Reader(room, connect.back(gone, room=room))
    back.has("a", "before, after")
    assert [reset["reason"] for reset in back.resets] == ["cleared"] and back.data["a"] == {"n": 1}
    assert back.chunks[0]["at"] == 0 and back.chunks[0]["message_id"] >= back.resets[0]["to"]
    late = Reader(room, connect(server))
    late.client.join(room, since="start")
    late.has("a", "before, after")
    id = stream.end()
    for reader in (live, back, late):
        assert reader.ended("a", "before, after")["message_id"] == id
    assert server.http("DELETE", f"/v1/rooms/{room}/messages").status == 204
    assert state(server, room, "a") is None
    assert Stream(by, room, "a").at == 0


# --- bounds ---

def test_r27_streams_one_client_has_half_of_a_room_s(server, connect):
    room, greedy = unique("room"), connect(server)
    for n in range(32):
        Stream(greedy, room, f"greedy {n}")
    fails(greedy, "overloaded", "open", room)
    others = [Stream(connect(server), room, f"other {n}") for n in range(16)]
    fails(connect(server), "overloaded", "open", room)
    for n in range(16):
        Stream(server, room, f"the application's {n}")
    fails(server, "overloaded", "open", room)
    others[0].end()
    Stream(connect(server), room)


def test_r27_streams_a_room_has_64_open_ones(server, connect):
    room, by = unique("room"), server
    streams = [Stream(by, room, f"s{n}") for n in range(64)]
    fails(connect(server), "overloaded", "open", room)
    fails(by, "overloaded", "open", room, "one-more")
    assert streams[0].again().at == 0, "what is open is opened again"
    Stream(by, unique("other"), "elsewhere")
    streams[1].end()
    Stream(by, room, "one-more")
    fails(server, "overloaded", "open", room, "and-another")
    assert len(listed(server, room)) == 64


def everything_orphaned(server, rooms):
    def open(room):
        got = server.http("GET", path(room))
        return got.status != 404 and got.json["streams"]
    eventually(lambda: not any(open(room) for room in rooms), 15, "all of them to be orphaned")


def test_r27_streams_that_thousands_open_and_leave(start, connect):
    server, base = start(), unique("room")
    rooms = [f"{base}-{n}" for n in range(50)]
    readers = [Reader(room, connect(server, room)) for room in rooms[:3]]
    producer = connect(server)
    frames = [{"type": "stream_open", "room": room, "stream": f"s{n}", "lease_ms": 1500} for n in range(64) for room in rooms]
    replies = pipelined(producer, frames)
    assert {reply["error"]["code"] for reply in replies if not reply["ok"]} <= {"overloaded"}
    opened = [frame for frame, reply in zip(frames, replies) if reply["ok"]]
    assert opened
    for reader in readers:
        names = [frame["stream"] for frame in opened if frame["room"] == reader.room]
        for name in names:
            reader.ended(name, "", "orphaned", timeout=20)
        assert len([frame for frame in reader.frames if frame["type"] == "orphaned"]) == len(names), "once each"
    everything_orphaned(server, rooms)
    assert producer.is_open()
    Stream(producer, rooms[0], "after all").end()


def test_r27_streams_of_one_client_take_no_room_from_others(start, connect):
    """A quarter of 1 MiB for open streams, half of it for clients, a sixteenth of that for one: 16 of 512 bytes."""
    server, base = start({"retention.total_bytes": 1_048_576}), unique("room")
    rooms = [f"{base}-{n}" for n in range(40)]
    counts = []
    for n in range(3):
        greedy = connect(server, user=f"{base}-{n}")
        replies = pipelined(greedy, [{"type": "stream_open", "room": room, "lease_ms": 5000} for _ in range(10) for room in rooms])
        assert {reply["error"]["code"] for reply in replies if not reply["ok"]} == {"overloaded"}
        counts.append(sum(reply["ok"] for reply in replies))
        assert greedy.is_open()
    assert all(1 <= count <= 16 for count in counts), counts
    # Text counts as well.
    other = connect(server, user=f"{base}-other")
    stream, codes = Stream(other, unique("room"), "a"), set()
    while stream.at < 20_000 and not codes:
        done, said = answer(other, "append", **stream.holder, at=stream.at, content="x" * 1000)
        codes |= set() if done else {said["code"]}
        stream.at = said["at"] if done else stream.at
    assert codes == {"overloaded"} and stream.at <= 8192
    assert state(server, stream.room, "a")["content"] == "x" * stream.at, "what was refused was not added"
    stream.end("cancelled")
    # The application has its own half, and that ends too.
    opened = 0
    for n in range(600):
        done, said = answer(server, "open", f"{base}-http-{n // 60}", lease_ms=5000)
        if not done:
            assert said["code"] == "overloaded"
            break
        opened += 1
    assert 150 < opened < 512
    everything_orphaned(server, [*rooms, *(f"{base}-http-{n}" for n in range(10))])
    assert ok(other, "open", rooms[0], "after all")["at"] == 0


def test_r27_streams_that_ended_leave_their_room_to_others(start, connect):
    server = start({"retention.total_bytes": 1_048_576})
    client = connect(server)
    for n in range(60):
        written(client, unique("room"), "x" * 3000, "a")
    for n in range(60):
        Stream(client, unique("room"), "a").end("cancelled")
