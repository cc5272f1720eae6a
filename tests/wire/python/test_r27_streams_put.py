"""`PUT`: the body of one request is the text, as it comes."""

import time

import pytest

from streaming import MIXED, TEXT, Reader, Stream, answer, fails, listed, ok, path, state, terminals, written
from waiting import eventually, unique


def watched(server, connect):
    room = unique("room")
    return room, Reader(room, connect(server, room))


def is_open(server, room, stream, text):
    """Waits until the stream is open and holds this."""
    def there():
        seen = state(server, room, stream)
        return seen is not None and seen["state"] == "open" and seen["content"] == text
    eventually(there, what=f"{stream} to hold {text!r}")


def test_r27_streams_put_is_seen_as_it_comes(server, connect, put):
    room, reader = watched(server, connect)
    body, text = put(server, room, "a"), ""
    for word in ("The ", "answer", " is \U0001f600", "\n"):
        body.send(word)
        text += word
        reader.has("a", text)
    done = body.done()
    assert set(done) == {"at", "message_id"} and done["at"] == len(text)
    assert reader.ended("a", text)["message_id"] == done["message_id"]
    assert "message" not in reader.done["a"][1]
    assert state(server, room, "a")["state"] == "complete"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_r27_streams_put_in_pieces_that_split_code_points(server, connect, put, size):
    room, reader = watched(server, connect)
    body, raw = put(server, room, "a"), MIXED.encode()
    for at in range(0, len(raw), size):
        body.send(raw[at:at + size])
    assert body.done()["at"] == len(MIXED)
    reader.ended("a", MIXED)


def test_r27_streams_put_half_a_code_point_waits_for_the_rest(server, connect, put):
    room, reader = watched(server, connect)
    body, raw = put(server, room, "a"), "\U0001f600".encode()
    body.send(b"x" + raw[:2])
    reader.has("a", "x")
    for n in range(2, 4):
        body.send(raw[n:n + 1])
    reader.has("a", "x\U0001f600")
    assert body.done()["at"] == 2


@pytest.mark.parametrize("text", ["", "x", MIXED, "é" * 100_000], ids=["empty", "short", "mixed", "long"])
def test_r27_streams_put_with_a_length(server, connect, put, text):
    room, reader = watched(server, connect)
    done = put(server, room, "a b/é", length=len(text.encode())).send(text).done()
    assert done["at"] == len(text)
    assert reader.ended("a b/é", text)["message_id"] == done["message_id"]


def test_r27_streams_put_has_only_the_stream_s_bound(start, connect, put):
    server = start({"http.body_max_bytes": 1024})
    room, reader = watched(server, connect)
    text = "0123456789abcdef" * (TEXT // 16)
    assert put(server, room, "a", length=TEXT).send(text).done()["at"] == TEXT
    reader.ended("a", text, timeout=20)
    body = put(server, room, "b")
    for _ in range(17):
        body.send("x" * 65_536)
    body.answer().problem(413, "stream_too_big")
    whole, record = _end_of(reader, "b")
    assert record["type"] == "error" and record["error"] == "too_big"
    assert set(whole) == {"x"} and len(whole) <= TEXT


def _end_of(reader, stream, timeout=20):
    reader.until(lambda: stream in reader.done, timeout)
    return reader.done[stream]


@pytest.mark.parametrize("kind", ["chunked", "length"])
def test_r27_streams_put_that_breaks_off(server, connect, put, kind):
    room, reader = watched(server, connect)
    body = put(server, room, "a", **({} if kind == "chunked" else {"length": 100})).send("half an ans")
    reader.has("a", "half an ans")
    body.close()
    assert reader.ended("a", "half an ans", "error")["error"] == "body_incomplete"
    seen = state(server, room, "a")
    assert (seen["state"], seen["error"], seen["content"]) == ("error", "body_incomplete", "half an ans")
    reader.client.nothing_new(room)


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\x80", b"\xe2\x98", b"\xf0\x9f\x98"],
                         ids=lambda bad: bad.hex())
def test_r27_streams_put_that_is_not_utf8(server, connect, put, bad):
    """In the middle, and cut off at the end."""
    for name, after in (("middle", b"abc" * 10), ("end", b"")):
        room, reader = watched(server, connect)
        body = put(server, room, name).send("fine ")
        reader.has(name, "fine ")
        body.send(bad + after).finish().answer().problem(400, "bad_frame")
        text, record = _end_of(reader, name)
        assert record["type"] == "error" and record["error"] == "not_utf8"
        assert text == "fine "
        assert len(terminals(server.messages(room), name)) == 1


# --- what there is already ---

