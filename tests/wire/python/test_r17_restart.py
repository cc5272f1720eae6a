"""Restarts of every kind: queues, resume tokens and publish ids survive; epochs and numbers never mean two things."""

import http.client
import json
import secrets
import signal
import subprocess
import threading
import time

import pytest

from keeping import Publisher, at, by_room, named, rest, to_all_of
from server import BINARY, environment
from waiting import eventually, unique


# --- resume tokens ---

def test_r17_the_token_that_one_holds_works_after_restarts(kept, connect, how):
    server = kept()
    client = connect(server, user="ann")
    tokens = {client.token}
    for _ in range(3):
        server.restart(how)
        client = connect.back(client, user=None)  # by nothing but its token
        tokens.add(client.token)
    assert len(tokens) == 4, "each establishment answers with a new one"


def test_r17_a_token_that_was_not_replaced_yet_works_after_a_restart(kept, connect, how):
    server = kept()
    first = connect(server)
    unseen = connect.back(first)  # its answer never reached the client, let us say
    server.restart(how)
    second = connect.back(first)
    second.drop()
    server.restart(how)
    connect.back(second)
    assert len({first.token, unseen.token, second.token}) == 3


def test_r17_a_retired_token_does_not_work_after_a_restart(kept, connect, how):
    server = kept()
    first = connect(server)
    second = connect.back(first)
    third = connect.back(second)  # presents the second token, which ends the first one
    server.restart(how)
    thief = connect(server, session=first.session, resume_token=first.token)
    assert thief.established["resumed"] is False and thief.session != first.session
    server.restart(how)
    fourth = connect.back(third)
    fourth.drop()
    for old in (first, second):
        thief = connect(server, session=first.session, resume_token=old.token)
        assert thief.established["resumed"] is False and thief.session != first.session
    assert connect.back(fourth).is_open()


def test_bad_claims_to_a_session_after_a_restart(kept, connect, how):
    server, room = kept(), unique("room")
    ann, anonymous = connect(server, room, user="ann"), connect(server, room)
    server.restart(how)
    ids = server.to_room(room, 2)
    guess = secrets.token_urlsafe(32)
    for session, claim in (
        (ann, {"user": "bob", "resume_token": ann.token}),  # another user, whatever its token
        (ann, {"user": "bob"}), (ann, {}), (ann, {"resume_token": guess}), (ann, {"resume_token": anonymous.token}),
        (ann, {"resume_token": ann.token[:-1]}), (anonymous, {"user": "ann"}), (anonymous, {}),
        (anonymous, {"user": "bob", "resume_token": guess}),
    ):
        other = connect(server, session=session.session, **claim)
        assert other.established["resumed"] is False, claim
        assert other.session != session.session and other.established["rooms"] == {}, claim
        assert other.is_open()
    for client in (ann, anonymous):
        connect.back(client).messages(ids)


def test_r17_an_owner_resumes_without_a_token_after_a_restart(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room, user="ann")
    server.restart(how)
    ids = server.to_room(room, 1)
    connect.back(client, resume_token=None).messages(ids)


# --- publish ids ---

def test_r17_publish_ids_are_known_after_restarts(kept, connect, how):
    server, room = kept(), unique("room")
    note, other = {"type": "note", "n": 1}, {"type": "note", "n": 2}
    by_http = server.publish({"room": room}, note, id="once")
    by_user = connect(server, user="ann").publish({"room": room}, note, id="once")
    session = connect(server)
    by_session = session.publish({"room": room}, note, id="once")
    for _ in range(2):
        server.restart(how)
        session = connect.back(session)
        ann, body = connect(server, user="ann"), {"to": {"room": room}, "message": other, "id": "once"}
        for first, publish in ((by_http, server.publish), (by_user, ann.publish), (by_session, session.publish)):
            answer = publish({"room": room}, note, id="once")
            assert answer["duplicate"] is True and answer["message_id"] == first["message_id"], (first, answer)
        server.http("POST", "/v1/publish", body).problem(409, "conflict")
        for client in (ann, session):
            client.fails({"type": "publish", **body}, "conflict")
    assert [each["n"] for each in server.messages(room)] == [1, 1, 1]
    assert "duplicate" not in server.publish({"room": unique("room")}, other, id="once"), "another room's is another id"
    assert "duplicate" not in server.publish({"room": room}, other, id="twice")


