"""Joining and leaving, by the client and by the application."""

from urllib.parse import quote

import pytest

from waiting import eventually, unique


def test_r08_a_message_reaches_every_member_and_nobody_else(server, connect):
    room, other = unique("room"), unique("other")
    members = [connect(server, room) for _ in range(3)]
    away = connect(server, room)
    away.drop()
    stranger = connect(server, other)
    reply = server.publish({"room": room}, {"type": "note"})
    assert (reply["reached"], reply["queued"]) == (3, 1)
    for member in members:
        member.expect("note", room=room, message_id=reply["message_id"])
    stranger.nothing_new(other)


def test_r08_rooms_are_joined_and_left_at_any_time(server, connect):
    client = connect(server)
    room = unique("room")
    server.to_room(room, 2)
    joined = client.join(room)
    assert joined["message_id"] == server.room(room)["message_id"], "from now on"
    ids = server.to_room(room, 2)
    client.messages(ids, room=room)
    assert client.ok({"type": "leave", "room": room})["room"] == room
    client.expect("left", room=room, reason="left")
    assert server.publish({"room": room}, {"type": "note"})["reached"] == 0
    assert server.session(client.session)["rooms"] == []
    client.fails({"type": "leave", "room": room}, "not_a_member")
    client.join(room)
    client.messages(server.to_room(room, 1))


def test_r08_the_room_of_the_url_can_be_left(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.ok({"type": "leave", "room": room})
    client.expect("left", room=room, reason="left")
    assert server.publish({"room": room}, {"type": "note"})["reached"] == 0


def test_r08_own_rooms_can_neither_be_left_nor_joined(server, connect):
    client, other = connect(server), connect(server)
    for room in (f"@session/{client.session}", "@all"):
        client.fails({"type": "leave", "room": room}, "room_invalid")
    client.fails({"type": "join", "room": f"@session/{other.session}"}, "room_invalid")
    server.publish({"session": other.session}, {"type": "private"})
    server.publish({"session": client.session}, {"type": "mine"})
    client.expect("mine")
    other.expect("private")


def test_r08_a_session_is_in_many_rooms(server, connect):
    rooms = [unique("room") for _ in range(100)]
    client = connect(server)
    for room in rooms:
        client.join(room)
    assert server.session(client.session)["rooms"] == sorted(rooms)
    for room in rooms:
        client.messages([server.publish({"room": room}, {"type": "note"})["message_id"]], room=room)


def test_r08_joining_again_changes_nothing(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.messages(server.to_room(room, 3))
    client.ok({"type": "join", "room": room})
    client.nothing_new(room, skip=("joined",))
    assert server.room(room)["connected"] == 1


NAMES = ["конференция ☃", "a/b", "with space", "%41?x=1&y#z", "x" * 255, "é" * 127, "stats2"]


@pytest.mark.parametrize("room", NAMES)
def test_r08_a_room_may_have_any_proper_name(server, connect, room):
    if len(room) < 100:
        room = unique(room)
    client = connect(server, room)
    assert list(client.established["rooms"]) == [room]
    id = server.publish({"room": room}, {"type": "note"})["message_id"]
    client.messages([id], room=room)
    assert server.room(room)["room"] == room
    client.ok({"type": "leave", "room": room})
    client.expect("left")
    assert server.http("PUT", f"/v1/sessions/{client.session}/rooms/{quote(room, safe='')}").status == 204
    client.expect("joined", room=room)


def test_r08_the_application_makes_a_session_a_member(server, connect):
    room = unique("room")
    server.to_room(room, 2)
    client = connect(server)
    path = f"/v1/sessions/{client.session}/rooms/{room}"
    assert server.http("PUT", path).status == 204
    joined = client.expect("joined", room=room)
    assert joined["message_id"] == server.room(room)["message_id"] and joined["epoch"] == server.room(room)["epoch"]
    assert server.http("PUT", path).status == 204, "idempotent"
    client.messages(server.to_room(room, 1))
    client.nothing_new(room)
    assert server.http("DELETE", path).status == 204
    client.expect("left", room=room, reason="removed")
    assert server.http("DELETE", path).status == 204, "idempotent"
    assert server.publish({"room": room}, {"type": "note"})["reached"] == 0
    assert client.is_open()
    for method in ("PUT", "DELETE"):
        server.http(method, f"/v1/sessions/{unique('nobody')}/rooms/{room}").problem(404, "not_found")


def test_r08_an_absent_session_is_made_a_member(server, connect):
    room, gone = unique("room"), unique("gone")
    client = connect(server, gone)
    client.drop()
    assert server.http("PUT", f"/v1/sessions/{client.session}/rooms/{room}").status == 204
    assert server.http("DELETE", f"/v1/sessions/{client.session}/rooms/{gone}").status == 204
    ids = server.to_room(room, 2)
    server.to_room(gone, 2)
    again = connect.back(client)
    assert list(again.established["rooms"]) == [room]
    again.messages(ids)
    again.nothing_new(room)


def test_r08_a_room_that_is_empty_is_forgotten_with_its_last_member(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.ok({"type": "leave", "room": room})
    client.expect("left")
    eventually(lambda: server.http("GET", f"/v1/rooms/{room}").status == 404)


def test_r15_join_since_the_start(server, connect):
    room = unique("room")
    ids = server.to_room(room, 4)
    client = connect(server)
    joined = client.join(room, since="start")
    assert joined["message_id"] < ids[0]
    client.messages(ids, room=room)
    client.nothing_new(room)


def test_r15_join_since_a_position(server, connect):
    room = unique("room")
    ids = server.to_room(room, 5)
    epoch = server.room(room)["epoch"]
    client = connect(server)
    joined = client.join(room, since={"epoch": epoch, "message_id": ids[2]})
    assert joined["message_id"] == ids[2] and joined["epoch"] == epoch
    client.messages(ids[3:])
    # Again, from further back.
    client.join(room, since={"epoch": epoch, "message_id": ids[0]})
    client.messages(ids[1:])
    client.nothing_new(room)


@pytest.mark.parametrize("reason", ["epoch", "ahead"])
def test_r14_join_since_a_position_that_never_was(server, connect, reason):
    room = unique("room")
    ids = server.to_room(room, 3)
    epoch = server.room(room)["epoch"]
    client = connect(server)
    since = {"epoch": "of-another-life", "message_id": 2} if reason == "epoch" else {"epoch": epoch, "message_id": 99}
    client.ok({"type": "join", "room": room, "since": since})
    frames = sorted([client.next(), client.next()], key=lambda frame: frame["type"])
    assert [frame["type"] for frame in frames] == ["joined", "reset"]
    reset = frames[1]
    assert reset["room"] == room and reset["reason"] == reason and reset["epoch"] == epoch
    assert {"from", "to"} <= set(reset)
    if reason == "epoch":
        assert reset["from"] is None
    ids += server.to_room(room, 2)
    client.messages([id for id in ids if id > reset["to"]])


def test_bad_ack_without_a_room_after_the_url_s_was_left(server, connect):
    """The URL's room stays what a frame without `room` means, whatever is joined instead."""
    first, second = unique("room"), unique("room")
    client = connect(server, first)
    client.ok({"type": "leave", "room": first})
    client.expect("left", room=first)
    client.join(second)
    message = server.to_room(second, 1)
    client.expect("note", room=second)
    client.send({"type": "ack", "message_id": 1, "ref": "a"})
    assert client.expect("reply", ref="a")["error"]["code"] == "not_a_member", message
    client.join(first)
    client.send({"type": "ack", "message_id": 0, "ref": "b"})
    assert client.expect("reply", ref="b")["ok"] is True
