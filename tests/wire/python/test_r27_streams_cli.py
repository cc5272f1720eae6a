"""`moorline stream ROOM`: standard input is the text."""

import contextlib
import signal

import pytest

from server import free_port
from streaming import MIXED, TEXT, TERMINAL, Reader, listed, ok, terminals
from test_cli import run, started
from waiting import eventually, unique


class Piped:
    """A `moorline stream` that runs."""

    def __init__(self, server, room, *arguments, **env):
        self.process = started(server, "stream", room, *arguments, **env)

    def write(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self, code=0):
        """Ends its input: what it wrote, and said."""
        out, said = self.process.communicate(timeout=15)
        assert self.process.returncode == code, (self.process.returncode, out, said)
        assert "panicked" not in said, said
        return out, said

    def ends(self, timeout=10):
        """Waits until it ends by itself, while its input is open."""
        return self.process.wait(timeout=timeout)


@pytest.fixture
def pipe():
    running = []

    def start(*arguments, **env):
        running.append(Piped(*arguments, **env))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.wait()
        for end in (one.process.stdin, one.process.stdout, one.process.stderr):
            with contextlib.suppress(OSError):
                end.close()


def watched(server, connect):
    room = unique("room")
    return room, Reader(room, connect(server, room))


def named(reader):
    """The name of the room's only stream."""
    reader.until(lambda: reader.chunks or reader.done)
    names = {frame["stream"] for frame in reader.frames if "stream" in frame}
    assert len(names) == 1, names
    return names.pop()


def test_r27_streams_help_names_the_command(server):
    assert "Usage: moorline stream" in run(server, "stream", "--help").out
    assert "stream" in run(server, "--help").out


@pytest.mark.parametrize("text", ["", "x", "two\nlines\n", MIXED.replace("\0", ""), "é\U0001f600 " * 5000], ids=range(5))
def test_r27_streams_pipes_its_input(server, connect, text):
    room, reader = watched(server, connect)
    run(server, "stream", room, input=text)
    stream = named(reader)
    reader.ended(stream, text)
    assert len(terminals(server.messages(room), stream)) == 1
    reader.client.nothing_new(room)


def test_r27_streams_pipes_its_input_as_it_comes(server, connect, pipe):
    room, reader = watched(server, connect)
    piped, text = pipe(server, room), ""
    for word in ("The ", "answer ", "is \U0001f600", "\n"):
        piped.write(word)
        text += word
        reader.until(lambda: "".join(reader.text.values()) == text)
    stream = named(reader)
    assert listed(server, room) == [stream]
    piped.end()
    reader.ended(stream, text)


def test_r27_streams_input_that_splits_code_points(server, connect, pipe):
    room, reader = watched(server, connect)
    piped, raw = pipe(server, room), "e\u0301\U0001f600☃".encode()
    for n in range(len(raw)):
        piped.process.stdin.buffer.write(raw[n:n + 1])
        piped.process.stdin.buffer.flush()
    piped.end()
    reader.ended(named(reader), raw.decode())


def test_r27_streams_ctrl_c_cancels(server, connect, pipe):
    room, reader = watched(server, connect)
    piped = pipe(server, room)
    piped.write("half an ans")
    reader.until(lambda: "".join(reader.text.values()) == "half an ans")
    piped.process.send_signal(signal.SIGINT)
    code = piped.ends()
    assert code >= 0, f"it was killed by signal {-code}, instead of ending in order"
    reader.ended(named(reader), "half an ans", "cancelled")
    reader.client.nothing_new(room)


def test_r27_streams_ends_where_somebody_asks_it_to_stop(server, connect, pipe):
    room, reader = watched(server, connect)
    piped = pipe(server, room)
    piped.write("so far")
    reader.until(lambda: "".join(reader.text.values()) == "so far")
    stream = named(reader)
    ok(reader.client, "cancel", room, stream)
    assert piped.ends() >= 0
    reader.ended(stream, "so far", "cancelled")


def test_r27_streams_input_that_is_too_long(server, connect):
    room, reader = watched(server, connect)
    said = run(server, "stream", room, input="x" * (TEXT + 1), code=1).said
    assert "stream_too_big" in said
    stream = named(reader)
    reader.until(lambda: stream in reader.done, 20)
    text, record = reader.done[stream]
    assert record["type"] == "error" and set(text) == {"x"} and len(text) <= TEXT


def test_r27_streams_input_that_is_not_utf8(server, connect, pipe):
    room, reader = watched(server, connect)
    piped = pipe(server, room)
    piped.process.stdin.buffer.write(b"fine \xff not")
    piped.process.stdin.buffer.flush()
    piped.process.stdin.close()
    assert piped.ends() in (1, 2)
    assert "panicked" not in piped.process.stderr.read()
    stream = named(reader)
    reader.until(lambda: stream in reader.done)
    assert reader.done[stream][1]["type"] in TERMINAL[1:3], "it is not complete"


@pytest.mark.parametrize("arguments, code", [
    (["@all"], 2), ([""], 2), ([], 2), (["r", "more"], 2), (["r", "--nonsense"], 2),
], ids=range(5))
def test_r27_streams_wrong_usage(server, arguments, code):
    run(server, "stream", *arguments, code=code)


def test_r27_streams_nobody_listens_there(server):
    said = run(server, "stream", "r", "--url", f"http://127.0.0.1:{free_port()}", input="text", code=1).said
    assert "cannot reach" in said


def test_r27_streams_with_an_api_key(serving, connect):
    room = unique("room")
    reader = Reader(room, connect(serving, room, **serving.as_user(unique("ann"))))
    run(serving, "stream", room, input="with a key", MOORLINE_KEY=serving.key)
    reader.ended(named(reader), "with a key")
    run(serving, "stream", room, input="without", code=1)
    reader.client.nothing_new(room)


def test_r27_streams_a_restart_in_between_is_bridged(kept, connect, how, pipe):
    server, room = kept(), unique("room")
    client = connect(server, room)
    reader = Reader(room, client)
    piped = pipe(server, room)
    piped.write("before, ")
    reader.until(lambda: "".join(reader.text.values()) == "before, ")
    stream, position = named(reader), reader.last
    server.down(how)
    piped.write("while it is away, ")
    server.up()
    reader.on(connect.back(client, room=room, last_message_id=position))
    piped.write("after \U0001f600")
    text = "before, while it is away, after \U0001f600"
    reader.has(stream, text, timeout=30)
    piped.end()
    reader.ended(stream, text)
    assert len(terminals(server.messages(room), stream)) == 1
    eventually(lambda: listed(server, room) == [])


def test_r27_streams_input_that_ends_while_the_server_is_away(kept, connect, how, pipe):
    server, room = kept(), unique("room")
    client = connect(server, room)
    reader = Reader(room, client)
    piped = pipe(server, room)
    piped.write("before, ")
    reader.until(lambda: "".join(reader.text.values()) == "before, ")
    stream, position = named(reader), reader.last
    server.down(how)
    piped.write("and the rest")
    piped.process.stdin.close()
    server.up()
    reader.on(connect.back(client, room=room, last_message_id=position))
    reader.ended(stream, "before, and the rest", timeout=30)
    assert piped.ends(20) == 0
