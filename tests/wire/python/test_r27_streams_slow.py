"""Long texts, and members that do not read: few frames, nothing lost, and nobody else notices."""

import json
import socket
import time

import pytest

from raw import CLOSE, TEXT as TEXT_FRAME, Raw
from streaming import MIXED, TEXT, Reader, Stream, appends, ok, path, pipelined
from waiting import unique

pytestmark = pytest.mark.alone

ROOMY = {"retention.room_bytes": 67108864, "retention.room_records": 100000}
FILL = 60_000


def flood(server, room, count):
    """Big messages, far more than all the buffers between us: whoever does not read is lagging then. Their ids."""
    ids = []
    for _ in range(0, count, 16):
        publishes = [{"to": {"room": room}, "message": {"type": "big", "fill": "x" * FILL}} for _ in range(16)]
        answer = server.http("POST", "/v1/batch", {"publishes": publishes}, timeout=20)
        assert answer.status == 200, answer
        ids += [each["message_id"] for each in answer.json["results"]]
    return ids


def fill(server, stream, text, step=400_000):
    """Appends a long text over HTTP, as bytes, so that it fits into few bodies."""
    for at in range(0, len(text), step):
        part = json.dumps(text[at:at + step], ensure_ascii=False)
        body = '{"fence":%d,"at":%d,"content":%s}' % (stream.fence, stream.at, part)
        got = server.http("POST", path(stream.room, stream.stream, "append"), body.encode(), timeout=20)
        assert got.status == 200, got
        stream.at = got.json["at"]


def reads_again(peer):
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)


def frames_until(peer, reader, done, timeout=30):
    """Reads a raw peer's frames into a reader until `done()`; everything that came, other rooms' and answers too."""
    seen, deadline = [], time.monotonic() + timeout
    while not done(seen):
        opcode, payload = peer.frame(deadline - time.monotonic())
        assert opcode != CLOSE, payload
        if opcode == TEXT_FRAME:
            seen.append(json.loads(payload))
            if seen[-1].get("room") == reader.room and ("timestamp" in seen[-1] or seen[-1]["type"] == "reset"):
                reader.take(seen[-1])
    return seen


