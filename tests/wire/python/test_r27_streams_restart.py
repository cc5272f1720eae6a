"""Streams go on over restarts, in order or not: the producer is told where it stands, and readers end with the same text."""

import http.client
import random
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException

from streaming import MIXED, Reader, Stream, appends, fails, listed, pipelined, state, terminals, written
from waiting import eventually, unique

WORDS = [f"{n}\U0001f600{word} " for n, word in enumerate(["the", "answer", "é", "e\u0301", "is"] * 60)]
TEXT = "".join(WORDS)


def ends_once(server, room, stream, text, outcome="complete"):
    """What everybody finds in the end: the same text, and exactly one terminal record."""
    seen = state(server, room, stream)
    assert (seen["state"], seen["content"], seen["at"]) == (outcome, text, len(text))
    kept = Reader(room)
    for frame in server.messages(room):
        kept.take(frame)
    assert kept.done[stream][0] == text
    assert len(terminals(kept.frames, stream)) == 1


@pytest.mark.parametrize("who", ["session", "user", "http"])
def test_r27_streams_go_on_after_a_restart(kept, connect, how, who):
    server, room = kept(), unique("room")
    client = connect(server, room)
    reader, by = Reader(room, client), server
    if who != "http":
        by = connect(server, **({"user": "ann"} if who == "user" else {}))
    stream = Stream(by, room, "a", data={"n": 1})
    stream.append("before \U0001f600, ")
    reader.has("a", "before \U0001f600, ")
    stream.append("answered, ")
    position = reader.last
    server.restart(how)
    by = server if who == "http" else connect.back(by)
    seen = state(server, room, "a")
    assert (seen["state"], seen["content"], seen["data"]) == ("open", "before \U0001f600, answered, ", {"n": 1})
    stream.by = by
    stream.append("the same fence, ")  # it survives
    second = stream.again()
    assert second.fence > stream.fence and second.at == stream.at
    stream.refused("fenced", "x")
    second.append("and another one")
    text = "before \U0001f600, answered, the same fence, and another one"
    reader.on(connect.back(client, room=room, last_message_id=position))
    reader.has("a", text)
    id = second.end(message={"n": 2})
    assert second.end(message={"n": 2}) == id
    assert reader.ended("a", text)["message"] == {"n": 2}
    reader.client.nothing_new(room)
    late = Reader(room, connect(server))
    late.client.join(room, since="start")
    assert late.ended("a", text)["message_id"] == id and late.data["a"] == {"n": 1}
    ends_once(server, room, "a", text)


def test_r27_streams_what_ended_stays_so(kept, connect, how):
    server, room = kept(), unique("room")
    client, producer = connect(server, room), connect(server, user="ann")
    ends = {"a": ("complete", {"message": {"n": 1}}), "b": ("error", {"error": "e"}), "c": ("cancelled", {})}
    streams, ids = {}, {}
    for name, (outcome, carried) in ends.items():
        streams[name] = Stream(producer, room, name)
        streams[name].append(MIXED)
        ids[name] = streams[name].end(outcome, **carried)
    reader = Reader(room, client)
    for name, (outcome, _) in ends.items():
        reader.ended(name, MIXED, outcome)
    for _ in range(2):
        server.restart(how)
    producer = connect.back(producer)
    assert listed(server, room) == []
    for name, (outcome, carried) in ends.items():
        streams[name].by = producer
        assert streams[name].end(outcome, **carried) == ids[name], "the same end is answered as the first was"
        streams[name].refused("stream_ended", "x")
        fails(producer, "stream_ended", "open", room, name)
        assert state(server, room, name) == {**state(server, room, name), "state": outcome, "content": MIXED, **carried}
        ends_once(server, room, name, MIXED, outcome)
    client.cut()
    back = connect.back(client, room=room, last_message_id=reader.last)
    back.nothing_new(room)


def test_r27_streams_leases_start_afresh(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room)
    stream = Stream(server, room, "a", lease_ms=1500)
    stream.append("left")
    position = Reader(room, client)
    position.has("a", "left")
    server.down(how)
    time.sleep(1.7)  # longer than the lease: it does not run while nobody could renew it
    began = time.monotonic()
    server.up()
    assert state(server, room, "a")["state"] == "open"
    back = connect.back(client, room=room, last_message_id=position.last)
    position.on(back)
    position.ended("a", "left", "orphaned")
    assert time.monotonic() - began >= 1.5
    back.nothing_new(room)
    stream.refused("stream_ended", "x")
    server.restart(how)
    ends_once(server, room, "a", "left", "orphaned")


def test_r27_streams_their_except_is_kept(kept, connect, how):
    server, room = kept(), unique("room")
    out, client = connect(server, room), connect(server, room)
    stream = Stream(server, room, "a", **{"except": {"sessions": [out.session]}})
    stream.append("not for you")
    server.restart(how)
    out, client = connect.back(out), connect.back(client)
    Reader(room, client).has("a", "not for you")
    stream.append("!")
    stream.end("cancelled")
    out.nothing_new(room)


def test_r27_streams_that_many_left_open(kept, connect, how):
    server, rooms = kept(), [unique("room") for _ in range(3)]
    streams = [Stream(server, room, f"s{n:02}", data={"n": n}) for room in rooms for n in range(40)]
    for n, stream in enumerate(streams):
        stream.append(MIXED * (n % 3))
    server.restart(how)
    for room in rooms:
        assert listed(server, room) == [f"s{n:02}" for n in range(40)]
        late = Reader(room, connect(server))
        late.client.join(room)
        for stream in streams:
            if stream.room == room:
                late.has(stream.stream, MIXED * (streams.index(stream) % 3))
    for stream in streams[:5]:
        assert stream.again().fence > stream.fence


