"""Ends: one terminal record, what it carries, and what the lease does where nobody ends."""

import time

import pytest

from streaming import Reader, Stream, fails, listed, ok, state, terminals
from waiting import eventually, unique

ENDS = [
    ("complete", {}), ("complete", {"message": {"tokens": 2}}), ("complete", {"message": "text ☃"}),
    ("complete", {"message": [1, {"a": None}]}), ("complete", {"message": 1.5}), ("complete", {"message": False}),
    ("complete", {"message": {"room": "r", "message_id": 1, "timestamp": "t", "type": "ping", "stream": "b"}}),
    ("error", {}), ("error", {"error": "model_failed"}), ("error", {"error": {"code": 7}}), ("error", {"error": [0]}),
    ("cancelled", {}),
]
WRONG_ENDS = [
    ("complete", {"error": "x"}), ("error", {"message": {}}), ("cancelled", {"message": {}}), ("cancelled", {"error": "x"}),
    ("complete", {"message": {}, "error": "x"}), ("orphaned", {}), ("open", {}), ("", {}), ("Complete", {}), (None, {}),
    (1, {}), (["complete"], {}),
]


@pytest.mark.parametrize("outcome, carried", ENDS, ids=range(len(ENDS)))
def test_r27_streams_end_as_they_are_told(server, connect, by, outcome, carried):
    room = unique("room")
    one, two = (Reader(room, connect(server, room)) for _ in range(2))
    stream = Stream(by, room, "a")
    stream.append("The answer")
    id = stream.end(outcome, **carried)
    for reader in (one, two):
        record = reader.ended("a", "The answer", outcome)
        assert record == {**record, "stream": "a", "message_id": id, **carried}
        assert set(record) == {"type", "stream", "room", "message_id", "timestamp", *carried}
        ids = [frame["message_id"] for frame in reader.frames]
        assert ids == sorted(set(ids)), "live, ids rise"
    seen = state(server, room, "a")
    assert seen == {"room": room, "stream": "a", "state": outcome, "at": 10, "content": "The answer", "data": None,
                    "cancel": False, **carried}
    assert listed(server, room) == []
    assert terminals(server.messages(room), "a") == [record]
    one.client.nothing_new(room)


@pytest.mark.parametrize("outcome, carried", WRONG_ENDS, ids=range(len(WRONG_ENDS)))
def test_r27_streams_wrong_ends(server, by, outcome, carried):
    room = unique("room")
    stream = Stream(by, room, "a")
    stream.not_ended("bad_frame", outcome, **carried)
    assert state(server, room, "a")["state"] == "open"


def test_r27_streams_the_same_end_again(server, connect, by):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    for name, outcome, carried in (("a", "complete", {"message": {"n": 1}}), ("b", "error", {"error": "e"}), ("c", "cancelled", {}),
                                   ("d", "complete", {})):
        stream = Stream(by, room, name)
        stream.append("x")
        id = stream.end(outcome, **carried)
        for _ in range(3):
            assert stream.end(outcome, **carried) == id
        for other in ("complete", "error", "cancelled"):
            if other != outcome:
                stream.not_ended("stream_ended", other)
        if outcome == "complete":
            stream.not_ended("stream_ended", outcome, message={"n": 2})
        stream.not_ended("stream_ended", outcome, fence=stream.fence + 1, **carried)
        assert stream.end(outcome, **carried) == id
        reader.ended(name, "x", outcome)
    reader.client.nothing_new(room)


def test_r27_streams_the_same_end_of_another_is_not_answered(server, connect):
    room = unique("room")
    stream = Stream(connect(server), room, "a")
    stream.end()
    for by in (connect(server), connect(server, user=unique("ann")), server):
        fails(by, "stream_ended", "end", **stream.holder, outcome="complete")


def test_r27_streams_the_same_end_after_a_reconnect(server, connect):
    room, client = unique("room"), connect(server)
    stream = Stream(client, room, "a")
    id = stream.end()
    client.drop()
    stream.by = connect.back(client)
    assert stream.end() == id


def test_r27_streams_that_are_empty(server, connect, by):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    Stream(by, room, "a").end()
    reader.ended("a", "")
    assert [frame["type"] for frame in reader.frames] == ["chunk", "complete"]
    late = Reader(room, connect(server))
    late.client.join(room, since="start")
    late.ended("a", "")


# --- the lease ---

