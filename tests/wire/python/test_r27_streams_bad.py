"""Frames and requests of streams that are wrong: the answer, nothing done, and everyone else left alone."""

import pytest

from streaming import Reader, Stream, fails, ok, path, state
from waiting import unique

pytestmark = pytest.mark.usefixtures("bystander")

OPEN = [
    {"data": 1}, {"data": "text"}, {"data": []}, {"data": True}, {"data": {"fill": "x" * 4200}},
    {"data": {"fill": "é" * 2100}}, {"stream": 1}, {"stream": ["a"]}, {"stream": {}}, {"more": 1}, {"dat": {}}, {"lease": 2000},
    {"fence": 1}, {"at": 0}, {"content": "x"}, {"id": "x"}, {"durability": "memory"}, {"lease_ms": "1000"}, {"lease_ms": {}},
]
EXCEPT = [
    {"sessions": ["x" * 129]}, {"sessions": [""]}, {"users": ["a\nb"]}, {"sessions": [f"s{n}" for n in range(257)]},
    {"users": [f"u{n}" for n in range(200)], "sessions": [f"s{n}" for n in range(57)]}, {"rooms": ["a"]}, {"sessions": [7]},
    {"sessions": "s"}, "all", ["s"], 7,
]
APPEND = [
    {"at": -1}, {"at": 1.5}, {"at": "0"}, {"at": None}, {"at": True}, {"at": [0]}, {"at": 1e300}, {"content": None}, {"content": 1},
    {"content": ["x"]}, {"content": {"text": "x"}}, {"content": True}, {"fence": "1"}, {"fence": 1.5}, {"fence": None}, {"fence": []},
    {"fence": True}, {"more": 1}, {"text": "x"}, {"lease_ms": 1000}, {"outcome": "complete"}, {"cancel": True}, {"data": {}},
]
END = [{"fence": "1"}, {"fence": None}, {"fence": 1.5}, {"at": 0}, {"more": 1}, {"content": "x"}, {"reason": "x"}, {"data": {}}]


@pytest.mark.parametrize("fields", OPEN, ids=range(len(OPEN)))
def test_r27_streams_bad_open(server, by, fields):
    room = unique("room")
    fails(by, "bad_frame", "open", room, **{"stream": "a", **fields})
    assert state(server, room, "a") is None


@pytest.mark.parametrize("excepted", EXCEPT, ids=range(len(EXCEPT)))
def test_r27_streams_bad_except(server, by, excepted):
    room = unique("room")
    fails(by, ("target_invalid", "bad_frame", "id_invalid"), "open", room, "a", **{"except": excepted})
    assert state(server, room, "a") is None


@pytest.mark.parametrize("fields", APPEND, ids=range(len(APPEND)))
def test_r27_streams_bad_append(server, by, fields):
    room = unique("room")
    stream = Stream(by, room, "a")
    fails(by, "bad_frame", "append", **{**stream.holder, "at": 0, "content": "x", **fields})
    assert state(server, room, "a")["content"] == ""
    stream.append("fine")


@pytest.mark.parametrize("fields", END, ids=range(len(END)))
def test_r27_streams_bad_end(server, by, fields):
    room = unique("room")
    stream = Stream(by, room, "a")
    fails(by, "bad_frame", "end", **{**stream.holder, "outcome": "complete", **fields})
    assert state(server, room, "a")["state"] == "open"


@pytest.mark.parametrize("action, missing", [
    ("append", "fence"), ("append", "at"), ("append", "content"), ("end", "fence"), ("end", "outcome"),
])
def test_r27_streams_a_missing_field(server, by, action, missing):
    room = unique("room")
    stream = Stream(by, room, "a")
    fields = {**stream.holder, **({"at": 0, "content": "x"} if action == "append" else {"outcome": "complete"})}
    del fields[missing]
    fails(by, "bad_frame", action, **fields)
    assert state(server, room, "a") == {**state(server, room, "a"), "state": "open", "content": ""}


@pytest.mark.parametrize("action", ["open", "append", "end", "cancel"])
@pytest.mark.parametrize("wrong", [{}, {"room": 7}, {"room": None}, {"room": ["r"]}], ids=["none", "number", "null", "list"])
def test_r27_streams_bad_rooms(server, connect, action, wrong):
    client = connect(server)
    fields = {"append": {"fence": 1, "at": 0, "content": "x"}, "end": {"fence": 1, "outcome": "complete"}}.get(action, {})
    codes = ("bad_frame", "room_required") if not wrong else "bad_frame"
    client.fails({"type": f"stream_{action}", "stream": "a", **fields, **wrong}, codes)
    assert client.is_open()


