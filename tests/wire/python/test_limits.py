"""Rates and quotas: who wants too much is refused and told when to come back, and nobody else notices."""

import os
import resource
import select
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed

from client import SUBPROTOCOL, Client
from raw import tcp
from server import UPGRADE
from serving import bearer, hello, new_user
from waiting import eventually, unique

PING = {"type": "ping"}


def many(client, frames):
    """Sends all of them at once, with refs; their replies, in the order of the frames."""
    for n, frame in enumerate(frames):
        client.send({**frame, "ref": n})
    replies = {}
    while len(replies) < len(frames):
        frame = client.next()
        if frame["type"] == "reply":
            assert frame["ref"] not in replies, frame
            replies[frame["ref"]] = frame
    return [replies[n] for n in range(len(frames))]


def judged(replies):
    """How many were taken, and the refusals, which say what of and when to come back."""
    refusals = [reply["error"] for reply in replies if not reply["ok"]]
    for error in refusals:
        assert error["code"] == "rate_limited" and "limits." in error["message"], error
        assert isinstance(error["retry_in_ms"], int) and error["retry_in_ms"] > 0, error
    return len(replies) - len(refusals), refusals


def told_to_wait(milliseconds):
    """What the server asked for, and a little more for the clocks."""
    assert milliseconds <= 10_000, milliseconds
    time.sleep(milliseconds / 1000 + 0.05)


# --- sessions ---

def test_r06_connected_sessions_of_a_user(serve, connect):
    server = serve({"session.per_user_max": 2})
    one, two = connect(server, **server.as_user("ann")), connect(server, **hello(server.token("ann")))
    for options in (server.as_user("ann"), hello(server.token("ann"))):
        assert connect.raw(server, **options).closed(1008, "connection limit reached") == []
    other = connect(server, **server.as_user("bob"))
    # One that takes over is not one more.
    again = connect(server, session=one.session, resume_token=one.token, **server.as_user("ann"))
    assert again.established["resumed"] is True
    one.closed(4001)
    two.drop()
    assert connect(server, **server.as_user("ann")).is_open()
    assert other.is_open() and again.is_open()
    assert server.get("/v1/stats")["connections_by_user"] == {"ann": 2, "bob": 1}


