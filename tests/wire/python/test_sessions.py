"""Who one is: sessions, their ids and tokens, take-over, the limit per user."""

import re
from urllib.parse import quote

import pytest

from waiting import eventually, unique


def test_r01_the_first_frame_says_who_one_is(server, connect):
    room = unique("room")
    first = connect(server, room, user=unique("ann")).established
    assert isinstance(first["session"], str) and first["session"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", first["resume_token"]), "256 bits in base64url"
    assert first["resumed"] is False
    assert first["heartbeat_ms"] == 30000
    assert list(first["rooms"]) == [room]
    position = first["rooms"][room]
    assert isinstance(position["epoch"], str) and position["epoch"]
    assert position["message_id"] == 0 and position["replayed"] == 0


def test_r01_without_a_room_a_session_has_only_its_own(server, connect):
    client = connect(server)
    assert client.established["rooms"] == {}
    assert server.session(client.session)["rooms"] == []
    server.publish({"session": client.session}, {"type": "for-you"})
    client.expect("for-you", room=f"@session/{client.session}")


def test_r01_a_new_session_gets_nothing_older_than_itself(server, connect):
    room, user = unique("room"), unique("ann")
    server.to_room(room, 3)
    server.publish("all", {"type": "older"})
    server.publish({"user": user}, {"type": "older"})
    client = connect(server, room, user=user)
    assert client.established["rooms"][room]["replayed"] == 0
    client.nothing_new(room)
    server.publish({"user": user}, {"type": "newer"})
    client.expect("newer", room=f"@user/{user}")


@pytest.mark.parametrize("id", ["plain", "mit Leerzeichen", "ключ-☃", "a/b?c=d&e%20f", "x" * 100])
def test_r01_a_free_session_id_may_be_chosen(server, connect, id):
    id = unique(id)
    client = connect(server, session=id)
    assert client.session == id
    assert client.established["resumed"] is False
    seen = server.session(id)
    assert seen["session"] == id and seen["connected"] is True


def test_r01_hello_names_the_session_and_its_metadata(server, connect):
    id, room, user = unique("chosen"), unique("room"), unique("ann")
    client = connect(server, room, user=user, hello={"session": id, "metadata": {"device": "phone"}})
    assert client.session == id
    seen = server.session(id)
    assert seen["user"] == user and seen["rooms"] == [room] and seen["metadata"] == {"device": "phone"}


def test_r01_hello_with_a_ref_is_answered_by_both(server, connect):
    client = connect.raw(server, hello={"ref": 7})
    frames = {frame["type"]: frame for frame in (client.next(), client.next())}
    assert set(frames) == {"connection_established", "reply"}
    assert frames["reply"]["ref"] == 7 and frames["reply"]["ok"] is True


def test_r01_hello_resumes(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.drop()
    ids = server.to_room(room, 2)
    again = connect(server, hello={"session": client.session, "resume_token": client.token})
    assert again.established["resumed"] is True and again.session == client.session
    again.messages(ids, room=room)


def test_r01_a_second_connection_takes_the_session_over(server, connect):
    room = unique("room")
    first = connect(server, room, user=unique("ann"))
    second = connect.back(first)
    first.closed(4001)
    assert server.room(room)["connected"] == 1, "one member, not two"
    ids = server.to_room(room, 2)
    second.messages(ids)
    assert server.session(second.session)["connected"] is True


def test_r01_what_the_replaced_connection_still_sends_is_ignored(server, connect, raw):
    room = unique("room")
    first = raw(server, f"/ws/{room}").established()
    observer = connect(server, room)
    server.publish({"room": room}, {"type": "one"})
    one = observer.expect("one")["message_id"]
    second = connect(server, session=first.session, resume_token=first.token)
    assert second.established["resumed"] is True
    # The first peer does not answer the close, but goes on as if nothing had happened.
    for frame in (
        {"type": "publish", "to": {"room": room}, "message": {"type": "ghost"}},
        {"type": "ack", "room": room, "message_id": one},
        {"type": "leave", "room": room},
    ):
        try:
            first.text(frame)
        except ConnectionError:
            break  # refused even by TCP: as good
    observer.nothing_new(room)
    assert room in server.session(second.session)["rooms"]
    assert second.expect("one")["message_id"] == one
    second.expect("marker")
    second.drop()
    again = connect.back(second)
    assert again.established["rooms"][room]["replayed"] == 2, "the old connection's ack did not count"


def test_r01_a_user_resumes_its_session_without_the_token(server, connect):
    client = connect(server, unique("room"), user=unique("ann"))
    client.drop()
    again = connect.back(client, resume_token=None)
    assert again.token != client.token


def test_r01_a_token_resumes_without_the_user(server, connect):
    client = connect(server, unique("room"), user=unique("ann"))
    client.drop()
    connect.back(client, user=None)
    assert server.session(client.session)["user"] == client.user, "it stays that user's session"


def test_r01_the_old_token_works_until_the_new_one_was_presented(server, connect):
    first = connect(server)
    first.drop()
    unseen = connect.back(first)  # its answer never reached the client, let us say
    unseen.drop()
    third = connect.back(first)
    assert len({first.token, unseen.token, third.token}) == 3, "each establishment answers with a new token"
    third.drop()
    fourth = connect.back(third)
    # The newer token was presented: the first one is worthless now, for an owner and for a thief.
    thief = connect(server, session=first.session, resume_token=first.token)
    assert thief.established["resumed"] is False and thief.session != first.session
    assert fourth.is_open()
    fourth.drop()
    connect.back(fourth)


def test_r01_the_rooms_of_a_resumed_session_are_kept(server, connect):
    one, two, url = unique("one"), unique("two"), unique("url")
    client = connect(server, url)
    client.join(one)
    client.drop()
    again = connect.back(client, room=two)
    assert sorted(again.established["rooms"]) == sorted([one, two, url])
    assert sorted(server.session(client.session)["rooms"]) == sorted([one, two, url])


def test_r01_the_subprotocol_is_found_among_others(server):
    offer = {"Sec-WebSocket-Protocol": "something.else, moorline.v1.json"}
    answer = server.upgrade("/ws", offer)
    assert answer.status == 101 and answer.headers["sec-websocket-protocol"] == "moorline.v1.json"
    answer = server.upgrade("/ws")
    assert answer.status == 101 and "sec-websocket-protocol" not in answer.headers


def test_r01_the_accept_header_is_the_one_of_the_standard(server):
    answer = server.upgrade("/ws")  # with the key of RFC 6455, section 1.3
    assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_mistake5_two_tabs_are_two_sessions(server, connect):
    room, user = unique("room"), unique("ann")
    one, two = connect(server, room, user=user), connect(server, room, user=user)
    assert one.session != two.session
    ids = server.to_room(room, 2)
    one.messages(ids)
    two.messages(ids)
    assert one.is_open() and two.is_open()
    assert server.get(f"/v1/users/{quote(user)}")["connected"] == 2


def test_r06_a_user_has_five_connections_at_most(server, connect):
    user = unique("ann")
    clients = [connect(server, user=user) for _ in range(5)]
    refused = connect.raw(server, user=user)
    assert refused.closed(1008, "connection limit reached") == [], "no frame before the close"
    assert server.get(f"/v1/users/{user}")["connected"] == 5
    assert all(client.is_open() for client in clients)
    other = connect(server, user=unique("bob"))
    assert other.is_open(), "another user's connections are not counted"
    # One goes, one may come.
    clients[0].drop()
    assert connect(server, user=user).is_open()
    assert connect.raw(server, user=user).closed(1008) == []


def test_r06_the_limit_holds_for_hello_too(start, connect):
    server, user = start({"session.per_user_max": 1}), unique("ann")
    connect(server, user=user, hello={})
    connect.raw(server, user=user, hello={}).closed(1008, "connection limit reached")


def test_r06_a_take_over_does_not_count(server, connect):
    user = unique("ann")
    clients = [connect(server, user=user) for _ in range(5)]
    again = connect.back(clients[2])
    clients[2].closed(4001)
    assert again.is_open()
    assert server.get(f"/v1/users/{user}")["connected"] == 5


def test_r06_resuming_an_absent_session_counts(server, connect):
    user = unique("ann")
    away = connect(server, user=user)
    away.drop()
    for _ in range(5):
        connect(server, user=user)
    connect.raw(server, user=user, session=away.session, resume_token=away.token).closed(1008)


def test_r06_connections_without_a_user_are_not_limited(server, connect):
    clients = [connect(server) for _ in range(12)]
    assert all(client.is_open() for client in clients)


def test_r06_of_too_many_absent_sessions_the_longest_away_expires(start, connect):
    server, user = start({"session.absent_per_user_max": 3}), unique("ann")
    clients = []
    for _ in range(5):
        clients.append(connect(server, user=user))
        clients[-1].drop()
    kept = {client.session for client in clients[2:]}
    eventually(lambda: set(server.get(f"/v1/users/{user}")["sessions"]) == kept)
    assert server.http("GET", f"/v1/sessions/{quote(clients[0].session)}").status == 404
    connect.back(clients[2])
