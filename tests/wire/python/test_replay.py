"""What was sent while one was away comes in order; what was acknowledged does not come again."""

import threading

import pytest

from waiting import unique


def at(epoch, id):
    return {"epoch": epoch, "message_id": id}


def test_mistake4_a_disconnect_does_not_clear_the_queue(server, connect):
    client = connect(server)
    client.drop()
    own = {"session": client.session}
    ids = [server.publish(own, {"type": "note", "n": n})["message_id"] for n in range(3)]
    second = connect.back(client)
    second.cut()  # before it has read or acknowledged anything
    server.is_away(client.session)
    third = connect.back(second)
    third.messages(ids, room=f"@session/{client.session}")


def test_r14_what_came_while_away_is_replayed_in_order(server, connect):
    room, user = unique("room"), unique("ann")
    client = connect(server, room, user=user)
    client.drop()
    in_room = server.to_room(room, 5)
    own = [server.publish({"session": client.session}, {"type": "own"})["message_id"] for _ in range(3)]
    to_user = [server.publish({"user": user}, {"type": "user"})["message_id"] for _ in range(2)]
    again = connect.back(client)
    rooms = again.established["rooms"]
    expected = {room: in_room, f"@session/{client.session}": own, f"@user/{user}": to_user}
    assert {name: each["replayed"] for name, each in rooms.items() if each["replayed"]} == \
        {name: len(ids) for name, ids in expected.items()}
    assert {name: rooms[name]["message_id"] for name in expected} == {name: ids[-1] for name, ids in expected.items()}
    frames = [again.next() for _ in range(10)]
    for name, ids in expected.items():
        assert [frame["message_id"] for frame in frames if frame["room"] == name] == ids
    order = [frame["room"] for frame in frames]
    assert sum(a != b for a, b in zip(order, order[1:])) == 2, "room by room"
    again.messages(server.to_room(room, 1))


def test_r14_what_was_delivered_but_not_acknowledged_comes_again(server, connect):
    room = unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 4)
    client.messages(ids)
    client.drop()
    connect.back(client).messages(ids)


def test_r14_nothing_is_lost_or_doubled_between_replay_and_live(server, connect):
    room, ids = unique("room"), []
    client = connect(server, room)

    def publish():
        for n in range(600):
            ids.append(server.publish({"room": room}, {"type": "note", "n": n})["message_id"])

    publisher = threading.Thread(target=publish)
    publisher.start()
    got = []
    for stop in (50, 130, 250, 333, 480):
        while len(got) < stop:
            got.append(client.expect("note")["message_id"])
        client.cut()
        client = connect.back(client, room=room, last_message_id=got[-1])
    while len(got) < 600:
        got.append(client.expect("note")["message_id"])
    publisher.join(20)
    assert got == ids
    client.nothing_new(room)


def test_r14_a_reconnect_storm_of_one_session(server, connect):
    room = unique("room")
    client = connect(server, room)
    for _ in range(30):
        client = connect.back(client)  # each takes the one before over
    ids = server.to_room(room, 2)
    client.messages(ids)
    assert server.room(room)["connected"] == 1 and server.room(room)["absent"] == 0


def test_r15_what_was_acknowledged_is_not_replayed(server, connect):
    room = unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 5)
    client.messages(ids)
    reply = client.ok({"type": "ack", "message_id": ids[2]})
    assert reply["room"] == room and reply["message_id"] == ids[2]
    assert client.ok({"type": "ack", "message_id": ids[0]})["message_id"] == ids[2], "a lower one changes nothing"
    client.drop()
    again = connect.back(client)
    assert again.established["rooms"][room]["replayed"] == 2
    again.messages(ids[3:])
    again.ok({"type": "ack", "room": room, "epoch": server.room(room)["epoch"], "message_id": ids[4]})
    again.drop()
    third = connect.back(again)
    assert third.established["rooms"][room] == {**at(server.room(room)["epoch"], ids[4]), "replayed": 0}
    third.nothing_new(room)


def test_r15_a_pong_acknowledges_too(server, connect):
    one, two = unique("one"), unique("two")
    client = connect(server, one)
    client.join(two)
    ids = server.to_room(one, 3)
    client.messages(ids, room=one)
    others = server.to_room(two, 2)
    client.messages(others, room=two)
    epochs = {room: server.room(room)["epoch"] for room in (one, two)}
    client.ok({"type": "pong", "positions": {one: at(epochs[one], ids[1]), two: at(epochs[two], others[1])}})
    client.drop()
    rooms = connect.back(client).established["rooms"]
    assert rooms[one]["replayed"] == 1 and rooms[two]["replayed"] == 0


