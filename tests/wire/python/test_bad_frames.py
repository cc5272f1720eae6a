"""Frames that are wrong: the answer, an open connection, and everyone else left alone."""

import json

import pytest

from waiting import unique

pytestmark = pytest.mark.usefixtures("bystander")
DEEP = 100_000


def publish(room, message, **more):
    return {"type": "publish", "to": {"room": room}, "message": message, **more}


def raw_publish(room, message):
    return '{"type":"publish","ref":1,"to":{"room":"%s"},"message":%s}' % (room, message)


NOT_FRAMES = [
    "", " ", "{", "}", "nonsense", "Ping", "PING", "ping ", "[]", '[{"type":"ping"}]', '"ping"', "1", "null", "true",
    "{}", '{"type":1}', '{"type":null}', '{"type":""}', '{"type":["ping"]}', '{"Type":"ping"}',
    '{"type":"ping"}{"type":"ping"}', '{"type":"ping",}', "{'type':'ping'}", '{"type":"ping"} x',
    '{"type":"ping","a":NaN}', '{"type":"pi\\ng"',
    "\ufeff" + '{"type":"ping"}', '{"type":"\x01"}', '{"type":"join","room":"a","room":"b"}',
]


@pytest.mark.parametrize("text", NOT_FRAMES, ids=range(len(NOT_FRAMES)))
def test_bad_frame_is_answered_by_an_error(server, connect, text):
    client = connect(server)
    client.send(text)
    wanted = ("bad_frame", "no_handler") if text == '{"type":""}' else ("bad_frame",)
    assert client.expect("error")["code"] in wanted
    assert client.is_open()
    assert server.session(client.session)["rooms"] == []


@pytest.mark.parametrize("ref", [1.5, True, None, [], {}, "x" * 129], ids=str)
def test_bad_ref(server, connect, ref):
    client = connect(server)
    client.send({"type": "ping", "ref": ref})
    client.expect("error", code="bad_frame")
    assert client.is_open()


MISSING = [
    {"type": "join"}, {"type": "leave"}, {"type": "presence"}, {"type": "ack"}, {"type": "auth"},
    {"type": "publish", "message": {"type": "x"}}, {"type": "publish", "to": "all"},
    {"type": "join", "room": 7}, {"type": "join", "room": None}, {"type": "join", "room": "r", "since": "end"},
    {"type": "join", "room": "r", "since": 4}, {"type": "join", "room": "r", "since": {"message_id": 4}},
    {"type": "join", "room": "r", "since": {"epoch": 1, "message_id": 4}},
    {"type": "join", "room": "r", "since": {"epoch": "e", "message_id": 4, "more": 1}},
    {"type": "join", "room": "r", "since": {"epoch": "e", "message_id": -4}},
    {"type": "pong", "positions": []}, {"type": "pong", "positions": {"r": 4}},
    {"type": "reconnect", "last_message_id": "4"}, {"type": "reconnect", "last_message_id": -1},
    {**publish("r", {"type": "x"}), "ephemeral": "yes"}, {**publish("r", {"type": "x"}), "durability": 1},
    {**publish("r", {"type": "x"}), "id": 5},
]


@pytest.mark.parametrize("frame", MISSING, ids=range(len(MISSING)))
def test_bad_field_that_is_missing_or_of_the_wrong_kind(server, connect, frame):
    client = connect(server, unique("room"))
    client.fails(frame, "bad_frame")
    assert client.is_open()


@pytest.mark.parametrize("depth", [200, DEEP])
@pytest.mark.parametrize("open, close", ["[]", ("{\"a\":", "}")], ids=["arrays", "objects"])
def test_bad_json_deeper_than_allowed(start, connect, depth, open, close):
    server, room = start({"connection.message_max_bytes": 1048576}), unique("room")
    client, other = connect(server, room), connect(server, room)
    deep = open * depth + "1" + close * depth
    for text in (deep, '{"type":"ping","a":%s}' % deep, raw_publish(room, '{"type":"x","d":%s}' % deep), open * depth):
        client.send(text)
        frame = client.next()
        assert (frame.get("code") or frame["error"]["code"]) == "bad_frame"
    assert client.is_open()
    other.nothing_new(room)


