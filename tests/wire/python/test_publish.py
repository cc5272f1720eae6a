"""Publishing: to whom, what comes back, and that it happens once."""

import re
import threading
from datetime import datetime, timedelta, timezone

import pytest

from waiting import eventually, unique

REPLY = {"room", "epoch", "message_id", "reached", "queued", "durability"}


def test_r07_to_one_session(server, connect):
    client = connect(server)
    own = f"@session/{client.session}"
    reply = server.publish({"session": client.session}, {"type": "note"})
    assert REPLY <= set(reply)
    assert (reply["room"], reply["reached"], reply["queued"]) == (own, 1, 0)
    client.messages([reply["message_id"]], room=own)
    client.drop()
    reply = server.publish({"session": client.session}, {"type": "note"})
    assert (reply["reached"], reply["queued"]) == (0, 1)
    nobody = server.publish({"session": unique("nobody")}, {"type": "note"})
    assert (nobody["reached"], nobody["queued"]) == (0, 0)


def test_r07_a_client_sends_to_another(server, connect):
    one, two = connect(server), connect(server)
    reply = one.publish({"session": two.session}, {"type": "hi", "from": "one"})
    assert REPLY <= set(reply) and reply["reached"] == 1
    two.expect("hi", **{"from": "one"}, room=f"@session/{two.session}")


def test_r07_to_a_list_of_sessions(server, connect):
    one, two, three = connect(server), connect(server), connect(server)
    two.drop()
    to = {"sessions": [three.session, two.session, unique("nobody"), one.session]}
    results = server.publish(to, {"type": "note"})["results"]
    assert [(each["reached"], each["queued"]) for each in results] == [(1, 0), (0, 1), (0, 0), (1, 0)]
    assert results[0]["room"] == f"@session/{three.session}"
    one.messages([results[3]["message_id"]])
    three.messages([results[0]["message_id"]])
    connect.back(two).messages([results[1]["message_id"]])
    # The same from a client; an id that is none refuses the whole.
    reply = one.publish({"sessions": [three.session, two.session]}, {"type": "note"})
    assert [each["message_id"] for each in reply["results"]] == [2, 2]
    one.send({"type": "publish", "to": {"sessions": [three.session, ""]}, "message": {"type": "note"}, "ref": "bad"})
    assert one.expect("reply", ref="bad")["error"]["code"] == "id_invalid"


def test_r07_to_a_user_on_all_devices(server, connect):
    user = unique("ann")
    devices = [connect(server, user=user) for _ in range(3)]
    away = connect(server, user=user)
    away.drop()
    other = connect(server, user=unique("bob"))
    reply = other.publish({"user": user}, {"type": "note"})
    assert (reply["room"], reply["reached"], reply["queued"]) == (f"@user/{user}", 3, 1)
    for device in (*devices, connect.back(away)):
        device.messages([reply["message_id"]], room=f"@user/{user}")
    assert other.is_open(), "and nothing was sent to it"


def test_r08_the_sender_gets_its_own_message_where_it_is_a_member(server, connect):
    room = unique("room")
    member, stranger = connect(server, room), connect(server)
    one = member.publish({"room": room}, {"type": "note"})
    two = stranger.publish({"room": room}, {"type": "note"})
    assert one["reached"] == two["reached"] == 1
    member.messages([one["message_id"], two["message_id"]])
    assert stranger.is_open(), "and nothing was sent to it"


BODIES = [
    '{"type":"analysis_complete","data":{"ok":true}}',
    '{ "type" : "spaced" ,\t"n" : 1.50, "big":12345678901234567890123, "e":1E+2 }',
    '{"type":"escaped","a":"\\u00e9\\u2603 \\/ é☃","\\u0062":2,"room_":1}',
    '{"data":{"room":"nested","message_id":1,"timestamp":null,"type":"ping"},"type":"nested"}',
    '{"type":"error","error":"the application\'s own"}',
]


@pytest.mark.parametrize("body", BODIES, ids=["plain", "spaced", "escaped", "nested", "error"])
@pytest.mark.parametrize("way", ["ws", "http"])
def test_r11_a_message_passes_through_byte_for_byte(server, connect, body, way):
    room = unique("room")
    client = connect(server, room)
    if way == "ws":
        connect(server).send('{"type":"publish","to":{"room":"%s"},"message":%s}' % (room, body))
    else:
        request = ('{"to":{"room":"%s"},"message":%s}' % (room, body)).encode()
        assert server.http("POST", "/v1/publish", request).status == 200
    text = client.next_text()
    assert body[1:-1].strip() in text, "the application's own bytes, with fields added"
    listed = server.http("GET", f"/v1/rooms/{room}/messages").text
    assert body[1:-1].strip() in listed


