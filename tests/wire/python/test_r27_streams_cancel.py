"""Asking a producer to stop: who is told, and that it decides itself."""

import pytest

from serving import new_user
from streaming import Reader, Stream, fails, ok, pipelined, state
from waiting import eventually, unique


def told(client, room, stream):
    """The request to stop that must come next."""
    frame = client.expect("stream_cancel", room=room, stream=stream)
    assert set(frame) == {"type", "room", "stream", "by"}, frame
    return frame["by"]


def by_the_application(by):
    return by is None or by == {"session": None, "user": None}


def test_r27_streams_a_producer_is_told_who_asks_it_to_stop(server, connect):
    room = unique("room")
    producer, nobody, ann = connect(server), connect(server, room), connect(server, room, user=new_user())
    for canceller, who in ((nobody, {"session": nobody.session, "user": None}), (ann, {"session": ann.session, "user": ann.user}),
                           (producer, {"session": producer.session, "user": None})):
        stream = Stream(producer, room)
        stream.append("so ")
        reply = ok(canceller, "cancel", room, stream.stream)
        assert {name for name in reply if name not in ("type", "ref", "ok")} == set(), reply
        assert told(producer, room, stream.stream) == who
        # The producer decides when to end, and how.
        assert state(server, room, stream.stream)["state"] == "open"
        assert stream.append("far")["cancel"] is True
        assert stream.append("", None)["cancel"] is True
        stream.end("complete")
        assert state(server, room, stream.stream)["state"] == "complete"
    reader = Reader(room, nobody)
    reader.until(lambda: len(reader.done) == 3)
    assert not [frame for frame in reader.frames if frame["type"] == "cancelled"], "a request is not an end"


def test_r27_streams_a_producer_is_told_when_the_application_asks(server, connect):
    room, producer = unique("room"), connect(server, user=new_user())
    stream = Stream(producer, room)
    ok(server, "cancel", room, stream.stream)
    assert by_the_application(told(producer, room, stream.stream))
    stream.end("cancelled")
    assert state(server, room, stream.stream)["state"] == "cancelled"


def test_r27_streams_a_producer_over_http_is_told_by_its_next_append(server, connect):
    room, client = unique("room"), connect(server, unique("other"))
    stream = Stream(server, room, "a")
    assert not stream.append("one").get("cancel")
    assert state(server, room, "a")["cancel"] is False
    assert [each["cancel"] for each in server.get(f"/v1/rooms/{room}/streams")["streams"]] == [False]
    ok(client, "cancel", room, "a")  # who asks need not be a member
    assert stream.append("")["cancel"] is True
    assert stream.append("two")["cancel"] is True
    assert state(server, room, "a")["cancel"] is True
    assert [each["cancel"] for each in server.get(f"/v1/rooms/{room}/streams")["streams"]] == [True]
    stream.end("cancelled")
    assert state(server, room, "a")["content"] == "onetwo"


def test_r27_streams_who_opened_or_appended_last_is_told(server, connect):
    room, user = unique("room"), new_user()
    one, two = connect(server, user=user), connect(server, user=user)
    for appends in (False, True):
        stream = Stream(one, room)
        if appends:
            ok(two, "append", **stream.holder, at=0, content="x")
        else:
            stream = stream.again(two)
        ok(server, "cancel", room, stream.stream)
        assert by_the_application(told(two, room, stream.stream))
        assert one.is_open(), "and was sent nothing"
        stream.end()


def test_r27_streams_a_producer_that_is_away_is_told_by_its_append(server, connect):
    room, producer = unique("room"), connect(server)
    stream = Stream(producer, room, "a")
    stream.append("before ")
    producer.drop()
    ok(server, "cancel", room, "a")
    back = connect.back(producer)
    assert ok(back, "append", **stream.holder, at=7, content="after")["cancel"] is True


def test_r27_streams_readers_see_nothing_of_a_request(server, connect):
    room = unique("room")
    reader, stream = connect(server, room), Stream(server, room, "a")
    reader.expect("chunk")
    ok(reader, "cancel", room, "a")
    reader.nothing_new(room)


@pytest.mark.parametrize("asked", ["over sockets", "over HTTP"])
def test_r27_streams_asked_again_and_again_to_stop(server, connect, asked):
    room, producer, client = unique("room"), connect(server), connect(server)
    stream = Stream(producer, room, "a")
    if asked == "over sockets":
        cancel = {"type": "stream_cancel", "room": room, "stream": "a"}
        assert all(reply["ok"] for reply in pipelined(client, [cancel] * 10_000, 500, 30))
    else:
        for _ in range(100):
            ok(server, "cancel", room, "a")
    told(producer, room, "a")
    assert producer.is_open(), "nothing changes where somebody asked before: it was told once"
    assert stream.append("x")["cancel"] is True
    stream.end("cancelled")
    assert Reader(room, connect(server)).client.is_open()
    fails(client, "stream_ended", "cancel", room, "a")


