"""What a bound, the application, a restart or time takes away is told, from where to where."""

from urllib.parse import quote

import pytest

from client import check_contiguous
from waiting import eventually, unique


def replay(client, upto):
    """The frames after the establishment, until the message of that id."""
    frames = [client.next()]
    while frames[-1].get("message_id") != upto:
        frames.append(client.next())
    return frames


def test_r14_a_hundred_messages_are_kept_for_one_who_is_away(server, connect):
    client = connect(server)
    client.drop()
    own = f"@session/{client.session}"
    ids = [server.publish({"session": client.session}, {"type": "note", "n": n})["message_id"] for n in range(130)]
    again = connect.back(client)
    assert again.established["rooms"][own]["replayed"] == 100
    reset = again.expect("reset", room=own, reason="retention", epoch=again.established["rooms"][own]["epoch"])
    assert reset["from"] < ids[0] and ids[29] <= reset["to"] < ids[30]
    again.messages(ids[30:], room=own)


def test_r14_an_overrun_is_told_from_where_to_where(start, connect):
    server, room = start({"retention.room_records": 10}), unique("room")
    client, live = connect(server, room), connect(server, room)
    ids = server.to_room(room, 4)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[1]})
    client.drop()
    ids += server.to_room(room, 21)
    live.messages(ids)  # one that is there misses nothing
    again = connect.back(client)
    end, resets = check_contiguous(ids, ids[1], replay(again, ids[-1]))
    assert end == ids[-1] and len(resets) == 1
    reset = resets[0]
    assert (reset["room"], reset["reason"], reset["from"]) == (room, "retention", ids[1])
    seen = server.room(room)
    assert reset["epoch"] == seen["epoch"]
    kept = [id for id in ids if id > reset["to"]]
    assert kept == ids[-10:] and seen["oldest"] == kept[0]
    assert again.established["rooms"][room]["replayed"] == 10
    # The same over HTTP.
    listed = server.get(f"/v1/rooms/{room}/messages?after={ids[1]}")
    assert [each["message_id"] for each in listed["messages"]] == kept
    assert listed["reset"] == {"reason": "retention", "from": ids[1], "to": reset["to"]}
    assert server.get(f"/v1/rooms/{room}/messages?after={kept[0]}")["reset"] is None
    # And on an open connection.
    again.ok({"type": "reconnect", "room": room, "last_message_id": ids[3]})
    end, resets = check_contiguous(ids, ids[3], replay(again, ids[-1]))
    assert end == ids[-1] and [each["to"] for each in resets] == [reset["to"]]


def test_r14_who_has_read_what_went_is_not_told(start, connect):
    server, room = start({"retention.room_records": 10}), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 30)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[24]})
    client.drop()
    connect.back(client).messages(ids[25:])


def test_r14_a_reset_counts_what_was_excluded_as_gone_too(start, connect):
    server, room = start({"retention.room_records": 10}), unique("room")
    client = connect(server, room)
    client.drop()
    server.to_room(room, 5, **{"except": {"sessions": [client.session]}})
    ids = server.to_room(room, 20)
    again = connect.back(client)
    reset = again.expect("reset", room=room, reason="retention")
    assert ids[9] <= reset["to"] < ids[10]
    again.messages(ids[10:])


@pytest.mark.parametrize("bound", ["room_bytes", "total_bytes"])
def test_r14_bytes_are_bounded_too(start, connect, bound):
    limit = {"room_bytes": 20000, "total_bytes": 1048576}[bound]
    size = {"room_bytes": 1000, "total_bytes": 50000}[bound]
    server, room = start({f"retention.{bound}": limit}), unique("room")
    client = connect(server, room)
    client.drop()
    message = {"type": "note", "fill": "x" * size}
    ids = [server.publish({"room": room}, message)["message_id"] for _ in range(60)]
    again = connect.back(client)
    end, resets = check_contiguous(ids, 0, replay(again, ids[-1]))
    assert end == ids[-1] and len(resets) == 1 and resets[0]["reason"] == "retention"
    kept = len([id for id in ids if id > resets[0]["to"]])
    assert limit // size // 3 < kept <= limit // size, f"{kept} of {size} bytes kept, where {limit} bytes may be"
    assert server.get("/v1/stats")["log_bytes"] <= limit


def test_r14_age_is_bounded_too(start, connect):
    server, room = start({"retention.room_age_ms": 1000}), unique("room")
    client = connect(server, room)
    client.drop()
    ids = server.to_room(room, 3)
    assert server.get(f"/v1/rooms/{room}/messages")["messages"], "they are kept for a while"

    def gone():
        return not server.get(f"/v1/rooms/{room}/messages")["messages"]

    eventually(gone, 5)
    again = connect.back(client)
    reset = again.expect("reset", room=room, reason="retention")
    assert reset["from"] < ids[0] and reset["to"] == ids[-1]
    again.messages(server.to_room(room, 1))


