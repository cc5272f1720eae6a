"""`moorline store`: looking at a directory, checking, shrinking and exporting it while no server uses it, and putting a copy of it back."""

import json
import shutil
import subprocess

import pytest

from keeping import FILE, at, by_room, replayed, store
from server import BINARY, environment
from serving import cli, settings_text
from waiting import unique

COMMANDS = ["stats", "check", "compact", "new-epoch", "export"]


@pytest.fixture
def ended(kept, connect):
    """A server that ended in order, with something of everything in its directory."""
    server, room = kept(), unique("room ☃")
    client = connect(server, room, user="ann", hello={"metadata": {"device": "phone"}})
    server.client, server.named = client, room
    for n in range(10):
        server.publish({"room": room}, {"type": "note", "n": n, "text": "\u001b[31m é\u2028"}, id=f"id-{n}")
    server.publish({"room": room}, {"type": "secret"}, **{"except": {"sessions": ["s1", "s2"], "users": ["eve"]}})
    server.publish({"session": client.session}, {"type": "own"})
    server.publish({"user": "ann"}, {"type": "of-user"})
    server.publish("all", {"type": "for-all"})
    server.epoch = server.room(room)["epoch"]
    server.before = {name: server.messages(name) for name in (room, f"@session/{client.session}", "@user/ann", "@all")}
    client.drop()
    server.down("drain")
    return server


def exported(directory, *more, **options):
    """The lines of an export."""
    return [json.loads(line) for line in store("export", directory, *more, **options).stdout.splitlines()]


def numbers_in(value):
    if isinstance(value, dict):
        for each in value.values():
            yield from numbers_in(each)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def without_ours(message):
    return {name: value for name, value in message.items() if name not in ("room", "message_id", "timestamp")}


def here(folder, command, *arguments, env=None):
    """`moorline store` as it is typed in this folder."""
    return subprocess.run([BINARY, "store", command, *map(str, arguments)], env={**environment({}), **(env or {})},
                          text=True, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)


# --- usage ---

@pytest.mark.parametrize("command", [[], *([each] for each in COMMANDS)], ids=" ".join)
def test_help_of_store_is_there_and_names_the_command(command):
    done = cli("store", *command, "--help")
    assert done.returncode == 0 and " ".join(["Usage: moorline store", *command]) in done.stdout, done


def test_bad_usage_of_store(tmp_path):
    for arguments in ([], ["nonsense"], ["stats", "--dta", tmp_path], ["stats", "extra"], ["check", "--room", "a"],
                      ["export", "--room"], ["stats", "--data"], ["stats", "-o", "yaml"]):
        done = cli("store", *arguments)
        assert done.returncode == 2 and done.stderr, (arguments, done)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["nothing", "empty", "a file", "the default"])
def test_bad_store_that_is_not_there(tmp_path, command, where):
    directory = tmp_path / "data"
    if where == "empty":
        directory.mkdir()
    if where == "a file":
        directory.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    arguments = [] if where == "the default" else ["--data", directory]
    done = here(tmp_path, command, *arguments)
    assert done.returncode == 2, done
    assert (str(directory) if arguments else "moorline-data") in done.stderr and "panicked" not in done.stderr, done
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before, "nothing is created"


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_store_that_a_server_uses(kept, connect, command):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 2)
    done = store(command, server.directory, code=(1, 2))
    assert str(server.directory) in done.stderr and "in use" in done.stderr.lower(), done
    assert done.stdout == ""
    client.messages(ids + server.to_room(room, 2))
    server.down("drain")
    store(command, server.directory)


def test_which_directory_is_meant(ended, tmp_path):
    """The argument, else the variable, else the file's setting, from its folder on, else `moorline-data` here."""
    other = tmp_path / "elsewhere" / "data"
    other.parent.mkdir()
    ended.directory.rename(other)
    config = tmp_path / "elsewhere" / "moorline.toml"
    config.write_text(settings_text({"store.directory": "data"}))
    lines = exported(other)
    assert lines

    def export(*arguments, env=None):
        done = here(tmp_path, "export", *arguments, env=env)
        assert done.returncode == 0, done
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert export("--config", config) == lines
    assert export("--data", "elsewhere/data") == lines, "an argument starts where one is"
    config.write_text(settings_text({"store.directory": "not-this"}))
    assert export("--config", config, "--data", other) == lines
    assert export("--config", config, env={"MOORLINE__STORE__DIRECTORY": str(other)}) == lines
    assert export(env={"MOORLINE__STORE__DIRECTORY": str(other)}) == lines
    other.rename(tmp_path / "moorline-data")
    assert export() == lines