def test_r27_streams_many_cancelled_at_once(server, connect):
    room, producer = unique("room"), connect(server)
    streams = [Stream(producer, room, f"s{n:02}") for n in range(30)]
    for stream in streams:
        ok(server, "cancel", room, stream.stream)
    assert sorted(producer.expect("stream_cancel")["stream"] for _ in streams) == [stream.stream for stream in streams]
    for stream in streams:
        stream.end("cancelled")
    eventually(lambda: server.get(f"/v1/rooms/{room}/streams")["streams"] == [])


# --- who may ---

def grants(room=None, **more):
    return {"moorline": {"join": ["*"], "publish": [room] if room else [], **more}}


def test_r27_streams_need_the_right_to_publish(serving, connect):
    room, other = unique("room"), unique("other")
    may = connect(serving, room, **serving.as_user(new_user(), **grants(room)))
    may_not = connect(serving, room, **serving.as_user(new_user(), **grants(other)))
    stream = Stream(may, room, "a")
    fails(may_not, "forbidden", "open", room, "b")
    fails(may, "forbidden", "open", other, "b")
    fails(may_not, "forbidden", "cancel", room, "a")
    assert state(serving, room, "a")["cancel"] is False and state(serving, room, "b") is None
    stream.append("text")
    Reader(room, may_not).has("a", "text")  # to read needs none


def test_r27_streams_scopes_of_api_keys(serve, connect):
    server, room = serve(), unique("room")
    keys = {scope: server.new_key(scope, scope)["secret"] for scope in ("publish", "read", "manage")}
    server.reload()
    base = f"/v1/rooms/{room}/streams"
    eventually(lambda: server.http("GET", base + "/a", key=keys["read"]).status == 404)  # it knows the keys by now
    opened = server.http("POST", base, {"stream": "a"}, key=keys["publish"])
    assert opened.status == 201, opened
    fence = opened.json["fence"]
    requests = [
        ("POST", base, {"stream": "b"}, "publish"), ("POST", f"{base}/a/append", {"fence": fence, "at": 0, "content": "x"}, "publish"),
        ("POST", f"{base}/a/cancel", None, "publish"), ("GET", base, None, "read"), ("GET", f"{base}/a", None, "read"),
        ("POST", f"{base}/a/end", {"fence": fence, "outcome": "complete"}, "publish"), ("PUT", f"{base}/p", b"text", "publish"),
    ]
    for method, path, body, scope in requests:
        for name, key in keys.items():
            if name != scope:
                server.http(method, path, body, key=key).problem(403, "forbidden")
        assert server.http(method, path, body, key="nonsense").status == 401
        got = server.http(method, path, body, key=keys[scope])
        assert got.status in (200, 201, 204), got


def test_r27_streams_a_key_is_a_principal_by_its_name(serve, connect):
    server, room = serve(), unique("room")
    one, same, other = (server.new_key(name, "publish", "read")["secret"] for name in ("bot", "bot", "other"))
    server.reload()
    base = f"/v1/rooms/{room}/streams"
    eventually(lambda: all(server.http("GET", base + "/a", key=key).status == 404 for key in (one, same, other)))
    first = server.http("POST", base, {"stream": "a"}, key=one).json
    text = {"fence": first["fence"], "at": 0, "content": "x"}
    server.http("POST", base, {"stream": "a"}, key=other).problem(409, "stream_taken")
    server.http("POST", f"{base}/a/append", text, key=other).problem(409, "fenced")
    assert server.http("POST", f"{base}/a/append", text, key=same).status == 200
    again = server.http("POST", base, {"stream": "a"}, key=same).json
    assert again["fence"] > first["fence"] and again["at"] == 1
    server.http("POST", f"{base}/a/append", text, key=one).problem(409, "fenced")
    # A user of the same name is somebody else.
    fails(connect(server, **server.as_user("bot")), "stream_taken", "open", room, "a")


def test_r27_streams_a_user_is_a_principal_by_its_token(serving, connect):
    room, user, somebody = unique("room"), new_user(), new_user()
    one, two, other = (connect(serving, **serving.as_user(name)) for name in (user, user, somebody))
    stream = Stream(one, room, "a")
    stream.append("mine")
    fails(other, "stream_taken", "open", room, "a")
    fails(other, "fenced", "append", **stream.holder, at=4, content="x")
    assert stream.again(two).at == 4
    stream.refused("fenced", "x")
    ok(other, "cancel", room, "a")
    assert told(two, room, "a") == {"session": other.session, "user": somebody}
