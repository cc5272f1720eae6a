"""What tests of streams share: producers over a socket or HTTP, a reader that judges chunks by the rule of the spec, and
`PUT` with a body that comes in pieces."""

import contextlib
import http.client
import socket
import time
from urllib.parse import quote

from server import Answer
from waiting import unique

CHUNK = 64 * 1024  # of UTF-8, in one chunk
TEXT = 1024 * 1024  # of UTF-8, in one stream
TERMINAL = ("complete", "error", "cancelled", "orphaned")
STATUS = {
    "bad_frame": 400, "room_invalid": 400, "room_required": 400, "id_invalid": 400, "target_invalid": 400,
    "message_invalid": 400, "not_authenticated": 401, "forbidden": 403, "not_found": 404, "conflict": 409,
    "stream_taken": 409, "stream_ended": 409, "fenced": 409, "at_mismatch": 409, "stream_cancelled": 409,
    "stream_too_big": 413, "overloaded": 503, "unavailable": 503,
}
DONE = {"open": 201, "append": 200, "end": 200, "cancel": 204}
# Of one, two, three and four bytes; marks that combine, a joined family, a flag, both ends of what UTF-16 splits.
MIXED = ("a\u00e9\u2603\U0001f600e\u0301\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f1e8\U0001f1ed"
         "\ud7ff\ue000\uffff\U00010000\U0010ffff\0\n\"\\z")


def path(room, stream=None, what=None, **query):
    parts = ["/v1/rooms", quote(room, safe=""), "streams"]
    parts += [quote(stream, safe="")] if stream is not None else []
    parts += [what] if what else []
    return "/".join(parts) + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")


# --- producers ---

def answer(by, action, room, stream=None, **fields):
    """Asks as a producer, over the socket of a client or the HTTP of a server: (whether it was done, what it said)."""
    if hasattr(by, "ask"):
        named = {} if stream is None else {"stream": stream}
        reply = by.ask({"type": f"stream_{action}", "room": room, **named, **fields})
        return reply["ok"], reply if reply["ok"] else reply["error"]
    if action == "open":
        got = by.http("POST", path(room), {**({} if stream is None else {"stream": stream}), **fields})
    else:
        got = by.http("POST", path(room, stream, action), None if action == "cancel" else fields)
    if got.status == DONE[action]:
        return True, got.json if got.text else {}
    problem = got.problem(got.status)
    assert STATUS[problem["code"]] == got.status, got
    return False, problem


def ok(by, action, room, stream=None, **fields):
    done, said = answer(by, action, room, stream, **fields)
    assert done, (action, room, stream, fields, said)
    return said


def fails(by, code, action, room, stream=None, **fields):
    done, said = answer(by, action, room, stream, **fields)
    assert not done, (action, room, stream, fields, said)
    assert said["code"] in ([code] if isinstance(code, str) else code), (action, room, stream, fields, said)
    return said


class Stream:
    """A stream as its producer has it open. `by`: a client, or a server for HTTP."""

    def __init__(self, by, room, stream=None, **more):
        self.by, self.room = by, room
        self.opened = ok(by, "open", room, stream, **more)
        self.stream, self.fence, self.at = self.opened["stream"], self.opened["fence"], self.opened["at"]

    @property
    def holder(self):
        return {"room": self.room, "stream": self.stream, "fence": self.fence}

    def append(self, content, at=None):
        said = ok(self.by, "append", **self.holder, at=self.at if at is None else at, content=content)
        self.at = said["at"]
        return said

    def refused(self, code, content, at=None, **changes):
        fields = {**self.holder, "at": self.at if at is None else at, "content": content, **changes}
        return fails(self.by, code, "append", **fields)

    def end(self, outcome="complete", **more):
        return ok(self.by, "end", **self.holder, outcome=outcome, **more)["message_id"]

    def not_ended(self, code, outcome="complete", **more):
        return fails(self.by, code, "end", **{**self.holder, "outcome": outcome, **more})

    def again(self, by=None, **more):
        """Opened once more by the same principal: the new holder."""
        return Stream(by or self.by, self.room, self.stream, **more)


def appends(stream, content, size):
    """Frames that append `content` in pieces of `size` code points."""
    return [{"type": "stream_append", **stream.holder, "at": stream.at + at, "content": content[at:at + size]}
            for at in range(0, len(content), size)]


def pipelined(client, frames, window=200, timeout=20):
    """Sends frames without waiting for each answer: the replies, in the order of the frames."""
    frames, replies, deadline = list(frames), {}, time.monotonic() + timeout
    mark, sent = unique("ref"), 0
    while len(replies) < len(frames):
        while sent < len(frames) and sent - len(replies) < window:
            client.send({**frames[sent], "ref": f"{mark}-{sent}"})
            sent += 1
        frame = client.next(deadline - time.monotonic())
        if frame["type"] == "reply" and str(frame["ref"]).startswith(mark):
            replies[int(frame["ref"].rsplit("-", 1)[1])] = frame
    return [replies[number] for number in range(len(frames))]


def written(by, room, content, stream=None, outcome="complete", size=20_000, **more):
    """A whole stream: its name."""
    made = Stream(by, room, stream, **more)
    for at in range(0, len(content), size):
        made.append(content[at:at + size])
    made.end(outcome)
    return made.stream


