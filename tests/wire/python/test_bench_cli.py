"""`moorline bench`, as it is typed: what it measures, finds, refuses, and leaves behind."""

import json
import os
import pty
import resource
import select
import signal
import subprocess
from urllib.parse import unquote

import pytest
import trustme

from authority import Pair
from server import BINARY, Server, environment, free_port
from serving import Serving
from standin import StandIn, problem
from waiting import eventually, unique

FIELDS = ["connections", "until established", "messages", "deliveries", "publish to received", "every delivery checked",
          "server memory"]
CLEAN = {"lost": 0, "lost_announced": 0, "duplicates": 0, "out_of_order": 0, "for_others": 0, "not_checked": 0}



# Servers of these tests' own: what a run clears behind itself has numbers that new rooms begin behind.

@pytest.fixture(scope="module")
def shared_server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared_serving():
    serving = Serving({"limits.address_handshakes_per_s": 0, "limits.user_handshakes_per_s": 0, "session.per_user_max": 1000})
    yield serving
    serving.stop()


class Done:
    """What a benchmark that has ended said; `json` where it was asked for that."""

    def __init__(self, code, out, said):
        self.code, self.out, self.said = code, out, said

    @property
    def json(self):
        return json.loads(self.out)


def started(server, *arguments, scheme="ws", path="", env=None, **popen):
    url = f"{scheme}://127.0.0.1:{server.port}{path}"
    return subprocess.Popen([BINARY, "bench", url, *map(str, arguments)], env={**environment({}), **(env or {})}, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen)


def ended(process, code):
    try:
        done = Done(None, *process.communicate(timeout=60))
    finally:
        process.kill()
    done.code = process.returncode
    assert done.code == code, (done.code, done.out, done.said)
    assert "panicked" not in done.said, done.said
    return done


def bench(server, *arguments, code=0, **options):
    """Runs one to its end, which must be with this exit code."""
    return ended(started(server, *arguments, **options), code)


def measured(server, *arguments, **options):
    return bench(server, *arguments, "-o", "json", **options)


def nothing_left(server, run="bench"):
    def look():
        sessions = server.get("/v1/sessions?limit=1000")["sessions"]
        rooms = server.get("/v1/rooms?limit=1000")["rooms"]
        return not [one for one in sessions if (one["user"] or "").startswith(run)] and not [
            one for one in rooms if one["room"].startswith(run)]
    eventually(look, what="no sessions and rooms of the benchmark")


# --- what it measures ---

def test_people_get_a_table_and_nothing_else_is_said(server):
    done = bench(server, "--connections", 20, "--seconds", 1)
    names = [line.split("  ")[0] for line in done.out.splitlines()]
    assert names == FIELDS and done.said == "", done.out
    assert "20 of 20 opened" in done.out and "0 lost, 0 duplicates, 0 out of order" in done.out
    nothing_left(server)


def test_programs_get_figures_that_fit_one_another(server):
    found = measured(server, "--connections", 30, "--rooms", 3, "--seconds", 1).json
    connections, traffic = found["connections"], found["traffic"]
    assert found["ok"] is True and found["interrupted"] is False and found["checked"] == CLEAN
    assert (connections["wanted"], connections["opened"], connections["failed"], connections["lost"]) == (30, 30, {}, {})
    assert connections["per_second"] > 0 and connections["established_ms"]["p50"] > 0
    assert traffic["published"] > 3 and traffic["deliveries"] >= 10 * traffic["published"]
    latency = traffic["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p999"] <= latency["max"]
    assert traffic["sent_late_ms"] is None
    assert found["memory"]["pid"] == server.process.pid
    assert found["sessions_left"] == 0 and found["limits"] == {}
    nothing_left(server)


@pytest.mark.parametrize("road", ["socket", "http"])
def test_an_open_loop_publishes_what_its_rate_says(server, road):
    found = measured(server, "--connections", 8, "--rooms", 4, "--rate", 200, "--burst", 5, "--seconds", 2,
                     "--publish", road).json
    traffic = found["traffic"]
    assert traffic["deliveries"] == 2 * 400 and traffic["not_sent"] <= 40, traffic
    assert traffic["sent_late_ms"]["p50"] >= 0 and found["checked"] == CLEAN
    nothing_left(server)