def test_r17_ids_of_a_list_of_sessions_are_known_after_a_restart(kept, connect, how):
    server = kept()
    clients = [connect(server) for _ in range(3)]
    to = {"sessions": [client.session for client in clients]}
    first = server.publish(to, {"type": "note"}, id="once")["results"]
    server.restart(how)
    again = server.publish(to, {"type": "note"}, id="once")["results"]
    assert [each["message_id"] for each in again] == [each["message_id"] for each in first]
    assert all(each["duplicate"] is True for each in again)
    for client, each in zip(clients, first):
        back = connect.back(client)
        back.messages([each["message_id"]])
        assert back.is_open()


def test_r17_a_publish_id_s_time_runs_while_the_server_is_down(kept, how):
    server, room = kept({"publish.id_age_ms": 1500}), unique("room")
    first = server.publish({"room": room}, {"type": "note"}, id="once")
    server.down(how)
    time.sleep(1.7)  # longer than an id is remembered
    server.up()
    later = eventually(lambda: (r := server.publish({"room": room}, {"type": "note"}, id="once"))
                       and not r.get("duplicate") and r)
    assert later["message_id"] > first["message_id"]


def test_r17_room_for_ids_is_counted_after_a_restart_too(kept, how):
    """What fills its room before a restart fills it afterwards: never forgotten, never without a bound."""
    server, room = kept({"publish.id_max_bytes": 4096}), unique("room")

    def fill(prefix):
        for n in range(200):
            body = {"to": {"room": room}, "message": {"type": "note"}, "id": f"{prefix}-{n:060}"}
            answer = server.http("POST", "/v1/publish", body)
            if answer.status != 200:
                answer.problem(503, "overloaded")
                return n
        raise AssertionError("no bound")

    taken = fill("one")
    server.restart(how)
    assert fill("two") <= 2
    for n in range(taken):
        assert server.publish({"room": room}, {"type": "note"}, id=f"one-{n:060}")["duplicate"] is True


# --- epochs and numbers ---

def test_r17_the_queue_survives(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room, user="ann")
    client.drop()
    ids = to_all_of(server, client, room, 5)
    server.restart(how)
    again = connect.back(client)
    assert by_room([again.next() for _ in range(20)]) == ids
    assert {each["room"]: each["absent"] + each["connected"] for each in server.get("/v1/rooms")["rooms"]} == {room: 1}


def test_r17_an_orderly_end_keeps_the_epoch_and_a_crash_does_not(kept, connect):
    server, room = kept(), unique("room")
    connect(server, room)
    server.to_room(room, 1)
    first = server.room(room)["epoch"]
    for _ in range(2):
        server.restart("drain")
        server.to_room(room, 1)
        assert server.room(room)["epoch"] == first
    server.restart("kill")
    second = server.room(room)["epoch"]
    server.to_room(room, 1)
    server.restart("drain")
    assert server.room(room)["epoch"] == second
    server.to_room(room, 1)
    server.restart("kill")
    assert len({first, second, server.room(room)["epoch"]}) == 3
    assert [each["message_id"] for each in server.messages(room)] == \
        sorted({each["message_id"] for each in server.messages(room)})
    assert len(server.messages(room)) == 5


def test_r17_what_was_answered_from_memory_survives_an_orderly_end(kept, connect):
    server, room = kept({"store.commit_every_ms": 1000}), unique("room")
    client = connect(server, room)
    client.drop()
    ids = server.to_room(room, 20, durability="memory")
    server.restart("drain")
    assert [each["message_id"] for each in server.messages(room)] == ids
    connect.back(client).messages(ids)


