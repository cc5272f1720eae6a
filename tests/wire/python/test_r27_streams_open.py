"""Opening a stream: its name, its holder, and whose it is."""

import pytest

from streaming import Reader, Stream, answer, fails, listed, ok, path, state, written
from waiting import unique

NAMES = ["a1", "with space", "a/b?c#d%20", "ключ ☃", "\U0001f600", "x" * 255, "é" * 127, "a@b"]
WRONG_NAMES = ["", "@x", "@all", "x" * 256, "é" * 128, "a\nb", "a\0b", "\x7f", "\u0085"]


def test_r27_streams_opening_is_answered_and_seen(server, connect, by):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    opened = ok(by, "open", room, "a1", data={"reply_to": 7})
    assert {name: opened[name] for name in ("room", "stream", "at")} == {"room": room, "stream": "a1", "at": 0}
    assert isinstance(opened["fence"], int)
    frame = reader.next()
    assert {**frame, "type": "chunk", "stream": "a1", "at": 0, "content": "", "data": {"reply_to": 7}} == frame
    assert list(frame) == ["type", "stream", "at", "content", "data", "room", "message_id", "timestamp"]
    Stream(by, room, "plain")
    assert reader.next()["content"] == "" and "data" not in reader.frames[-1]
    reader.client.nothing_new(room)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_r27_streams_names(server, connect, by, name):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    assert written(by, room, "text", name) == name
    reader.ended(name, "text")
    assert state(server, room, name)["stream"] == name


@pytest.mark.parametrize("name", WRONG_NAMES, ids=range(len(WRONG_NAMES)))
def test_r27_streams_wrong_names(server, connect, name):
    room = unique("room")
    client = connect(server, room)
    for by in (client, server):
        fails(by, "id_invalid", "open", room, name)
    fails(client, "id_invalid", "cancel", room, name)
    fails(client, "id_invalid", "append", room, name, fence=1, at=0, content="x")
    fails(client, "id_invalid", "end", room, name, fence=1, outcome="complete")
    if name:
        server.http("GET", path(room, name)).problem(400, "id_invalid")
        fails(server, "id_invalid", "append", room, name, fence=1, at=0, content="x")
    client.nothing_new(room)


def test_r27_streams_the_server_makes_names(server, by):
    room = unique("room")
    names = [ok(by, "open", room)["stream"] for _ in range(20)]
    assert len(set(names)) == 20 and not [name for name in names if name.startswith("@") or not name]
    assert listed(server, room) == sorted(names)


@pytest.mark.parametrize("room", ["@all", "@user/ann", "@session/s", "@x", "", "x" * 256, "a\nb"], ids=range(7))
def test_r27_streams_live_in_named_rooms_alone(server, connect, room):
    client = connect(server)
    fails(client, "room_invalid", "open", room, "a")
    fails(client, "room_invalid", "append", room, "a", fence=1, at=0, content="x")
    fails(client, "room_invalid", "end", room, "a", fence=1, outcome="complete")
    fails(client, "room_invalid", "cancel", room, "a")
    if room:
        fails(server, "room_invalid", "open", room, "a")
        fails(server, "room_invalid", "cancel", room, "a")
        for what in (path(room), path(room, "a")):
            server.http("GET", what).problem(400, "room_invalid")


def test_r27_streams_a_room_has_streams_of_its_own(server, by):
    one, two = unique("one"), unique("two")
    first, second = Stream(by, one, "a"), Stream(by, two, "a")
    first.append("first")
    second.append("2")
    assert (state(server, one, "a")["content"], state(server, two, "a")["content"]) == ("first", "2")


def test_r27_streams_a_producer_need_not_be_a_member(server, connect, by):
    room = unique("room")
    written(by, room, "alone")
    assert server.room(room)["connected"] == 0
    if hasattr(by, "ask"):
        assert by.is_open(), "and got nothing of it"


def test_r27_streams_opened_again_fences_the_old_holder(server, connect, by):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    first = Stream(by, room, "a", data={"n": 1})
    first.append("Hello ☃")
    second = first.again(data={"n": 2}, **{"except": {"sessions": [reader.client.session]}})
    assert second.fence > first.fence and second.at == 7
    for content, at in (("!", 7), ("", 7), ("Hello", 0), ("!", 99)):
        first.refused("fenced", content, at)
    first.not_ended("fenced")
    second.append("!")
    third = second.again()
    assert third.fence > second.fence and third.at == 8
    second.refused("fenced", "?")
    third.end()
    reader.ended("a", "Hello ☃!")
    assert reader.data["a"] == {"n": 1}, "data and except stay as they were"
    assert state(server, room, "a")["data"] == {"n": 1}
    assert [frame["content"] for frame in reader.chunks].count("") == 1, "opening again is not seen"


