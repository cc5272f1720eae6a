"""The commands that talk to a running server, as they are typed."""

import json
import os
import signal
import ssl
import subprocess

import pytest
import trustme

from authority import Pair
from server import BINARY, environment, free_port
from serving import cli
from standin import StandIn, problem
from waiting import eventually, unique

NOTE = '{"type":"note","text":"hi"}'
COMMANDS = [
    [], ["dev"], ["bench"], ["publish"], ["tail"], ["completions"],
    ["sessions"], ["sessions", "list"], ["sessions", "show"], ["sessions", "end"],
    ["rooms"], ["rooms", "list"], ["rooms", "show"], ["rooms", "messages"], ["rooms", "clear"],
]


class Done:
    """What a command that has ended wrote."""

    def __init__(self, process, out, said):
        self.code, self.out, self.said = process.returncode, out, said

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def json(self):
        return json.loads(self.out)


def started(server, *arguments, **env):
    env = {**environment({}), "MOORLINE_URL": f"http://127.0.0.1:{server.port}", **env}
    return subprocess.Popen([BINARY, *arguments], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def run(server, *arguments, input="", code=0, **env):
    """Runs a command to its end, which must be with this exit code."""
    process = started(server, *arguments, **env)
    try:
        done = Done(process, *process.communicate(input, timeout=10))
    finally:
        process.kill()
    assert done.code == code, (arguments, done.code, done.out, done.said)
    assert "panicked" not in done.said, done.said
    return done


class Tail:
    """A `moorline tail` that runs."""

    def __init__(self, server, room, *arguments, **env):
        self.process = started(server, "tail", room, *arguments, **env)

    def said(self, part):
        """Reads standard error up to a line with this in it."""
        for line in self.process.stderr:
            if part in line:
                return line
        raise AssertionError(f"it ended without saying {part!r}")

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=10)


def joined(server, room):
    """Waits until the room has a connected member."""
    eventually(lambda: any(one["room"] == room and one["connected"] for one in server.get("/v1/rooms?limit=1000")["rooms"]))


@pytest.fixture
def tail():
    running = []

    def start(*arguments, **env):
        running.append(Tail(*arguments, **env))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def stand_in():
    running = []

    def start(answer):
        running.append(StandIn(answer))
        return running[-1]

    yield start
    for one in running:
        one.__exit__()


# --- all commands ---


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_there_and_names_the_command(server, command):
    done = run(server, *command, "--help")
    assert " ".join(["Usage: moorline", *command]) in done.out


def test_exit_codes_are_in_the_help(server):
    assert "Exit codes: 0 " in run(server, "--help").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "elvish"])
def test_completions_name_the_commands(server, shell):
    script = run(server, "completions", shell).out
    assert all(word in script for word in ["publish", "tail", "sessions", "rooms", "since"])


@pytest.mark.parametrize("command", [["completions", "bash"], ["rooms", "list"], ["publish", "--all", NOTE]])
def test_output_that_nobody_reads_is_no_failure(server, command):
    reader, writer = os.pipe()
    os.close(reader)
    env = {**environment({}), "MOORLINE_URL": f"http://127.0.0.1:{server.port}"}
    done = subprocess.run([BINARY, *command], env=env, stdin=subprocess.DEVNULL, stdout=writer,
                          stderr=subprocess.PIPE, timeout=10)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_nothing_listens_there(server):
    done = run(server, "rooms", "list", "--url", f"http://127.0.0.1:{free_port()}", code=1)
    assert "cannot reach http://127.0.0.1:" in done.said and "--url" in done.said


@pytest.mark.parametrize("url", ["localhost:8080", "ws://a", "http://u:hunter2@a", "http://a/?token=hunter2", "http://"])
def test_bad_address_is_not_repeated(server, url):
    done = run(server, "rooms", "list", "--url", url, code=2)
    assert "--url" in done.said and "hunter2" not in done.said


def test_bad_key_files_are_named_and_their_content_is_not(server, tmp_path):
    for name, content in [("empty", b"\n"), ("two", b"hunter2\nhunter2\n"), ("binary", b"hunter2\xff"), ("big", b"h" * 9000)]:
        file = tmp_path / name
        file.write_bytes(content)
        done = run(server, "rooms", "list", "--key-file", str(file), code=2)
        assert str(file) in done.said and "hunter2" not in done.said and "hhh" not in done.said
    assert "No such file" in run(server, "rooms", "list", "--key-file", str(tmp_path / "none"), code=2).said
    assert "MOORLINE_KEY" in run(server, "rooms", "list", code=2, MOORLINE_KEY="a b").said