@pytest.mark.parametrize("over", [False, True], ids=["open", "ended"])
def test_r27_streams_a_text_of_a_mebibyte_comes_in_few_frames(server, connect, over):
    room = unique("room")
    stream = Stream(server, room, "a", data={"n": 1})
    unit = MIXED.replace("\0", "") + "and so on, "
    text = unit * ((TEXT - 1000) // len(unit.encode()))
    fill(server, stream, text)
    if over:
        stream.end()
    late = Reader(room, connect(server))
    late.client.join(room, **({"since": "start"} if over else {}))
    late.ended("a", text) if over else late.has("a", text)
    assert len(late.chunks) <= 20, f"{len(late.chunks)} chunks"
    assert late.data["a"] == {"n": 1}
    assert len([frame for frame in server.messages(room) if frame["type"] == "chunk"]) <= 20


def test_r27_streams_who_sleeps_through_thousands_of_appends_gets_few_frames(start, connect):
    server, room = start(ROOMY), unique("room")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    well, producer = Reader(room, connect(server, room)), connect(server)
    streams = [Stream(producer, room, f"s{n}", data={"n": n}) for n in range(8)]
    texts = {stream.stream: "".join(f"{n}\U0001f600{stream.stream} " for n in range(600)) for stream in streams}
    big = flood(server, room, 400)
    count = 0
    for part in range(10):
        for stream in streams:
            text = texts[stream.stream]
            piece = text[len(text) * part // 10:len(text) * (part + 1) // 10]
            frames = appends(stream, piece, 10)
            assert all(reply["ok"] for reply in pipelined(producer, frames))
            stream.at += len(piece)
            count += len(frames)
        for stream in streams:  # the other one has each part before the next
            well.has(stream.stream, texts[stream.stream][:stream.at])
    for stream in streams:
        stream.end()
    assert count > 3000
    for stream in streams:
        well.ended(stream.stream, texts[stream.stream], timeout=20)
    reads_again(stuck)
    reader = Reader(room)
    frames_until(stuck, reader, lambda _: len(reader.done) == len(streams))
    assert {name: reader.done[name][0] for name in texts} == texts
    assert [frame["message_id"] for frame in reader.frames if frame["type"] == "big"] == big
    assert {stream: data["n"] for stream, data in reader.data.items()} == {f"s{n}": n for n in range(8)}
    assert len(reader.chunks) <= count / 10, f"{len(reader.chunks)} chunks of {count} appends"
    assert len(reader.chunks) <= len(well.chunks) / 2, f"{len(reader.chunks)} where the other one had {len(well.chunks)}"


def test_r27_streams_answers_overtake_chunks_that_wait(start, connect):
    server, room, other = start(ROOMY), unique("room"), unique("other")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    observer, text = connect(server, other), ("0123456789" * 6554)[:65_536] * 15
    streams = [Stream(server, room, f"s{n:02}") for n in range(28)]  # 27 MB: more than all buffers between us
    for stream in streams:
        fill(server, stream, text, 1_000_000)
    for stream in streams:
        stream.end()
    stuck.text({"type": "ping", "ref": "late"})
    stuck.text({"type": "presence", "room": room, "ref": "who"})
    stuck.text({"type": "stream_open", "room": other, "stream": "mine", "ref": "open"})
    stuck.text({"type": "publish", "to": {"room": other}, "message": {"type": "said"}, "ref": "said"})
    observer.expect("chunk")
    observer.expect("said")  # all of it was read and done while the chunks wait
    reads_again(stuck)
    reader = Reader(room)
    seen = frames_until(stuck, reader, lambda _: len(reader.done) == len(streams))
    assert all(reader.done[stream.stream][0] == text for stream in streams)
    for name, test in {
        "reply": lambda frame: frame.get("ref") == "late", "pong": lambda frame: frame["type"] == "pong",
        "presence": lambda frame: frame["type"] == "presence", "open": lambda frame: frame.get("ref") == "open",
    }.items():
        place = next((n for n, frame in enumerate(seen) if test(frame)), None)
        assert place is not None, f"{name} came after the last of it"
        after = len([frame for frame in seen[place:] if frame["type"] == "chunk"])
        assert after > 50, f"{name} waited for all but {after} chunks"


def test_r27_streams_one_that_does_not_read_delays_nobody(start, connect):
    server, room = start(ROOMY), unique("room")
    stuck = [Raw(server, f"/ws/{room}", rcvbuf=4096).established() for _ in range(5)]
    well, producer = Reader(room, connect(server, room)), connect(server)
    stream, text = Stream(producer, room, "a"), ""
    flood(server, room, 160)
    for n in range(20):
        began = time.monotonic()
        stream.append(f"{n} ")
        text += f"{n} "
        well.has("a", text)
        assert time.monotonic() - began < 3
    stream.end()
    well.ended("a", text)
    for peer in stuck:
        reads_again(peer)
        reader = Reader(room)
        frames_until(peer, reader, lambda _: "a" in reader.done)
        assert reader.done["a"][0] == text
        peer.close()


def test_r27_streams_many_join_while_it_grows(server, connect):
    room, producer = unique("room"), connect(server)
    stream, text = Stream(producer, room, "a"), "".join(f"{n}\U0001f600 " for n in range(3000))
    late, frames = [], appends(stream, text, 9)
    for n in range(25):
        sending = frames[len(frames) * n // 25:len(frames) * (n + 1) // 25]
        for frame in sending:  # their answers are read afterwards: the join comes in between
            producer.send({**frame, "ref": 1})
        client = connect(server)
        client.join(room, **({"since": "start"} if n % 2 else {}))
        late.append(Reader(room, client))
        for _ in sending:
            producer.expect("reply", ok=True)
    stream.at = len(text)
    stream.end()
    for reader in late:
        reader.ended("a", text)


def test_r27_streams_a_slow_producer_s_answers_wait_for_nobody(start, connect):
    """A reader that takes nothing does not hold the producer up, nor another room's."""
    server, room = start(ROOMY), unique("room")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    one, two = Stream(server, room, "a"), Stream(server, unique("other"), "a")
    for n in range(20):
        began = time.monotonic()
        one.append("x" * 50_000)
        two.append("x")
        assert time.monotonic() - began < 3
    ok(server, "end", **one.holder, outcome="complete")
    two.end()
    stuck.close()