def test_the_payload_is_as_large_as_it_should_be(start):
    server = start({"connection.message_max_bytes": 4096})
    assert measured(server, "--connections", 2, "--seconds", 1, "--payload", 3500).json["ok"] is True
    done = measured(server, "--connections", 2, "--seconds", 1, "--payload", 4096, code=1)
    assert list(done.json["connections"]["lost"])[0].startswith("close code 1009"), done.out
    for text in (done.out, done.said):
        assert "connection.message_max_bytes" in text and "--payload" in text, text


def test_idle_connections_are_held_and_nothing_is_published(server):
    process = started(server, "--connections", 50, "--idle", 2, "-o", "json")
    eventually(lambda: [one["room"] for one in server.get("/v1/rooms?limit=1000")["rooms"]
                        if one["room"].startswith("bench:") and one["connected"] == 50], timeout=20)
    found = ended(process, 0).json
    assert found["traffic"]["published"] == 0 and found["traffic"]["latency_ms"] is None
    assert found["traffic"]["seconds"] >= 2 and found["memory"]["bytes_per_connection_idle"] is None


def test_idle_shows_no_figures_of_messages(server):
    assert "deliveries" not in bench(server, "--connections", 5, "--idle", 1).out


def test_memory_per_connection_is_told_where_there_are_enough_connections(start):
    server = start()
    few = bench(server, "--connections", 200, "--idle", 1).out
    assert "not known: it takes 1,000 connections to tell" in few and "bytes" not in few
    found = measured(server, "--connections", 1000, "--idle", 1).json["memory"]
    assert found["bytes_per_connection_idle"] > 100, found


def test_the_memory_is_that_of_the_process_that_is_named(server):
    found = measured(server, "--connections", 5, "--idle", 1, "--pid", os.getpid()).json["memory"]
    assert found["pid"] == os.getpid() and found["process"]
    missing = measured(server, "--connections", 5, "--idle", 1, "--pid", 2 ** 22 + 1).json["memory"]
    assert "cannot be read" in missing["unknown"]


def test_connections_come_from_the_addresses_that_are_named(start):
    server = start({"limits.address_handshakes_per_s": 1, "limits.address_handshakes_burst": 6})
    # From one address they would have to wait for the limit of each.
    found = measured(server, "--connections", 10, "--idle", 1, "--from", "127.0.0.2,127.0.0.3").json
    assert found["ok"] is True and found["limits"] == {}
    done = bench(server, "--connections", 2, "--idle", 1, "--from", "192.0.2.1", code=1)
    assert "cannot reach" in done.said and "192.0.2.1 (--from)" in done.said and "is the server running" not in done.said
    assert "::1 (--from)" in bench(server, "--connections", 2, "--idle", 1, "--from", "::1", code=1).said


# --- where the server is ---

@pytest.mark.parametrize("path", ["/", "/ws", "/ws/lobby", "/ws/lobby?user=ann"])
def test_the_address_of_a_room_is_that_of_its_server(server, path):
    assert measured(server, "--connections", 2, "--idle", 1, path=path).json["ok"] is True


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_the_option_and_the_variable_take_what_the_argument_takes(server, scheme):
    url = f"{scheme}://127.0.0.1:{server.port}"
    for arguments, env in [(["--url", url], {}), ([], {"MOORLINE_URL": url})]:
        done = subprocess.run([BINARY, "bench", *arguments, "--connections", "2", "--idle", "1"], env={**environment({}), **env},
                              text=True, capture_output=True, timeout=30)
        assert done.returncode == 0 and "2 of 2 opened" in done.stdout, done