def test_bad_certificates(server, tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    assert "BEGIN CERTIFICATE" in run(server, "rooms", "list", "--ca", str(tmp_path / "ca.pem"), code=2).said


def test_what_is_spoken_there_is_told_apart_from_nobody_there(server, serve, tmp_path):
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    files = Pair(authority.issue_cert("127.0.0.1")).files
    secure = serve({"tls.certificate": "tls.pem", "tls.key": "tls.key"}, files=files, tls=trusting)
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    for to, scheme, part in [(secure, "https", "--ca FILE"), (secure, "http", "https://"), (server, "https", "http://")]:
        url = f"{scheme}://127.0.0.1:{to.port}"
        for command in (["rooms", "list"], ["tail", "r"]):
            said = run(server, *command, "--url", url, code=1).said
            assert f"cannot reach {url}/: " in said and part in said and "running" not in said, said
    there = ["--url", f"https://127.0.0.1:{secure.port}", "--ca", str(tmp_path / "ca.pem")]
    assert run(server, "rooms", "list", *there, MOORLINE_KEY=secure.key).code == 0


# --- what cannot be started ---


def test_an_address_that_is_taken_is_named(server):
    done = cli("dev", "--listen", f"127.0.0.1:{server.port}")
    assert done.returncode == 1 and f"moorline: cannot listen on 127.0.0.1:{server.port}: " in done.stderr, done


@pytest.mark.parametrize("listen", ["8081", "localhost:8081"])
def test_an_address_that_is_none_is_told_what_it_is_like(listen):
    for command in ("dev", "serve"):
        done = cli(command, "--listen", listen)
        assert done.returncode == 2 and "like 127.0.0.1:8080" in done.stderr, done


def test_settings_that_nobody_named_are_asked_for():
    for command in (["serve"], ["token", "create", "--user", "ann"]):
        done = cli(*command)
        assert done.returncode == 2 and "--config FILE" in done.stderr, done


def test_a_token_s_longest_life_is_said_for_people(serving):
    done = cli("token", "create", "--user", "ann", "--ttl", "2d", "--config", serving.config)
    assert done.returncode == 2 and "a token lives 1s to 1day " in done.stderr, done


def test_warnings_leave_a_configuration_right(serving):
    done = cli("config", "check", "--config", serving.config, env={
        "MOORLINE__HTTP__LISTEN": "0.0.0.0:1", "MOORLINE__HEARTBEAT__IDLE_TIMEOUT_MS": "100", "MOORLINE_LOG_LEVEL": "debug"})
    assert done.returncode == 0 and done.stdout == "ok\n", done
    lines = done.stderr.splitlines()
    assert len(lines) == 3 and all(line.startswith("moorline: warning: ") for line in lines), lines
    for line, part in zip(lines, ["http.listen", "heartbeat.idle_timeout_ms", "MOORLINE__LOG__LEVEL"]):
        assert part in line


# --- answers ---


def test_the_key_is_sent_and_a_refusal_says_what_to_do(stand_in, tmp_path):
    server = stand_in(lambda *_: problem(401, "not_authenticated", "no such API key"))
    done = run(server, "rooms", "list", code=1)
    assert "not_authenticated: no such API key (request req-7)" in done.said and "MOORLINE_KEY" in done.said
    (tmp_path / "key").write_text("hunter2\n")
    done = run(server, "rooms", "list", "--key-file", str(tmp_path / "key"), code=1, MOORLINE_KEY="other")
    assert server.seen[-1][2]["authorization"] == "Bearer hunter2"
    assert "--key-file FILE or the variable MOORLINE_KEY" in done.said and "hunter2" not in done.said


def test_answers_of_something_else_are_recognised(stand_in):
    answers = {
        "page": (502, {"Content-Type": "text/html"}, "<html>"), "moved": (301, {"Location": "https://other/"}, ""),
        "wrong": (200, {}, "hello"), "shape": (200, {}, '{"rooms":3}'), "big": (200, {}, " " * (17 << 20)),
    }
    server = stand_in(lambda method, path, *_: answers[path.split("/")[1]])
    base = f"http://127.0.0.1:{server.port}/"
    for name, part in [("page", "502 Bad Gateway"), ("moved", "https://other/"), ("wrong", "--url"),
                       ("shape", "--url"), ("big", "larger than 16777216 bytes")]:
        assert part in run(server, "rooms", "list", "--url", base + name, code=1).said


def test_what_a_server_says_drives_no_terminal(stand_in):
    server = stand_in(lambda *_: problem(400, "bad_frame", "\x1b]0;x\x07\u202e"))
    said = run(server, "rooms", "list", code=1).said
    assert "\\u001b]0;x\\u0007\\u202e" in said and "\x1b" not in said


# --- publish ---


def test_publish_reaches_each_kind_of_target(server, connect):
    room, user = unique("room"), unique("user")
    client = connect(server, room, user=user)
    done = run(server, "publish", "--room", room, NOTE)
    assert done.lines == [f"{room} 1 reached=1 queued=0"]
    assert client.expect("note", text="hi", room=room)
    assert run(server, "publish", "--user", user, NOTE, "-o", "json").json["room"] == f"@user/{user}"
    client.expect("note", room=f"@user/{user}")
    assert run(server, "publish", "--session", client.session, NOTE, "--output", "json").json["reached"] == 1
    client.expect("note", room=f"@session/{client.session}")
    assert run(server, "publish", "--all", "--type", "news", "{}", "-o", "json").json["reached"] >= 1
    client.expect("news", room="@all")


def test_publish_takes_its_options(server, connect):
    room = unique("room")
    one, two = connect(server, room, user=unique("u")), connect(server, room, user=unique("u"))
    to = ["publish", "--room", room, "-o", "json"]
    assert run(server, *to, "--except-session", one.session, NOTE).json["reached"] == 1
    assert run(server, *to, "--except-user", two.user, "--except-user", one.user, NOTE).json["reached"] == 0
    first = run(server, *to, "--id", "x", NOTE).json
    assert run(server, *to, "--id", "x", NOTE).json == {**first, "duplicate": True}
    assert run(server, "publish", "--room", room, "--id", "x", NOTE).out.endswith(" duplicate\n")
    assert run(server, *to, "--durability", "memory", NOTE).json["durability"] == "memory"
    assert "durability_unavailable" in run(server, *to, "--durability", "disk", NOTE, code=1).said
    assert "message_id" not in run(server, *to, "--ephemeral", NOTE).json
    assert run(server, "publish", "--room", room, "--ephemeral", NOTE).out == f"{room} - reached=2 queued=0\n"


def test_publish_reads_standard_input(server):
    room = unique("room")
    assert run(server, "publish", "--room", room, input=f" {NOTE}\n").lines[0].startswith(f"{room} 1 ")
    assert run(server, "publish", "--room", room, "-", input=NOTE).lines[0].startswith(f"{room} 2 ")
    big = '{"n":12345678901234567890, "f":1.50}'
    run(server, "publish", "--room", room, "--type", "a\"b", "-", input=big)
    [message] = run(server, "rooms", "messages", room, "--after", "2").lines
    assert message.endswith(' 3 a"b {"n":12345678901234567890,"f":1.50}')


@pytest.mark.parametrize("arguments, part", [
    (["--room", "r", "{}"], "--type TYPE"), (["--room", "r", "[]"], "JSON object"), (["--room", "r", "hi"], "JSON object"),
    (["--room", "r", '{"type":1}'], "must be a string"), (["--room", "r", "--type", "a", '{"type":"b"}'], "leave --type out"),
    ([NOTE], "--room"), (["--room", "r", "--all", NOTE], "cannot be used with"), (["--room", "r"], "JSON object"),
    (["--room", "r", "--ephemeral", "--id", "x", NOTE], "cannot be used with"),
    (["--room", "r", "--lines", NOTE], "cannot be used with"), (["--room", "r", "--durability", "eternal", NOTE], "broker"),
])
def test_bad_publish_is_not_sent_and_says_why(server, arguments, part):
    assert part in run(server, "publish", *arguments, code=2).said


def test_publish_that_the_server_refuses(server):
    assert "room_invalid: " in run(server, "publish", "--room", "@r", NOTE, code=1).said
    assert "message_invalid: " in run(server, "publish", "--room", "r", '{"type":"a","room":"b"}', code=1).said


def test_publish_lines_in_order_and_in_batches(server):
    room = unique("room")
    lines = "\n".join(json.dumps({"n": n, "pad": "x" * 20_000}) + "\n" for n in range(230))
    done = run(server, "publish", "--room", room, "--type", "line", "--lines", "-o", "json", input=lines)
    assert [json.loads(line)["message_id"] for line in done.lines] == list(range(1, 231))
    kept = server.get(f"/v1/rooms/{room}/messages?limit=1000")["messages"]
    assert [message["n"] for message in kept] == list(range(230))[-len(kept):]


def test_bad_lines_are_named_by_their_number(server):
    room, good = unique("room"), NOTE + "\n"
    done = run(server, "publish", "--room", room, "--lines", input=good + "\n" + good + "nope\n" + good, code=1)
    assert "line 4: the message is not a JSON object" in done.said and len(done.lines) == 2
    done = run(server, "publish", "--room", room, "--lines", input=good + '{"type":"ping"}\n' + good, code=1)
    assert "line 2: message_invalid: " in done.said and len(done.lines) == 2
    assert run(server, "publish", "--room", room, "--lines", input="").out == ""


# --- sessions and rooms ---


def test_sessions_are_listed_shown_and_ended(server, connect):
    room, user = unique("room"), unique("user")
    ids = sorted(connect(server, room, user=user).session for _ in range(3))
    [heading, *rows] = run(server, "sessions", "list", "--room", room).lines
    assert heading.split()[:3] == ["SESSION", "USER", "STATE"]
    assert [row.split()[:3] for row in rows] == [[id, user, "connected"] for id in ids]
    listed = run(server, "sessions", "list", "--user", user, "-o", "json").json
    assert [one["session"] for one in listed["sessions"]] == ids and listed["next"] is None
    part = run(server, "sessions", "list", "--user", user, "--limit", "2", "-o", "json").json
    assert [one["session"] for one in part["sessions"]] == ids[:2] and part["next"] == ids[1]
    assert "there are more" in run(server, "sessions", "list", "--user", user, "--limit", "2").said
    assert ids[0] in [one["session"] for one in run(server, "sessions", "list", "--all", "-o", "json").json["sessions"]]
    assert run(server, "sessions", "show", ids[0], "-o", "json").json["user"] == user
    assert f"user             {user}" in run(server, "sessions", "show", ids[0]).lines
    assert run(server, "sessions", "end", ids[0]).out == f"{ids[0]} has ended\n"
    assert run(server, "sessions", "end", ids[0], "-o", "json").out == ""
    assert "not_found: " in run(server, "sessions", "show", ids[0], code=1).said
    assert "--limit" in run(server, "sessions", "list", "--limit", "0", code=2).said


def test_rooms_are_listed_shown_read_and_cleared(server, connect):
    room = unique("room/é?")
    client = connect(server, room)
    server.to_room(room, 3)
    assert [room, "1", "0"] in [row.split() for row in run(server, "rooms", "list", "--all").lines]
    assert {"room": room, "connected": 1, "absent": 0} in run(server, "rooms", "list", "-o", "json", "--all").json["rooms"]
    assert run(server, "rooms", "show", room, "-o", "json").json["sessions"] == [client.session]
    assert "newest message  3" in run(server, "rooms", "show", room).lines
    lines = run(server, "rooms", "messages", room, "--after", "1", "--limit", "1").lines
    assert [line.split(" ", 1)[1] for line in lines] == ['2 note {"n":1}']
    assert len(run(server, "rooms", "messages", room, "-o", "json").json["messages"]) == 3
    assert "--yes" in run(server, "rooms", "clear", room, code=2).said
    assert run(server, "rooms", "clear", room, "--yes").out == f"{room} was cleared\n"
    assert "reset (cleared): what lies after 1 up to 3 is lost" in run(server, "rooms", "messages", room, "--after", "1").said
    assert "not_found: " in run(server, "rooms", "show", unique("none"), code=1).said
    assert "path of a URL" in run(server, "rooms", "clear", "..", "--yes", code=1).said


# --- tail ---


def test_tail_from_the_start_from_a_message_and_from_now(server, tail):
    room = unique("room")
    server.to_room(room, 3)
    numbers = [line.split()[1] for line in run(server, "tail", room, "--since", "start", "--limit", "3").lines]
    assert numbers == ["1", "2", "3"]
    done = run(server, "tail", room, "--since", "1", "--limit", "2", "-o", "json")
    assert [json.loads(line)["message_id"] for line in done.lines] == [2, 3]
    live = tail(server, room)
    joined(server, room)
    server.to_room(room, 1)
    assert live.line().split(" ", 1)[1] == '4 note {"n":0}'
    assert live.interrupt() == 0
    assert server.room(room)["absent"] == 0, "whoever has taken leave is no member"


def test_tail_goes_on_after_its_connection_was_lost(start, tail):
    server = start({"heartbeat.interval_ms": 100})
    room = unique("room")
    live = tail(server, room, "--user", "watcher")
    joined(server, room)
    server.publish({"room": room}, {"type": "one"})
    assert live.line().split()[1:3] == ["1", "one"]
    port = server.port
    server.stop()
    live.said("not connected")
    server = start(port=port)
    for text in ["two", "three"]:
        server.publish({"room": room}, {"type": text})
    live.said("connected again, as a new session")
    live.said("reset (epoch): ")
    assert [live.line().split()[1:3] for _ in range(2)] == [["1", "two"], ["2", "three"]]
    assert live.interrupt() == 0


def test_tail_resumes_its_session_and_prints_nothing_twice(stand_in):
    hellos, pongs = [], []

    def note(talk, id):
        talk.send(type="note", room="r", message_id=id, timestamp="T")

    def talk(talk):
        if len(server.seen) == 1:
            talk.establish("r")
            note(talk, 1)
            note(talk, 2)
            talk.send(type="closing", reconnect_in_ms=10, reason="drain")
            return talk.close(1001, "drain")
        hellos.append(talk.next())
        talk.send(type="connection_established", session="s", resume_token="u", resumed=True, heartbeat_ms=30000,
                  rooms={"r": {"epoch": "00000000000000aa", "message_id": 3, "replayed": 2}})
        note(talk, 2)
        note(talk, 3)
        talk.send(type="ping")
        pongs.append(talk.next())
        note(talk, 4)

    server = stand_in(lambda *_: talk)
    done = run(server, "tail", "r", "--limit", "4")
    assert [line.split()[1] for line in done.lines] == ["1", "2", "3", "4"]
    position = {"epoch": "00000000000000aa", "message_id": 2}
    assert hellos == [{"type": "hello", "session": "s", "resume_token": "t", "positions": {"r": position}}]
    assert pongs == [{"type": "pong", "positions": {"r": {**position, "message_id": 3}}}]
    assert "not connected (close code 1001, drain); trying again in 0.0 s" in done.said


def test_tail_in_a_session_that_begins_again_prints_nothing_twice(stand_in):
    """As after a copy of the store was put back: the session is there, and in the room, but knows an older token."""
    asked, epoch = [], "00000000000000bb"

    def notes(talk, *ids):
        for id in ids:
            talk.send(type="note", room="r", message_id=id, timestamp="T")

    def begin_anew(talk, reason):
        talk.send(type="reset", room="r", reason=reason, epoch=epoch, **{"from": None, "to": 0})
        notes(talk, 1, 2, 3, 4)

    def talk(talk):
        if len(server.seen) == 1:
            talk.establish("r")
            notes(talk, 1, 2, 3)
            return talk.close(1001)
        talk.next()
        talk.send(type="connection_established", session="s", resume_token="u", resumed=False, heartbeat_ms=30000,
                  rooms={"r": {"epoch": epoch, "message_id": 4, "replayed": 4}})
        begin_anew(talk, "expired")
        asked.append(join := talk.next())
        talk.send(type="reply", ref=join["ref"], ok=True, room="r", epoch=epoch, message_id=0)
        talk.send(type="joined", room="r", epoch=epoch, message_id=0)
        begin_anew(talk, "epoch")
        notes(talk, 5)

    server = stand_in(lambda *_: talk)
    done = run(server, "tail", "r", "--limit", "8")
    assert [line.split()[1] for line in done.lines] == ["1", "2", "3", "1", "2", "3", "4", "5"]
    assert done.said.count("reset") == 1 and "reset (epoch)" in done.said
    assert [join["since"] for join in asked] == [{"epoch": "00000000000000aa", "message_id": 3}]


def test_tail_tries_again_where_the_server_is_too_busy(stand_in):
    def talk(talk):
        if len(server.seen) > 1:
            talk.establish("r")
            return talk.send(type="note", room="r", message_id=1, timestamp="T")
        talk.next()
        talk.send(type="connection_established", session="s", resume_token="t", resumed=False, rooms={},
                  heartbeat_ms=30000)
        refusal = {"code": "overloaded", "message": "too many rooms"}
        talk.send(type="reply", ref=talk.next()["ref"], ok=False, error=refusal)

    server = stand_in(lambda *_: talk)
    done = run(server, "tail", "r", "--limit", "1")
    assert done.out == "T 1 note {}\n" and "not connected (overloaded: too many rooms)" in done.said


def test_tail_from_a_message_starts_over_where_its_connection_is_lost_meanwhile(stand_in):
    asked, epoch = [], "00000000000000aa"

    def talk(talk):
        talk.next()
        rooms = {"r": {"epoch": epoch, "message_id": 9, "replayed": 0}} if len(server.seen) > 1 else {}
        talk.send(type="connection_established", session="s", resume_token="t", resumed=bool(rooms), rooms=rooms,
                  heartbeat_ms=30000)
        asked.append(join := talk.next())
        at = join.get("since", {"message_id": 9})["message_id"]
        talk.send(type="reply", ref=join["ref"], ok=True, room="r", epoch=epoch, message_id=at)
        if not rooms:
            return talk.close(1011)
        talk.send(type="joined", room="r", epoch=epoch, message_id=at)
        for id in range(at + 1, 10):
            talk.send(type="note", room="r", message_id=id, timestamp="T")

    server = stand_in(lambda *_: talk)
    done = run(server, "tail", "r", "--since", "7", "--limit", "2")
    assert [line.split()[1] for line in done.lines] == ["8", "9"]
    assert [one.get("since") for one in asked] == [None, {"epoch": epoch, "message_id": 7}]


def test_tail_lets_no_message_drive_the_terminal(server):
    room, evil = unique("room"), "\x1b]0;x\x07\x1b[2J\u009b31m\u202e\r\n"
    server.publish({"room": room}, {"type": "a" + evil, "text": evil, evil: 1})
    server.http("POST", "/v1/publish", ('{"to":{"room":"%s"},"message":{"type":"b","x":"\x7f\u009b\u2066"}}' % room).encode())
    for form in ["text", "json"]:
        done = run(server, "tail", room, "--since", "start", "--limit", "2", "-o", form)
        assert not [c for c in done.out if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066"]
        assert len(done.lines) == 2
    assert json.loads(done.lines[0])["text"] == evil


def test_tail_ends_quietly_where_nobody_reads_it(server, tail):
    room = unique("room")
    live = tail(server, room)
    live.said("following")
    joined(server, room)
    live.process.stdout.close()
    server.to_room(room, 1)
    assert live.process.wait(timeout=10) == 0
    assert live.process.stderr.read() == ""


@pytest.mark.parametrize("arguments, part", [
    (["@all"], "begins with '@'"), (["r", "--since", "later"], "start"), (["r", "--since=-1"], "--since"),
    (["r", "--limit", "0"], "--limit"), (["r", "--user", ""], "user"), (["r", "--token-file", "/none/such"], "/none/such"),
])
def test_bad_tail_says_why(server, arguments, part):
    assert part in run(server, "tail", *arguments, code=2).said


def test_tail_does_not_wait_for_a_server_that_never_was(server):
    assert "cannot reach" in run(server, "tail", "r", "--url", f"http://127.0.0.1:{free_port()}", code=1).said


def test_tail_gets_a_token_with_its_key_and_refreshes_it(stand_in):
    frames = []

    def talk(talk):
        talk.establish("r")
        talk.send(type="token_expiring", expires_in_ms=1000)
        frames.append(talk.next())
        talk.send(type="note", room="r", message_id=1, timestamp="T")

    def answer(method, path, headers, body):
        if method == "GET":
            return talk
        return 200, {}, json.dumps({"token": f"token-{len(server.seen)}", "token_id": "1", "user": "ann", "expires_at": "T"})

    server = stand_in(answer)
    done = run(server, "tail", "r", "--user", "ann", "--limit", "1", MOORLINE_KEY="hunter2")
    assert done.out == "T 1 note {}\n"
    minted, opened, _ = server.seen
    assert minted[:2] == ("POST", "/v1/tokens") and json.loads(minted[3]) == {"user": "ann", "join": ["r"]}
    assert minted[2]["authorization"] == "Bearer hunter2"
    assert opened[1] == "/ws" and opened[2]["authorization"] == "Bearer token-1"
    assert frames == [{"type": "auth", "token": "token-3"}]


def test_tail_reads_its_token_file_again(stand_in, tmp_path):
    file, frames = tmp_path / "token", []

    def talk(talk):
        talk.establish("r")
        talk.send(type="token_expiring", expires_in_ms=1000)
        file.write_text("second\n")
        talk.send(type="token_expiring", expires_in_ms=900)
        frames.append(talk.next())
        talk.close(4003, "revoked\x1b")

    file.write_text("first\n")
    server = stand_in(lambda *_: talk)
    done = run(server, "tail", "r", "--token-file", str(file), code=1, MOORLINE_TOKEN="other", MOORLINE_KEY="hunter2")
    assert [one[2]["authorization"] for one in server.seen] == ["Bearer first"]
    assert frames == [{"type": "auth", "token": "second"}]
    assert "close code 4003, revoked\\u001b" in done.said and "second" not in done.said


def test_tail_says_what_to_show_or_to_leave_out(server, serving):
    said = run(serving, "tail", "r", code=1).said
    assert "set MOORLINE_KEY" in said and "--token-file" in said and "MOORLINE_TOKEN" in said
    assert "unset MOORLINE_KEY" in run(server, "tail", "r", code=1, MOORLINE_KEY="hunter2").said
    assert "unset MOORLINE_TOKEN" in run(server, "tail", "r", code=1, MOORLINE_TOKEN="hunter2").said


def test_tail_that_is_not_let_in_says_what_to_do(stand_in):
    def talk(talk):
        talk.next()
        talk.send(type="error", code="not_authenticated", message="a token is needed")
        talk.close(1008, "not authenticated")

    done = run(stand_in(lambda *_: talk), "tail", "r", code=1)
    assert "not_authenticated: a token is needed; give a token (--token-file" in done.said


def test_tail_trusts_only_a_proper_handshake(stand_in):
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": "AAAA"}
    assert "Sec-WebSocket-Accept" in run(stand_in(lambda *_: (101, upgrade, "")), "tail", "r", code=1).said
    assert "not_found: nothing here" in run(stand_in(lambda *_: problem(404, "not_found", "nothing here")), "tail", "r", code=1).said
    assert "MOORLINE_URL" in run(stand_in(lambda *_: (200, {}, "hello")), "tail", "r", code=1).said


def test_tail_tells_of_sessions_own_rooms_nothing(server, tail):
    room = unique("room")
    live = tail(server, room, "--user", unique("user"))
    joined(server, room)
    server.publish("all", {"type": "to_all"})
    server.publish({"room": room}, {"type": "to_room"})
    assert live.line().split()[2] == "to_room"


def test_no_proxy_of_the_environment_sees_the_key(server):
    nowhere = f"http://127.0.0.1:{free_port()}"
    proxies = {name: nowhere for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")}
    assert run(server, "rooms", "list", "-o", "json", **proxies).json["rooms"] is not None


@pytest.mark.parametrize("settings, says", [
    ("[keys]\nfile = 'keys.toml'\n", "auth.key"),
    ("[[auth.key]]\nalgorithm = 'HS256'\nfile = 'short'\n[keys]\nfile = 'keys.toml'\n", "short"),
    ("[[auth.key]]\nalgorithm = 'HS256'\nfile = 'long'\n[keys]\nfile = 'broken'\n", "broken"),
    ("[[auth.key]]\nalgorithm = 'HS256'\nfile = 'long'\n", "keys.file"),
])
def test_r33_the_doctor_knows_what_serve_would_refuse(tmp_path, settings, says):
    for name, text in (("short", "x"), ("long", "x" * 64), ("keys.toml", ""), ("broken", "[[key]]\nid = 5\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "moorline.toml").write_text(settings + f"[http]\nlisten = '127.0.0.1:{free_port()}'\n")
    done = cli("doctor", "--config", tmp_path / "moorline.toml", "-o", "json")
    bad = [check for check in json.loads(done.stdout)["checks"] if check["verdict"] == "bad"]
    assert done.returncode == 1 and says in " ".join(check["found"] for check in bad), done


@pytest.mark.parametrize("room", ["x*", "u:{user}"])
def test_bad_room_that_a_token_would_take_for_many(server, room):
    assert "--token-file" in run(server, "tail", room, code=2, MOORLINE_KEY="mk_x").said