def test_r17_a_position_means_one_message_for_ever(kept, connect):
    """Publishes that are answered before they are on disk, killed at once: no number is given twice in its epoch."""
    server, room, meant, lost = kept({"store.commit_every_ms": 20}), unique("room"), {}, 0

    def means(epoch, id, n):
        assert meant.setdefault((epoch, id), n) == n, f"{id} of {epoch} means {meant[epoch, id]} and {n}"

    n = 0
    for _ in range(6):
        publisher = connect(server)
        sent = {}
        for _ in range(150):
            sent[n] = n
            publisher.send({"type": "publish", "to": {"room": room}, "message": {"type": "note", "n": n},
                            "durability": "memory", "ref": n})
            n += 1
        mine = {}
        for _ in range(75):
            reply = publisher.expect("reply", ok=True)
            assert reply["durability"] in ("memory", "disk")
            mine[reply["message_id"]] = reply["ref"]
            means(reply["epoch"], reply["message_id"], reply["ref"])
            former = reply["epoch"]
        server.down("kill")
        for frame in rest(publisher):  # answers that were on their way
            if frame["type"] == "reply":
                mine[frame["message_id"]] = frame["ref"]
                means(frame["epoch"], frame["message_id"], frame["ref"])
        server.up()
        after = server.messages(room)
        epoch = server.publish({"room": room}, {"type": "note", "n": -n})
        means(epoch["epoch"], epoch["message_id"], -n)
        head = after[-1]["message_id"] if after else 0
        assert epoch["message_id"] > head
        for each in after:
            means(epoch["epoch"], each["message_id"], each["n"])
            means(former, each["message_id"], each["n"])  # what was kept of the former epoch is under its number
        lost += len([id for id in mine if id > head])
        # Who holds a position that was lost is told; nothing else is put in its place.
        gone = [id for id in mine if id > head]
        if gone:
            reader = connect(server)
            reader.ok({"type": "join", "room": room, "since": at(former, gone[-1])})
            frames = [reader.next(), reader.next()]
            assert sorted(frame["type"] for frame in frames) == ["joined", "reset"], frames
            (reset,) = [frame for frame in frames if frame["type"] == "reset"]
            assert reset["reason"] == "epoch" and reset["from"] is None
    print(f"{lost} of {n} were answered and lost")


def test_r17_the_last_eight_epochs_are_known(kept, connect):
    server, room = kept(), unique("room")
    away = connect(server, room)
    away.drop()
    ids, named = [], []
    for _ in range(9):
        ids += server.to_room(room, 2)
        named.append(at(server.room(room)["epoch"], ids[-2]))
        server.restart("kill")
    ids += server.to_room(room, 1)
    assert len({position["epoch"] for position in named}) == 9
    for position in named[1:]:
        reader = connect(server)
        reader.ok({"type": "join", "room": room, "since": position})
        reader.expect("joined", room=room)
        reader.messages([id for id in ids if id > position["message_id"]])
    # Older ones may be unknown: then it is told, and the rest comes.
    reader = connect(server)
    reader.ok({"type": "join", "room": room, "since": named[0]})
    frames = [reader.next() for _ in range(2)]
    told = [frame for frame in frames if frame["type"] == "reset"]
    if told:
        assert told[0]["reason"] == "epoch" and told[0]["from"] is None
    else:
        assert [frame for frame in frames if frame["type"] == "note"][0]["message_id"] == ids[1]
    # And for who was away all the time, with the position of its session.
    again = connect.back(away)
    resets, frame = {}, again.next()
    while frame["type"] == "reset":
        assert frame["reason"] == "epoch" and frame["from"] is None and frame["room"] not in resets, frame
        resets[frame["room"]], frame = frame["to"], again.next()
    due = [id for id in ids if id > resets.get(room, 0)]
    assert frame["message_id"] == due[0]
    again.messages(due[1:] + server.to_room(room, 1))


# --- many in a row ---

