"""Acknowledgements and named positions, over restarts."""

import time

import pytest

from client import check_contiguous
from keeping import at, to_all_of
from waiting import unique

KEPT_WITHIN = 1.3  # an acknowledgement is kept within a second


def settled(how):
    """Waits until an acknowledgement is kept, where the server will not end in order."""
    if how == "kill":
        time.sleep(KEPT_WITHIN)


def test_r15_what_was_acknowledged_is_not_replayed_after_a_restart(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room, user="ann")
    ids = to_all_of(server, client, room, 4)
    for each in ids.values():
        client.messages(each)
    for name, each in ids.items():
        client.ok({"type": "ack", "room": name, "message_id": each[2]})
    settled(how)
    server.restart(how)
    again = connect.back(client)
    assert {name: again.established["rooms"][name]["replayed"] for name in ids} == dict.fromkeys(ids, 1)
    assert sorted(frame["room"] for frame in (again.next() for _ in ids)) == sorted(ids)
    again.nothing_new(room)
    server.restart(how)
    again = connect.back(again)
    assert again.established["rooms"][room]["replayed"] == 2, "the last one, and the marker"
    again.messages([ids[room][3]])


def test_r15_what_a_pong_acknowledged_is_not_replayed_after_a_restart(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 3)
    client.messages(ids)
    client.ok({"type": "pong", "positions": {room: at(server.room(room)["epoch"], ids[2])}})
    settled(how)
    server.restart(how)
    again = connect.back(client)
    assert again.established["rooms"][room]["replayed"] == 0
    again.nothing_new(room)


def test_r15_a_crash_may_forget_the_last_second_s_and_nothing_else(kept, connect):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 5)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[1]})
    time.sleep(KEPT_WITHIN)
    client.ok({"type": "ack", "message_id": ids[3]})
    server.restart("kill")
    again = connect.back(client)
    count = again.established["rooms"][room]["replayed"]
    assert count in (1, 3), "all of the last second's, or none of it"
    again.messages(ids[-count:])
    again.nothing_new(room)


def test_r15_an_acknowledgement_of_one_who_left_holds_over_two_restarts(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 3)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[1]})
    client.drop()
    settled(how)
    server.restart(how)
    server.restart(how)
    again = connect.back(client)
    assert again.established["rooms"][room]["replayed"] == 1
    again.messages(ids[2:])


@pytest.mark.parametrize("named, start", [(0, 3), (2, 3), (4, 5), (5, 6)], ids=["behind", "at", "ahead", "all"])
def test_r15_a_resume_starts_at_the_later_of_both_after_a_restart(kept, connect, how, named, start):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 6)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[2]})
    settled(how)
    server.restart(how)
    again = connect.back(client, room=room, last_message_id=ids[named])
    assert again.established["rooms"][room]["replayed"] == len(ids[start:])
    again.messages(ids[start:])
    again.nothing_new(room)


def test_r15_positions_of_former_epochs_go_on_without_a_reset(kept, connect):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids, named = [], []
    for _ in range(3):
        ids += server.to_room(room, 3)
        named.append(at(server.room(room)["epoch"], ids[-2]))
        server.restart("kill")
    ids += server.to_room(room, 1)
    assert len({position["epoch"] for position in named} | {server.room(room)["epoch"]}) == 4
    token = client.token
    for position in named:
        hello = {"session": client.session, "resume_token": token, "positions": {room: position}}
        again = connect(server, hello=hello)
        token = again.token
        assert again.established["resumed"] is True
        assert again.established["rooms"][room]["epoch"] == server.room(room)["epoch"]
        again.messages([id for id in ids if id > position["message_id"]])
        ids.append(again.nothing_new(room))
    # The same for one that only reads: joining from a position, and looking it up.
    for position in named:
        new = connect(server)
        new.ok({"type": "join", "room": room, "since": position})
        new.expect("joined", room=room)
        new.messages([id for id in ids if id > position["message_id"]])


def test_r15_the_epoch_of_an_orderly_end_goes_on(kept, connect):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 3)
    position = at(server.room(room)["epoch"], ids[1])
    server.restart("drain")
    hello = {"session": client.session, "resume_token": client.token, "positions": {room: position}}
    again = connect(server, hello=hello)
    assert again.established["rooms"][room] == {**at(position["epoch"], ids[2]), "replayed": 1}
    again.messages(ids[2:])


