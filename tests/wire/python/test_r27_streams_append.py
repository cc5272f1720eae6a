"""Adding text: lengths are in code points, what was sent before is compared, and what does not fit is told."""

import json

import pytest

from streaming import MIXED, TEXT, TERMINAL, Reader, Stream, fails, state, terminals, written
from waiting import unique

OVERLAPS = [
    # what there is, at, content, what there is then
    ("", 0, "", ""), ("", 0, "abc", "abc"), ("abc", 3, "", "abc"), ("abc", 1, "", "abc"), ("abc", 0, "abc", "abc"),
    ("abc", 0, "a", "abc"), ("abc", 1, "b", "abc"), ("abc", 0, "abcd", "abcd"), ("abc", 2, "cde", "abcde"),
    ("\U0001f600\U0001f601", 1, "\U0001f601\U0001f602", "\U0001f600\U0001f601\U0001f602"),
    ("a\u0301b", 2, "bc", "a\u0301bc"), ("a", 1, "\u0301", "a\u0301"), ("é☃\U0001f600", 0, "é☃\U0001f600!", "é☃\U0001f600!"),
    ("\U0001f468\u200d\U0001f469", 2, "\U0001f469\u200d", "\U0001f468\u200d\U0001f469\u200d"),
    ("\0\n", 1, "\n\"\\\u2028", "\0\n\"\\\u2028"), ("\ufeff", 0, "\ufeffx", "\ufeffx"),
]
DIFFERENT = [
    ("abc", 0, "x"), ("abc", 0, "abx"), ("abc", 0, "abxd"), ("abc", 2, "C"), ("abc", 1, "c"), ("abc", 0, "bcd"),
    ("é", 0, "e\u0301"), ("e\u0301", 0, "é"), ("\U0001f600x", 1, "y"), ("☃", 0, "\u2604"), ("a\u0301", 1, "\u0300"),
]


@pytest.mark.parametrize("before, at, content, after", OVERLAPS, ids=range(len(OVERLAPS)))
def test_r27_streams_only_the_rest_is_added(server, connect, by, before, at, content, after):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    stream = Stream(by, room, "a")
    assert stream.append(before)["at"] == len(before)
    for _ in range(2):  # and the same once more
        assert stream.append(content, at)["at"] == len(after)
    seen = state(server, room, "a")
    assert (seen["at"], seen["content"]) == (len(after), after)
    stream.end()
    reader.ended("a", after)


@pytest.mark.parametrize("before, at, content", DIFFERENT, ids=range(len(DIFFERENT)))
def test_r27_streams_another_text_is_a_conflict(server, by, before, at, content):
    room = unique("room")
    stream = Stream(by, room, "a")
    stream.append(before)
    stream.refused("conflict", content, at)
    assert state(server, room, "a")["content"] == before, "nothing of it was added"
    stream.append("!")
    assert state(server, room, "a")["content"] == before + "!"


@pytest.mark.parametrize("before", ["", "abc", "\U0001f600é", MIXED], ids=range(4))
def test_r27_streams_beyond_the_length_is_told_where_it_is(server, by, before):
    room = unique("room")
    stream = Stream(by, room, "a")
    stream.append(before)
    for at in (len(before) + 1, len(before) + 1000, 2**40):
        for content in ("x", "", "abc"):
            assert stream.refused("at_mismatch", content, at)["at"] == len(before)
    assert state(server, room, "a")["content"] == before
    stream.append("x")


def test_r27_streams_count_in_code_points(server, connect, by):
    room = unique("room")
    reader = Reader(room, connect(server, room))
    stream = Stream(by, room, "a")
    for number, each in enumerate(MIXED):
        assert stream.append(each)["at"] == number + 1
    # Cut otherwise: from anywhere, of any length.
    for at in range(len(MIXED) + 1):
        assert stream.append(MIXED[at:at + 5], at)["at"] == len(MIXED)
    stream.append(MIXED + MIXED, 0)
    assert stream.at == 2 * len(MIXED)
    stream.end()
    reader.ended("a", MIXED * 2)
    assert state(server, room, "a")["content"] == MIXED * 2


@pytest.mark.parametrize("half", ["\ud800", "\udfff", "a\ud83d", "\ude00b", "\ude00\ud83d", "\ud83d\ud83d\ude00"], ids=ascii)
def test_r27_streams_half_a_surrogate_pair_is_refused(server, by, half):
    room = unique("room")
    stream = Stream(by, room, "a")
    stream.append("x")
    stream.refused("bad_frame", half)
    assert state(server, room, "a")["content"] == "x"
    stream.append("\U0001f600")  # both halves, as escapes, are one
    assert stream.at == 2


