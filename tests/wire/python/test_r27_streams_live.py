"""What a live member gets: chunks as they come, in one order with everything else, and not more than twenty a second."""

import threading
import time

import pytest

from streaming import MIXED, Reader, Stream, appends, pipelined, written
from waiting import unique

ANSWER = "It is a long answer, with ☃ and \U0001f600 in it. "


def readers(server, connect, room, count):
    return [Reader(room, connect(server, room)) for _ in range(count)]


def test_r27_streams_come_as_they_are_written(server, connect, by):
    """Each word is seen before the next one is written."""
    room = unique("room")
    reader, = readers(server, connect, room, 1)
    stream, text = Stream(by, room, "a", data={"reply_to": 7}), ""
    reader.has("a", "")
    assert reader.data["a"] == {"reply_to": 7}
    for word in ("The ", "answer ", "is ", "\U0001f600", "e", "\u0301", "\n"):
        stream.append(word)
        text += word
        reader.has("a", text)
    id = stream.end(message={"tokens": 2})
    record = reader.ended("a", text)
    assert record["message"] == {"tokens": 2} and record["message_id"] == id
    assert "".join(chunk["content"] for chunk in reader.chunks) == text, "live, nothing comes twice"
    assert [chunk["at"] for chunk in reader.chunks] == \
        [sum(len(before["content"]) for before in reader.chunks[:n]) for n in range(len(reader.chunks))]
    assert [chunk["content"] for chunk in reader.chunks][0] == ""
    assert not [chunk for chunk in reader.chunks[1:] if "data" in chunk or not chunk["content"]]
    ids = [frame["message_id"] for frame in reader.frames]
    assert ids == sorted(set(ids))
    reader.client.nothing_new(room)


def test_r27_streams_an_append_that_adds_nothing_is_not_seen(server, connect, by):
    room = unique("room")
    reader, = readers(server, connect, room, 1)
    stream = Stream(by, room, "a")
    stream.append("abc")
    reader.has("a", "abc")
    count = len(reader.frames)
    for content, at in (("", 3), ("abc", 0), ("", 0), ("c", 2)):
        stream.append(content, at)
    stream.refused("conflict", "x", 0)
    stream.refused("at_mismatch", "x", 9)
    reader.client.nothing_new(room)
    assert len(reader.frames) == count


def test_r27_streams_the_producer_gets_its_own_where_it_is_a_member(server, connect):
    room = unique("room")
    client = connect(server, room)
    reader = Reader(room, client)
    written(client, room, MIXED, "a")
    reader.ended("a", MIXED)


def test_r27_streams_an_append_has_at_most_64_kib_in_a_chunk(server, connect):
    room = unique("room")
    reader, = readers(server, connect, room, 1)
    stream, text = Stream(server, room, "a"), ("\U0001f600" + "é" * 3 + "abc") * 20_000  # 64 KiB end within a code point
    for half in (text[:70_000], text[70_000:]):
        stream.append(half)
    stream.end()
    reader.ended("a", text, timeout=20)  # the reader checks the size of each


def test_r27_streams_no_more_than_twenty_chunks_a_second(server, connect):
    room, text = unique("room"), ANSWER * 60
    reader, other = readers(server, connect, room, 2)
    producer = connect(server)
    stream, began = Stream(producer, room, "a"), time.monotonic()
    frames = appends(stream, text, 1)
    for first in range(0, len(frames), 100):  # over a second and more
        assert all(reply["ok"] for reply in pipelined(producer, frames[first:first + 100]))
        time.sleep(0.05)
    stream.end()
    took = time.monotonic() - began
    for each in (reader, other):
        each.ended("a", text)
        assert len(each.chunks) <= 20 * took + 4, f"{len(each.chunks)} chunks in {took:.2f} s"
        assert len(each.chunks) >= 5, "but not all at the end"


def test_r27_streams_are_quick_each_by_itself(server, connect):
    """Twenty a second is of each stream: many together are not slower, and the last of it is not left behind."""
    room, text = unique("room"), ANSWER * 3
    reader, = readers(server, connect, room, 1)
    producer = connect(server)
    streams = [Stream(producer, room, f"s{n}") for n in range(30)]
    began = time.monotonic()
    frames = [frame for parts in zip(*(appends(stream, text, 10) for stream in streams)) for frame in parts]
    assert all(reply["ok"] for reply in pipelined(producer, frames))
    for stream in streams:  # nobody ends, and yet all of it comes
        reader.has(stream.stream, text)
    assert len(reader.chunks) <= len(streams) * (20 * (time.monotonic() - began) + 4)
    for stream in streams:
        stream.at = len(text)
        stream.end()
        reader.ended(stream.stream, text)
    reader.client.nothing_new(room)