def test_bad_depth_is_not_what_is_allowed(server, connect):
    room = unique("room")
    client = connect(server, room)
    deep = "[" * 100 + "]" * 100
    client.send(raw_publish(room, '{"type":"x","d":%s}' % deep))
    arrived = {frame["type"]: frame for frame in (client.next(), client.next())}
    assert arrived["reply"]["ok"] is True and json.dumps(arrived["x"]["d"]) == deep


RESERVED = [
    '{"type":"x","room":"r"}', '{"type":"x","message_id":1}', '{"type":"x","timestamp":null}',
    '{"type":"x","\\u0072oom":"r"}', '{"type":"x","message\\u005fid":1}', '{"type":"x","\\u0074imestam\\u0070":1}',
    '{"type":"x","a":1,"a":2}', '{"type":"x","a":1,"\\u0061":2}', '{"type":"x","type":"y"}',
    '{"type":"x","\\u0074ype":"y"}', '{"\\u0074ype":"ping"}', '{}', '{"data":1}',
    '{"type":1}', '{"type":null}', "[]", '["type"]', '"text"', "1", "null",
    *('{"type":"%s"}' % reserved for reserved in (
        "connection_established", "reply", "ping", "pong", "joined", "left", "presence", "reset", "position",
        "token_expiring", "closing", "p\\u0069ng", "\\u0072eply", "\\u0063onnection\\u005festablished",
    )),
]


@pytest.mark.parametrize("message", RESERVED)
@pytest.mark.parametrize("way", ["ws", "http"])
def test_bad_message(server, connect, message, way):
    room = unique("room")
    client = connect(server, room)
    if way == "ws":
        client.send(raw_publish(room, message))
        reply = client.expect("reply", ok=False)
        assert reply["error"]["code"] == "message_invalid"
    else:
        body = '{"to":{"room":"%s"},"message":%s}' % (room, message)
        server.http("POST", "/v1/publish", body.encode()).problem(400, "message_invalid")
    client.nothing_new(room)
    assert len(server.get(f"/v1/rooms/{room}/messages")["messages"]) == 1, "the marker alone"


TARGETS = [
    {}, {"everyone": True}, {"room": "r", "user": "u"}, "everyone", "ALL", "", 1, None, [], ["all"], {"room": 1},
    {"room": None}, {"sessions": "s"}, {"sessions": [1]}, {"sessions": [f"s{n}" for n in range(101)]}, {"user": ["u"]},
]


@pytest.mark.parametrize("to", TARGETS, ids=range(len(TARGETS)))
def test_bad_target(server, connect, to):
    client = connect(server)
    client.fails({"type": "publish", "to": to, "message": {"type": "x"}}, ("target_invalid", "bad_frame"))
    answer = server.http("POST", "/v1/publish", {"to": to, "message": {"type": "x"}})
    answer.problem(400, ("target_invalid", "bad_frame"))
    assert client.is_open()


EXCEPTS = [
    {"session": ["{s}"]}, {"sessions": "{s}"}, {"sessions": [1]}, {"users": {}}, ["{s}"], "{s}", {"Sessions": ["{s}"]},
    {"sessions": ["{s}"] + [f"s{n}" for n in range(256)]}, {"users": [f"u{n}" for n in range(257)]},
    {"sessions": [f"s{n}" for n in range(150)], "users": [f"u{n}" for n in range(150)]},
]


@pytest.mark.parametrize("excluded", EXCEPTS, ids=range(len(EXCEPTS)))
def test_bad_except_never_leaks(server, connect, excluded):
    room = unique("room")
    client = connect(server, room)
    excluded = json.loads(json.dumps(excluded).replace("{s}", client.session))
    frame = publish(room, {"type": "secret"}, **{"except": excluded})
    client.fails(frame, ("target_invalid", "bad_frame"))
    del frame["type"]
    server.http("POST", "/v1/publish", frame).problem(400, ("target_invalid", "bad_frame"))
    client.nothing_new(room)


