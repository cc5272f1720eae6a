"""Every frame that a client may send: its answer, and the order in which things come."""

import json

import pytest

from waiting import unique


def test_r12_a_reply_comes_before_what_the_frame_brings_about(server, connect):
    room = unique("room")
    server.to_room(room, 2)
    client = connect(server)

    def order(frame, count):
        client.send({**frame, "ref": "me"})
        return [client.next()["type"] for _ in range(count)]

    assert order({"type": "join", "room": room, "since": "start"}, 4) == ["reply", "joined", "note", "note"]
    # A published message goes its own way: the sender's copy may come before the reply.
    assert sorted(order({"type": "publish", "to": {"room": room}, "message": {"type": "hi"}}, 2)) == ["hi", "reply"]
    assert order({"type": "reconnect", "room": room, "last_message_id": 0}, 4) == ["reply", "note", "note", "hi"]
    assert order({"type": "presence", "room": room}, 2) == ["reply", "presence"]
    assert order({"type": "leave", "room": room}, 2) == ["reply", "left"]
    assert order({"type": "ping"}, 2) == ["reply", "pong"]


@pytest.mark.parametrize("ref", ["a", "x" * 128, "é☃", 0, 7, -3, 9007199254740991])
def test_r12_an_answer_names_what_it_answers(server, connect, ref):
    client = connect(server)
    client.send({"type": "ping", "ref": ref})
    reply = client.expect("reply", ok=True)
    assert reply["ref"] == ref and type(reply["ref"]) is type(ref)
    client.expect("pong")
    client.send({"type": "leave", "room": "nowhere", "ref": ref})
    reply = client.expect("reply", ok=False)
    assert reply["ref"] == ref and reply["error"]["code"] == "not_a_member"
    assert client.is_open(), "one reply each, no error frame besides"


def test_r12_without_a_ref_only_errors_are_answered(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.send({"type": "publish", "to": {"room": room}, "message": {"type": "hi"}})
    id = client.expect("hi")["message_id"]
    client.send({"type": "ack", "message_id": id})
    client.send({"type": "pong"})
    client.send({"type": "heartbeat_response"})
    client.send({"type": "leave", "room": "nowhere"})
    error = client.expect("error", code="not_a_member")
    assert isinstance(error["message"], str) and error["message"]
    assert "room" not in error, "with a room it would be the application's"
    assert client.is_open()


FRAMES = {
    "join": ({"type": "join", "room": "{new}"}, {"room", "epoch", "message_id"}, ["joined"]),
    "leave": ({"type": "leave", "room": "{room}"}, {"room"}, ["left"]),
    "publish": ({"type": "publish", "to": {"room": "{new}"}, "message": {"type": "m"}},
                {"room", "epoch", "message_id", "reached", "queued", "durability"}, []),
    "ack": ({"type": "ack", "message_id": 0}, {"room", "message_id"}, []),
    "reconnect": ({"type": "reconnect"}, {"room", "epoch", "message_id"}, []),
    "presence": ({"type": "presence", "room": "{room}"}, {"room", "count", "sessions"}, ["presence"]),
    "ping": ({"type": "ping"}, set(), ["pong"]),
    "pong": ({"type": "pong"}, set(), []),
    "pong with positions": ({"type": "pong", "positions": {}}, set(), []),
    "heartbeat_response": ({"type": "heartbeat_response"}, set(), []),
}


def filled(frame, room, new):
    return json.loads(json.dumps(frame).replace("{room}", room).replace("{new}", new))


@pytest.mark.parametrize("name", FRAMES)
def test_r12_each_frame_has_its_reply(server, connect, name):
    frame, fields, then = FRAMES[name]
    room, new = unique("room"), unique("new")
    client = connect(server, room)
    reply = client.ok(filled(frame, room, new))
    assert {"type", "ref", "ok"} | fields <= set(reply)
    for type in then:
        client.expect(type)
    assert client.is_open(), "and nothing else"


@pytest.mark.parametrize("name", FRAMES)
def test_bad_frame_with_a_field_too_many(server, connect, bystander, name):
    frame, _, _ = FRAMES[name]
    room = unique("room")
    client = connect(server, room)
    client.fails({**filled(frame, room, unique("new")), "excpet": {"sessions": ["s"]}}, "bad_frame")
    assert client.is_open(), "nothing was done"
    assert server.session(client.session)["rooms"] == [room]


def test_r12_an_application_message_has_no_handler_here(server, connect):
    client = connect(server)
    for message in ({"type": "message", "content": "hi"}, {"type": "broadcast", "content": "hi"}, {"type": "error"}):
        client.fails(message, "no_handler")
        client.send(message)
        client.expect("error", code="no_handler")
    assert client.is_open()


def test_r12_a_token_has_no_authenticator_here(server, connect):
    client = connect(server)
    client.fails({"type": "auth", "token": "x.y.z"}, "no_authenticator")
    assert client.is_open()