def test_r27_streams_a_guessed_fence_is_fenced(server, by):
    room = unique("room")
    stream = Stream(by, room)
    stream.append("text")
    for guess in (0, 1, stream.fence - 1, stream.fence + 1, stream.fence + 1000, 2**53 - 1):
        if guess != stream.fence:
            stream.refused("fenced", "x", fence=guess)
            stream.not_ended("fenced", fence=guess)
    assert state(server, room, stream.stream)["content"] == "text"
    stream.append("!")


def test_r27_streams_of_another_principal_are_taken(server, connect):
    room = unique("room")
    holders = {"anonymous": connect(server), "another anonymous": connect(server), "http": server,
               "ann": connect(server, user=unique("ann")), "bob": connect(server, user=unique("bob"))}
    for name, holder in holders.items():
        stream = Stream(holder, room, name)
        stream.append("mine")
        for other, by in holders.items():
            if other != name:
                fails(by, "stream_taken", "open", room, name)
                # The number alone is nothing: it counts for its principal.
                fails(by, "fenced", "append", **stream.holder, at=4, content="yours")
                fails(by, "fenced", "end", **stream.holder, outcome="complete")
        stream.append("!")
        assert state(server, room, name)["content"] == "mine!"
        stream.end()
        for by in holders.values():
            fails(by, "stream_ended", "open", room, name)


def test_r27_streams_a_user_is_one_principal(server, connect):
    room, user = unique("room"), unique("ann")
    one, two = connect(server, user=user), connect(server, user=user)
    first = Stream(one, room, "a")
    first.append("one")
    # The fence is the principal's: any of its sessions may use it.
    assert ok(two, "append", **first.holder, at=3, content=" two")["at"] == 7
    second = first.again(two)
    assert second.at == 7
    first.refused("fenced", "x", 7)
    ok(one, "append", **second.holder, at=7, content=" three")
    second.end()
    assert state(server, room, "a")["content"] == "one two three"


@pytest.mark.parametrize("named", [True, False], ids=["user", "anonymous"])
def test_r27_streams_a_fence_survives_its_producer_s_reconnect(server, connect, named):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    client = connect(server, **({"user": unique("ann")} if named else {}))
    stream = Stream(client, room, "a")
    stream.append("before, ")
    client.drop()
    stream.by = connect.back(client)
    stream.append("before, after", 0)
    assert stream.again().at == 13
    stream.refused("fenced", "x")
    again = stream.again()
    again.end()
    reader.ended("a", "before, after")


def test_r27_streams_another_session_of_nobody_is_not_the_holder(server, connect):
    room = unique("room")
    client = connect(server)
    stream = Stream(client, room, "a")
    client.drop()
    other = connect(server)
    fails(other, "stream_taken", "open", room, "a")
    fails(other, "fenced", "append", **stream.holder, at=0, content="x")
    stream.by = connect.back(client)
    stream.append("mine")


def test_r27_streams_opened_anew_many_times(by):
    room = unique("room")
    holders = [Stream(by, room, "a")]
    for n in range(30):
        holders.append(holders[-1].again())
        holders[-1].append(str(n % 10))
    fences = [holder.fence for holder in holders]
    assert fences == sorted(set(fences))
    for holder in holders[:-1]:
        holder.refused("fenced", "x")
    assert holders[-1].at == 30


def test_r27_streams_frames_without_a_ref_answer_errors_alone(server, connect):
    room = unique("room")
    client = connect(server)
    stream = Stream(client, room, "a")
    client.send({"type": "stream_append", **stream.holder, "at": 0, "content": "abc"})
    assert client.is_open(), "nothing was answered"
    client.send({"type": "stream_append", **stream.holder, "at": 9, "content": "x"})
    client.expect("error", code="at_mismatch", at=3)
    client.send({"type": "stream_open", "room": room, "stream": "@"})
    client.expect("error", code="id_invalid")
    client.send({"type": "stream_end", **stream.holder, "outcome": "complete"})
    assert client.is_open()
    assert state(server, room, "a")["state"] == "complete"
    assert answer(client, "open", room, "a")[1]["code"] == "stream_ended"
