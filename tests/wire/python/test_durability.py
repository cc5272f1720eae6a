"""What an answer waits for, and what a member may see; where the data is kept."""

import os
import stat
import threading
import time
import tomllib

import pytest

from keeping import FILE, rest
from server import run_to_end
from serving import cli
from waiting import unique

BODIES = [
    '{"type":"analysis_complete","data":{"ok":true}}',
    '{ "type" : "spaced" ,\t"n" : 1.50, "big":12345678901234567890123, "e":1E+2 }',
    '{"type":"escaped","a":"\\u00e9\\u2603 \\/ é☃","\\u0062":2,"room_":1}',
    '{"data":{"room":"nested","message_id":1,"timestamp":null,"type":"ping"},"type":"nested"}',
]


def refused(server, client, room, durability, code):
    body = {"to": {"room": room}, "message": {"type": "note"}, "durability": durability}
    client.fails({"type": "publish", **body}, code)
    server.http("POST", "/v1/publish", body).problem(409 if code == "durability_unavailable" else 400, code)
    batch = server.http("POST", "/v1/batch", {"publishes": [body]})
    assert batch.status in (200, 400), batch
    if batch.status == 200:
        assert batch.json["results"][0]["error"]["code"] == code


@pytest.mark.parametrize("mode", ["dev", "dev --data", "dev with a variable", "serve", "serve in memory"])
def test_r12_an_answer_says_what_was_reached(start, kept, serve, connect, tmp_path, mode):
    room, who = unique("room"), {}
    if mode == "dev":
        server = start()
    elif mode == "dev --data":
        server = kept()
    elif mode == "dev with a variable":
        server = start({"store.directory": tmp_path / "data"})
        assert (tmp_path / "data" / FILE).is_file()
    else:
        server = serve({"store.directory": ""} if "memory" in mode else None)
        who = server.as_user("ann")
    strongest = "memory" if mode in ("dev", "serve in memory") else "disk"
    client, member = connect(server, **who), connect(server, room, **who)
    ids = []
    for publish in (client.publish, server.publish):
        for asked, reached in ((None, strongest), ("memory", "memory"), (strongest, strongest)):
            reply = publish({"room": room}, {"type": "note"}, **({"durability": asked} if asked else {}))
            assert reply["durability"] == reached, (asked, reply)
            ids.append(reply["message_id"])
    listed = client.publish({"sessions": [client.session, member.session]}, {"type": "note"})["results"]
    assert [each["durability"] for each in listed] == [strongest] * 2
    member.messages(ids)
    for stronger in {"disk", "broker"} - {strongest}:
        refused(server, client, room, stronger, "durability_unavailable")
    refused(server, client, room, "stone", "bad_frame")


def test_r14_in_memory_nothing_is_written(start, tmp_path):
    server = start(cwd=tmp_path)
    server.to_room(unique("room"), 3)
    server.restart("drain")
    assert list(tmp_path.iterdir()) == []


def test_r14_where_serve_keeps_its_data(serve, tmp_path):
    """In `moorline-data` beside the configuration, or where that says; nothing where it was started."""
    (tmp_path / "here").mkdir()
    for settings, variable, place in (
        ({}, None, "moorline-data"), ({"store.directory": "data"}, None, "data"),
        ({"store.directory": str(tmp_path / "absolute")}, None, tmp_path / "absolute"),
        ({"store.directory": "not-here"}, tmp_path / "variable", tmp_path / "variable"),
    ):
        env = {"MOORLINE__STORE__DIRECTORY": str(variable)} if variable else {}
        server = serve(settings, env=env, cwd=tmp_path / "here")
        server.to_room(unique("room"), 1)
        assert (server.folder / place / FILE).is_file(), place
        assert not (server.folder / "not-here").exists()
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("mode", ["dev", "serve"])
def test_r14_nobody_else_reads_what_is_kept(kept, serve, mode):
    """Even where the process itself would let everyone."""
    if mode == "dev":
        server = kept(umask=0)
        directory = server.directory
    else:
        server = serve({"store.directory": "data"}, umask=0)
        directory = server.folder / "data"
    server.to_room(unique("room"), 1)
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    files = list(directory.iterdir())
    assert FILE in [each.name for each in files]
    for each in files:
        assert stat.S_IMODE(os.stat(each).st_mode) == 0o600, each


def test_r14_the_argument_wins_over_the_variable(kept, tmp_path):
    server = kept({"store.directory": tmp_path / "variable"})
    server.to_room(unique("room"), 1)
    assert (server.directory / FILE).is_file() and not (tmp_path / "variable").exists()


@pytest.mark.parametrize("body", BODIES, ids=["plain", "spaced", "escaped", "nested"])
def test_r11_a_message_is_kept_byte_for_byte(kept, connect, how, body):
    server, room = kept(), unique("room ☃/")
    client = connect(server, room)
    client.send('{"type":"publish","to":{"room":"%s"},"message":%s}' % (room, body))
    before = client.next_text()
    assert body[1:-1].strip() in before
    server.restart(how)
    again = connect.back(client)
    assert again.next_text() == before