def test_an_address_is_called_by_what_gave_it():
    url = f"ws://127.0.0.1:{free_port()}"
    for arguments, env, name in [([url], {}, "the URL"), (["--url", url], {}, "--url"), ([], {"MOORLINE_URL": url}, "MOORLINE_URL")]:
        for text, code, part in [(url, 1, f"({name} says where)"), ("ftp://a", 2, f"{name} must begin with ws://")]:
            given = [text if argument == url else argument for argument in arguments]
            done = subprocess.run([BINARY, "bench", *given], env={**environment({}), **{key: text for key in env}}, text=True,
                                  capture_output=True, timeout=30)
            assert done.returncode == code and part in done.stderr, done


# --- what lets it in ---

def test_an_api_key_gets_each_connection_a_token(serving):
    found = measured(serving, "--connections", 20, "--seconds", 1, env={"MOORLINE_KEY": serving.key}).json
    assert found["ok"] is True and found["connections"]["opened"] == 20 and found["sessions_left"] == 0
    nothing_left(serving)


def test_tokens_that_live_shortly_will_do(serve):
    server = serve({"auth.lifetime_max_ms": 60_000})
    assert measured(server, "--connections", 3, "--seconds", 1, env={"MOORLINE_KEY": server.key}).json["ok"] is True


def test_who_has_neither_key_nor_token_is_told_what_to_give(serving):
    done = bench(serving, code=1)
    assert "set MOORLINE_KEY" in done.said and "MOORLINE_TOKEN" in done.said and done.out == ""
    assert done.said.startswith("moorline: there is no token and no API key"), done.said
    done = bench(serving, code=1, env={"MOORLINE_TOKEN": "wrong"})
    assert "not_authenticated" in done.said and "wrong" not in done.said.replace("wrong usage", "")


def test_a_key_without_the_scope_for_tokens_is_told_so(serving):
    key = serving.new_key(unique("key"), "publish")["secret"]
    serving.reload()
    done = bench(serving, code=1, env={"MOORLINE_KEY": key})
    assert "forbidden" in done.said and "scope" in done.said and key not in done.said


def test_what_may_not_be_removed_is_told(serving):
    key = serving.new_key(unique("key"), "tokens")["secret"]
    serving.reload()
    done = bench(serving, "--connections", 5, "--seconds", 1, env={"MOORLINE_KEY": key})
    assert "5 absent sessions" in done.out and "session.lifetime_ms" in done.out and "retention.room_age_ms" in done.out


def test_one_token_for_all_is_one_user_who_has_few_connections(serve, tmp_path):
    server = serve()
    (tmp_path / "token").write_text(server.token("ann"))
    arguments = ["--seconds", 1, "--token-file", tmp_path / "token"]
    assert measured(server, "--connections", 5, *arguments).json["connections"]["opened"] == 5
    eventually(lambda: not [one for one in server.get("/v1/sessions")["sessions"] if one["connected"]])
    done = measured(server, "--connections", 7, *arguments, code=1)
    (why, count), = done.json["connections"]["failed"].items()
    assert count == 2 and "connection limit reached" in why and "session.per_user_max" in why and "`tokens`" in why
    assert done.json["connections"]["opened"] == 5


@pytest.mark.parametrize("grants, part", [
    ({"join": ["mine:*"], "publish": ["*"]}, "forbidden"), ({"join": ["*"], "publish": ["mine:*"]}, "a publish was refused: forbidden"),
], ids=["join", "publish"])
def test_a_token_for_other_rooms_is_answered_by_the_option_for_their_names(serving, grants, part):
    env = {"MOORLINE_TOKEN": serving.token(unique("ann"), moorline=grants)}
    done = bench(serving, "--connections", 2, "--seconds", 1, code=1, env=env)
    assert part in done.said and "--prefix" in done.said
    env = {"MOORLINE_TOKEN": serving.token(unique("ann"), moorline={"join": ["mine:*"], "publish": ["mine:*"]})}
    assert measured(serving, "--connections", 2, "--seconds", 1, "--prefix", "mine:", env=env).json["ok"] is True


def test_publishing_by_http_wants_a_key_that_may(serving):
    env = {"MOORLINE_KEY": serving.key}
    found = measured(serving, "--connections", 4, "--seconds", 1, "--publish", "http", "--burst", 3, env=env).json
    assert found["ok"] is True and found["traffic"]["published"] % 3 == 0
    key = serving.new_key(unique("key"), "tokens")["secret"]
    serving.reload()
    done = bench(serving, "--connections", 4, "--seconds", 1, "--publish", "http", code=1, env={"MOORLINE_KEY": key})
    assert "publishing by HTTP" in done.said and "scope" in done.said