def test_r27_streams_that_are_cleaned_up_stay_so(kept, how):
    server, room = kept({"retention.room_records": 10}), unique("room")
    written(server, room, "gone " * 100, "old")
    stream = Stream(server, room, "open")
    stream.append("kept")
    server.to_room(room, 20)
    assert state(server, room, "old") is None
    server.restart(how)
    assert state(server, room, "old") is None and listed(server, room) == ["open"]
    assert state(server, room, "open")["content"] == "kept"
    stream.append("!")
    stream.end()
    assert Stream(server, room, "old").at == 0


class Writer(threading.Thread):
    """A producer that never gives up: after each loss it opens again, is told where the text stands, and goes on from there."""

    def __init__(self, connect, server, room, stream, text):
        super().__init__(daemon=True)
        self.connect, self.server, self.room, self.stream, self.text = connect, server, room, stream, text
        self.client, self.answered, self.wrong, self.id, self.opened = connect(server, user="writer"), 0, None, None, 0
        self.start()

    def run(self):
        while self.id is None and self.wrong is None:
            try:
                self.write()
            except (OSError, WebSocketException, http.client.HTTPException):
                time.sleep(0.05)
            except Exception as error:  # shown by the test
                self.wrong = error

    def write(self):
        if self.opened:
            self.client = self.connect(self.server, user="writer")
        reply = self.client.ask({"type": "stream_open", "room": self.room, "stream": self.stream})
        if not reply["ok"] and reply["error"]["code"] in ("unavailable", "overloaded"):
            raise OSError(reply)
        if not reply["ok"] and reply["error"]["code"] == "stream_ended":
            self.id = 0  # its own end, which was kept and not answered
            return
        assert reply["ok"], reply
        assert reply["at"] >= self.answered, f"{self.answered} were answered, and there are {reply['at']}"
        self.opened, at, fence = self.opened + 1, reply["at"], reply["fence"]
        holder = {"room": self.room, "stream": self.stream, "fence": fence}
        while at < len(self.text):
            reply = self.client.ask({"type": "stream_append", **holder, "at": at, "content": self.text[at:at + 7]})
            if not reply["ok"]:
                assert reply["error"]["code"] == "unavailable", reply
                raise OSError(reply)
            at = self.answered = reply["at"]
        self.id = self.client.ok({"type": "stream_end", **holder, "outcome": "complete"})["message_id"]


def test_r27_streams_written_while_the_server_dies(kept, connect, how):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    server, room = kept(), unique("room")
    clients = [connect(server, room) for _ in range(2)]
    readers = [Reader(room, client) for client in clients]
    writer = Writer(connect, server, room, "a", TEXT)
    for _ in range(3):
        upto = writer.answered + rng.randrange(1, len(TEXT) // 5)
        eventually(lambda: writer.wrong or writer.answered >= min(upto, len(TEXT)), 20)
        server.restart(how)
        for n, reader in enumerate(readers):
            drained(reader)
            position = reader.last
            clients[n] = connect.back(clients[n], room=room, last_message_id=position)
            reader.on(clients[n], keep=rng.random() < 0.5)
    writer.join(30)
    assert writer.wrong is None and not writer.is_alive(), writer.wrong
    for reader in readers:
        reader.ended("a", TEXT)
        reader.client.is_open()
    ends_once(server, room, "a", TEXT)


def drained(reader):
    """Takes what came on a connection that is over."""
    try:
        while True:
            frame = reader.client.next(5)
            if frame["type"] != "closing":
                reader.take(frame)
    except ConnectionClosed:
        pass


def test_r27_streams_nobody_saw_what_was_not_kept(kept, connect):
    """Killed in the middle of it: what a reader had is a beginning of what there is."""
    server, room = kept({"store.commit_every_ms": 50}), unique("room")
    for n in range(3):
        reader, producer = Reader(room, connect(server, room)), connect(server)
        stream = Stream(producer, room, f"s{n}")
        for frame in appends(stream, TEXT, 5):
            producer.send(frame)
        reader.until(lambda: reader.text.get(f"s{n}"))
        server.down("kill")
        drained(reader)
        server.up()
        content = state(server, room, f"s{n}")["content"]
        assert TEXT.startswith(content) and content.startswith(reader.text[f"s{n}"])


def test_r27_streams_answered_is_kept(kept, connect):
    server, room = kept({"store.commit_every_ms": 20}), unique("room")
    for n in range(3):
        producer = connect(server)
        stream = Stream(producer, room, f"s{n}")
        replies = pipelined(producer, appends(stream, TEXT[:300], 3))
        server.restart("kill")
        assert state(server, room, f"s{n}")["at"] == replies[-1]["at"] == 300


def test_r27_streams_put_goes_on_after_a_crash(kept, connect, put):
    server, room = kept(), unique("room")
    put(server, room, "a").send("half \U0001f600 ")
    Reader(room, connect(server, room)).has("a", "half \U0001f600 ")  # so it is kept
    server.restart("kill")
    assert state(server, room, "a") == {**state(server, room, "a"), "state": "open", "at": 7}
    assert put(server, room, "a", at=7).send("and the rest").done()["at"] == 19
    ends_once(server, room, "a", "half \U0001f600 and the rest")


def test_r27_streams_in_memory_end_with_the_process(start, connect):
    server, room = start(), unique("room")
    stream = Stream(server, room, "a")
    stream.append("gone")
    server.restart("kill")
    assert state(server, room, "a") is None
    stream.refused("not_found", "x")
    assert Stream(server, room, "a").at == 0