@pytest.mark.parametrize("id", [-1, 2**53, 2**63, 2**64, 1.5, "2", None, True, [1]], ids=repr)
def test_bad_acknowledgement_after_a_restart(kept, connect, id):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 3)
    client.messages(ids)
    server.restart("kill")
    again = connect.back(client, room=room)
    again.messages(ids)
    again.fails({"type": "ack", "message_id": id}, ["bad_frame", "ack_beyond"])
    assert again.is_open()
    assert connect.back(again).established["rooms"][room]["replayed"] == 3, "it counted for nothing"


def test_r15_acknowledgements_after_a_restart_are_judged_as_before(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 5)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[2]})
    former = server.room(room)["epoch"]
    settled(how)
    server.restart(how)
    again = connect.back(client, room=room)
    again.messages(ids[3:])
    assert again.ok({"type": "ack", "message_id": ids[0]})["message_id"] == ids[2], "a lower one changes nothing"
    again.fails({"type": "ack", "message_id": ids[-1] + 1}, "ack_beyond")
    again.fails({"type": "ack", "message_id": ids[3], "epoch": "of-another-life"}, "epoch_mismatch")
    if how == "kill":
        # Said of a former epoch it is understood or refused, and never counts as another number.
        reply = again.ask({"type": "ack", "message_id": ids[3], "epoch": former})
        assert reply.get("message_id") == ids[3] or reply["error"]["code"] == "epoch_mismatch", reply
    epoch = server.room(room)["epoch"]
    assert again.ok({"type": "ack", "message_id": ids[3], "epoch": epoch})["message_id"] == ids[3]
    again.drop()
    third = connect.back(again)
    assert third.established["rooms"][room]["replayed"] == 1
    third.messages(ids[4:])


def test_r15_reconnect_after_a_restart(kept, connect, how):
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = server.to_room(room, 5)
    client.messages(ids)
    client.ok({"type": "ack", "message_id": ids[1]})
    settled(how)
    server.restart(how)
    again = connect.back(client, room=room)
    again.messages(ids[2:])
    reply = again.ok({"type": "reconnect"})
    assert (reply["room"], reply["message_id"], reply["epoch"]) == (room, ids[1], server.room(room)["epoch"])
    again.messages(ids[2:])
    assert again.ok({"type": "reconnect", "last_message_id": ids[3]})["message_id"] == ids[3]
    again.messages(ids[4:])
    assert again.ok({"type": "reconnect", "last_message_id": ids[0], "room": room})["message_id"] == ids[0]
    again.messages(ids[1:])
    again.nothing_new(room)


def test_r15_an_own_room_begins_with_its_session_after_a_restart_too(kept, connect, how):
    server = kept()
    older = [server.publish("all", {"type": "note"})["message_id"] for _ in range(3)]
    client = connect(server)
    ids = [server.publish("all", {"type": "note"})["message_id"] for _ in range(2)]
    client.messages(ids)
    server.restart(how)
    again = connect.back(client)
    assert again.established["rooms"]["@all"]["replayed"] == 2
    again.messages(ids, room="@all")
    again.ok({"type": "reconnect", "room": "@all", "last_message_id": 0})
    again.messages(ids, room="@all")
    assert older[-1] < ids[0]


def test_r15_acknowledging_while_messages_go_and_the_server_dies(kept, connect):
    """Whatever was kept of the acknowledgements: after the last one that was answered over a second ago, all comes."""
    server, room = kept(), unique("room")
    client = connect(server, room)
    ids = []
    for _ in range(3):
        ids += server.to_room(room, 10)
        client.messages(ids[-10:])
        client.ok({"type": "ack", "message_id": ids[-3]})
        server.restart("kill")
        again = connect.back(client)
        count = again.established["rooms"][room]["replayed"]
        assert 2 <= count <= len(ids), "never more is left out than was acknowledged"
        end, resets = check_contiguous(ids, ids[-count - 1] if count < len(ids) else 0,
                                       [again.next() for _ in range(count)])
        assert end == ids[-1] and resets == []
        client = connect.back(again, room=room)
        rest = client.established["rooms"][room]["replayed"]
        client.messages(ids[len(ids) - rest:])
