"""Messages for who is away, over restarts: replayed in order, and what is lost is told from where to where."""

import time

import pytest

from client import check_contiguous
from keeping import SESSION, at, by_room, named, replayed, to_all_of, together
from waiting import eventually, unique


def replay(client, upto):
    """The frames after the establishment, until the message of that id."""
    frames = [client.next()]
    while frames[-1].get("message_id") != upto:
        frames.append(client.next())
    return frames


def test_r14_what_came_while_away_is_replayed_after_restarts(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room, user="ann")
    client.drop()
    first = to_all_of(server, client, room, 3)
    server.restart(how)
    second = to_all_of(server, client, room, 2)
    server.restart(how)
    expected = together(first, second)
    for ids in expected.values():
        assert ids == sorted(set(ids)), "the numbers go on"
    again = connect.back(client)
    rooms = again.established["rooms"]
    assert replayed(again) == {name: 5 for name in expected}
    assert {name: rooms[name]["message_id"] for name in expected} == {name: ids[-1] for name, ids in expected.items()}
    assert {rooms[name]["epoch"] for name in expected} == {server.room(room)["epoch"]}
    frames = [again.next() for _ in range(20)]
    assert by_room(frames) == expected
    order = [frame["room"] for frame in frames]
    assert sum(a != b for a, b in zip(order, order[1:])) == 3, "room by room"
    again.messages(server.to_room(room, 2))
    again.nothing_new(room)


def test_r14_what_was_delivered_but_not_acknowledged_comes_again_as_it_was(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room)
    for n in range(3):
        server.publish({"room": room}, {"type": "note", "n": n, "text": "é☃\u0001", "big": 12345678901234567890123})
    before = [client.next() for _ in range(3)]
    server.restart(how)  # while it is connected
    again = connect.back(client)
    assert [again.next() for _ in range(3)] == before, "every field, the timestamp too"
    assert server.messages(room) == before
    again.nothing_new(room)


def test_r14_both_ends_of_a_restart_are_one_room(kept, connect, how):
    """A reader that names its position, and one that comes new, see one order without a gap."""
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 4)
    client.messages(ids)
    server.restart(how)
    again = connect.back(client, room=room, last_message_id=ids[1])
    more = server.to_room(room, 3)
    assert more[0] > ids[-1]
    again.messages(ids[2:] + more)
    new = connect(server)
    new.join(room, since="start")
    new.messages(ids + more)
    listed = server.get(f"/v1/rooms/{room}/messages?after={ids[1]}")
    assert [each["message_id"] for each in listed["messages"]] == ids[2:] + more and listed["reset"] is None


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_r14_what_a_bound_cut_is_told_once_and_exactly(kept, connect, how, when):
    server = kept()
    client = connect(server)
    client.drop()
    own = f"@session/{client.session}"
    first = {"before": 130, "between": 60, "after": 0}[when]

    def publish(count):
        return [server.publish({"session": client.session}, {"type": "note"})["message_id"] for _ in range(count)]

    ids = publish(first)
    server.restart(how)
    ids += publish(130 - first)
    again = connect.back(client)
    assert again.established["rooms"][own]["replayed"] == 100
    reset = again.expect("reset", room=own, reason="retention", epoch=again.established["rooms"][own]["epoch"])
    assert reset["from"] < ids[0] and ids[29] <= reset["to"] < ids[30]
    again.messages(ids[30:], room=own)
    room = unique("room")
    again.join(room)
    again.nothing_new(room)


def test_r14_an_overrun_is_told_from_the_acknowledged_on(kept, connect, how):
    server, room = kept({"retention.room_records": 10}), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 4)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[1]})
    client.drop()
    time.sleep(1.3 if how == "kill" else 0)  # an acknowledgement is kept within a second
    ids += server.to_room(room, 11)
    server.restart(how)
    ids += server.to_room(room, 10)
    again = connect.back(client)
    end, resets = check_contiguous(ids, ids[1], replay(again, ids[-1]))
    assert end == ids[-1] and len(resets) == 1
    reset, seen = resets[0], server.room(room)
    assert (reset["room"], reset["reason"], reset["epoch"]) == (room, "retention", seen["epoch"])
    kept_ids = [id for id in ids if id > reset["to"]]
    assert kept_ids == ids[-10:] and seen["oldest"] == kept_ids[0]
    assert again.established["rooms"][room]["replayed"] == 10
    listed = server.get(f"/v1/rooms/{room}/messages?after={ids[1]}")
    assert listed["reset"] == {"reason": "retention", "from": ids[1], "to": reset["to"]}
    assert [each["message_id"] for each in listed["messages"]] == kept_ids


