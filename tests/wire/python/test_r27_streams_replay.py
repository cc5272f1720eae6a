"""Who joins or asks again: all of each text that was open there, from 0, before its end, and ids never fall."""

import pytest

from keeping import at
from streaming import MIXED, Reader, Stream, terminals, written
from waiting import unique

PARTS = ["The ans", "wer \U0001f600 ", MIXED, " and so ", "on"]
TEXT = "".join(PARTS)


class Scene:
    """A room with messages before, between and after the parts of a stream, each of which was seen before the next."""

    def __init__(self, server, connect, by, **more):
        self.server, self.room = server, unique("room")
        self.watcher = Reader(self.room, connect(server, self.room))
        self.notes = server.to_room(self.room, 2)
        self.stream = Stream(by, self.room, "a", data={"reply_to": 7}, **more)
        for n, part in enumerate(PARTS):
            self.stream.append(part)
            self.watcher.has("a", "".join(PARTS[:n + 1]))
            self.notes += server.to_room(self.room, 1)
        self.watcher.note(self.notes[-1])
        self.pieces = [chunk["message_id"] for chunk in self.watcher.chunks]
        self.epoch = server.room(self.room)["epoch"]

    def end(self):
        self.id = self.stream.end()
        self.watcher.ended("a", TEXT)
        return self

    def places(self):
        """Where a reader may begin."""
        return {"zero": 0, "before": self.notes[1], "at the opening": self.pieces[0], "middle": self.notes[3],
                "in the text": self.pieces[3], "head": self.notes[-1]}


def asked(scene, since):
    """What a join says that begins there."""
    if since in ("now", "start"):
        return {"since": "start"} if since == "start" else {}
    return {"since": at(scene.epoch, scene.places()[since])}


SINCE = ["now", "start", "zero", "before", "at the opening", "middle", "in the text", "head"]


@pytest.mark.parametrize("since", SINCE)
def test_r27_streams_joined_while_they_are_open(server, connect, by, since):
    scene = Scene(server, connect, by)
    client = connect(server)
    start = client.join(scene.room, **asked(scene, since))["message_id"]
    reader = Reader(scene.room, client)
    reader.last = start
    reader.has("a", TEXT)
    assert reader.data["a"] == {"reply_to": 7}
    notes = [id for id in scene.notes if id > start]
    if notes:
        reader.note(notes[-1])
    assert [frame["message_id"] for frame in reader.frames if frame["type"] == "note"] == notes
    if since in ("now", "head"):
        assert start == scene.notes[-1]
    if start > scene.pieces[0]:
        first = reader.frames[0]
        assert (first["type"], first["at"], first["message_id"]) == ("chunk", 0, start), "before everything that follows"
    elif start < scene.pieces[0]:
        assert reader.chunks[0]["message_id"] == scene.pieces[0], "where its first piece stood"
    # And then it goes on live.
    scene.stream.append("!")
    reader.has("a", TEXT + "!")
    id = scene.stream.end()
    assert reader.ended("a", TEXT + "!")["message_id"] == id
    client.nothing_new(scene.room)


@pytest.mark.parametrize("since", SINCE)
def test_r27_streams_joined_after_their_end(server, connect, by, since):
    scene = Scene(server, connect, by).end()
    last = server.to_room(scene.room, 1)[0]
    client = connect(server)
    reader = Reader(scene.room, client)
    reader.last = client.join(scene.room, **asked(scene, since))["message_id"]
    if since == "now":
        client.nothing_new(scene.room)
        return
    reader.note(last)
    text, record = reader.done["a"]
    assert text == TEXT and record["message_id"] == scene.id and reader.data["a"] == {"reply_to": 7}
    client.nothing_new(scene.room)


def test_r27_streams_joined_at_the_end_are_over(server, connect, by):
    scene = Scene(server, connect, by).end()
    client = connect(server)
    assert client.join(scene.room, since=at(scene.epoch, scene.id))["message_id"] == scene.id
    client.nothing_new(scene.room)


def test_r27_streams_that_began_later_come_too(server, connect, by):
    scene = Scene(server, connect, by)
    written(by, scene.room, "second", "b")
    Stream(by, scene.room, "c").append("third")
    scene.end()
    reader = Reader(scene.room, connect(server))
    reader.client.join(scene.room, since=at(scene.epoch, scene.notes[3]))
    reader.ended("b", "second")
    reader.ended("a", TEXT)
    reader.has("c", "third")
    now = Reader(scene.room, connect(server))
    now.client.join(scene.room)
    now.has("c", "third")
    assert set(now.text) == {"c"} and not now.done