def test_tls_with_a_certificate_of_ones_own(server, serve, tmp_path):
    import ssl
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    files = Pair(authority.issue_cert("127.0.0.1")).files
    secure = serve({"tls.certificate": "tls.pem", "tls.key": "tls.key"}, files=files, tls=trusting)
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    env = {"MOORLINE_KEY": secure.key}
    found = measured(secure, "--connections", 5, "--seconds", 1, "--ca", tmp_path / "ca.pem", scheme="wss", env=env).json
    assert found["ok"] is True and found["connections"]["opened"] == 5
    assert "--ca FILE" in bench(secure, scheme="wss", env=env, code=1).said
    assert "https://" in bench(secure, scheme="ws", env=env, code=1).said


# --- limits are no failures ---

def test_limits_of_frames_are_counted_and_named(serve):
    server = serve()
    found = measured(server, "--connections", 3, "--rate", 500, "--seconds", 2, env={"MOORLINE_KEY": server.key}).json
    traffic = found["traffic"]
    assert found["ok"] is True and found["checked"] == CLEAN and found["connections"]["lost"] == {}
    assert 200 <= traffic["published"] < 500 and traffic["limited"] >= 400, traffic
    assert [why for why in found["limits"] if "limits.connection_messages_per_s" in why], found
    done = bench(server, "--connections", 3, "--rate", 500, "--seconds", 2, env={"MOORLINE_KEY": server.key})
    assert "limits.connection_messages_per_s" in done.out and "raise what it names" in done.out


def test_a_limit_of_handshakes_is_waited_for(start):
    server = start({"limits.address_handshakes_per_s": 10, "limits.address_handshakes_burst": 5})
    found = measured(server, "--connections", 15, "--idle", 1).json
    assert found["ok"] is True and found["connections"]["opened"] == 15
    assert [why for why in found["limits"] if "limits.address_handshakes_per_s" in why], found


def test_a_limit_of_handshakes_is_not_stormed(start):
    server = start({"limits.address_handshakes_per_s": 20, "limits.address_handshakes_burst": 50})
    found = measured(server, "--connections", 120, "--idle", 1).json
    assert found["ok"] is True and found["connections"]["opened"] == 120
    # Some seventy connections are waited for, by 32 openers: they would make thousands of attempts, each at the server's word.
    assert 0 < sum(found["limits"].values()) < 500, found
    assert found["connections"]["seconds"] < 20, found


# --- what goes wrong ---

def test_nobody_is_there():
    class Nobody:
        port = free_port()
    assert "cannot reach http://127.0.0.1:" in bench(Nobody, code=1).said


def test_a_server_that_is_killed_is_told_with_what_was_found(start):
    server = start()
    process = started(server, "--connections", 10, "--seconds", 60, "-o", "json")
    eventually(lambda: server.get("/v1/stats")["records"] > 100, timeout=20)
    server.down()
    done = ended(process, 1)
    found = done.json
    assert sum(found["connections"]["lost"].values()) == 10 and found["traffic"]["deliveries"] >= 1000
    assert found["traffic"]["seconds"] < 50 and found["checked"]["lost"] == 0
    assert "10 connections were lost" in done.said


def test_what_a_lost_connection_did_not_get_is_not_called_checked():
    def deliver(talk, say, id):
        if id == 43:
            return talk.close(1011, "no more")
        say(id)

    with StandIn(faulty(deliver)) as server:
        done = bench(server, "--connections", 1, "--rate", 10, "--seconds", 1, code=1)
        assert "1 not checked, since" in done.out and "every delivery" not in done.out, done.out
        assert "1 connection was lost" in done.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_tells_what_it_has_so_far_and_leaves_nothing(start, number):
    server = start()
    process = started(server, "--connections", 10, "--seconds", 60, "-o", "json")
    eventually(lambda: server.get("/v1/stats")["records"] > 100, timeout=20)
    process.send_signal(number)
    found = ended(process, 0).json
    assert found["interrupted"] is True and found["checked"] == CLEAN and found["traffic"]["deliveries"] >= 1000
    nothing_left(server)