def test_r11_what_is_stored_has_a_type_a_time_an_id_and_its_data(server, connect):
    room = unique("room")
    client = connect(server, room)
    reply = server.publish({"room": room}, {"type": "analysis_complete", "data": {"ok": True}})
    got = client.next()
    assert set(got) == {"type", "data", "room", "message_id", "timestamp"}
    assert (got["type"], got["data"], got["room"]) == ("analysis_complete", {"ok": True}, room)
    assert isinstance(got["message_id"], int) and got["message_id"] == reply["message_id"]
    assert_time(got["timestamp"])
    kept = server.get(f"/v1/rooms/{room}/messages")
    assert kept["messages"] == [got] and kept["epoch"] == reply["epoch"] and kept["reset"] is None


def assert_time(text):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), text
    assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(text)) < timedelta(seconds=30)


def test_r11_messages_of_a_room_are_read_in_pages(server):
    room = unique("room")
    ids = server.to_room(room, 7)

    def page(query):
        return [each["message_id"] for each in server.get(f"/v1/rooms/{room}/messages?{query}")["messages"]]

    assert page("") == ids
    assert page("limit=3") == ids[:3]
    assert page(f"after={ids[2]}&limit=3") == ids[3:6]
    assert page(f"after={ids[-1]}") == []
    for query in ("limit=0", "limit=1001", "after=-1", "after=x"):
        server.http("GET", f"/v1/rooms/{room}/messages?{query}").problem(400)


def test_r11_an_ephemeral_message_is_for_who_is_there(server, connect):
    room = unique("room")
    client, away = connect(server, room), connect(server, room)
    away.drop()
    server.publish({"room": room}, {"type": "typing"}, ephemeral=True)
    got = client.expect("typing", room=room)
    assert "message_id" not in got
    assert_time(got["timestamp"])
    assert server.get(f"/v1/rooms/{room}/messages")["messages"] == [], "never stored"
    assert connect.back(away).established["rooms"][room]["replayed"] == 0
    for more in ({"id": "x"}, {"durability": "memory"}):
        refused = {"to": {"room": room}, "message": {"type": "typing"}, "ephemeral": True, **more}
        server.http("POST", "/v1/publish", refused).problem(400, "bad_frame")
        client.fails({"type": "publish", **refused}, "bad_frame")
    client.nothing_new(room)


def test_r12_durability_is_what_the_node_can_give(server, connect):
    room = unique("room")
    client = connect(server, room)
    assert client.publish({"room": room}, {"type": "note"})["durability"] == "memory"
    assert client.publish({"room": room}, {"type": "note"}, durability="memory")["durability"] == "memory"
    client.next(), client.next()
    for stronger in ("disk", "broker"):
        frame = {"to": {"room": room}, "message": {"type": "note"}, "durability": stronger}
        client.fails({"type": "publish", **frame}, "durability_unavailable")
        server.http("POST", "/v1/publish", frame).problem(409, "durability_unavailable")
    client.fails({"type": "publish", **frame, "durability": "stone"}, "bad_frame")
    client.nothing_new(room)


def test_r12_an_id_makes_a_publish_happen_once(server, connect):
    room = unique("room")
    client, observer = connect(server, user=unique("ann")), connect(server, room)
    first = client.publish({"room": room}, {"type": "note", "n": 1}, id="once")
    assert "duplicate" not in first or first["duplicate"] is False
    again = client.publish({"room": room}, {"type": "note", "n": 1}, id="once")
    assert again["duplicate"] is True and again["message_id"] == first["message_id"]
    frame = {"type": "publish", "to": {"room": room}, "message": {"type": "note", "n": 2}, "id": "once"}
    client.fails(frame, "conflict")
    observer.messages([first["message_id"]], n=1)
    observer.nothing_new(room)
    # Another room, and another sender, are other ids.
    assert "duplicate" not in client.publish({"room": unique("room")}, {"type": "note"}, id="once")
    other = connect(server).publish({"room": room}, {"type": "note", "n": 3}, id="once")
    assert other["message_id"] > first["message_id"]
    # The sender is the user: the same on its other device, and after a reconnect.
    device = connect(server, user=client.user)
    assert device.publish({"room": room}, {"type": "note", "n": 1}, id="once")["duplicate"] is True


