"""Sessions go on over restarts: what is known of them, and when they end."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from keeping import SESSION, at, by_room, to_all_of, together
from waiting import eventually, unique


def now():
    return datetime.now(timezone.utc)


def moment(text):
    return datetime.fromisoformat(text)


def facts(server, id):
    return {name: server.session(id)[name] for name in SESSION}


def is_gone(server, id):
    return server.http("GET", f"/v1/sessions/{id}").status == 404


def test_mistake4_neither_disconnects_nor_restarts_clear_the_queue(kept, connect):
    server, room = kept(), unique("room")
    client = connect(server, room, user="ann")
    parts = []
    for how in ("kill", "drain", "kill"):
        client.drop()
        parts.append(to_all_of(server, client, room, 2))
        server.restart(how)
        client = connect.back(client)  # and goes again without having acknowledged, or read, anything
    client.drop()
    client = connect.back(client)
    assert by_room([client.next() for _ in range(4 * 2 * len(parts))]) == together(*parts)
    client.nothing_new(room)


def test_r16_reconnections_are_counted_over_restarts(kept, connect, how):
    server = kept()
    client = connect(server)
    for count in range(1, 4):
        server.restart(how)
        assert server.session(client.session)["reconnection_count"] == count - 1, "a restart is no reconnection"
        client = connect.back(client)
        assert server.session(client.session)["reconnection_count"] == count


def test_r16_what_is_known_of_an_absent_session_is_kept(kept, connect, how):
    server, one, two = kept(), unique("one"), unique("two")
    hello = {"session": "ключ ☃", "metadata": {"device": "phone", "n": [1, None]}}
    client = connect(server, one, user="ann", hello=hello)
    client.join(two)
    client.drop()
    before = facts(server, client.session)
    assert before["disconnected_at"] and before["metadata"] == {"device": "phone", "n": [1, None]}
    time.sleep(0.02)  # so that a moment of the restart would be another one
    for _ in range(2):
        server.restart(how)
        assert facts(server, client.session) == before


def test_r16_who_was_connected_is_absent_since_then(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room, user="ann")
    before, began = facts(server, client.session), now()
    assert before["connected"] is True
    server.restart(how)
    after = facts(server, client.session)
    assert after["connected"] is False
    slack = timedelta(milliseconds=5)
    assert began - slack <= moment(after["disconnected_at"]) <= now() + slack
    assert {**after, "connected": True, "disconnected_at": None} == before, "connected_at is the last connection's"
    again = connect.back(client)
    assert again.is_open()
    seen = facts(server, client.session)
    assert seen["connected"] is True and seen["disconnected_at"] is None
    assert moment(seen["connected_at"]) >= began


def test_r16_metadata_that_was_changed_is_kept(kept, connect, how):
    server = kept()
    client = connect(server, hello={"metadata": {"a": 1, "b": 2}})
    answer = server.http("PATCH", f"/v1/sessions/{client.session}", {"metadata": {"b": None, "c": {"d": 3}}})
    assert answer.status == 200 and answer.json["metadata"] == {"a": 1, "c": {"d": 3}}
    server.restart(how)
    assert server.session(client.session)["metadata"] == {"a": 1, "c": {"d": 3}}
    hello = {"session": client.session, "resume_token": client.token, "metadata": {"a": None, "c": {"e": 4}}}
    again = connect(server, hello=hello)
    assert again.established["resumed"] is True
    server.restart(how)
    assert server.session(client.session)["metadata"] == {"c": {"d": 3, "e": 4}}
    answer = server.http("PATCH", f"/v1/sessions/{client.session}", {"metadata": {"c": None}})  # of an absent one
    assert answer.status == 200
    server.restart(how)
    assert server.session(client.session)["metadata"] == {}


def test_r16_a_session_s_time_runs_while_the_server_is_down(kept, connect, how):
    server, room = kept({"session.lifetime_ms": 2500}), unique("room")
    client = connect(server, room, user="ann")
    ids = server.to_room(room, 2)
    client.messages(ids)
    position = at(server.room(room)["epoch"], ids[0])
    client.drop()
    time.sleep(1.2)  # a part of its time before, a part without a server
    server.down(how)
    time.sleep(1.5)
    server.up()
    eventually(lambda: is_gone(server, client.session))
    stats = server.get("/v1/stats")
    assert (stats["sessions"], stats["absent"], stats["users"]) == (0, 0, 0)
    assert server.publish({"session": client.session}, {"type": "note"})["queued"] == 0
    assert server.publish({"room": room}, {"type": "note"})["queued"] == 0
    hello = {"session": client.session, "resume_token": client.token, "positions": {room: position}}
    again = connect(server, hello=hello)
    assert again.established["resumed"] is False and again.session == client.session
    assert again.established["rooms"] == {}
    again.expect("reset", room=room, reason="expired")
    assert again.is_open()


def test_r16_one_that_was_connected_has_its_whole_time_after_a_crash(kept, connect):
    server, room = kept({"session.lifetime_ms": 2500}), unique("room")
    client, other = connect(server, room), connect(server, room)
    ids = server.to_room(room, 2)
    server.down("kill")
    time.sleep(2.7)  # longer than a session may be away
    server.up()
    began = time.monotonic()
    again = connect.back(client)
    again.messages(ids)
    eventually(lambda: is_gone(server, other.session))
    assert time.monotonic() - began > 1, "it had its time"
    assert again.is_open()


def test_r16_a_session_that_lives_on_expires_in_its_time(kept, connect, how):
    """The first half before the restart, the second after it: not begun anew."""
    server = kept({"session.lifetime_ms": 4000})
    client = connect(server)
    client.drop()
    began = time.monotonic()
    time.sleep(1.5)
    server.restart(how)
    assert not is_gone(server, client.session)
    eventually(lambda: is_gone(server, client.session), 6)
    assert 3.5 < time.monotonic() - began < 5.2


def test_r16_one_that_was_ended_stays_so(kept, connect, how):
    server, room = kept(), unique("room")
    ended, of_user = connect(server, room), connect(server, room, user="ann")
    for client in (ended, of_user):
        client.join(unique("more"))
    assert server.http("DELETE", f"/v1/sessions/{ended.session}").status == 204
    assert server.http("DELETE", "/v1/users/ann/sessions").json == {"disconnected": 1}
    server.has_committed()
    server.restart(how)
    for client in (ended, of_user):
        assert is_gone(server, client.session)
        again = connect(server, user=client.user, session=client.session, resume_token=client.token)
        assert again.established["resumed"] is False
    assert server.publish({"room": room}, {"type": "note"})["queued"] == 0


def test_r16_a_session_that_was_established_is_there_after_a_crash(kept, connect):
    """Its record is kept before it is told, so a client that was told can come back, however soon the crash."""
    server, room = kept(), unique("room")
    for _ in range(4):
        clients = [connect(server, room) for _ in range(3)]
        server.restart("kill")
        for client in clients:
            connect.back(client)
            assert server.session(client.session)["rooms"] == [room]


def test_r16_bounds_of_absent_sessions_hold_after_a_restart(kept, connect, how):
    server = kept({"session.absent_per_user_max": 2, "session.per_user_max": 10})
    clients = []
    for _ in range(4):
        clients.append(connect(server, user="ann"))
    for client in clients[:2]:
        client.drop()
        server.is_away(client.session)
    server.has_committed()
    server.restart(how)  # those that were connected are the younger ones among the absent
    eventually(lambda: server.get("/v1/stats")["absent"] == 2)
    assert sorted(server.get("/v1/users/ann")["sessions"]) == sorted(client.session for client in clients[2:])
    again = connect(server, user="ann")
    again.drop()
    eventually(lambda: server.get("/v1/stats")["absent"] == 2)
    assert again.session in server.get("/v1/users/ann")["sessions"]


def test_r16_a_session_of_no_lifetime_is_gone_after_a_restart(kept, connect, how):
    server, room = kept({"session.lifetime_ms": 0}), unique("room")
    client = connect(server, room)
    server.restart(how)
    eventually(lambda: is_gone(server, client.session))
    again = connect(server, session=client.session, resume_token=client.token)
    assert again.established["resumed"] is False


@pytest.mark.parametrize("count", [300])
def test_r16_many_sessions_come_back_after_a_crash(kept, connect, count):
    server, room = kept(), unique("room")
    clients = [connect(server, room) for _ in range(count)]
    ids = server.to_room(room, 1)
    server.restart("kill")
    assert server.get("/v1/stats")["absent"] == count
    assert server.publish({"room": room}, {"type": "note"})["queued"] == count
    for client in clients:
        connect.back(client).messages(ids)
    assert server.room(room)["connected"] == count and server.room(room)["absent"] == 0