def test_stopped_while_it_waits_for_connections(start):
    server = start({"limits.address_handshakes_per_s": 1, "limits.address_handshakes_burst": 5})
    process = started(server, "--connections", 100, "-o", "json")
    eventually(lambda: server.get("/v1/stats")["connections"] >= 4, timeout=20)
    process.send_signal(signal.SIGINT)
    found = ended(process, 0).json
    # The server has counted some that the program has not.
    assert found["interrupted"] is True and 1 <= found["connections"]["opened"] < 100 and found["traffic"]["published"] == 0


def faulty(deliver):
    """A server that delivers as `deliver(talk, say, id)` does; `say(id)` sends the message that has this id."""
    def answer(method, path, headers, body):
        if not path.startswith("/ws/"):
            return problem(404, "not_found", "no such thing")
        room = unquote(path[4:].split("?")[0])

        def talk(talk):
            assert talk.next()["type"] == "hello"
            talk.send(type="connection_established", session="s", resume_token="t", resumed=False, heartbeat_ms=30000,
                      rooms={room: {"epoch": "00000000000000aa", "message_id": 40, "replayed": 0}})
            sent, accepted = {}, 40

            def say(id):
                talk.send(**sent[id], room=room, message_id=id, timestamp="2026-11-21T12:00:00.000Z")

            while (frame := talk.next()) is not None:
                accepted += 1
                sent[accepted] = frame["message"]
                talk.send(type="reply", ref=frame["ref"], ok=True, room=room, epoch="00000000000000aa", message_id=accepted,
                          reached=1, queued=0, durability="memory")
                deliver(talk, say, accepted)
        return talk
    return answer


def loses(talk, say, id):
    if id != 43:
        say(id)


def doubles(talk, say, id):
    say(id)
    if id == 43:
        say(id)


def disorders(talk, say, id):
    if id == 44:
        say(44)
        say(43)
    elif id != 43:
        say(id)


def resets(talk, say, id):
    if id == 45:
        talk.send(type="reset", room="another", reason="retention", epoch="00000000000000aa", **{"from": 41, "to": 99})
    say(id)


def misdelivers(talk, say, id):
    if id == 43:
        talk.send(type="bench", n=1, t=1, room="another", message_id=43, timestamp="2026-11-21T12:00:00.000Z")
    say(id)


@pytest.mark.parametrize("deliver, fault", [
    (loses, {"lost": 1}), (doubles, {"duplicates": 1}), (disorders, {"out_of_order": 1}), (misdelivers, {"for_others": 1}),
    (resets, {}),
])
def test_a_planted_fault_is_found_and_is_a_failure(deliver, fault):
    with StandIn(faulty(deliver)) as server:
        done = measured(server, "--connections", 1, "--rate", 10, "--seconds", 1, code=1 if fault else 0)
        assert done.json["checked"] == {**CLEAN, **fault} and done.json["ok"] is not bool(fault)
        assert ("moorline: 1 delivery " in done.said) is bool(fault)
        assert done.json["sessions_left"] == 1


@pytest.mark.parametrize("reply, part", [
    (None, "never answered"),
    ({"ok": True}, "answered without a message id"),
    ({"ok": False, "error": {"code": "rate_limited", "message": "the limit is limits.x"}}, "nothing was accepted"),
], ids=["no answer", "an answer without an id", "only limits"])
def test_a_server_that_takes_nothing_is_no_success(reply, part):
    def answer(method, path, headers, body):
        room = unquote(path[4:].split("?")[0])

        def talk(talk):
            talk.next()
            talk.send(type="connection_established", session="s", resume_token="t", resumed=False, heartbeat_ms=30000,
                      rooms={room: {"epoch": "00000000000000aa", "message_id": 40, "replayed": 0}})
            while (frame := talk.next()) is not None:
                if reply:
                    talk.send(type="reply", ref=frame["ref"], **reply)
        return talk if path.startswith("/ws/") else problem(404, "not_found", "no such thing")

    with StandIn(answer) as server:
        done = measured(server, "--connections", 1, "--rate", 10, "--seconds", 1, code=1)
        assert done.json["ok"] is False and part in done.said + done.out, done.said