@pytest.mark.parametrize("fill", [60_000, 1_000_000], ids=["60 KB", "1 MB"])
def test_r11_big_messages_are_kept(kept, connect, how, fill):
    server, room = kept({"http.body_max_bytes": 2097152, "connection.message_max_bytes": 2097152}), unique("room")
    client = connect(server, room)
    client.drop()
    sent = [{"type": "big", "n": n, "fill": chr(97 + n) * fill} for n in range(3)]
    for message in sent:
        server.publish({"room": room}, message)
    server.restart(how)
    again = connect.back(client)
    for message in sent:
        frame = again.expect("big")
        assert {**frame, **message} == frame


def test_r14_what_a_member_saw_is_kept(kept, connect):
    """Answered from memory, seen only once it is on disk: killed the moment it was seen."""
    server, room = kept({"store.commit_every_ms": 50}), unique("room")
    for _ in range(5):
        reader, publisher = connect(server, room), connect(server)
        head = reader.established["rooms"][room]["message_id"]
        for n in range(60):
            publisher.send({"type": "publish", "to": {"room": room}, "message": {"type": "note", "n": n},
                            "durability": "memory"})
        seen = [reader.expect("note")]
        server.down("kill")
        seen += [frame for frame in rest(reader) if frame["type"] == "note"]
        server.up()
        listed = [each for each in server.messages(room) if each["message_id"] > head]
        assert listed[:len(seen)] == seen
        assert [each["n"] for each in listed] == list(range(len(listed))), "and what is kept is a beginning of it all"
        again = connect.back(reader, room=room, last_message_id=seen[-1]["message_id"])
        again.messages([each["message_id"] for each in listed[len(seen):]])


def test_r12_memory_does_not_wait_for_the_disk(kept, connect):
    """Commits begin a second apart here: an answer from memory comes long before, the message with its commit."""
    server, room = kept({"store.commit_every_ms": 1000}), unique("room")
    reader, publisher = connect(server, room), connect(server)
    reached = []
    for _ in range(3):
        publisher.publish({"room": room}, {"type": "note"}, durability="disk")  # a commit has just been
        began = time.monotonic()
        reply = publisher.publish({"room": room}, {"type": "quick"}, durability="memory")
        reached.append(time.monotonic() - began)
        assert reply["durability"] == "memory"
        reader.expect("note")
        reader.expect("quick", message_id=reply["message_id"])
    assert min(reached) < 0.5, reached


def test_r12_commits_are_as_far_apart_as_is_set(kept):
    server, room = kept({"store.commit_every_ms": 500}), unique("room")
    began = time.monotonic()
    server.to_room(room, 5)  # each waits for a commit of its own
    took = time.monotonic() - began
    assert took >= 4 * 0.5 - 0.05
    # Those that come together share one.
    began = time.monotonic()
    publishes = [{"to": {"room": room}, "message": {"type": "note"}} for _ in range(200)]
    assert len(server.http("POST", "/v1/batch", {"publishes": publishes}).json["results"]) == 200
    threads = [threading.Thread(target=server.to_room, args=(room, 1)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - began < 5
    assert len(server.messages(room)) == 225


def test_r12_without_a_pause_between_commits(kept, connect, how):
    server, room = kept({"store.commit_every_ms": 0}), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 50)
    server.restart(how)
    connect.back(client).messages(ids)


def test_r08_one_order_at_every_durability(kept, connect):
    """Memory and disk, one after the other and without waiting: one session's publishes keep their order."""
    server, room = kept({"store.commit_every_ms": 30}), unique("room")
    client = connect(server, room)
    for n in range(300):
        client.send({"type": "publish", "to": {"room": room}, "message": {"type": "note", "n": n},
                     "durability": "memory" if n % 3 else "disk"})
    got = [client.expect("note") for _ in range(300)]
    assert [each["n"] for each in got] == list(range(300))
    assert server.messages(room) == got


def test_r11_an_ephemeral_message_is_not_kept(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room)
    server.publish({"room": room}, {"type": "typing"}, ephemeral=True)
    assert "message_id" not in client.expect("typing", room=room)
    server.restart(how)
    again = connect.back(client)
    assert again.established["rooms"][room]["replayed"] == 0
    again.nothing_new(room)


@pytest.mark.parametrize("setting, value", [
    ("store.commit_every_ms", -1), ("store.commit_every_ms", 1001), ("store.commit_every_ms", "often"),
    ("store.comit_every_ms", 5), ("store.dir", "x"),
])
def test_bad_setting_of_the_store(setting, value):
    code, said = run_to_end({setting: value})
    assert code == 2 and setting.split(".")[1] in said.lower(), said


def test_r32_another_directory_needs_a_restart(serve):
    server = serve({"store.directory": "one"})
    server.configure({"store.directory": "two"})
    assert server.reload() == {"reloaded": [], "needs_restart": ["store.directory"]}
    server.to_room(unique("room"), 1)
    assert not (server.folder / "two").exists()


def test_r32_development_keeps_nothing_unless_told():
    done = cli("config", "show", "--dev")
    assert done.returncode == 0 and tomllib.loads(done.stdout)["store"]["directory"] == "", done


def test_bad_data_argument_without_a_directory():
    for arguments in (["--data"], ["--data", "a", "--data", "b"], ["--dta", "a"]):
        assert cli("dev", *arguments).returncode == 2