# --- stats ---

def test_r31_stats_of_a_store(ended):
    done = store("stats", ended.directory)
    assert done.stdout.strip() and done.stderr == ""
    stats = json.loads(store("stats", ended.directory, "-o", "json").stdout)
    assert isinstance(stats, dict) and stats
    numbers = list(numbers_in(stats))
    assert 14 in numbers, f"14 messages are in it: {stats}"
    assert 1 in numbers, f"one session is in it: {stats}"
    assert (ended.directory / FILE).stat().st_size in numbers, f"the size of the file: {stats}"


# --- check ---

def test_a_store_that_is_well(ended, how):
    store("check", ended.directory)
    done = store("check", ended.directory, "-o", "json")
    assert json.loads(done.stdout)
    ended.up()
    ended.to_room(ended.named, 5)
    ended.down(how)
    store("check", ended.directory)


# --- export ---

def test_an_export_is_every_message(ended):
    lines = exported(ended.directory)
    by_room = {}
    for line in lines:
        assert set(line) <= {"room", "epoch", "message_id", "timestamp", "except", "message"}, line
        assert line["epoch"] == ended.epoch
        by_room.setdefault(line["room"], []).append(line)
    assert set(by_room) == set(ended.before)
    for room, before in ended.before.items():
        assert [line["message_id"] for line in by_room[room]] == [each["message_id"] for each in before], "in order"
        assert [line["timestamp"] for line in by_room[room]] == [each["timestamp"] for each in before]
        assert [line["message"] for line in by_room[room]] == [without_ours(each) for each in before]
    secret = [line for line in lines if line["message"]["type"] == "secret"]
    assert [line.get("except") for line in secret] == [{"sessions": ["s1", "s2"], "users": ["eve"]}]
    assert all("except" not in line for line in lines if line["message"]["type"] != "secret")
    assert exported(ended.directory, "-o", "json") == lines


def test_an_export_of_one_room(ended):
    for room, before in ended.before.items():
        lines = exported(ended.directory, "--room", room)
        assert [(line["room"], line["message_id"]) for line in lines] == [(room, each["message_id"]) for each in before]
    assert exported(ended.directory, "--room", "nobody's", code=(0, 1)) == []


def test_an_export_has_the_very_bytes(kept, connect):
    server, room = kept(), unique("room")
    body = '{ "type" : "spaced" ,\t"n" : 1.50, "big":12345678901234567890123, "e":1E+2 , "a":"\\u00e9 \\u001b"}'
    request = '{"to":{"room":"%s"},"message":%s}' % (room, body)
    assert server.http("POST", "/v1/publish", request.encode()).status == 200
    server.down("drain")
    line = store("export", server.directory).stdout
    assert line.count("\n") == 1 and line.endswith("\n")
    assert body[1:-1].strip() in line
    assert "\u001b" not in line


def test_an_export_into_what_stops_reading(ended):
    export = subprocess.Popen([BINARY, "store", "export", "--data", str(ended.directory)], env=environment({}),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert json.loads(export.stdout.readline())
    export.stdout.close()
    assert export.wait(timeout=20) == 0, export.stderr.read()
    export.stderr.close()


def test_an_export_after_a_crash(kept, connect):
    """Nothing acknowledged is missing in it, and looking at a store is not an orderly end."""
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 5)
    client.messages(ids)
    epoch = server.room(room)["epoch"]
    server.down("kill")
    assert [line["message_id"] for line in exported(server.directory, "--room", room)] == ids
    for command in (each for each in COMMANDS if each != "new-epoch"):
        store(command, server.directory)
    server.up()
    assert server.room(room)["epoch"] != epoch, "it did not end in order, whoever looked at it since"
    again = connect.back(client)
    again.messages(ids + server.to_room(room, 1))


# --- compact ---