def test_r06_many_that_come_at_once_are_no_more_than_the_limit(serve):
    server = serve({"session.per_user_max": 3})
    came, refused = [], []

    def come():
        client = Client(server, **server.as_user("ann"))
        try:
            came.append(client.establish())
        except ConnectionClosed as end:
            refused.append(end.rcvd.code)

    threads = [threading.Thread(target=come) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(came) == 3 and refused == [1008] * 17
    for client in came:
        client.cut()


# --- frames ---

def test_r23_frames_of_one_connection(serve, connect):
    server = serve({"limits.connection_messages_per_s": 2, "limits.connection_messages_burst": 6})
    client = connect(server, **server.as_user("ann"))
    taken, refusals = judged(many(client, [PING] * 20))
    assert 6 <= taken <= 9 and refusals
    assert all(error["retry_in_ms"] <= 1000 for error in refusals), refusals
    told_to_wait(refusals[-1]["retry_in_ms"])
    assert judged(many(client, [PING]))[0] == 1
    # Without a ref it is an error frame, with the same fields.
    for _ in range(8):
        client.send(PING)
    frame = client.next()
    while frame["type"] == "pong":
        frame = client.next()
    assert frame["type"] == "error" and frame["code"] == "rate_limited" and frame["retry_in_ms"] > 0


def test_r23_a_refused_frame_does_nothing(serve, connect):
    server = serve({"limits.connection_messages_per_s": 1, "limits.connection_messages_burst": 3})
    room = unique("room")
    member = connect(server, room, **server.as_user("bob"))
    client = connect(server, **server.as_user("ann"))
    frames = [{"type": "publish", "to": {"room": room}, "message": {"type": "n", "n": n}} for n in range(12)]
    replies = many(client, frames)
    taken, refusals = judged(replies)
    assert refusals
    member.messages([reply["message_id"] for reply in replies if reply["ok"]], room=room)
    member.nothing_new(room)
    assert taken >= 3


@pytest.mark.parametrize("frame", [
    "ping", '{"type":"pong"}', '{"type":"heartbeat_response"}', "not json", '{"type":"own"}'])
def test_r23_every_frame_counts(serve, connect, frame):
    server = serve({"limits.connection_messages_per_s": 1, "limits.connection_messages_burst": 5})
    client = connect(server, **server.as_user("ann"))
    for _ in range(15):
        client.send(frame)
    client.send({**PING, "ref": "last"})
    seen = []
    while not seen or not isinstance(seen[-1], dict) or seen[-1].get("ref") != "last":
        seen.append(client.next())
    codes = [one.get("code") for one in seen if isinstance(one, dict)]
    assert "rate_limited" in codes, seen
    assert seen[-1]["error"]["code"] == "rate_limited", seen


def flood(client, frame, count):
    """Sends until the other side has had enough."""
    try:
        for _ in range(count):
            client.send(frame)
    except ConnectionClosed:
        pass


def test_r23_who_does_not_listen_is_closed(serve, connect):
    server = serve({"limits.connection_messages_per_s": 1, "limits.connection_messages_burst": 10})
    client = connect(server, **server.as_user("ann"))
    flood(client, PING, 400)
    before = client.closed(1008, "rate limit")
    refused = [frame for frame in before if frame["type"] == "error"]
    assert {frame["code"] for frame in refused} == {"rate_limited"}
    assert 99 <= len(refused) <= 201, len(refused)
    # Closed, not thrown out: it may come back.
    again = connect(server, session=client.session, resume_token=client.token, **server.as_user("ann"))
    assert again.established["resumed"] is True


def test_r23_refusals_count_in_a_row_only(serve, connect):
    server = serve({"limits.connection_messages_per_s": 1, "limits.connection_messages_burst": 1})
    client = connect(server, **server.as_user("ann"))
    for _ in range(3):
        taken, refusals = judged(many(client, [PING] * 60))
        assert taken >= 1 and len(refusals) >= 50
        told_to_wait(refusals[-1]["retry_in_ms"])
    assert judged(many(client, [PING]))[0] == 1


def test_r23_bytes_of_one_connection(serve, connect):
    server = serve({
        "connection.message_max_bytes": 2000, "limits.connection_bytes_per_s": 1000,
        "limits.connection_bytes_burst": 3000,
    })
    client = connect(server, **server.as_user("ann"))
    big = {"type": "publish", "to": {"room": "r"}, "message": {"type": "x", "fill": "x" * 1200}}
    taken, refusals = judged(many(client, [big] * 6))
    assert 2 <= taken <= 3 and refusals
    told_to_wait(refusals[-1]["retry_in_ms"])
    assert judged(many(client, [big]))[0] == 1
    assert judged(many(connect(server, **server.as_user("ann")), [big]))[0] == 1, "each connection has its own"


def test_r23_frames_of_one_user_on_all_connections(serve, connect):
    server = serve({"limits.user_messages_per_s": 1, "limits.user_messages_burst": 8})
    first, second = (connect(server, **server.as_user("ann")) for _ in range(2))
    other = connect(server, **server.as_user("bob"))
    taken, refusals = judged(many(first, [PING] * 6))
    assert taken == 6
    taken, refusals = judged(many(second, [PING] * 6))
    assert 2 <= taken <= 4 and refusals
    assert judged(many(other, [PING] * 6))[0] == 6
    told_to_wait(refusals[-1]["retry_in_ms"])
    assert judged(many(first, [PING]))[0] == 1
    # A new connection does not begin anew.
    assert judged(many(connect(server, **server.as_user("ann")), [PING] * 8))[1]


def test_r23_frames_of_one_address(serve, connect):
    server = serve({"limits.address_messages_per_s": 1, "limits.address_messages_burst": 8})
    ann, bob = (connect(server, **server.as_user(user)) for user in ("ann", "bob"))
    elsewhere = connect(server, source="127.0.0.2", **server.as_user("ann"))
    assert judged(many(ann, [PING] * 6))[0] == 6
    assert judged(many(bob, [PING] * 8))[1]
    assert judged(many(elsewhere, [PING] * 6))[0] == 6


def test_r23_development_has_no_rates(server, connect):
    client = connect(server)
    assert judged(many(client, [PING] * 600))[0] == 600


# --- handshakes ---

def test_r23_handshakes_of_one_address(serve):
    server = serve({"limits.address_handshakes_per_s": 1, "limits.address_handshakes_burst": 5})
    answers = [server.upgrade("/ws", bearer(server.token(new_user()))) for _ in range(10)]
    statuses = [answer.status for answer in answers]
    assert statuses[:5] == [101] * 5 and 429 in statuses
    refused = answers[statuses.index(429)]
    problem = refused.problem(429, "rate_limited")
    assert 0 < problem["retry_in_ms"] <= 5000
    assert int(refused.headers["retry-after"]) >= problem["retry_in_ms"] / 1000
    assert server.upgrade("/ws", bearer(server.token(new_user())), source="127.0.0.2").status == 101
    assert server.http("GET", "/v1/stats").status == 200, "requests are no handshakes"
    told_to_wait(problem["retry_in_ms"] + 100)
    eventually(lambda: server.upgrade("/ws", bearer(server.token(new_user()))).status == 101)


def test_r23_handshakes_without_a_good_token_count_too(serve):
    server = serve({"limits.address_handshakes_per_s": 1, "limits.address_handshakes_burst": 5})
    statuses = [server.upgrade("/ws", bearer("x.y.z")).status for _ in range(10)]
    assert statuses[:5] == [101] * 5 and 429 in statuses


def test_r23_handshakes_of_one_user(serve, connect):
    server = serve({
        "limits.user_handshakes_per_s": 1, "limits.user_handshakes_burst": 4, "session.per_user_max": 100,
    })
    there = [connect(server, **server.as_user("ann")) for _ in range(4)]
    for options in (server.as_user("ann"), hello(server.token("ann"))):
        before = connect.raw(server, **options).closed(1013, "rate limit")
        assert [frame["type"] for frame in before] == ["closing"], before
        assert 0 < before[0]["reconnect_in_ms"] <= 4000, before
    assert connect(server, **server.as_user("bob")).is_open()
    told_to_wait(before[0]["reconnect_in_ms"])
    assert connect(server, **server.as_user("ann")).is_open()
    assert all(client.is_open() for client in there)


def silent(raw, server, **options):
    return raw(server, headers={"Sec-WebSocket-Protocol": SUBPROTOCOL}, **options)


def test_r23_connections_of_one_address_that_are_not_established(serve, connect, raw):
    server = serve({"limits.address_unestablished_max": 3})
    waiting = [silent(raw, server) for _ in range(3)]
    offer = {"Sec-WebSocket-Protocol": SUBPROTOCOL}
    server.upgrade("/ws", offer).problem(429, "rate_limited")
    assert server.upgrade("/ws", offer, source="127.0.0.2").status == 101
    # One that is established makes room, and so does one that goes.
    waiting[0].text({"type": "hello", "token": server.token("ann")})
    assert waiting[0].json()["type"] == "connection_established"
    eventually(lambda: server.upgrade("/ws", offer).status == 101)
    waiting[1].close()
    waiting[2].close()
    eventually(lambda: connects(server, connect))


def connects(server, connect):
    try:
        connect(server, **hello(server.token(new_user()))).close()
        return True
    except Exception as error:
        assert "429" in str(error) or "503" in str(error), error
        return False


# The count is given back a moment after the client knows that it is established.
@pytest.mark.alone
def test_r23_connections_that_are_not_established_together(serve, connect, raw):
    server = serve({"limits.unestablished_max": 4})
    there = connect(server, **server.as_user("bob"))
    waiting = [silent(raw, server) for _ in range(4)]
    offer = {"Sec-WebSocket-Protocol": SUBPROTOCOL}
    for source in ("127.0.0.1", "127.0.0.2"):
        server.upgrade("/ws", offer, source=source).problem(503, "overloaded")
    assert there.is_open()
    for one in waiting:
        one.close()
    eventually(lambda: connects(server, connect))


# --- requests ---

def test_r23_requests_of_one_key(serve):
    server = serve({"limits.key_requests_per_s": 2, "limits.key_requests_burst": 6})
    other = server.new_key("other", "read")["secret"]
    server.reload()
    answers = [server.http("GET", "/v1/stats") for _ in range(20)]
    statuses = [answer.status for answer in answers]
    assert statuses[:4] == [200] * 4 and 429 in statuses
    refused = [answer for answer in answers if answer.status == 429][-1]
    problem = refused.problem(429, "rate_limited")
    assert 0 < problem["retry_in_ms"] <= 2000 and int(refused.headers["retry-after"]) >= 1
    assert server.http("GET", "/v1/stats", key=other).status == 200
    assert server.http("GET", "/livez").status == 200 and server.http("GET", "/readyz").status == 200
    told_to_wait(problem["retry_in_ms"])
    eventually(lambda: server.http("GET", "/v1/stats").status == 200)


# --- the others ---

def test_r23_who_is_limited_disturbs_nobody(serve, connect):
    server, room = serve({"session.rooms_max": 10}), unique("room")
    others = [connect(server, room, **server.as_user(f"user-{n}")) for n in range(3)]
    flooder = connect(server, **server.as_user("flood"))
    over = threading.Event()

    def keep_flooding():
        # As a client that is closed and comes back at once, again and again.
        client = flooder
        while not over.is_set():
            flood(client, PING, 500)
            try:
                client = connect.raw(server, **server.as_user("flood"))
            except Exception:
                over.wait(0.05)

    thread = threading.Thread(target=keep_flooding)
    thread.start()
    try:
        slowest = 0
        for _ in range(20):
            began = time.monotonic()
            (id,) = server.to_room(room, 1)
            for other in others:
                other.messages([id], room=room)
                assert other.is_open()
            slowest = max(slowest, time.monotonic() - began)
    finally:
        over.set()
        thread.join(10)
    assert slowest < 2, f"a round took {slowest:.2f} s"


# --- descriptors ---

DESCRIPTORS = 120


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def answers(peer):
    """Whether a handshake is answered before long."""
    peer.settimeout(1)
    try:
        return peer.recv(4096).startswith(b"HTTP/1.1 101 ")
    except TimeoutError:
        return False


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def ends(peers):
    """How many of these the other side has ended already."""
    over = select.poll()
    for peer in peers:
        over.register(peer, select.POLLIN)
    return len(over.poll(0))


def refused(server):
    lines = server.http("GET", "/metrics", source="127.0.0.2").text.splitlines()
    name = 'moorline_accepts_total{outcome="refused"}'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("settings, preexec, most", [
    ({}, few_descriptors, DESCRIPTORS // 8), ({"limits.address_http_connections_max": 10}, None, 10),
], ids=["descriptors", "setting"])
def test_r23_silent_sockets_of_one_address(serve, connect, settings, preexec, most):
    server = serve({"http.head_timeout_ms": 600000, **settings}, preexec_fn=preexec)
    silent = []
    try:
        # From an address of their own: the one that asked whether the server is there may not be quite gone.
        for _ in range(DESCRIPTORS + 30):
            silent.append(tcp(server, source="127.0.0.3"))
        eventually(lambda: ends(silent) == len(silent) - most, what="all but the limit to be closed")
        assert refused(server) >= len(silent) - most
        assert server.http("GET", "/livez", timeout=1, source="127.0.0.2").status == 200
        answer = server.upgrade("/ws", server.as_user("bob")["headers"], source="127.0.0.2")
        assert answer.status == 101
        assert server.log().count("closed at once") == 1
    finally:
        for one in silent:
            one.close()
    eventually(lambda: alive(server))


def test_r23_who_was_upgraded_takes_no_place(serve, connect):
    server = serve({"limits.address_http_connections_max": 2})
    there = [connect(server, **server.as_user(new_user())) for _ in range(5)]
    assert alive(server) and all(client.is_open() for client in there)


def test_r23_silent_sockets_of_a_trusted_proxy(serve):
    server = serve({
        "limits.http_connections_max": 40, "limits.address_http_connections_max": 2, "http.trusted_proxies": ["127.0.0.1"],
    })
    silent = [tcp(server) for _ in range(30)]
    assert alive(server) and ends(silent) == 0
    silent += [tcp(server) for _ in range(30)]
    # Who asked just now had a place too, for a moment: one more takes it.
    eventually(lambda: len(silent) - ends(silent) == 40 or silent.append(tcp(server)), what="as many as the limit")
    assert ends(silent) >= 20
    for one in silent:
        one.close()
    eventually(lambda: alive(server))


def test_r23_no_more_descriptors(serve, connect):
    server = serve({
        "http.head_timeout_ms": 600000, "session.hello_timeout_ms": 600000, "limits.address_unestablished_max": 1000000,
        "limits.address_handshakes_per_s": 0,
    }, preexec_fn=few_descriptors)
    room = unique("room")
    sender, member = (connect(server, room, **server.as_user(user)) for user in ("ann", "bob"))
    idle = []
    try:
        # Upgraded, so that no limit of HTTP keeps any back; the rest wait in the system's queue.
        ask = "".join(f"{name}: {value}\r\n" for name, value in {**UPGRADE, "Sec-WebSocket-Protocol": SUBPROTOCOL}.items())
        is_answered = True
        for _ in range(DESCRIPTORS + 10):
            idle.append(tcp(server))
            idle[-1].sendall(f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{ask}\r\n".encode())
            is_answered = is_answered and answers(idle[-1])
        eventually(lambda: descriptors(server.process) >= DESCRIPTORS - 20, what="its descriptors to be in use")
        assert descriptors(server.process) <= DESCRIPTORS
        with pytest.raises((OSError, AssertionError)):
            assert server.http("GET", "/livez", timeout=1).status == 200
        before, began = cpu_seconds(server.process), time.monotonic()
        for n in range(10):
            id = sender.publish({"room": room}, {"type": "n", "n": n})["message_id"]
            member.messages([id], room=room)
            sender.messages([id], room=room)
            time.sleep(0.1)  # the second over which its work is measured
        spent = (cpu_seconds(server.process) - before) / (time.monotonic() - began)
        assert spent < 0.5, f"{spent:.0%} of a processor while it can accept nothing"
    finally:
        for one in idle:
            one.close()
    eventually(lambda: alive(server), timeout=10)
    assert connect(server, room, **server.as_user("eve")).is_open()
    assert server.process.poll() is None


def alive(server):
    try:
        return server.http("GET", "/livez", timeout=1).status == 200
    except OSError:
        return False


# --- rooms ---

def test_r23_rooms_of_one_session(serve, connect):
    server = serve({"session.rooms_max": 5, "limits.connection_messages_per_s": 0, "limits.user_messages_per_s": 0})
    client = connect(server, **server.as_user("ann"))
    replies = many(client, [{"type": "join", "room": unique("room")} for _ in range(5000)])
    assert [reply["ok"] for reply in replies[:6]] == [True] * 5 + [False]
    assert {reply["error"]["code"] for reply in replies[5:]} == {"too_many_rooms"}
    assert len(server.get("/v1/rooms?limit=1000")["rooms"]) == 5


def all_rooms(server):
    rooms, page = 0, server.get("/v1/rooms?limit=1000")
    while True:
        rooms += len(page["rooms"])
        if page["next"] is None:
            return rooms
        page = server.get(f"/v1/rooms?limit=1000&cursor={page['next']}")


def test_r23_rooms_of_all_together(serve, connect):
    server = serve({
        "session.rooms_max": 10000, "limits.rooms_max": 50, "limits.connection_messages_per_s": 0,
        "limits.connection_bytes_per_s": 0, "limits.user_messages_per_s": 0,
    })
    client = connect(server, **server.as_user("ann"))
    rooms = [unique("room") for _ in range(5000)]
    replies = []
    for at in range(0, 5000, 500):
        replies += many(client, [{"type": "join", "room": room} for room in rooms[at:at + 500]])
    taken = [room for room, reply in zip(rooms, replies) if reply["ok"]]
    assert {reply["error"]["code"] for reply in replies if not reply["ok"]} == {"overloaded"}
    assert 50 <= len(taken) <= 50 * max(16, os.cpu_count()), len(taken)
    assert all_rooms(server) == len(taken)
    # Publishing without members keeps no more of them either, and what is there goes on.
    assert client.publish({"room": taken[0]}, {"type": "x"})["reached"] == 1
    for room in taken:
        client.ok({"type": "leave", "room": room})
    eventually(lambda: all_rooms(server) == 0)
    assert client.ok({"type": "join", "room": taken[0]})


def series(server):
    answer = server.http("GET", "/metrics")
    assert answer.status == 200, answer
    return sorted(line.rpartition(" ")[0] for line in answer.text.splitlines() if line and line[0] != "#")


def test_r23_the_metrics_do_not_grow_with_names(serve, connect):
    server = serve({"limits.connection_messages_per_s": 0, "limits.user_messages_per_s": 0, "session.rooms_max": 1000,
                    "limits.address_handshakes_per_s": 0})

    def round(count):
        for n in range(count):
            client = connect(server, unique("url"), **server.as_user(new_user()))
            many(client, [{"type": "join", "room": unique("room")} for _ in range(10)])
            room = unique("room")
            client.publish({"room": room}, {"type": unique("type")})
            client.fails({"type": unique("type")}, "no_handler")
            server.publish({"user": unique("bob")}, {"type": unique("type")})
            assert server.http("GET", f"/v1/rooms/{unique('none')}").status == 404
            assert server.http("GET", f"/{unique('nowhere')}").status == 404
            client.drop()

    round(2)
    series(server)
    before = series(server)
    round(30)
    assert series(server) == before
