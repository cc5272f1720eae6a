"""To everyone, except; and that nobody's trouble is anybody else's."""

import threading
import time

import pytest

from client import check_contiguous
from raw import Raw
from waiting import eventually, unique

BIG = {"type": "big", "fill": "x" * 60000}


def test_r09_to_everyone(start, connect):
    server = start()
    clients = [connect(server) for _ in range(3)]
    away = connect(server)
    away.drop()
    reply = clients[0].publish("all", {"type": "news"})
    assert (reply["room"], reply["reached"], reply["queued"]) == ("@all", 3, 1)
    for client in (*clients, connect.back(away)):
        client.messages([reply["message_id"]], type="news", room="@all")
    http = server.publish("all", {"type": "news"}, **{"except": {"sessions": [clients[0].session]}})
    assert (http["reached"], http["queued"]) == (3, 0)
    clients[1].messages([http["message_id"]])


@pytest.mark.parametrize("way", ["live", "away"])
@pytest.mark.parametrize("to, who", [
    ("room", "sessions"), ("room", "users"), ("all", "sessions"), ("all", "users"), ("user", "sessions"),
])
def test_r09_an_excluded_one_gets_nothing(server, connect, who, to, way):
    room, user = unique("room"), unique("ann")
    out, other = connect(server, room, user=user), connect(server, room, user=user if to == "user" else None)
    targets = {"room": ({"room": room}, room), "all": ("all", "@all"), "user": ({"user": user}, f"@user/{user}")}
    target, name = targets[to]
    if way == "away":
        out.drop()
    excluded = {"except": {who: [out.session if who == "sessions" else user]}}
    first = server.publish(target, {"type": "before"})["message_id"]
    reply = server.publish(target, {"type": "secret"}, **excluded)
    last = server.publish(target, {"type": "after"})["message_id"]
    other.messages([first, reply["message_id"], last], room=name)
    if way == "away":
        out = connect.back(out)
        assert out.established["rooms"][name]["replayed"] == 2, "the excluded one is not counted"
    assert out.expect("before")["message_id"] == first
    assert out.expect("after")["message_id"] == last


def test_r09_an_exclusion_holds_after_a_reconnect_and_a_second_reading(server, connect):
    room = unique("room")
    out = connect(server, room)
    server.publish({"room": room}, {"type": "secret"}, **{"except": {"sessions": [out.session]}})
    ids = server.to_room(room, 1)
    out.messages(ids)
    out.drop()
    again = connect.back(out)
    again.messages(ids)
    again.ok({"type": "reconnect", "room": room, "last_message_id": 0})
    again.messages(ids)
    again.join(room, since="start")
    again.messages(ids)
    again.nothing_new(room)


def test_r09_excluded_ones_are_not_counted(server, connect):
    room, user = unique("room"), unique("ann")
    members = [connect(server, room, user=user), connect(server, room, user=user), connect(server, room)]
    away = connect(server, room, user=user)
    away.drop()
    reply = members[2].publish({"room": room}, {"type": "note"}, **{"except": {"users": [user]}})
    assert (reply["reached"], reply["queued"]) == (1, 0)
    reply = members[2].publish({"room": room}, {"type": "note"}, **{"except": {"sessions": [members[2].session]}})
    assert (reply["reached"], reply["queued"]) == (2, 1)


def test_r09_an_ephemeral_message_has_exclusions_too(server, connect):
    room = unique("room")
    out, other = connect(server, room), connect(server, room)
    server.publish({"room": room}, {"type": "typing"}, ephemeral=True, **{"except": {"sessions": [out.session]}})
    other.expect("typing")
    out.nothing_new(room)