def test_r27_streams_keep_one_order_with_everything_else(server, connect):
    room, count = unique("room"), 120
    one, two, publisher = *readers(server, connect, room, 2), connect(server)
    streams = {name: Stream(publisher, room, name) for name in ("a", "b")}
    notes, texts = [], {"a": "", "b": ""}
    for n in range(count):
        name = "ab"[n % 2]
        streams[name].append(f"{n},")
        texts[name] += f"{n},"
        notes.append(publisher.publish({"room": room}, {"type": "note", "n": n})["message_id"])
    ends = {name: stream.end() for name, stream in streams.items()}
    last = publisher.publish({"room": room}, {"type": "note", "n": count})["message_id"]
    assert notes[-1] < ends["a"] < ends["b"] < last, "what was answered before stands before"
    for reader in (one, two):
        reader.note(last)
        assert [frame["message_id"] for frame in reader.frames if frame["type"] == "note"] == [*notes, last]
        for name in "ab":
            assert reader.done[name][0] == texts[name] and reader.done[name][1]["message_id"] == ends[name]
        ids = [frame["message_id"] for frame in reader.frames]
        assert ids == sorted(set(ids))
    assert one.frames == two.frames, "the same for every member"
    kept = server.messages(room)
    assert [frame["message_id"] for frame in kept if frame["type"] != "chunk"] == sorted([*notes, *ends.values(), last])


def test_r27_streams_several_producers_at_once(server, connect):
    room = unique("room")
    one, two = readers(server, connect, room, 2)
    producers = [connect(server, user=f"{room}-{n}") for n in range(3)] + [server]
    texts = {f"s{n}": f"{n}" * 50 + MIXED + ANSWER * (n + 1) for n in range(len(producers))}
    failed = []

    def write(producer, name):
        try:
            stream, text = Stream(producer, room, name), texts[name]
            for at in range(0, len(text), 7):
                stream.append(text[at:at + 7])
            stream.end()
        except (AssertionError, OSError) as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=each) for each in zip(producers, texts)]
    for thread in threads:
        thread.start()
    for name, text in texts.items():
        for reader in (one, two):
            reader.until(lambda: name in reader.done or failed, 20)
    for thread in threads:
        thread.join(20)
    assert not failed, failed
    for reader in (one, two):
        assert {name: reader.done[name][0] for name in texts} == texts
        assert {reader.done[name][1]["type"] for name in texts} == {"complete"}


@pytest.mark.parametrize("named", ["session", "user"])
def test_r27_streams_who_is_excepted_gets_nothing_of_it(server, connect, by, named):
    room, user = unique("room"), unique("ann")
    out, reader = connect(server, room, user=user), Reader(room, connect(server, room))
    excepted = {"sessions": [out.session]} if named == "session" else {"users": [user]}
    outcomes = {"a": "complete", "b": "error", "c": "cancelled", "d": "orphaned"}
    leases = {"d": {"lease_ms": 1000}}
    streams = {name: Stream(by, room, name, data={"n": name}, **leases.get(name, {}), **{"except": excepted}) for name in outcomes}
    for name, outcome in outcomes.items():
        streams[name].append("not for you")
        if outcome != "orphaned":
            streams[name].end(outcome)
    for name, outcome in outcomes.items():
        reader.ended(name, "not for you", outcome)
    out.nothing_new(room)
    reader.note(server.publish({"room": room}, {"type": "marker"})["message_id"])
    open = Stream(by, room, "open", **{"except": excepted})
    open.append("nor this")
    reader.has("open", "nor this")
    # Nor by any replay.
    out.expect("marker")
    out.ok({"type": "reconnect", "room": room, "last_message_id": 0})
    assert [out.next()["type"] for _ in range(2)] == ["marker", "marker"]
    out.drop()
    again = connect.back(out, room=room)
    assert again.established["rooms"][room]["replayed"] == 2
    assert [again.next()["type"] for _ in range(2)] == ["marker", "marker"]
    open.append("!")
    open.end()
    reader.ended("open", "nor this!")
    again.nothing_new(room)
    late = connect(server, user=user) if named == "user" else again
    if named == "user":
        late.join(room, since="start")
        assert {late.next()["type"] for _ in range(3)} == {"marker"}
    # The application sees all of it.
    assert {frame["stream"] for frame in server.messages(room) if "stream" in frame} == {*outcomes, "open"}


def test_r27_streams_nobody_who_left_or_never_came_gets_any(server, connect):
    room = unique("room")
    reader, gone, never = Reader(room, connect(server, room)), connect(server, room), connect(server, unique("other"))
    stream = Stream(server, room, "a")
    stream.append("one")
    Reader(room, gone).has("a", "one")
    gone.ok({"type": "leave", "room": room})
    gone.expect("left")
    stream.append(" two")
    stream.end()
    reader.ended("a", "one two")
    for client in (gone, never):
        assert client.is_open(), "and nothing came before"
