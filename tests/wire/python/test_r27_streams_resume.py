"""Who comes back: every text that is open there is sent again from 0, whatever it kept, and ids never fall."""

import pytest

from keeping import at
from streaming import MIXED, Reader, Stream, appends, pipelined, written
from waiting import unique

TEXT = "The answer \U0001f600 " + MIXED + " and so on"


@pytest.mark.parametrize("keep", ["position and text", "position alone", "nothing"])
@pytest.mark.parametrize("over", [False, True], ids=["open", "ended meanwhile"])
def test_r27_streams_resumed_after_a_dropped_socket(server, connect, by, keep, over):
    room = unique("room")
    client = connect(server, room)
    reader = Reader(room, client)
    notes = server.to_room(room, 1)
    stream = Stream(by, room, "a", data={"n": 1})
    stream.append("seen, ")
    reader.has("a", "seen, ")
    position = reader.last
    client.drop()
    stream.append("missed, ")
    notes += server.to_room(room, 2)
    if over:
        stream.end()
    again = connect.back(client, room=room, **({} if keep == "nothing" else {"last_message_id": position}))
    assert again.established["rooms"][room]["replayed"] == (3 if keep == "nothing" else 2) + over, "chunks are not counted"
    reader.on(again, keep="text" in keep)
    if keep != "nothing":
        reader.last = position
    if not over:
        reader.has("a", "seen, missed, ")
        stream.append("live")
        stream.end()
    reader.ended("a", "seen, missed, " + ("" if over else "live"))
    since = reader.frames[next(n for n, frame in enumerate(reader.frames) if frame["message_id"] == position) + 1:]
    if keep == "nothing":
        assert [frame["message_id"] for frame in since if frame["type"] == "note"] == notes
    else:
        first = since[0]
        assert (first["type"], first["at"], first["message_id"]) == ("chunk", 0, position), "all of it again, from 0"
        assert first["data"] == {"n": 1}
    again.nothing_new(room)


def test_r27_streams_resumed_at_the_head(server, connect, by):
    """Nothing new came, and yet a page that lost its text has all of it again."""
    room = unique("room")
    client = connect(server, room)
    reader = Reader(room, client)
    stream = Stream(by, room, "a")
    stream.append(TEXT)
    reader.has("a", TEXT)
    client.ok({"type": "ack", "room": room, "message_id": reader.last})
    for _ in range(3):
        client.drop()
        client = connect.back(client)
        assert client.established["rooms"][room]["replayed"] == 0
        head = client.established["rooms"][room]["message_id"]
        reader.on(client, keep=False).has("a", TEXT)
        assert reader.frames[-1]["message_id"] <= head
        client.nothing_new(room)
        client.ok({"type": "ack", "room": room, "message_id": server.room(room)["message_id"]})
    stream.append("!")
    reader.has("a", TEXT + "!")


def test_r27_streams_resumed_after_their_end_are_over(server, connect, by):
    room = unique("room")
    client = connect(server, room)
    reader = Reader(room, client)
    written(by, room, TEXT, "a")
    reader.ended("a", TEXT)
    client.ok({"type": "ack", "message_id": reader.last})
    client.drop()
    again = connect.back(client)
    assert again.established["rooms"][room]["replayed"] == 0
    again.nothing_new(room)


def test_r27_streams_dropped_again_and_again(server, connect):
    """While it is written without a pause: whatever is cut off, it ends with all of it."""
    room, text, producer = unique("room"), "".join(f"{n}\U0001f600 " for n in range(800)), connect(server)
    client = connect(server, room)
    reader, stream = Reader(room, client), Stream(producer, room, "a")
    frames = appends(stream, text, 3)
    step = len(frames) // 12 + 1
    for n, first in enumerate(range(0, len(frames), step)):
        assert all(reply["ok"] for reply in pipelined(producer, frames[first:first + step]))
        reader.until(lambda: reader.text.get("a"))
        position = reader.last
        client.cut()
        client = connect.back(client, room=room, last_message_id=position)
        reader.on(client, keep=n % 2 == 0)
        reader.last = position
    stream.at = len(text)
    stream.end()
    reader.ended("a", text)
    client.nothing_new(room)


@pytest.mark.parametrize("reason", ["epoch", "ahead"])
def test_r27_streams_after_a_position_that_never_was(server, connect, by, reason):
    """A reset says that what it has means nothing any more; then all of what is open comes, at the reset's `to`."""
    room = unique("room")
    client = connect(server, room)
    reader = Reader(room, client)
    stream = Stream(by, room, "a")
    stream.append(TEXT)
    reader.has("a", TEXT)
    client.drop()
    epoch = server.room(room)["epoch"]
    named = at("of-another-life", reader.last) if reason == "epoch" else at(epoch, reader.last + 50)
    again = connect(server, hello={"session": client.session, "resume_token": client.token, "positions": {room: named}})
    reader.on(again)
    reset = reader.next()
    assert (reset["type"], reset["reason"]) == ("reset", reason)
    reader.has("a", TEXT)
    stream.append("!")
    stream.end()
    reader.ended("a", TEXT + "!")
