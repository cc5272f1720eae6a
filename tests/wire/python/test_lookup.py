"""Finding sessions, rooms and users; what is known of a session; statistics."""

from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import pytest

from waiting import eventually, unique

SESSION_FIELDS = {
    "session", "user", "connected", "connected_at", "disconnected_at", "last_activity", "last_heartbeat",
    "reconnection_count", "rooms", "metadata", "liveness",
}


def when(text):
    assert text.endswith("Z"), text
    return datetime.fromisoformat(text)


def just_now(text):
    return abs(datetime.now(timezone.utc) - when(text)) < timedelta(seconds=30)


def test_r04_one_session(server, connect):
    room, user = unique("room"), unique("ann")
    client = connect(server, room, user=user)
    seen = server.session(client.session)
    assert SESSION_FIELDS <= set(seen)
    assert (seen["session"], seen["user"], seen["connected"], seen["rooms"]) == (client.session, user, True, [room])
    server.http("GET", f"/v1/sessions/{unique('nobody')}").problem(404, "not_found")


def test_r04_the_sessions_of_a_room_and_of_a_user(server, connect):
    room, user = unique("room"), unique("ann")
    both, only_room, only_user = connect(server, room, user=user), connect(server, room), connect(server, user=user)

    def found(query):
        return [each["session"] for each in server.get(f"/v1/sessions?{query}")["sessions"]]

    assert found(f"room={room}") == sorted([both.session, only_room.session])
    assert found(f"user={user}") == sorted([both.session, only_user.session])
    assert found(f"user={user}&room={room}") == [both.session]
    assert found(f"room={unique('room')}") == []
    both.drop()
    assert found(f"user={user}") == sorted([both.session, only_user.session]), "an absent session is still one"


def test_r04_sessions_come_in_pages(server, connect):
    room = unique("room")
    ids = sorted(connect(server, room, session=unique("s")).session for _ in range(7))
    pages, cursor = [], ""
    while cursor is not None:
        page = server.get(f"/v1/sessions?room={room}&limit=3" + (f"&cursor={quote(cursor, safe='')}" if cursor else ""))
        pages.append([each["session"] for each in page["sessions"]])
        cursor = page["next"]
        assert len(pages) <= 4
    assert [id for page in pages for id in page] == ids
    assert [len(page) for page in pages if page] == [3, 3, 1]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many", "1.5"])
def test_r04_a_page_size_out_of_range_is_refused(server, limit):
    server.http("GET", f"/v1/sessions?limit={limit}").problem(400)


def test_r04_rooms_with_members(start, connect):
    server = start()
    names = sorted(unique("room") for _ in range(5))
    for name in names:
        connect(server, name)
    away = connect(server, names[0])
    away.drop()
    pages, cursor = [], ""
    while cursor is not None:
        page = server.get("/v1/rooms?limit=2" + (f"&cursor={quote(cursor, safe='')}" if cursor else ""))
        pages += page["rooms"]
        cursor = page["next"]
    assert [each["room"] for each in pages] == names, "the named ones alone, sorted"
    assert pages[0] == {"room": names[0], "connected": 1, "absent": 1}
    assert pages[1] == {"room": names[1], "connected": 1, "absent": 0}


def test_r04_one_room(server, connect):
    room = unique("room")
    server.http("GET", f"/v1/rooms/{room}").problem(404, "not_found")
    here, away = connect(server, room), connect(server, room)
    away.drop()
    seen = server.room(room)
    assert seen["room"] == room and seen["epoch"] == here.established["rooms"][room]["epoch"]
    assert (seen["connected"], seen["absent"], seen["sessions"]) == (1, 1, [here.session])
    assert seen["message_id"] == 0 and seen["oldest"] is None
    ids = server.to_room(room, 3)
    seen = server.room(room)
    assert seen["message_id"] == ids[-1] and seen["oldest"] == ids[0]


def test_r04_a_user(server, connect):
    user = unique("ann ☃")
    path = f"/v1/users/{quote(user)}"
    server.http("GET", path).problem(404, "not_found")
    here, away = connect(server, user=user), connect(server, user=user)
    away.drop()
    seen = server.get(path)
    assert (seen["user"], seen["connected"], seen["absent"]) == (user, 1, 1)
    assert sorted(seen["sessions"]) == sorted([here.session, away.session])