def test_r27_streams_are_merged_where_they_are_read(server, connect):
    """Many pieces were shown, with nothing between: who reads them later gets few frames."""
    room, producer = unique("room"), connect(server)
    live, stream = Reader(room, connect(server, room)), Stream(producer, room, "a")
    text = ""
    for n in range(15):
        stream.append(f"{n} ")
        text += f"{n} "
        live.has("a", text)
    assert len(live.chunks) == 16
    for since in ({}, {"since": "start"}):
        late = Reader(room, connect(server))
        late.client.join(room, **since)
        late.has("a", text)
        assert len(late.chunks) <= 2 and "".join(chunk["content"] for chunk in late.chunks) == text
    kept = [frame for frame in server.messages(room) if frame["type"] == "chunk"]
    assert len(kept) <= 2 and "".join(frame["content"] for frame in kept) == text
    assert kept[0]["message_id"] == live.chunks[0]["message_id"]


# --- reconnect, on an open connection ---

def test_r27_streams_asked_for_again(server, connect, by):
    scene = Scene(server, connect, by)
    reader, client = scene.watcher, scene.watcher.client
    for place in (0, scene.notes[1], scene.pieces[0], scene.pieces[3], scene.notes[4], scene.notes[-1]):
        reply = client.ok({"type": "reconnect", "room": scene.room, "last_message_id": place})
        assert reply["message_id"] == place
        reader.on(client, keep=False)
        reader.last, since = place, len(reader.frames)
        reader.has("a", TEXT)
        notes = [id for id in scene.notes if id > place]
        if notes:
            reader.note(notes[-1])
        assert [frame["message_id"] for frame in reader.frames[since:] if frame["type"] == "note"] == notes
        if place > scene.pieces[0]:
            assert [reader.frames[since][name] for name in ("type", "at", "message_id")] == ["chunk", 0, place]
    scene.end()
    client.ok({"type": "reconnect", "room": scene.room, "last_message_id": scene.notes[3]})
    reader.on(client)
    reader.last, reader.done = scene.notes[3], {}
    assert reader.ended("a", TEXT)["message_id"] == scene.id
    client.ok({"type": "reconnect", "room": scene.room, "last_message_id": scene.id})
    client.nothing_new(scene.room)


# --- HTTP ---

def test_r27_streams_in_the_messages_of_a_room(server, connect, by):
    scene = Scene(server, connect, by)
    whole = Reader(scene.room)
    for frame in server.messages(scene.room):
        whole.take(frame)
    assert whole.text["a"] == TEXT and whole.data["a"] == {"reply_to": 7}
    assert whole.chunks[0]["message_id"] == scene.pieces[0]
    scene.end()
    for limit in (1, 2, 3, 1000):  # pieces that stand after one that was merged come again: judged by `at`
        paged = Reader(scene.room)
        for frame in server.messages(scene.room, limit=limit):
            paged.take(frame)
        assert paged.done["a"][0] == TEXT and paged.done["a"][1]["message_id"] == scene.id
        assert [frame["message_id"] for frame in paged.frames if frame["type"] == "note"] == scene.notes
        assert len(terminals(paged.frames, "a")) == 1


def test_r27_streams_in_the_messages_after_one(server, connect, by):
    """What lies after it, and nothing of before."""
    scene = Scene(server, connect, by).end()
    sent = {chunk["message_id"]: chunk for chunk in scene.watcher.chunks}
    for after in (0, *scene.notes, *scene.pieces, scene.id):
        got = server.messages(scene.room, after=after)
        assert [frame["message_id"] for frame in got if frame["type"] == "note"] == [id for id in scene.notes if id > after]
        due = [sent[id] for id in scene.pieces if id > after]
        chunks = [frame for frame in got if frame["type"] == "chunk"]
        assert "".join(frame["content"] for frame in chunks) == "".join(frame["content"] for frame in due)
        if due:
            assert (chunks[0]["at"], chunks[0]["message_id"]) == (due[0]["at"], due[0]["message_id"])
        assert len(terminals(got, "a")) == (after < scene.id)
        assert all(frame["message_id"] > after for frame in got)