class Follower:
    """Reads a room over restarts, and names its position when it comes back: everything once, in order, no reset."""

    def __init__(self, connect, server, room):
        self.connect, self.server, self.room = connect, server, room
        self.client = connect(server, room)
        self.position = self.client.established["rooms"][room]
        self.seen = []

    def take(self, frame):
        assert frame["type"] != "reset", frame
        if frame["type"] == "note" and frame["message_id"] > self.position["message_id"]:
            assert frame["n"] == len(self.seen), f"{len(self.seen)} was due, got {frame}"
            self.position = at(self.position["epoch"], frame["message_id"])
            self.seen.append(frame["n"])

    def lost(self):
        """The connection is over: what had still arrived counts."""
        for frame in rest(self.client):
            self.take(frame)

    def comes_back(self):
        hello = {"session": self.client.session, "resume_token": self.client.token,
                 "positions": {self.room: at(self.position["epoch"], self.position["message_id"])}}
        self.client = self.connect(self.server, hello=hello)
        assert self.client.established["resumed"] is True
        self.position = at(self.client.established["rooms"][self.room]["epoch"], self.position["message_id"])

    def reads_up_to(self, count):
        while len(self.seen) < count:
            self.take(self.client.next(10))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("hows", [["kill"] * 20, ["drain"] * 5, ["kill", "drain", "drain", "kill", "kill", "drain"]],
                         ids=["20 kills", "5 orderly ends", "both"])
def test_r17_restarts_in_a_row_while_messages_go(kept, connect, hows):
    server, room = kept({"retention.room_records": 1000000, "retention.room_bytes": 67108864}), unique("room")
    follower, away = Follower(connect, server, room), connect(server, room)
    away.drop()
    recent, publisher = None, Publisher(server, room)
    for number, how in enumerate(hows):
        if number == max(0, len(hows) - 4):
            recent = connect(server, room)
            recent_from = recent.established["rooms"][room]["message_id"]
            recent.drop()
        publisher.goes_on(8)
        server.down(how)
        follower.lost()
        server.up()
        follower.comes_back()
        publisher.goes_on(2)
    count = publisher.end()
    kept_now = server.messages(room)
    bodies = {each["message_id"]: each["n"] for each in kept_now}
    # Nothing acknowledged is missing, what was repeated counts once, and the order is that of the publisher.
    assert [each["n"] for each in kept_now] == list(range(count))
    assert [bodies.get(id) for _, id in publisher.answered] == list(range(count))
    assert len({(epoch, id) for epoch, id in publisher.answered}) == count
    follower.reads_up_to(count)
    assert follower.seen == list(range(count))
    # One that was away for at most eight epochs has it all; one that was away for longer has it, or is told.
    ids = list(bodies)
    again = connect.back(recent)
    again.messages([id for id in ids if id > recent_from])
    again.nothing_new(room)
    again = connect.back(away)
    resets, frame = {}, again.next()
    while frame["type"] == "reset":
        assert hows.count("kill") > 8 and frame["reason"] == "epoch" and frame["room"] not in resets, frame
        resets[frame["room"]], frame = frame["to"], again.next()
    due = [id for id in ids if id > resets.get(room, 0)]
    assert frame["message_id"] == due[0]
    again.messages(due[1:])


def test_r17_many_publishers_and_a_crash(kept, connect):
    """Many at once share commits: whose publish was answered has it kept, in one order for all."""
    server, room = kept({"retention.room_records": 100000}), unique("room")
    reader = connect(server, room)
    answered, lock = {}, threading.Lock()

    def publish(by):
        try:
            for n in range(1000):
                body = {"to": {"room": room}, "message": {"type": "note", "by": by, "n": n}}
                answer = server.http("POST", "/v1/publish", body)
                with lock:
                    answered[answer.json["message_id"]] = (by, n)
        except (OSError, http.client.HTTPException):
            pass

    threads = [threading.Thread(target=publish, args=(by,)) for by in range(8)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answered) > 200, 20)
    server.down("kill")
    for thread in threads:
        thread.join(15)
    seen = [(frame["message_id"], frame["by"], frame["n"]) for frame in rest(reader)]
    server.up()
    listed = [(each["message_id"], each["by"], each["n"]) for each in server.messages(room)]
    assert set((id, *who) for id, who in answered.items()) <= set(listed), "something acknowledged is missing"
    assert listed[:len(seen)] == seen, "what a member saw is there, at its place"
    for by in range(8):
        numbers = [n for _, who, n in listed if who == by]
        assert numbers == list(range(len(numbers)))