def test_r14_bounds_of_bytes_hold_over_restarts(kept, connect, how):
    server, room = kept({"retention.room_bytes": 20000}), unique("room")
    client = connect(server, room)
    client.drop()
    message = {"type": "note", "fill": "x" * 1000}
    ids = [server.publish({"room": room}, message)["message_id"] for _ in range(40)]
    before = [each["message_id"] for each in server.messages(room)]
    server.restart(how)
    assert [each["message_id"] for each in server.messages(room)] == before
    ids += [server.publish({"room": room}, message)["message_id"] for _ in range(10)]
    again = connect.back(client)
    end, resets = check_contiguous(ids, 0, replay(again, ids[-1]))
    assert end == ids[-1] and [each["reason"] for each in resets] == ["retention"]
    assert 20000 // 1000 // 3 < len([id for id in ids if id > resets[0]["to"]]) <= 20
    assert server.get("/v1/stats")["log_bytes"] <= 20000


def test_r14_what_the_application_cleared_stays_so_and_is_told(kept, connect, how):
    server, room = kept(), unique("room")
    away = connect(server, room)
    ids = server.to_room(room, 5)
    away.messages(ids)
    away.drop()
    assert server.http("DELETE", f"/v1/rooms/{room}/messages").status == 204
    server.restart(how)
    assert server.messages(room) == []
    assert server.get(f"/v1/rooms/{room}/messages?after={ids[1]}")["reset"] == \
        {"reason": "cleared", "from": ids[1], "to": ids[-1]}
    again = connect.back(away, room=room, last_message_id=ids[1])
    reset = again.expect("reset", room=room, reason="cleared", epoch=server.room(room)["epoch"])
    assert (reset["from"], reset["to"]) == (ids[1], ids[-1])
    more = server.to_room(room, 2)
    assert more[0] > ids[-1]
    again.messages(more)


def test_r14_messages_grow_old_while_the_server_is_down(kept, connect, how):
    server, room = kept({"retention.room_age_ms": 1500}), unique("room")
    client = connect(server, room)
    client.drop()
    ids = server.to_room(room, 3)
    server.down(how)
    time.sleep(1.7)  # longer than they are kept
    server.up()
    eventually(lambda: server.messages(room) == [])
    again = connect.back(client)
    reset = again.expect("reset", room=room, reason="retention")
    assert reset["from"] < ids[0] and reset["to"] == ids[-1]
    more = server.to_room(room, 1)
    assert more[0] > ids[-1], "the head is kept for who is a member"
    again.messages(more)


def test_r14_exclusions_hold_on_replay_after_a_restart(kept, connect, how):
    server, room = kept(), unique("room")
    by_session, by_user, other = (connect(server, room, user=user) for user in ("ann", "bob", "eve"))
    for client in (by_session, by_user, other):
        client.drop()
    ids = server.to_room(room, 2)
    for _ in range(3):
        server.publish({"room": room}, {"type": "secret"},
                       **{"except": {"sessions": [by_session.session], "users": ["bob"]}})
    to_everyone = server.publish("all", {"type": "secret"}, **{"except": {"users": ["bob"]}})["message_id"]
    server.restart(how)
    ids += server.to_room(room, 1)
    back = {client.user: connect.back(client) for client in (by_session, by_user, other)}
    last = server.to_room(room, 1)
    for user, in_room, in_all in (("ann", 3, 1), ("bob", 3, 0), ("eve", 6, 1)):
        again = back[user]
        assert replayed(again) == {room: in_room, **({"@all": 1} if in_all else {})}
        frames = [again.next() for _ in range(in_room + in_all)]
        if user != "eve":
            assert by_room(frames)[room] == ids
        assert by_room(frames).get("@all") == ([to_everyone] if in_all else None)
        again.messages(last)


def test_r14_who_is_away_is_counted_after_a_restart(kept, connect, how):
    server, room = kept(), unique("room")
    away, there = connect(server, room, user="ann"), connect(server, room, user="ann")
    away.drop()
    server.restart(how)
    for to, queued in (({"room": room}, 2), ({"user": "ann"}, 2), ("all", 2), ({"session": there.session}, 1),
                       ({"session": away.session}, 1), ({"session": "nobody"}, 0), ({"user": "nobody"}, 0)):
        reply = server.publish(to, {"type": "note"})
        assert (reply["reached"], reply["queued"]) == (0, queued), (to, reply)
    reply = server.publish({"room": room}, {"type": "note"}, **{"except": {"sessions": [away.session]}})
    assert (reply["reached"], reply["queued"]) == (0, 1), "one that it is not for is not counted"
    connect.back(there)
    reply = server.publish({"room": room}, {"type": "note"})
    assert (reply["reached"], reply["queued"]) == (1, 1)