def test_r05_what_is_known_of_a_session(server, connect):
    client = connect(server, unique("room"))
    seen = server.session(client.session)
    assert seen["user"] is None
    assert seen["disconnected_at"] is None and seen["reconnection_count"] == 0 and seen["metadata"] == {}
    assert just_now(seen["connected_at"]) and just_now(seen["last_activity"]) and just_now(seen["last_heartbeat"])
    assert seen["liveness"]["alive"] is True
    client.drop()
    gone = server.session(client.session)
    assert gone["connected"] is False and just_now(gone["disconnected_at"])
    assert gone["connected_at"] == seen["connected_at"], "the last connection's"


def test_r05_anything_received_is_activity(server, connect):
    client = connect(server)
    before = when(server.session(client.session)["last_activity"])
    for frame in ({"type": "ping"}, "ping", {"type": "heartbeat_response"}):
        def later():
            client.send(frame)
            return when(server.session(client.session)["last_activity"]) > before
        eventually(later)
        before = when(server.session(client.session)["last_activity"])


def test_r05_metadata_is_merged_while_connected(server, connect):
    client = connect(server, hello={"metadata": {"a": 1, "b": {"c": 2, "d": 3}}})
    path = f"/v1/sessions/{client.session}"
    answer = server.http("PATCH", path, {"metadata": {"a": None, "b": {"c": 5}, "e": "new"}})
    assert answer.status == 200, answer
    merged = {"b": {"c": 5, "d": 3}, "e": "new"}
    assert answer.json["metadata"] == merged and answer.json["session"] == client.session
    assert server.session(client.session)["metadata"] == merged
    assert client.is_open(), "and the client noticed nothing"
    client.drop()
    connect.back(client)
    assert server.session(client.session)["metadata"] == merged, "kept across a reconnect"
    server.http("PATCH", f"/v1/sessions/{unique('nobody')}", {"metadata": {}}).problem(404, "not_found")


def test_r05_metadata_has_a_bound_and_a_shape(server, connect):
    client = connect(server, hello={"metadata": {"kept": True}})
    path = f"/v1/sessions/{client.session}"
    server.http("PATCH", path, {"metadata": {"big": "x" * 5000}}).problem(400, "metadata_invalid")
    server.http("PATCH", path, {"metadata": [1]}).problem(400, "metadata_invalid")
    assert server.session(client.session)["metadata"] == {"kept": True}


def test_r31_the_statistics_of_the_server(start, connect):
    server = start()
    ann, room = unique("ann"), unique("room")
    connect(server, room, user=ann), connect(server, user=ann), connect(server, user="bob"), connect(server)
    away = connect(server, room, user="cal")
    away.drop()
    ids = server.to_room(room, 3)
    stats = server.get("/v1/stats")
    assert (stats["connections"], stats["sessions"], stats["absent"]) == (4, 5, 1)
    assert stats["rooms"] == 1 and stats["records"] == len(ids) and stats["log_bytes"] > 0
    assert {user: n for user, n in stats["connections_by_user"].items() if n} == {ann: 2, "bob": 1}
    assert stats["uptime_ms"] > 0
    eventually(lambda: server.get("/v1/stats")["uptime_ms"] > stats["uptime_ms"])


def test_r31_the_endpoints_that_the_sources_had(start, connect):
    server = start()
    one, two = connect(server, user="ann"), connect(server, user="ann")
    three, four = connect(server, user="bob"), connect(server)
    stats = server.get("/ws/stats")
    assert stats["total_connections"] == 4 and stats["total_users"] == 2
    assert stats["connections_by_user"] == {"ann": 2, "bob": 1}
    status = server.get("/ws/status")
    assert status["active_connections"] == 4
    assert set(status["connections"]) == {client.session for client in (one, two, three, four)}
    each = status["connections"][one.session]
    assert each["user_id"] == "ann" and each["reconnection_count"] == 0
    assert just_now(each["connected_at"]) and just_now(each["last_heartbeat"])
    connect.back(one)
    assert server.get("/ws/status")["connections"][one.session]["reconnection_count"] == 1


def test_r31_presence_in_a_room(server, connect):
    room, user = unique("room"), unique("ann")
    one, two, away = connect(server, room, user=user), connect(server, room, user=unique("bob")), connect(server, room)
    away.drop()
    present = sorted(({"session": c.session, "user": c.user} for c in (one, two)), key=lambda each: each["session"])
    reply = one.ok({"type": "presence", "room": room})
    assert reply["room"] == room and reply["count"] == 2 and reply["sessions"] == present
    one.expect("presence", room=room, count=2, sessions=present)
    connect(server).fails({"type": "presence", "room": room}, "not_a_member")