def test_r14_what_the_application_cleared_is_told(server, connect):
    room = unique("room")
    live, away = connect(server, room), connect(server, room)
    ids = server.to_room(room, 5)
    live.messages(ids)
    away.messages(ids)
    away.ok({"type": "ack", "message_id": ids[1]})
    away.drop()
    epoch = server.room(room)["epoch"]
    assert server.http("DELETE", f"/v1/rooms/{room}/messages").status == 204
    assert server.get(f"/v1/rooms/{room}/messages")["messages"] == []
    listed = server.get(f"/v1/rooms/{room}/messages?after={ids[1]}")
    assert listed["reset"] == {"reason": "cleared", "from": ids[1], "to": ids[-1]}
    again = connect.back(away)
    reset = again.expect("reset", room=room, reason="cleared")
    assert (reset["from"], reset["to"]) == (ids[1], ids[-1])
    more = server.to_room(room, 2)
    assert more[0] > ids[-1] and server.room(room)["epoch"] == epoch, "members go on"
    again.messages(more)
    live.messages(more)  # had read all that went: nothing is lost to it


def test_r14_a_restart_is_told(start, connect):
    server, room = start(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 5)
    client.messages(ids)
    epoch = client.established["rooms"][room]["epoch"]
    server.stop()
    server = start(port=server.port)
    others = server.to_room(room, 3)
    assert server.room(room)["epoch"] != epoch
    position = {"epoch": epoch, "message_id": ids[1]}
    hello = {"session": client.session, "resume_token": client.token, "positions": {room: position}}
    again = connect(server, hello=hello)
    assert again.established["resumed"] is False and again.session == client.session
    again.expect("reset", room=room, reason="expired", epoch=server.room(room)["epoch"])
    assert server.session(again.session)["rooms"] == [], "not a member unless the URL says so"
    # Joining where it was: the old numbers mean nothing.
    again.ok({"type": "join", "room": room, "since": position})
    frames = sorted([again.next(), again.next()], key=lambda frame: frame["type"])
    assert [frame["type"] for frame in frames] == ["joined", "reset"]
    assert frames[1]["reason"] == "epoch" and frames[1]["from"] is None
    others += server.to_room(room, 2)
    again.messages([id for id in others if id > frames[1]["to"]])


def test_r16_a_disconnect_keeps_the_session_and_its_expiry_ends_it(start, connect):
    server, room = start({"session.lifetime_ms": 1500}), unique("room")
    client = connect(server, room, user="ann")
    client.drop()
    ids = server.to_room(room, 2)
    again = connect.back(client)
    again.messages(ids)
    again.drop()
    gone = f"/v1/sessions/{quote(client.session)}"
    assert server.http("GET", gone).status == 200
    eventually(lambda: server.http("GET", gone).status == 404)
    stats = server.get("/v1/stats")
    assert (stats["sessions"], stats["absent"], stats["users"]) == (0, 0, 0)
    assert server.room(room)["absent"] == 0
    reply = server.publish({"session": client.session}, {"type": "note"})
    assert (reply["reached"], reply["queued"]) == (0, 0)


def test_r16_a_claim_to_an_expired_session_is_told(start, connect):
    server, room, url = start({"session.lifetime_ms": 300}), unique("room"), unique("url")
    client = connect(server, room)
    joined = client.join(url)
    ids = server.to_room(room, 3)
    client.messages(ids)
    epoch = server.room(room)["epoch"]
    client.cut()
    eventually(lambda: server.http("GET", f"/v1/sessions/{client.session}").status == 404)
    ids += server.to_room(room, 2)
    positions = {room: {"epoch": epoch, "message_id": ids[2]},
                 url: {"epoch": joined["epoch"], "message_id": joined["message_id"]}}
    hello = {"session": client.session, "resume_token": client.token, "positions": positions}
    again = connect(server, url, hello=hello)
    assert again.established["resumed"] is False and again.session == client.session
    assert list(again.established["rooms"]) == [url]
    resets = {frame["room"]: frame for frame in (again.expect("reset"), again.expect("reset"))}
    assert set(resets) == {room, url} and {reset["reason"] for reset in resets.values()} == {"expired"}
    assert (resets[room]["from"], resets[room]["to"], resets[room]["epoch"]) == (ids[2], ids[-1], epoch)
    again.messages([server.publish({"room": url}, {"type": "note"})["message_id"]])


def test_r16_a_session_that_is_connected_does_not_expire(start, connect):
    server, room = start({"session.lifetime_ms": 200, "heartbeat.interval_ms": 200}), unique("room")
    staying, brief = connect(server, room), connect(server, room)
    again = connect.back(brief)  # the old connection's end must not start its expiry
    brief.closed(4001)
    for _ in range(3):
        other = connect(server)
        other.cut()
        eventually(lambda: server.http("GET", f"/v1/sessions/{other.session}").status == 404)
    assert staying.is_open() and again.is_open()


def test_r16_reconnections_are_counted(server, connect):
    client = connect(server)
    for count in range(1, 4):
        client.drop()
        client = connect.back(client)
        assert server.session(client.session)["reconnection_count"] == count
    connect.back(client)
    assert server.session(client.session)["reconnection_count"] == 4, "a take-over is one too"