def test_r09_progress_without_anything_for_one_is_told(start, connect):
    server, room = start({"heartbeat.interval_ms": 1000}), unique("room")
    out, other = connect(server, room), connect(server, room)
    excluded = {"except": {"sessions": [out.session]}}
    began, head = time.monotonic(), 0
    while time.monotonic() - began < 2.2:
        head = server.publish({"room": room}, {"type": "secret"}, **excluded)["message_id"]
        other.expect("secret")
        time.sleep(0.05)
    told = [out.next(skip=("ping",))]
    while told[-1].get("message_id") != head:
        told.append(out.next(skip=("ping",)))
    assert {frame["type"] for frame in told} == {"position"}
    assert {(frame["room"], frame["epoch"]) for frame in told} == {(room, server.room(room)["epoch"])}
    ids = [frame["message_id"] for frame in told]
    assert ids == sorted(set(ids))
    assert len(ids) <= time.monotonic() - began + 1, "at most one per interval"
    # What was told may be acknowledged.
    assert out.ok({"type": "ack", "message_id": head})["message_id"] == head


def test_r10_a_failed_send_ends_that_connection_and_no_other(server, connect):
    room = unique("room")
    broken = Raw(server, f"/ws/{room}").established()
    well = connect(server, room)
    broken.reset()
    well.messages(server.to_room(room, 20))
    server.is_away(broken.session)
    seen = server.room(room)
    assert (seen["connected"], seen["absent"]) == (1, 1)
    assert seen["sessions"] == [well.session]
    back = connect(server, session=broken.session, resume_token=broken.token)
    assert back.established["rooms"][room]["replayed"] == 20, "and nothing of it is lost"


def test_mistake2_members_die_while_a_broadcast_is_on(server, connect):
    room = unique("room")
    well = [connect(server, room) for _ in range(15)]
    dying = [Raw(server, f"/ws/{room}").established() for _ in range(30)]
    ids = []

    def publish():
        for n in range(400):
            ids.append(server.publish({"room": room}, {"type": "note", "fill": "x" * 500})["message_id"])

    publisher = threading.Thread(target=publish)
    publisher.start()
    for number, peer in enumerate(dying):
        eventually(lambda: len(ids) > number * 10 or not publisher.is_alive(), 20)
        peer.reset() if number % 2 else peer.close()
    publisher.join(30)
    assert len(ids) == 400
    for member in well:
        member.messages(ids)
    eventually(lambda: server.room(room)["connected"] == 15)
    assert server.room(room)["absent"] == 30


def _publish_timed(server, room, count, members):
    """Publishes big messages; each member must have each of them soon. Returns their ids."""
    ids = []
    for _ in range(count):
        began = time.monotonic()
        ids.append(server.publish({"room": room}, BIG)["message_id"])
        for member in members:
            member.messages(ids[-1:])
        took = time.monotonic() - began
        assert took < 2, f"message {len(ids)} took {took:.1f} s to reach everyone else"
    return ids


def test_mistake3_one_that_does_not_read_delays_nobody(server, connect):
    room = unique("room")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    well = [connect(server, room) for _ in range(3)]
    position = stuck.first["rooms"][room]["message_id"]
    ids = _publish_timed(server, room, 270, well)  # 16 MB, where 4 MiB are kept
    frames = []
    while position < ids[-1]:
        frames.append(stuck.json(10))
        position, resets = check_contiguous(ids, stuck.first["rooms"][room]["message_id"], frames)
    assert len(resets) >= 1 and {reset["reason"] for reset in resets} == {"retention"}
    ids += _publish_timed(server, room, 2, well)
    assert [stuck.json()["message_id"] for _ in range(2)] == ids[-2:], "and it is live again"
    stuck.close()


def test_mistake3_one_that_lags_catches_up_without_loss(server, connect):
    room = unique("room")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    well = connect(server, room)
    ids = _publish_timed(server, room, 60, [well])  # 3.6 MB: all of it is kept
    assert [stuck.json(10)["message_id"] for _ in ids] == ids
    stuck.close()


def test_r10_one_that_never_reads_is_sent_away(start, connect):
    server, room = start({"connection.stall_timeout_ms": 1000}), unique("room")
    stuck = Raw(server, f"/ws/{room}", rcvbuf=4096).established()
    well = connect(server, room)
    ids, began = [], time.monotonic()
    while server.session(stuck.session)["connected"]:
        ids += _publish_timed(server, room, 5, [well])
        assert time.monotonic() - began < 8, "still connected"
    assert time.monotonic() - began > 0.9, "too soon"
    back = connect(server, session=stuck.session, resume_token=stuck.token)
    assert back.established["resumed"] is True, "its session is kept"
    stuck.close()