def test_a_loss_that_the_server_announced_is_told_apart(start):
    # What is kept is less than one message: who has to read the log finds nothing.
    def deliver(talk, say, id):
        if id == 45:
            talk.send(type="reset", room=rooms[0], reason="retention", epoch="00000000000000aa", **{"from": 42, "to": 44})
        if id not in (43, 44):
            say(id)

    rooms = []
    answer = faulty(deliver)

    def told(method, path, headers, body):
        rooms.append(unquote(path[4:].split("?")[0]))
        return answer(method, path, headers, body)

    with StandIn(told) as server:
        done = measured(server, "--connections", 1, "--rate", 10, "--seconds", 1, code=1)
        assert done.json["checked"] == {**CLEAN, "lost_announced": 2}
        assert "as the server announced" in done.said


# --- what cannot be ---

@pytest.mark.parametrize("arguments, part", [
    (["--connections", "0"], "1..=1000000"), (["--connections", "1000001"], "1..=1000000"), (["--rooms", "0"], "--rooms"),
    (["--rooms", "101"], "--rooms 101 needs"), (["--rate", "0"], "--rate"), (["--seconds", "0"], "--seconds"),
    (["--seconds", "86401"], "--seconds"), (["--payload", "1000001"], "--payload"), (["--burst", "1001"], "--burst"),
    (["--publish", "pigeon"], "socket, http"), (["--idle", "0"], "--idle"), (["--idle", "5", "--rate", "5"], "cannot be used with"),
    (["--from", "here"], "--from"), (["--from", ",".join(["127.0.0.1"] * 65)], "64"), (["--opening", "0"], "--opening"),
    (["--prefix", "@all"], "--prefix"), (["--prefix", "x" * 201], "--prefix"), (["--prefix", "a\nb"], "--prefix"),
    (["--token-file", "none"], "--token-file none"), (["--url", "http://127.0.0.1:1"], "cannot be used with"),
    (["--connections", "1000000"], "--from 127.0.0.1,127.0.0.2"),
])
def test_options_that_cannot_be_are_refused_before_anything_is_done(server, arguments, part):
    done = bench(server, *arguments, code=2)
    assert part in done.said and done.out == ""


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://a", "ws://u:hunter2@a", "wss://a/?token=hunter2", "ws://"])
def test_an_address_that_cannot_be_is_not_repeated(url):
    done = subprocess.run([BINARY, "bench", url], env=environment({}), text=True, capture_output=True, timeout=20)
    assert done.returncode == 2 and "hunter2" not in done.stderr and done.stdout == "", done


def test_too_few_descriptors_are_told_before_anything_is_done(server):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
    done = bench(server, "--connections", 500, code=2, preexec_fn=few)
    assert "ulimit -n 628" in done.said and "allows 300" in done.said


def test_the_soft_limit_of_descriptors_is_raised(server):
    def soft():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 2000))
    assert measured(server, "--connections", 200, "--idle", 1, preexec_fn=soft).json["connections"]["opened"] == 200


# --- on a terminal ---

def test_a_terminal_sees_how_it_goes(server):
    ours, theirs = pty.openpty()
    url = f"ws://127.0.0.1:{server.port}"
    process = subprocess.Popen([BINARY, "bench", url, "--connections", "5", "--seconds", "2"], env=environment({}), text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    out, _ = process.communicate(timeout=60)
    seen = b""
    while select.select([ours], [], [], 0.2)[0]:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # its end, on Linux
            break
    os.close(ours)
    assert process.returncode == 0 and "5 connections, " in seen.decode() and "per second" in seen.decode(), seen
    # The line is taken away before the table.
    assert seen.endswith(b"\r\x1b[K") and "\x1b" not in out