def test_r17_a_server_killed_while_it_starts_loses_nothing(kept, connect):
    server, room = kept({"retention.room_records": 100000}), unique("room")
    client = connect(server, room)
    client.drop()
    ids = server.to_room(room, 200)
    server.down("kill")
    for wait in (0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15):
        server._launch()
        time.sleep(wait)  # somewhere within the start
        server.process.kill()
        server.process.wait(timeout=10)
    server.up()
    assert [each["message_id"] for each in server.messages(room)] == ids
    connect.back(client).messages(ids)


@pytest.mark.parametrize("what", ["join", "leave", "add", "remove", "metadata", "end", "clear"])
def test_r17_what_was_answered_survives_a_crash_at_once(kept, connect, what):
    """Acknowledgements alone may be forgotten: everything else that was answered holds, however soon the crash."""
    server, room, other = kept(), unique("room"), unique("other")
    client = connect(server, room)
    server.to_room(room, 1)
    path = f"/v1/sessions/{client.session}"
    {
        "join": lambda: client.ok({"type": "join", "room": other}),
        "leave": lambda: client.ok({"type": "leave", "room": room}),
        "add": lambda: server.http("PUT", f"{path}/rooms/{other}"),
        "remove": lambda: server.http("DELETE", f"{path}/rooms/{room}"),
        "metadata": lambda: server.http("PATCH", path, {"metadata": {"a": 1}}),
        "end": lambda: server.http("DELETE", path),
        "clear": lambda: server.http("DELETE", f"/v1/rooms/{room}/messages"),
    }[what]()
    server.restart("kill")
    if what == "end":
        server.http("GET", path).problem(404)
        return
    rooms = {"join": {room, other}, "add": {room, other}, "leave": set(), "remove": set()}.get(what, {room})
    seen = server.session(client.session)
    assert set(seen["rooms"]) == rooms and seen["metadata"] == ({"a": 1} if what == "metadata" else {})
    assert len(server.messages(room)) == (0 if what == "clear" else 1)


def test_r17_killed_while_it_drains(kept, connect, raw):
    server, room = kept({"drain.timeout_ms": 8000}), unique("room")
    client = connect(server, room)
    stuck = raw(server, f"/ws/{room}").established()  # it will not answer the close
    ids = server.to_room(room, 5)
    client.messages(ids)
    server.signal(signal.SIGTERM)
    client.closed(1001)
    assert server.process.poll() is None, "it waits for the other one"
    server.down("kill")
    server.up()
    assert [each["message_id"] for each in server.messages(room)] == ids
    connect.back(client).messages(ids)
    connect(server, session=stuck.session, resume_token=stuck.token).messages(ids)


def test_r17_an_interrupt_is_an_orderly_end(kept):
    server, room = kept(), unique("room")
    ids = server.to_room(room, 2)
    epoch = server.room(room)["epoch"]
    server.signal(signal.SIGINT)
    assert server.process.wait(timeout=15) == 0
    server.restart()
    assert server.room(room)["epoch"] == epoch
    assert [each["message_id"] for each in server.messages(room)] == ids


def test_r17_absent_ones_are_managed_after_a_restart_as_before(kept, connect, how):
    server, one, two = kept(), unique("one"), unique("two")
    added, ended = connect(server, one), connect(server, one)
    server.restart(how)
    assert server.http("PUT", f"/v1/sessions/{added.session}/rooms/{two}").status == 204
    assert server.http("DELETE", f"/v1/sessions/{added.session}/rooms/{one}").status == 204
    assert server.http("DELETE", f"/v1/sessions/{ended.session}").status == 204
    ids = server.to_room(two, 2)
    assert server.publish({"room": one}, {"type": "note"})["queued"] == 0
    server.restart(how)
    assert connect(server, session=ended.session, resume_token=ended.token).established["resumed"] is False
    again = connect.back(added)
    assert named(again) == [two]
    frames = [again.next(), again.next()]
    frames += [again.next() for _ in range(sum(frame["type"] != "note" for frame in frames))]
    assert [frame["message_id"] for frame in frames if frame["type"] == "note"] == ids