# --- looking ---

def state(server, room, stream):
    """What HTTP says of a stream; None where there is none."""
    got = server.http("GET", path(room, stream))
    if got.status == 404:
        got.problem(404, "not_found")
        return None
    assert got.status == 200, got
    return got.json


def listed(server, room):
    """The open streams of a room that there is."""
    return [each["stream"] for each in server.get(path(room))["streams"]]


def terminals(frames, stream):
    return [frame for frame in frames if frame["type"] in TERMINAL and frame.get("stream") == stream]


# --- a reader ---

class Reader:
    """What a page has of a room's streams: chunks are judged by `at`, ids never fall on a connection, and what is sent of a
    text is never another one. `text` holds the open ones, `done` what ended: (text, terminal record)."""

    def __init__(self, room, client=None):
        self.room, self.client = room, client
        self.text, self.done, self.data, self.frames, self.chunks, self.resets = {}, {}, {}, [], [], []
        self.last = 0

    def on(self, client, keep=True):
        """Goes on with another connection; without its texts where it does not `keep` them."""
        self.client, self.last = client, 0
        if not keep:
            self.text, self.data = {}, {}
        return self

    def take(self, frame):
        assert frame["room"] == self.room, frame
        self.frames.append(frame)
        if frame["type"] == "reset":
            self.text, self.data, self.last = {}, {}, max(self.last, frame["to"])
            self.resets.append(frame)
            return frame
        assert list(frame)[-3:] == ["room", "message_id", "timestamp"], frame
        assert frame["message_id"] >= self.last, f"after {self.last} came {frame}"
        self.last = frame["message_id"]
        if frame["type"] == "chunk":
            self._chunk(frame)
        elif frame["type"] in TERMINAL and "stream" in frame:
            self._terminal(frame)
        return frame

    def _chunk(self, frame):
        stream, at, content = frame["stream"], frame["at"], frame["content"]
        assert len(content.encode()) <= CHUNK, f"{len(content.encode())} bytes in a chunk"
        have = self.text.setdefault(stream, "")
        assert at <= len(have), f"a gap in {stream}: {at} after {len(have)}"
        overlap = min(len(have) - at, len(content))
        assert have[at:at + overlap] == content[:overlap], f"another text of {stream} at {at}"
        assert "data" not in frame or at == 0, frame
        if "data" in frame:
            self.data[stream] = frame["data"]
        self.text[stream] = have + content[overlap:]
        self.chunks.append(frame)

    def _terminal(self, frame):
        stream, text = frame["stream"], self.text.pop(frame["stream"], "")
        before = self.done.get(stream)
        assert before in (None, (text, frame)), f"a second end of {stream}: {before} and {frame}"
        self.done[stream] = (text, frame)

    def next(self, timeout=5):
        return self.take(self.client.next(timeout))

    def until(self, test, timeout=10, what="what was waited for"):
        """Reads on until `test()`: the frames since."""
        since, deadline = len(self.frames), time.monotonic() + timeout
        while not test():
            left = deadline - time.monotonic()
            assert left > 0, f"{what} did not come, last {self.frames[-3:]}"
            self.next(left)
        return self.frames[since:]

    def has(self, stream, text, timeout=10):
        """Reads until it has this much of an open stream, which must be this."""
        self.until(lambda: len(self.text.get(stream, "")) >= len(text) and stream in self.text, timeout, f"text of {stream}")
        assert self.text[stream] == text

    def ended(self, stream, text, outcome="complete", timeout=10):
        """Reads up to the terminal record, which is returned, and before which all of the text must have come."""
        self.until(lambda: stream in self.done, timeout, f"the end of {stream}")
        whole, record = self.done[stream]
        assert whole == text, (len(whole), len(text))
        assert record["type"] == outcome, record
        return record

    def note(self, id, timeout=10):
        """Reads up to this message."""
        self.until(lambda: any(frame.get("message_id") == id and frame["type"] != "chunk" for frame in self.frames[-1:]),
                   timeout, f"message {id}")

    def of(self, stream):
        return [frame for frame in self.frames if frame.get("stream") == stream]


# --- PUT ---

class Put:
    """`PUT …/{stream}`, with a body that is sent piece by piece."""

    def __init__(self, server, room, stream, length=None, **query):
        self.chunked = length is None
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        kind = "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {length}"
        self.sock.sendall((
            f"PUT {path(room, stream, **query)} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\n{kind}\r\n\r\n").encode())

    def _write(self, data):
        with contextlib.suppress(ConnectionError):  # answered before it was all there: `answer` says what
            self.sock.sendall(data)
        return self

    def send(self, content):
        content = content.encode() if isinstance(content, str) else content
        return self._write(b"%x\r\n%s\r\n" % (len(content), content) if self.chunked else content)

    def finish(self):
        return self._write(b"0\r\n\r\n" if self.chunked else b"")

    def answer(self, timeout=10):
        self.sock.settimeout(timeout)
        response = http.client.HTTPResponse(self.sock, method="PUT")
        response.begin()
        body = response.read().decode()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def done(self):
        got = self.finish().answer()
        assert got.status == 200, got
        return got.json

    def unanswered(self, seconds):
        """Whether nothing is answered for so long."""
        self.sock.settimeout(seconds)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        return False

    def close(self):
        self.sock.close()