def test_r27_streams_a_pair_may_not_come_in_halves(server, by):
    stream = Stream(by, unique("room"), "a")
    stream.refused("bad_frame", "\ud83d")
    stream.refused("bad_frame", "\ude00")
    assert stream.append("\U0001f600")["at"] == 1


@pytest.mark.parametrize("fill", ["x", "é", "☃", "\U0001f600"], ids=ascii)
def test_r27_streams_a_text_has_its_bound(server, connect, fill):
    room, count = unique("room"), TEXT // len(fill.encode())
    reader = Reader(room, connect(server, room))
    stream, quarter = Stream(server, room, "a"), count // 4 + 1
    text = fill * count + "x" * (TEXT - count * len(fill.encode()))
    for at in range(0, len(text), quarter):
        part = json.dumps(text[at:at + quarter], ensure_ascii=False)  # as bytes it fits into a body
        body = '{"fence":%d,"at":%d,"content":%s}' % (stream.fence, at, part)
        got = server.http("POST", f"/v1/rooms/{room}/streams/a/append", body.encode())
        assert got.status == 200, got
    stream.at = got.json["at"]
    assert stream.at == len(text)
    for content, at in (("", None), (text[-5:], stream.at - 5), (text[:10], 0)):
        assert stream.append(content, at)["at"] == len(text), "what is there already takes no room"
    stream.refused("stream_too_big", "x")
    record = reader.ended("a", text, "error", timeout=20)
    assert record["error"] == "too_big"
    seen = state(server, room, "a")
    assert (seen["state"], seen["error"], seen["at"]) == ("error", "too_big", len(text)) and seen["content"] == text
    stream.refused("stream_ended", "x")
    stream.not_ended("stream_ended")
    fails(server, "stream_ended", "open", room, "a")
    assert len(terminals(server.messages(room), "a")) == 1


def test_r27_streams_too_big_over_a_socket(server, connect):
    room = unique("room")
    reader, producer = Reader(room, connect(server, room)), connect(server)
    stream = Stream(producer, room, "a")
    part = "y" * 60_000
    while stream.at + len(part) <= TEXT:
        stream.append(part)
    stream.refused("stream_too_big", part)
    record = reader.ended("a", "y" * stream.at, "error", timeout=20)
    assert record["error"] == "too_big"
    stream.refused("stream_ended", "")
    assert producer.is_open()


def test_r27_streams_that_are_not_there(server, connect):
    room = unique("room")
    for by in (connect(server), server):
        for name in ("never", "A"):
            fails(by, "not_found", "append", room, name, fence=1, at=0, content="x")
            fails(by, "not_found", "end", room, name, fence=1, outcome="complete")
            fails(by, "not_found", "cancel", room, name)
    assert state(server, room, "never") is None


@pytest.mark.parametrize("outcome", TERMINAL[:3])
def test_r27_streams_nothing_follows_an_end(server, connect, by, outcome):
    room = unique("room")
    client = connect(server, room)
    stream = Stream(by, room, "a")
    stream.append("text")
    stream.end(outcome)
    Reader(room, client).ended("a", "text", outcome)
    for content, at, fence in (("x", 4, stream.fence), ("", 4, stream.fence), ("text", 0, stream.fence),
                               ("x", 99, stream.fence), ("x", 4, stream.fence + 1)):
        stream.refused("stream_ended", content, at, fence=fence)
    stream.not_ended("stream_ended", outcome, fence=stream.fence + 1)
    fails(by, "stream_ended", "open", room, "a")
    fails(by, "stream_ended", "cancel", room, "a")
    client.nothing_new(room)
    assert state(server, room, "a")["content"] == "text"


def test_r27_streams_which_refusal_comes_first(server, by):
    """A fence that is another one, whatever else is wrong; then what is wrong with the text."""
    room = unique("room")
    stream = Stream(by, room, "a")
    stream.append("abc")
    stream.refused("fenced", "x", 99, fence=stream.fence + 1)
    stream.refused("fenced", "x", 0, fence=stream.fence + 1)
    stream.refused("conflict", "x" * 10, 0)
    written(by, room, "b", "b")
    fails(by, "stream_ended", "append", room, "b", fence=12345, at=99, content="x")