@pytest.mark.parametrize("action", ["append", "end", "cancel"])
def test_r27_streams_bad_streams(server, connect, action):
    client, room = connect(server), unique("room")
    fields = {"append": {"fence": 1, "at": 0, "content": "x"}, "end": {"fence": 1, "outcome": "complete"}, "cancel": {}}[action]
    for wrong in ({}, {"stream": 7}, {"stream": None}, {"stream": ["a"]}):
        client.fails({"type": f"stream_{action}", "room": room, **fields, **wrong}, "bad_frame")
    client.fails({"type": "stream_cancel", "room": room, "stream": "a", "more": 1}, "bad_frame")
    client.send('{"type":"stream_cancel","room":"%s","stream":"a","stream":"b","ref":1}' % room)
    frame = client.next()
    assert (frame.get("code") or frame["error"]["code"]) == "bad_frame"
    assert client.is_open()


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b"{", b'{"stream":"a"', b"\xff"], ids=ascii)
def test_r27_streams_bad_bodies(server, body):
    room = unique("room")
    server.http("POST", path(room), body).problem(400, "bad_frame")
    stream = Stream(server, room, "x")
    for what in ("append", "end"):
        server.http("POST", path(room, "x", what), body).problem(400, "bad_frame")
    assert state(server, room, "x")["state"] == "open"
    stream.append("fine")


@pytest.mark.parametrize("method, part", [
    ("DELETE", ""), ("PUT", ""), ("DELETE", "/a"), ("PATCH", "/a"), ("GET", "/a/append"), ("PUT", "/a/end"), ("DELETE", "/a/cancel"),
])
def test_r27_streams_methods_that_are_not_there(server, method, part):
    server.http(method, f"/v1/rooms/{unique('room')}/streams{part}").problem(405, "not_found")


def test_r27_streams_data_has_its_bound(server, connect, by):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    data = {"fill": "x" * 4000, "nested": {"a": [1, None, "☃"]}}
    Stream(by, room, "a", data=data)
    reader.has("a", "")
    assert reader.data["a"] == data == state(server, room, "a")["data"]
    Stream(by, room, "b", data={})
    reader.has("b", "")
    assert reader.data["b"] == {}


# --- what only streams may send ---

FROM_STREAMS = ["chunk", "complete", "error", "cancelled", "orphaned"]


@pytest.mark.parametrize("type", FROM_STREAMS)
def test_r27_streams_nobody_else_sends_what_they_send(server, connect, type):
    room = unique("room")
    client = connect(server, room)
    for value in ('"a"', "null", "1", "{}"):
        for key in ('"stream"', '"\\u0073tream"', '"str\\u0065am"'):
            message = '{"type":"%s",%s:%s}' % (type, key, value)
            client.send('{"type":"publish","ref":1,"to":{"room":"%s"},"message":%s}' % (room, message))
            assert client.expect("reply", ref=1, ok=False)["error"]["code"] == "message_invalid"
            body = '{"to":{"room":"%s"},"message":%s}' % (room, message)
            server.http("POST", "/v1/publish", body.encode()).problem(400, "message_invalid")
    for to in ("all", {"session": client.session}, {"user": "ann"}):
        client.fails({"type": "publish", "to": to, "message": {"stream": "a", "type": type}}, "message_invalid")
    passing = {"type": "publish", "to": {"room": room}, "message": {"type": type, "stream": "a"}, "ephemeral": True}
    client.fails(passing, "message_invalid")
    client.nothing_new(room)


@pytest.mark.parametrize("message", [
    *({"type": type, "content": "x", "at": 0} for type in FROM_STREAMS), {"type": "chunk", "data": {"stream": "a"}},
    {"type": "chunk", "Stream": "a"}, {"type": "chunk", "streams": ["a"]}, {"type": "note", "stream": "a"},
    {"type": "chunks", "stream": "a"},
], ids=range(10))
def test_r27_streams_take_no_other_message_away(server, connect, by, message):
    room = unique("room")
    client = connect(server, room)
    if by is server:
        id = server.publish({"room": room}, message)["message_id"]
    else:
        id = by.publish({"room": room}, message)["message_id"]
    assert client.next() == {**server.messages(room)[0], **message, "message_id": id}


def test_r27_streams_a_request_to_stop_is_the_server_s_to_send(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.fails({"type": "publish", "to": {"room": room}, "message": {"type": "stream_cancel"}}, "message_invalid")
    for type in ("stream_open", "stream_append", "stream_end", "stream_chunk"):
        client.publish({"room": room}, {"type": type})
        client.expect(type)
    client.fails({"type": "stream_chunk"}, "no_handler")
    assert ok(client, "open", room, "a")["at"] == 0