def test_r27_streams_put_of_what_exists(server, connect, put):
    room, client = unique("room"), connect(server)
    mine, theirs = Stream(server, room, "mine"), Stream(client, room, "theirs")
    mine.append("abc")
    theirs.append("abc")
    written(server, room, "x", "over")
    for query in ({}, {"at": 3}, {"at": 0}):
        put(server, room, "theirs", **query).answer().problem(409, "stream_taken")
        put(server, room, "over", **query).answer().problem(409, "stream_ended")
    put(server, room, "mine").answer().problem(409, "conflict")
    for at in (0, 2, 4, 100):
        assert put(server, room, "mine", at=at).answer().problem(409, "at_mismatch")["at"] == 3
    for at in (1, 3):
        put(server, room, "none", at=at).answer().problem(404, "not_found")
    for at in ("-1", "x", "1.5", ""):
        put(server, room, "none", at=at).answer().problem(400, "bad_frame")
    assert listed(server, room) == ["mine", "theirs"]
    assert state(server, room, "mine")["content"] == "abc"
    theirs.append("d")


def test_r27_streams_put_goes_on(server, connect, put):
    room, reader = watched(server, connect)
    stream = Stream(server, room, "a", data={"n": 1})
    stream.append("one \U0001f600")
    body = put(server, room, "a", at=5).send(" two")
    reader.has("a", "one \U0001f600 two")
    stream.refused("fenced", "x", 9)
    assert body.done()["at"] == 9
    reader.ended("a", "one \U0001f600 two")
    assert reader.data["a"] == {"n": 1}
    assert put(server, room, "new", at=0).send("from nothing").done()["at"] == 12
    reader.ended("new", "from nothing")


def test_r27_streams_put_that_another_took_over(server, connect, put):
    room, reader = watched(server, connect)
    body = put(server, room, "a").send("first ")
    is_open(server, room, "a", "first ")
    stream = Stream(server, room, "a")
    assert stream.at == 6
    for _ in range(2):
        body.send("late ")
    body.answer().problem(409, "fenced")
    body.close()
    stream.append("second")
    reader.has("a", "first second")
    stream.end()
    reader.ended("a", "first second")


@pytest.mark.parametrize("room, stream, code", [
    ("@all", "a", "room_invalid"), ("@user/ann", "a", "room_invalid"), ("x" * 256, "a", "room_invalid"), ("r", "@a", "id_invalid"),
    ("r", "x" * 256, "id_invalid"), ("r", "a\nb", "id_invalid"), ("r\n", "a", "room_invalid"),
], ids=range(7))
def test_r27_streams_put_with_wrong_names(server, put, room, stream, code):
    put(server, room, stream).finish().answer().problem(400, code)


# --- time, and whoever asks to stop ---

def test_r27_streams_put_holds_the_lease(start, connect, put):
    """A body may be silent for longer than any lease there was, and longer than a request may take."""
    server = start({"http.request_timeout_ms": 1000, "http.head_timeout_ms": 1000})
    room, reader = watched(server, connect)
    short = Stream(server, room, "short", lease_ms=1000)
    short.append("x")
    bodies, began = [put(server, room, "short", at=1), put(server, room, "plain").send("y")], time.monotonic()
    reader.has("plain", "y")
    for body in bodies:
        assert body.unanswered(8)
    assert time.monotonic() - began > 15.5, "a stream that nobody holds is orphaned after 15 s"
    assert listed(server, room) == ["plain", "short"]
    for body, text in zip(bodies, ("x later", "y later")):
        assert body.send(" later").done()["at"] == len(text)
    reader.ended("short", "x later")
    reader.ended("plain", "y later")


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "sending"])
@pytest.mark.parametrize("who", ["client", "application"])
def test_r27_streams_put_that_is_asked_to_stop(server, connect, put, silent, who):
    room, reader = watched(server, connect)
    body = put(server, room, "a").send("so far")
    reader.has("a", "so far")
    ok(connect(server) if who == "client" else server, "cancel", room, "a")
    if not silent:
        for _ in range(3):
            body.send("!")
    body.answer().problem(409, "stream_cancelled")
    text, record = _end_of(reader, "a")
    assert record["type"] == "cancelled" and text.rstrip("!") == "so far"
    assert state(server, room, "a")["state"] == "cancelled"
    fails(server, "stream_ended", "cancel", room, "a")
    put(server, room, "a").answer().problem(409, "stream_ended")


def test_r27_streams_put_of_many_at_once(server, connect, put):
    room, reader = watched(server, connect)
    bodies = {f"s{n:02}": put(server, room, f"s{n:02}") for n in range(30)}
    for word in ("one ", "\U0001f600 ", "three"):
        for body in bodies.values():
            body.send(word)
    for name in bodies:
        reader.has(name, "one \U0001f600 three")
    assert listed(server, room) == sorted(bodies)
    for name, body in bodies.items():
        assert body.done()["at"] == 11
        reader.ended(name, "one \U0001f600 three")


def test_r27_streams_put_is_refused_beyond_the_bound_of_a_room(server, put):
    room = unique("room")
    streams = [Stream(server, room) for _ in range(64)]
    put(server, room, "one-more").answer().problem(503, "overloaded")
    streams[0].end()
    assert put(server, room, "one-more").send("x").done()["at"] == 1
    assert answer(server, "open", room, "and-another")[0]
    assert server.http("GET", path(room, "one-more")).json["content"] == "x"