def test_r14_who_is_away_is_shown_after_a_restart(kept, connect, how):
    server, room = kept(), unique("room")
    clients = [connect(server, room, user="ann") for _ in range(2)] + [connect(server, room)]
    clients[0].drop()
    server.restart(how)
    ids = sorted(client.session for client in clients)
    listed = server.get("/v1/sessions")["sessions"]
    assert [each["session"] for each in listed] == ids
    for each in listed:
        assert each["connected"] is False and each["disconnected_at"] and each["rooms"] == [room], each
        one = server.session(each["session"])
        assert {name: one[name] for name in SESSION} == {name: each[name] for name in SESSION}
    assert [each["session"] for each in server.get(f"/v1/sessions?room={room}")["sessions"]] == ids
    assert (server.room(room)["connected"], server.room(room)["absent"]) == (0, 3)
    assert server.get("/v1/rooms")["rooms"] == [{"room": room, "connected": 0, "absent": 3}]
    seen = server.get("/v1/users/ann")
    assert (seen["connected"], seen["absent"]) == (0, 2)
    stats = server.get("/v1/stats")
    assert (stats["connections"], stats["sessions"], stats["absent"], stats["users"]) == (0, 3, 3, 1)


@pytest.mark.parametrize("way", ["frame", "http"])
def test_r14_a_room_that_was_joined_is_one_s_own_at_once(kept, connect, way):
    """Killed right after a message that was published after the join: it is for this session, or told as lost."""
    server, room = kept(), unique("room")
    client = connect(server)
    if way == "frame":
        client.join(room)
    else:
        assert server.http("PUT", f"/v1/sessions/{client.session}/rooms/{room}").status == 204
    ids = server.to_room(room, 1)
    server.restart("kill")
    again = connect.back(client)
    assert room in again.established["rooms"]
    again.messages(ids, room=room)


def test_r14_a_room_that_was_left_is_not_joined_by_a_restart(kept, connect, how):
    server, url, joined = kept(), unique("url"), unique("joined")
    client = connect(server, url)
    client.join(joined)
    client.ok({"type": "leave", "room": url})
    client.expect("left", room=url)
    assert server.http("DELETE", f"/v1/sessions/{client.session}/rooms/{joined}").status == 204
    client.expect("left", room=joined, reason="removed")
    server.has_committed()
    server.restart(how)
    assert server.session(client.session)["rooms"] == []
    for room in (url, joined):
        reply = server.publish({"room": room}, {"type": "note"})
        assert (reply["reached"], reply["queued"]) == (0, 0)
    assert named(connect.back(client)) == []


@pytest.mark.parametrize("where", ["unknown epoch", "beyond the former epoch", "beyond this epoch"])
def test_r14_a_position_that_never_was_is_told_after_a_restart(kept, connect, where):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 3)
    former = server.room(room)["epoch"]
    server.restart("kill")
    ids += server.to_room(room, 2)
    epoch = server.room(room)["epoch"]
    named, reason = {
        "unknown epoch": (at("of-another-life", ids[1]), "epoch"),
        "beyond the former epoch": (at(former, ids[2] + 1), "epoch"),
        "beyond this epoch": (at(epoch, ids[-1] + 50), "ahead"),
    }[where]
    again = connect(server, hello={"session": client.session, "resume_token": client.token, "positions": {room: named}})
    assert again.established["resumed"] is True
    reset = again.expect("reset", room=room, reason=reason, epoch=epoch)
    if reason == "epoch":
        assert reset["from"] is None
    ids += server.to_room(room, 2)
    again.messages([id for id in ids if id > reset["to"]])
    again.nothing_new(room)


def test_r14_in_memory_a_restart_is_told_as_ever(start, connect):
    server, room = start(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 2)
    client.messages(ids)
    position = at(server.room(room)["epoch"], ids[0])
    server.restart("drain")
    hello = {"session": client.session, "resume_token": client.token, "positions": {room: position}}
    again = connect(server, hello=hello)
    assert again.established["resumed"] is False
    again.expect("reset", room=room, reason="expired")


def test_r14_what_grew_old_in_an_own_room_while_the_server_was_down_is_told(kept, connect, how):
    server = kept({"retention.own_age_ms": 1500})
    client = connect(server)
    client.drop()
    eventually(lambda: server.get("/v1/stats")["absent"] == 1)
    assert server.publish({"session": client.session}, {"type": "note"})["queued"] == 1
    server.down(how)
    time.sleep(2)  # the record's age is what this is about
    server.up()
    again = connect.back(client)
    lost = again.next()
    assert lost["type"] == "reset" and lost["room"] == f"@session/{client.session}" and lost["reason"] == "retention"
    assert (lost["from"], lost["to"]) == (0, 1)