def test_compacting_loses_nothing(ended, connect):
    lines = exported(ended.directory)
    before = (ended.directory / FILE).stat()
    for _ in range(2):
        done = store("compact", ended.directory)
        assert done.stdout.strip() or done.stderr.strip()
    after = (ended.directory / FILE).stat()
    assert after.st_size <= before.st_size and after.st_mode == before.st_mode
    assert sorted(each.name for each in ended.directory.iterdir()) == ["moorline.lock", FILE], "nothing is left beside it"
    assert json.loads(store("compact", ended.directory, "-o", "json").stdout)
    assert exported(ended.directory) == lines
    store("check", ended.directory)
    ended.up()
    assert ended.room(ended.named)["epoch"] == ended.epoch, "it had ended in order"
    assert {name: ended.messages(name) for name in ended.before} == ended.before
    assert ended.session(ended.client.session)["metadata"] == {"device": "phone"}
    duplicate = ended.publish({"room": ended.named}, {"type": "note", "n": 3, "text": "\u001b[31m é\u2028"}, id="id-3")
    assert duplicate["duplicate"] is True
    again = connect.back(ended.client)
    assert replayed(again) == {name: len(each) for name, each in ended.before.items()}


def test_compacting_gives_space_back(kept):
    server, room = kept({"retention.room_records": 10}), unique("room")
    for n in range(8):
        message = {"type": "note", "fill": chr(97 + n) * 9000}
        publishes = [{"to": {"room": room}, "message": message} for _ in range(100)]
        assert server.http("POST", "/v1/batch", {"publishes": publishes}).status == 200
    kept_now = server.messages(room)
    server.down("drain")
    before = (server.directory / FILE).stat().st_size
    store("compact", server.directory)
    after = (server.directory / FILE).stat().st_size
    assert after < before, f"{before} bytes, then {after}, for 90 KB of messages"
    server.up()
    assert server.messages(room) == kept_now


def test_the_directory_does_not_grow_without_bound(kept):
    """Messages that a bound removed are removed from the file as well: their space is used again."""
    server, room = kept({"retention.room_records": 10}), unique("room")
    sizes = []
    for _ in range(6):
        publishes = [{"to": {"room": room}, "message": {"type": "note", "fill": "x" * 9000}} for _ in range(100)]
        for _ in range(4):
            assert server.http("POST", "/v1/batch", {"publishes": publishes}).status == 200
        sizes.append((server.directory / FILE).stat().st_size)
    assert sizes[-1] <= max(2 * sizes[1], 16_000_000), sizes  # 21 MB were published
    server.down("drain")
    assert len(exported(server.directory)) <= 10


# --- new-epoch ---

def test_a_copy_that_was_put_back_begins_a_new_epoch(ended, connect):
    """What the copy has goes on; who had more is told, and no position means two messages."""
    client, room = ended.client, ended.named
    copy = ended.directory.with_name("copy")
    shutil.copytree(ended.directory, copy)
    ended.up()
    since = ended.to_room(room, 2)
    ended.down("drain")
    shutil.rmtree(ended.directory)
    copy.rename(ended.directory)
    done = store("new-epoch", ended.directory)
    assert ended.epoch in done.stdout, done
    assert json.loads(store("new-epoch", ended.directory, "-o", "json").stdout) == {"former_epoch": ended.epoch}
    store("check", ended.directory)
    ended.up()
    epoch = ended.room(room)["epoch"]
    assert epoch != ended.epoch
    assert {name: ended.messages(name) for name in ended.before} == ended.before
    hello = {"session": client.session, "resume_token": client.token, "positions": {room: at(ended.epoch, since[0] - 1)}}
    within = connect(ended, user="ann", hello=hello)
    others = {name: len(each) for name, each in ended.before.items() if name != room}
    assert within.established["resumed"] is True and replayed(within) == others
    assert ended.to_room(room, 1) == since[:1], "the copy has not given out this number"
    frames = by_room([within.next() for _ in range(sum(others.values()) + 1)])
    assert frames[room] == since[:1]
    new = connect(ended)
    new.ok({"type": "join", "room": room, "since": at(ended.epoch, since[0])})
    new.expect("joined", room=room)
    reset = new.expect("reset", room=room)
    assert (reset["reason"], reset["from"], reset["epoch"]) == ("epoch", None, epoch)
    ended.down("drain")
    ended.up()
    assert ended.room(room)["epoch"] == epoch, "that one goes on"