@pytest.mark.parametrize("id", ["", "x" * 129, "é" * 65, "a\nb", "\x00", "a\x7fb"], ids=range(6))
def test_bad_id(server, connect, id):
    room = unique("room")
    client = connect(server, room)
    elsewhere = ("id_invalid", "target_invalid")
    for frame, codes in (
        (publish(room, {"type": "x"}, id=id), "id_invalid"),
        ({"type": "publish", "to": {"user": id}, "message": {"type": "x"}}, elsewhere),
        ({"type": "publish", "to": {"session": id}, "message": {"type": "x"}}, elsewhere),
        (publish(room, {"type": "x"}, **{"except": {"users": [id]}}), elsewhere),
    ):
        client.fails(frame, codes)
        del frame["type"]
        server.http("POST", "/v1/publish", frame).problem(400, codes)
    client.nothing_new(room)


def test_bad_ack(server, connect):
    room = unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 3)
    client.messages(ids)
    for id in (ids[-1] + 1, ids[-1] + 1000, 2**53 - 1):
        client.fails({"type": "ack", "message_id": id}, "ack_beyond")
    for id in (-1, 1.5, "2", None, True, [2], {}, -(2**70)):
        client.fails({"type": "ack", "message_id": id}, "bad_frame")
    for id in (2**53, 2**63, 2**64, 10**40, 1e300):
        client.fails({"type": "ack", "message_id": id}, ("bad_frame", "ack_beyond"))
    client.send('{"type":"ack","message_id":1e400}')
    client.expect("error")
    epoch = server.room(room)["epoch"]
    client.fails({"type": "pong", "positions": {room: {"epoch": epoch, "message_id": ids[-1] + 1}}}, "ack_beyond")
    client.drop()
    assert connect.back(client).established["rooms"][room]["replayed"] == 3, "none of these counted"


def test_bad_ack_of_what_this_connection_was_not_sent(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.ok({"type": "leave", "room": room})
    client.expect("left")
    ids = server.to_room(room, 3)
    client.fails({"type": "ack", "message_id": ids[0], "room": room}, "not_a_member")
    client.join(room, since={"epoch": server.room(room)["epoch"], "message_id": ids[2]})
    client.fails({"type": "ack", "message_id": ids[2] + 1}, "ack_beyond")


def test_bad_joins_over_the_limit(server, connect):
    rooms = [unique("room") for _ in range(129)]
    client = connect(server)
    for room in rooms[:128]:
        client.join(room)
    client.fails({"type": "join", "room": rooms[128]}, "too_many_rooms")
    path = f"/v1/sessions/{client.session}/rooms/{rooms[128]}"
    server.http("PUT", path).problem(409, "too_many_rooms")
    client.ok({"type": "join", "room": rooms[5]})  # a member already: no new room
    assert len(server.session(client.session)["rooms"]) == 128
    client.ok({"type": "leave", "room": rooms[0]})
    assert server.http("PUT", path).status == 204
    assert sorted(server.session(client.session)["rooms"]) == sorted(rooms[1:])


def test_bad_hello(server, connect):
    client = connect(server)
    client.fails({"type": "hello"}, "already_established")
    client = connect(server, hello={})
    client.fails({"type": "hello", "session": "another"}, "already_established")
    assert client.is_open()
    for metadata in ([], "x", {"big": "x" * 5000}):
        refused = connect.raw(server, hello={"metadata": metadata, "ref": 1}).next()
        assert refused["type"] in ("error", "reply"), refused
        assert (refused.get("code") or refused["error"]["code"]) == "metadata_invalid"
    for session in ("", "x" * 129, "a\u0000b"):
        refused = connect.raw(server, hello={"session": session}).next()
        assert refused["type"] == "error" and refused["code"] == "id_invalid"
    refused = connect.raw(server, hello={"resumetoken": "x"}).next()
    assert refused["type"] == "error" and refused["code"] == "bad_frame"


def test_bad_hello_with_a_token_where_none_is_checked(server, connect):
    client = connect.raw(server, hello={"token": "x.y.z"})
    (error,) = client.closed(1008)
    assert error["type"] == "error" and error["code"] == "no_authenticator"