def test_r15_messages_to_the_session_are_acknowledged_too(server, connect):
    client = connect(server)
    own = f"@session/{client.session}"
    ids = [server.publish({"session": client.session}, {"type": "note"})["message_id"] for _ in range(3)]
    client.messages(ids)
    assert client.ok({"type": "ack", "room": own, "message_id": ids[1]})["room"] == own
    client.drop()
    again = connect.back(client)
    assert again.established["rooms"][own]["replayed"] == 1
    again.messages(ids[2:])


def test_r15_resume_starts_after_the_id_that_is_named(server, connect):
    room = unique("room")
    client = connect(server, room)
    client.drop()
    ids = server.to_room(room, 5)
    again = connect.back(client, room=room, last_message_id=ids[2])
    again.messages(ids[3:])
    again.nothing_new(room)
    again.drop()
    # What was named can only move the start forward; nothing was acknowledged by it.
    third = connect.back(again)
    third.messages(ids)


def test_r15_a_named_position_never_moves_the_start_back(server, connect):
    room = unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 4)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[2]})
    client.drop()
    again = connect.back(client, room=room, last_message_id=ids[0])
    assert again.established["rooms"][room]["replayed"] == 1
    again.messages(ids[3:])


def test_r15_positions_in_hello(server, connect):
    one, two = unique("one"), unique("two")
    client = connect(server, one)
    client.join(two)
    client.drop()
    ids, others = server.to_room(one, 4), server.to_room(two, 3)
    epochs = {room: server.room(room)["epoch"] for room in (one, two)}
    hello = {"session": client.session, "resume_token": client.token,
             "positions": {one: at(epochs[one], ids[1]), two: at(epochs[two], others[2])}}
    again = connect(server, hello=hello)
    rooms = again.established["rooms"]
    assert again.established["resumed"] is True
    assert (rooms[one]["replayed"], rooms[two]["replayed"]) == (2, 0)
    again.messages(ids[2:], room=one)
    again.nothing_new(two)


@pytest.mark.parametrize("reason", ["epoch", "ahead"])
def test_r14_a_position_that_never_was_is_answered_by_a_reset(server, connect, reason):
    room = unique("room")
    client = connect(server, room)
    client.drop()
    ids = server.to_room(room, 3)
    epoch = server.room(room)["epoch"]
    named = at("of-another-life", ids[1]) if reason == "epoch" else at(epoch, ids[-1] + 50)
    hello = {"session": client.session, "resume_token": client.token, "positions": {room: named}}
    again = connect(server, hello=hello)
    assert again.established["resumed"] is True
    reset = again.expect("reset", room=room, reason=reason, epoch=epoch)
    if reason == "epoch":
        assert reset["from"] is None
    ids += server.to_room(room, 2)
    again.messages([id for id in ids if id > reset["to"]])


def test_r15_reconnect_on_an_open_connection(server, connect):
    room = unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 5)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[1]})
    reply = client.ok({"type": "reconnect"})
    assert reply["room"] == room and reply["message_id"] == ids[1] and reply["epoch"] == server.room(room)["epoch"]
    client.messages(ids[2:])
    assert client.ok({"type": "reconnect", "last_message_id": ids[3]})["message_id"] == ids[3]
    client.messages(ids[4:])
    # It may ask for more than the acknowledgement says.
    assert client.ok({"type": "reconnect", "last_message_id": ids[0], "room": room})["message_id"] == ids[0]
    client.messages(ids[1:])
    client.nothing_new(room)
    client.fails({"type": "reconnect", "room": unique("strange")}, "not_a_member")
    connect(server).fails({"type": "reconnect"}, "room_required")


def test_r15_acknowledging_needs_a_room_and_its_epoch(server, connect):
    room = unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 2)
    client.messages(ids)
    client.fails({"type": "ack", "message_id": ids[0], "epoch": "of-another-life"}, "epoch_mismatch")
    client.fails({"type": "ack", "message_id": ids[0], "room": unique("strange")}, "not_a_member")
    connect(server).fails({"type": "ack", "message_id": 1}, "room_required")
    client.drop()
    assert connect.back(client).established["rooms"][room]["replayed"] == 2, "none of these counted"