def test_r17_a_tail_goes_on_over_restarts(kept, how):
    server, room = kept({"drain.spread_ms": 200}), unique("room")
    tail = subprocess.Popen(
        [BINARY, "tail", room, "--since", "start", "--limit", "9", "-o", "json"],
        env={**environment({}), "MOORLINE_URL": f"http://127.0.0.1:{server.port}"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        ids = []
        for _ in range(2):
            ids += server.to_room(room, 3)
            eventually(lambda: server.http("GET", f"/v1/rooms/{room}").json["connected"] == 1, 10)
            server.restart(how)
        ids += server.to_room(room, 3)
        out, said = tail.communicate(timeout=30)
    finally:
        tail.kill()
    assert tail.returncode == 0, said
    assert [json.loads(line)["message_id"] for line in out.splitlines()] == ids, said


def test_r17_a_tail_goes_on_when_its_session_ended_after_a_crash(kept):
    """What it saw after the first crash has its place in the history that began then: the next session reads on there."""
    server, room = kept(), unique("room")
    tail = subprocess.Popen(
        [BINARY, "tail", room, "--since", "start", "--limit", "9", "-o", "json"],
        env={**environment({}), "MOORLINE_URL": f"http://127.0.0.1:{server.port}"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        ids, lines = [], []
        for lifetime in (3_600_000, 0):  # after the second crash no session is left
            eventually(lambda: server.http("GET", f"/v1/rooms/{room}").json.get("connected") == 1, 10)
            server.has_committed()
            ids += server.to_room(room, 3)
            lines += [tail.stdout.readline() for _ in range(3)]
            server.down("kill")
            server.settings["session.lifetime_ms"] = lifetime
            server.up()
        ids += server.to_room(room, 3)
        out, said = tail.communicate(timeout=30)
    finally:
        tail.kill()
    assert tail.returncode == 0, said
    assert [json.loads(line)["message_id"] for line in lines + out.splitlines()] == ids, said
    assert "as a new session" in said and "reset (epoch)" not in said, said


def test_r17_serve_keeps_it_all_too(serve, connect, how):
    """`moorline serve`, with tokens and API keys."""
    server, room = serve(), unique("room")
    client = connect(server, room, **server.as_user("ann"))
    client.drop()
    ids = server.to_room(room, 3)
    first = server.publish({"room": room}, {"type": "note"}, id="once")
    epoch = server.room(room)["epoch"]
    server.restart(how)
    assert server.publish({"room": room}, {"type": "note"}, id="once")["duplicate"] is True
    assert (server.room(room)["epoch"] == epoch) == (how == "drain")
    # Another user's token does not help with the resume token; the owner's does without it.
    thief = connect(server, session=client.session, resume_token=client.token, **server.as_user("bob"))
    assert thief.established["resumed"] is False and thief.session != client.session
    again = connect.back(client, resume_token=None, **server.as_user("ann"))
    again.messages(ids + [first["message_id"]])


def test_r17_sessions_that_were_revoked_do_not_come_back(serve, connect, how):
    server, room = serve(), unique("room")
    away, there = (connect(server, room, **server.as_user("ann")) for _ in range(2))
    away.drop()
    assert server.http("DELETE", "/v1/users/ann/tokens").status == 200
    there.closed(4003)
    server.has_committed()
    server.restart(how)
    for client in (away, there):
        assert server.http("GET", f"/v1/sessions/{client.session}").status == 404
    assert server.publish({"room": room}, {"type": "note"})["queued"] == 0


def test_r17_grants_are_those_of_the_new_token_after_a_restart(serve, connect, how):
    server, one, two = serve(), unique("one"), unique("two")
    client = connect(server, one, **server.as_user("ann"))
    client.join(two)
    server.has_committed()
    server.restart(how)
    again = connect.back(client, **server.as_user("ann", moorline={"join": [two]}))
    again.expect("left", room=one, reason="forbidden")
    assert server.session(client.session)["rooms"] == [two]