def test_r12_an_idempotency_key_over_http(server):
    room = unique("room")
    body = {"to": {"room": room}, "message": {"type": "note"}}
    key = {"Idempotency-Key": unique("key")}
    first = server.http("POST", "/v1/publish", body, key).json
    again = server.http("POST", "/v1/publish", body, key).json
    assert again["duplicate"] is True and again["message_id"] == first["message_id"]
    same = server.publish(body["to"], body["message"], id=key["Idempotency-Key"])
    assert same["duplicate"] is True, "the header and the field are one thing"
    other = {"to": {"room": room}, "message": {"type": "other"}}
    server.http("POST", "/v1/publish", other, key).problem(409, "conflict")
    assert len(server.get(f"/v1/rooms/{room}/messages")["messages"]) == 1


def test_r12_an_id_is_forgotten_after_its_time(start):
    server, room = start({"publish.id_age_ms": 1000}), unique("room")
    first = server.publish({"room": room}, {"type": "note"}, id="once")
    assert server.publish({"room": room}, {"type": "note"}, id="once")["duplicate"] is True
    later = eventually(lambda: (r := server.publish({"room": room}, {"type": "note"}, id="once"))
                       and not r.get("duplicate") and r)
    assert later["message_id"] > first["message_id"]


def test_r12_where_there_is_no_room_for_ids_a_publish_is_refused(start, connect):
    server, room = start({"publish.id_max_bytes": 1024}), unique("room")
    client = connect(server, room)
    taken = []
    for n in range(200):
        reply = client.ask({"type": "publish", "to": {"room": room}, "message": {"type": "note"}, "id": f"id-{n:060}"})
        if not reply["ok"]:
            break
        taken.append(reply["message_id"])
    assert reply["ok"] is False and reply["error"]["code"] == "overloaded", reply
    client.messages(taken)
    again = client.publish({"room": room}, {"type": "note"}, id=f"id-{0:060}")
    assert again["duplicate"] is True, "what was promised is kept"
    assert client.publish({"room": room}, {"type": "note"})["ok"], "without an id all is well"


def test_r07_a_batch_is_answered_in_order(server, connect):
    room = unique("room")
    client = connect(server, room)
    publishes = [{"to": {"room": room}, "message": {"type": "note", "n": n}} for n in range(20)]
    publishes[7] = {"to": {"room": ""}, "message": {"type": "note"}}
    publishes[9] = {"to": {"room": room}, "message": {"type": "ping"}}
    answer = server.http("POST", "/v1/batch", {"publishes": publishes})
    assert answer.status == 200
    results = answer.json["results"]
    assert len(results) == 20
    assert results[7]["error"]["code"] == "room_invalid" and results[7]["error"]["message"]
    assert results[9]["error"]["code"] == "message_invalid"
    good = [each["message_id"] for each in results if "error" not in each]
    assert len(good) == 18 and good == sorted(good)
    client.messages(good)
    many = server.http("POST", "/v1/batch", {"publishes": publishes[:1] * 1000}).json["results"]
    assert len(many) == 1000
    server.http("POST", "/v1/batch", {"publishes": publishes[:1] * 1001}).problem(400)
    client.messages([each["message_id"] for each in many])
    client.nothing_new(room)


def test_r08_a_room_has_one_order_for_all(server, connect):
    room = unique("room")
    readers = [connect(server, room) for _ in range(3)]
    writers = [connect(server) for _ in range(3)]

    def over_websocket(number):
        for n in range(60):
            writers[number].publish({"room": room}, {"type": "note", "by": number, "n": n})

    def over_http():
        for n in range(60):
            server.publish({"room": room}, {"type": "note", "by": 3, "n": n})

    threads = [threading.Thread(target=over_websocket, args=(number,)) for number in range(3)]
    threads.append(threading.Thread(target=over_http))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    seen = [[reader.next() for _ in range(240)] for reader in readers]
    assert seen[0] == seen[1] == seen[2], "the same messages in the same order"
    ids = [each["message_id"] for each in seen[0]]
    assert ids == sorted(set(ids))
    for by in range(4):
        assert [each["n"] for each in seen[0] if each["by"] == by] == list(range(60)), "each one's order is kept"


def test_r08_what_one_session_sends_without_waiting_keeps_its_order(server, connect):
    room = unique("room")
    client = connect(server, room)
    for n in range(500):
        client.send({"type": "publish", "to": {"room": room}, "message": {"type": "note", "n": n}})
    assert [client.expect("note")["n"] for _ in range(500)] == list(range(500))