def test_r27_streams_a_lease_that_runs_out_orphans_once(server, connect, by):
    room = unique("room")
    readers = [Reader(room, connect(server, room)) for _ in range(3)]
    began = time.monotonic()
    stream = Stream(by, room, "a", lease_ms=1000)
    silent = Stream(by, room, "silent", lease_ms=1000)
    stream.append("half an ans")
    other = Stream(by, room, "other")
    for reader in readers:
        record = reader.ended("a", "half an ans", "orphaned")
        assert time.monotonic() - began >= 0.99
        assert set(record) == {"type", "stream", "room", "message_id", "timestamp"}
        reader.ended("silent", "", "orphaned")
    assert len({reader.done["a"][1]["message_id"] for reader in readers}) == 1
    for gone in (stream, silent):
        gone.refused("stream_ended", "x")
        gone.not_ended("stream_ended")
        fails(by, "stream_ended", "open", room, gone.stream)
        assert state(server, room, gone.stream)["state"] == "orphaned"
    other.append("is not concerned")
    last = server.to_room(room, 1)[0]
    for reader in readers:
        reader.has("other", "is not concerned")
        reader.note(last)
        assert [frame["stream"] for frame in reader.frames if frame["type"] == "orphaned"] in (["a", "silent"], ["silent", "a"])
    assert len(terminals(server.messages(room), "a")) == 1
    late = Reader(room, connect(server))
    late.client.join(room, since="start")
    late.ended("a", "half an ans", "orphaned")


def test_r27_streams_an_empty_append_keeps_the_lease(server, connect):
    room = unique("room")
    renewed = [Stream(by, room, name, lease_ms=1500) for by, name in ((server, "http"), (connect(server), "socket"))]
    left, began = Stream(server, room, "left", lease_ms=1500), time.monotonic()
    while time.monotonic() - began < 2.4:
        for stream in renewed:
            stream.append("")
        time.sleep(0.25)  # as a producer does that has nothing to say
    assert state(server, room, "left")["state"] == "orphaned"
    assert listed(server, room) == ["http", "socket"]
    left.refused("stream_ended", "")
    last = time.monotonic()
    for stream in renewed:
        stream.append("")
    eventually(lambda: listed(server, room) == [], 6)
    assert time.monotonic() - last >= 1.49


def test_r27_streams_what_is_refused_keeps_no_lease(server, connect):
    room, client = unique("room"), connect(server)
    streams = [Stream(client, room, name, lease_ms=1000) for name in ("at", "text", "fence", "cancel")]
    for stream in streams:
        stream.append("abc")

    def refusals():
        asked = [client.ask({"type": "stream_append", **streams[0].holder, "at": 9, "content": "x"}),
                 client.ask({"type": "stream_append", **streams[1].holder, "at": 0, "content": "x"}),
                 client.ask({"type": "stream_append", **streams[2].holder, "fence": streams[2].fence + 1, "at": 3, "content": "x"}),
                 client.ask({"type": "stream_cancel", "room": room, "stream": "cancel"})]
        codes = [reply["error"]["code"] if not reply["ok"] else "ok" for reply in asked]
        assert all(code in (before, "stream_ended") for code, before in zip(codes, ["at_mismatch", "conflict", "fenced", "ok"])), codes
        return set(codes) == {"stream_ended"}

    eventually(refusals, 6)
    assert [state(server, room, stream.stream)["state"] for stream in streams] == ["orphaned"] * 4


def test_r27_streams_opened_again_has_the_new_lease(server, by):
    room = unique("room")
    short, long = Stream(by, room, "short", lease_ms=600_000), Stream(by, room, "long", lease_ms=1000)
    long = long.again(lease_ms=600_000)
    began = time.monotonic()
    short = short.again(lease_ms=1000)
    eventually(lambda: state(server, room, "short")["state"] == "orphaned", 6)
    assert time.monotonic() - began >= 0.99
    assert state(server, room, "long")["state"] == "open"
    long.append("still there")


def test_r27_streams_a_lease_outlives_its_producer_s_connection(server, connect):
    """The lease is the stream's: neither a drop nor a return says anything of it."""
    room, client = unique("room"), connect(server)
    stream = Stream(client, room, "a", lease_ms=1500)
    client.drop()
    assert state(server, room, "a")["state"] == "open"
    again = connect.back(client)
    eventually(lambda: state(server, room, "a")["state"] == "orphaned", 6)
    assert again.ask({"type": "stream_append", **stream.holder, "at": 0, "content": "x"})["error"]["code"] == "stream_ended"


@pytest.mark.parametrize("lease", [1000, 600_000])
def test_r27_streams_leases_at_their_bounds(by, lease):
    assert ok(by, "open", unique("room"), "a", lease_ms=lease)["at"] == 0


@pytest.mark.parametrize("lease", [999, 600_001, 0, -1, 1500.5, "2000", True, [2000], 2**63], ids=str)
def test_r27_streams_leases_beyond_their_bounds(server, by, lease):
    room = unique("room")
    fails(by, "bad_frame", "open", room, "a", lease_ms=lease)
    assert state(server, room, "a") is None
