"""What an operator sees: structured logs that nobody can forge, metrics, request ids, readiness."""

import json
import re
import signal
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raw import CLOSE, tcp
from serving import NO_KEY, bearer, hello, new_user, not_let_in
from waiting import eventually, unique

DEBUG = {"log.format": "json", "log.level": "debug"}


# --- logs ---

def values(thing):
    """Everything that stands in a value, however deep."""
    if isinstance(thing, dict):
        return [one for value in thing.values() for one in values(value)]
    if isinstance(thing, list):
        return [one for value in thing for one in values(value)]
    return [thing]


def lines(server):
    """The log, line by line; each one must be a JSON object."""
    text = server.err()
    whole = text[:text.rfind("\n") + 1]
    parsed = [json.loads(line) for line in whole.split("\n") if line]
    assert all(isinstance(line, dict) for line in parsed), whole
    return parsed


def about(server, *wanted):
    """The lines in which each of these is a value of its own, or (a pattern) is in one."""
    def has(line, one):
        if isinstance(one, re.Pattern):
            return any(isinstance(value, str) and one.search(value) for value in values(line))
        return any(value == one and type(value) is type(one) or str(value) == str(one) for value in values(line))

    return [line for line in lines(server) if all(has(line, one) for one in wanted)]


def logged(server, *wanted):
    return eventually(lambda: about(server, *wanted), what=f"{wanted} in the log")


CONNECTED, GONE = (re.compile(word, re.I) for word in (
    r"\b(connected|established|resumed)\b", r"\b(disconnected|closed|absent|ended)\b"))


def test_r33_a_log_line_has_a_time_a_level_and_a_message(serve, connect):
    server = serve({"log.format": "json"})
    connect(server, **server.as_user("ann"))
    eventually(lambda: lines(server))
    for line in lines(server):
        names = set(line)
        assert names & {"timestamp", "time", "ts"} and "level" in names, line
        assert line["level"].lower() in ("error", "warn", "info"), line
        stamp = next(line[name] for name in ("timestamp", "time", "ts") if name in line)
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", stamp), line


def test_r33_a_connection_s_life_is_logged(serve, connect):
    server = serve({"log.format": "json"})
    user = new_user()
    client = connect(server, unique("room"), **server.as_user(user))
    assert logged(server, client.session, user, CONNECTED)
    assert about(server, client.session, GONE) == []
    client.close()
    assert logged(server, client.session, GONE, 1000)
    came, went = (len(about(server, client.session, word)) for word in (CONNECTED, GONE))
    again = connect(server, session=client.session, resume_token=client.token, **server.as_user(user))
    eventually(lambda: len(about(server, client.session, CONNECTED)) > came)
    again.cut()
    eventually(lambda: len(about(server, client.session, GONE)) > went)


@pytest.mark.parametrize("how, code", [("ended", 4002), ("replaced", 4001), ("revoked", 4003), ("binary", 1003),
                                       ("too big", 1009), ("drain", 1001)])
def test_r33_why_a_connection_ended_is_logged(serve, connect, how, code):
    server, user = serve({"log.format": "json"}), new_user()
    client = connect(server, headers=bearer(server.token(user, jti="the-token")))
    if how == "ended":
        server.http("DELETE", f"/v1/sessions/{client.session}")
    elif how == "replaced":
        connect(server, session=client.session, resume_token=client.token, **server.as_user(user))
    elif how == "revoked":
        server.http("DELETE", "/v1/tokens/the-token")
    elif how == "binary":
        client.send(b"bytes")
    elif how == "too big":
        client.send("x" * 70_000)
    else:
        server.signal(signal.SIGTERM)
    client.closed(code, timeout=10)
    logged(server, client.session, code)


def test_r33_who_is_refused_is_logged(serve, connect):
    server = serve({
        "log.format": "json", "auth.cookie": "c", "session.per_user_max": 1, "limits.address_handshakes_per_s": 1,
        "limits.address_handshakes_burst": 6, "limits.address_unestablished_max": 1000,
    })
    not_let_in(connect.raw(server))
    logged(server, "not_authenticated")
    not_let_in(connect.raw(server, "b", **server.as_user("ann", moorline={"join": ["a"]})),
               reason="not allowed here", error="forbidden")
    logged(server, "forbidden")
    server.upgrade("/ws", {"Cookie": f"c={server.token('ann')}", "Origin": "https://evil.example"}).problem(403)
    logged(server, "forbidden_origin")
    connect(server, **server.as_user("bob"))
    connect.raw(server, **server.as_user("bob")).closed(1008, "connection limit reached")
    logged(server, re.compile("connection limit"))
    eventually(lambda: server.upgrade("/ws").status == 429, timeout=10)
    logged(server, "rate_limited")


def test_r33_text_is_for_people(serve, connect):
    server = serve({"log.format": "text"})
    client = connect(server, **server.as_user("ann"))
    eventually(lambda: client.session in server.err())
    assert "\x1b" not in server.err(), "no colours where there is no terminal"
    with pytest.raises(ValueError):
        lines(server)


def test_r33_the_level_is_kept(serve, connect):
    server = serve({"log.format": "json", "log.level": "error"})
    connect(server, **server.as_user("ann")).close()
    quiet = serve({"log.format": "json", "log.level": "trace"}, env={"RUST_LOG": "error"})
    connect(quiet, **quiet.as_user("ann")).close()
    loud = serve({"log.format": "json", "log.level": "error"}, env={"RUST_LOG": "debug"})
    client = connect(loud, **loud.as_user("ann"))
    logged(loud, client.session)
    for one in (server, quiet):
        assert lines(one) == []


# What one could write into names and headers, to look like a line of the log.
def forged(mark):
    return '{"timestamp":"2026-11-21T12:00:00Z","level":"ERROR","fields":{"message":"%s"}}' % mark


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\u2028", "\u0085", "\x1b[2K", "\x0b"],
                         ids=["LF", "CRLF", "CR", "U+2028", "U+0085", "escape", "VT"])
def test_r33_nobody_forges_a_line(serve, connect, raw, format, newline):
    server, mark = serve({**DEBUG, "log.format": format}), unique("forged")
    text = f"x{newline}{forged(mark)}"
    # As a reason of a close, which may hold any text.
    peer = raw(server, headers=bearer(server.token("ann"))).established()
    peer.send(b"\x03\xe8" + f"x{newline}{mark}".encode(), CLOSE)
    peer.close()
    # As names of anything.
    connect.raw(server, hello={"token": server.token(f"u{newline}{mark}")}).close()
    connect.raw(server, hello={"token": server.token("ann", kid=f"k{newline}{mark}")}).close()
    connect.raw(server, hello={"token": f"{newline}{mark}"}).close()
    client = connect(server, session=f"s{mark}", **server.as_user("bob"))
    name = f"x{newline}{mark}"
    for frame in ({"type": name}, {"type": "join", "room": name}, {"type": "ping", name: 1},
                  {"type": "publish", "to": {"room": name}, "message": {"type": text}, "id": name}):
        client.ask(frame)
    client.send(text)
    while client.next()["type"] != "error":
        pass
    # As parts of a request. What no header may hold is refused, or kept on one line.
    for head in (f"GET /%0A{mark}%0D%0A HTTP/1.1\r\nHost: x", f"GET /v1/rooms/a%0A{mark} HTTP/1.1\r\nHost: x",
                 f"GET /livez?a=%0A{mark} HTTP/1.1\r\nHost: x",
                 f"GET /livez HTTP/1.1\r\nHost: x\r\nUser-Agent: a{newline}{mark}",
                 f"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a{newline}{mark}",
                 f"GET /livez HTTP/1.1\r\nHost: x\r\ntraceparent: 00{newline}{mark}",
                 f"GET /ws HTTP/1.1\r\nHost: x\r\nOrigin: a{newline}{mark}",
                 f"GET /livez HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: a{newline}{mark}"):
        with tcp(server) as peer:
            peer.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n")
            assert peer.recv(4096).startswith(b"HTTP/1.1 ")
    server.signal(signal.SIGTERM)
    assert server.process.wait(timeout=15) == 0
    written = server.err()
    if format == "json":
        assert json.loads(forged(mark)) not in lines(server) and lines(server)
    for line in re.split(r"\n" if format == "json" else r"[\n\r\u2028\u2029\u0085\x0b\x0c]", written):
        assert not line.lstrip().startswith((mark, forged(mark))), line
    assert "\x1b" not in written


def test_r33_no_message_is_in_the_log(serve, connect):
    server, room = serve(DEBUG), unique("room")
    client = connect(server, room, **server.as_user("ann"))
    secret = unique("payload")
    client.publish({"room": room}, {"type": "note", "text": secret})
    client.expect("note")
    server.publish({"room": room}, {"type": "note", "text": secret})
    client.expect("note")
    client.fails({"type": "publish", "to": {"room": room}, "message": {"text": secret}}, "message_invalid")
    client.fails({"type": "own", "text": secret}, "no_handler")
    client.send('{"type": "broken", "text": "%s' % secret)
    client.expect("error")
    server.http("POST", "/v1/publish", b'{"text": "%s' % secret.encode()).problem(400)
    server.http("PATCH", f"/v1/sessions/{client.session}", {"metadata": {"a": secret}})
    client.close()
    logged(server, client.session, GONE)
    assert secret not in server.log()


# --- requests ---

def test_r33_a_request_keeps_its_id(serve):
    server = serve(DEBUG)
    given = unique("req") + "!~#"
    answer = server.http("GET", "/v1/stats", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == given
    logged(server, given)


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "\xe4\xf6", "a\tb", "a,\x7f"], ids=repr)
def test_r33_a_request_without_a_good_id_gets_one(serving, given):
    headers = {} if given is None else {"X-Request-Id": given}
    try:
        first, second = (serving.http("GET", "/livez", headers=headers) for _ in range(2))
    except ValueError:
        pytest.fail("this client cannot send it")
    ids = [answer.headers.get("x-request-id") for answer in (first, second)]
    if given == "a,\x7f" and first.status == 400:
        return  # no header may hold this
    assert ids[0] != ids[1] and all(re.fullmatch(r"[!-~]{1,128}", id) for id in ids), ids
    assert given not in ids


def test_r33_every_answer_has_an_id(serving):
    for answer in (
        serving.http("GET", "/livez"), serving.http("GET", "/readyz"), serving.http("GET", "/metrics"),
        serving.http("GET", "/openapi.json"), serving.http("GET", "/nowhere"), serving.http("PUT", "/livez"),
        serving.http("GET", "/v1/stats", key=NO_KEY), serving.http("POST", "/v1/publish", b"{"),
        serving.http("DELETE", "/v1/sessions/none"), serving.http("GET", "/ws"), serving.upgrade("/ws"),
        serving.upgrade("/ws?nonsense=1"), serving.upgrade("/ws", {"Sec-WebSocket-Protocol": "chat"}),
        serving.http("GET", "/ws/stats"),
    ):
        assert answer.headers.get("x-request-id"), answer
    id = "x" * 128
    assert serving.upgrade("/ws", {"X-Request-Id": id}).headers["x-request-id"] == id


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_r33_a_trace_is_in_the_line_of_its_request(serve):
    server = serve(DEBUG)
    given = unique("req")
    server.http("GET", "/v1/stats", headers={
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-Id": given})
    logged(server, given, TRACE)


@pytest.mark.parametrize("parent", [
    "", "nonsense", f"00-{TRACE}", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
    f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE[:-1]}g-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01", "x" * 5000,
], ids=lambda value: value[:40])
def test_bad_traceparent(serve, parent):
    server = serve(DEBUG)
    given = unique("req")
    assert server.http("GET", "/v1/stats", headers={"traceparent": parent, "X-Request-Id": given}).status == 200
    line = logged(server, given)[0]
    assert TRACE not in [str(value).lower() for value in values(line)], line


# --- metrics ---

class Metrics:
    def __init__(self, server):
        answer = server.http("GET", "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].replace(" ", "").startswith("text/plain;version=0.0.4"), answer.headers
        self.families = list(text_string_to_metric_families(answer.text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def sum(self, name, **labels):
        found = [sample.value for sample in self.samples
                 if sample.name == name and labels.items() <= sample.labels.items()]
        return sum(found)

    def names(self):
        return {sample.name for sample in self.samples}


EXPECTED = {
    "moorline_connections", "moorline_handshakes_total", "moorline_closes_total", "moorline_publishes_total",
    "moorline_deliveries_total", "moorline_http_requests_total",
}


def exercised(server, connect):
    room = unique("room")
    clients = [connect(server, room, **server.as_user(new_user())) for _ in range(3)]
    clients[0].publish({"room": room}, {"type": "x"})
    server.publish({"room": room}, {"type": "y"})
    for client in clients:
        client.expect("x")
        client.expect("y")
    return clients


def test_r33_the_metrics_are_of_their_format(serve, connect):
    server = serve()
    clients = exercised(server, connect)
    clients[0].close()
    eventually(lambda: server.get("/v1/stats")["connections"] == 2)
    metrics = Metrics(server)
    assert EXPECTED <= metrics.names(), EXPECTED - metrics.names()
    for family in metrics.families:
        assert family.documentation and family.type != "unknown", family
        assert re.fullmatch(r"[a-z_][a-z0-9_]*", family.name), family
    seen = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in metrics.samples]
    assert len(seen) == len(set(seen)), "each series once"
    for sample in metrics.samples:
        if sample.name.endswith("_total"):
            assert sample.value >= 0 and sample.value == int(sample.value), sample


def test_r33_the_metrics_move_with_what_happens(serve, connect):
    server = serve()
    before = Metrics(server)
    clients = exercised(server, connect)
    server.http("GET", "/v1/rooms/none")

    def moved(name, now):
        return now.sum(name) - before.sum(name)

    def settled():
        now = Metrics(server)
        return now if moved("moorline_deliveries_total", now) == 6 else None

    now = eventually(settled, what="6 deliveries: 2 messages to 3 members")
    assert now.sum("moorline_connections") == 3
    assert moved("moorline_handshakes_total", now) == 3
    assert moved("moorline_publishes_total", now) == 2
    assert moved("moorline_closes_total", now) == 0
    assert moved("moorline_http_requests_total", now) >= 2
    for client in clients[:2]:
        client.close()
    not_let_in(connect.raw(server, **hello("x.y.z")))
    eventually(lambda: Metrics(server).sum("moorline_connections") == 1)
    now = eventually(lambda: (seen := Metrics(server)) and moved("moorline_closes_total", seen) >= 3 and seen)
    assert moved("moorline_closes_total", now) == 3 and moved("moorline_handshakes_total", now) == 4
    assert moved("moorline_publishes_total", now) == 2 and moved("moorline_deliveries_total", now) == 6


@pytest.mark.alone
def test_r33_refusals_frames_and_resets_are_counted(serve, connect):
    server = serve({
        "limits.connection_messages_per_s": 1, "limits.connection_messages_burst": 3, "retention.room_records": 1,
    })
    user, room = server.as_user("ann", moorline={"join": ["*"]}), unique("room")
    client = connect(server, room, **user)
    for _ in range(5):
        client.send({"type": "ping"})
    client.drop()
    for number in range(3):
        server.publish({"room": room}, {"type": "m", "n": number})
    back = connect(server, room, session=client.session, resume_token=client.token, last_message_id=0, **user)
    back.expect("reset", room=room)
    not_let_in(connect.raw(server, **hello("x.y.z")))

    def counted():
        now = Metrics(server)
        return now.sum("moorline_refused_total", limit="connection_messages") == 2 \
            and now.sum("moorline_frames_total", type="ping", outcome="ok") == 3 \
            and now.sum("moorline_frames_total", type="ping", outcome="rate_limited") == 2 \
            and now.sum("moorline_resets_total", reason="retention") == 1 \
            and now.sum("moorline_tokens_total", outcome="refused") == 1 \
            and now.sum("moorline_tokens_total", outcome="accepted") == 2

    eventually(counted)


def test_r33_closes_are_counted_by_their_code(serve, connect):
    server = serve()
    client = connect(server, **server.as_user("ann"))
    server.http("DELETE", f"/v1/sessions/{client.session}")
    client.closed(4002)
    not_let_in(connect.raw(server))
    eventually(lambda: Metrics(server).sum("moorline_closes_total", code="4002") == 1)
    eventually(lambda: Metrics(server).sum("moorline_closes_total", code="1008") == 1)


def test_r33_labels_come_from_short_lists(serve, connect):
    server = serve()
    mark = unique("mark")
    client = connect(server, f"room-{mark}", session=f"session-{mark}", **server.as_user(f"user-{mark}"))
    client.publish({"room": f"room-{mark}"}, {"type": f"type-{mark}"}, id=f"id-{mark}")
    client.expect(f"type-{mark}")
    client.fails({"type": f"own-{mark}"}, "no_handler")
    for path in (f"/v1/rooms/{mark}", f"/v1/users/{mark}", f"/{mark}", f"/v1/sessions/{mark}?x={mark}", f"/ws/{mark}"):
        server.http("GET", path, headers={**bearer(server.key), "User-Agent": mark, "X-Request-Id": mark})
    server.http(mark.upper().replace("-", ""), "/livez")
    server.upgrade("/ws", {"Origin": f"https://{mark}.example"})
    client.close()
    eventually(lambda: server.get("/v1/stats")["connections"] == 0)
    text = server.http("GET", "/metrics").text
    assert mark not in text and mark.upper().replace("-", "") not in text
    for sample in Metrics(server).samples:
        for name, value in sample.labels.items():
            assert len(value) <= 64, sample
            assert name not in ("room", "user", "session", "address", "request_id", "user_agent"), sample


def test_r33_reading_the_metrics_is_cheap_with_many_rooms(serve, connect):
    server = serve({"session.rooms_max": 10000, "limits.connection_messages_per_s": 0, "limits.user_messages_per_s": 0,
                    "limits.connection_bytes_per_s": 0})
    client = connect(server, **server.as_user("ann"))
    for _ in range(20):  # nobody may ask for ever and never read: what waits for a connection is bounded
        for _ in range(100):
            client.send({"type": "join", "room": unique("room")})
        client.ok({"type": "ping"}, timeout=20)
    began = time.monotonic()
    text = server.http("GET", "/metrics").text
    assert time.monotonic() - began < 1 and len(text) < 200_000


# --- ready ---

def test_r33_ready_and_alive_need_no_key(serving):
    for path in ("/livez", "/readyz"):
        answer = serving.http("GET", path, key=NO_KEY)
        assert answer.status == 200 and answer.json == {"status": "ok"}


def test_r33_while_it_drains_it_is_alive_and_not_ready(serve, connect, raw):
    server = serve({"drain.timeout_ms": 3000})
    raw(server, headers=bearer(server.token("ann"))).established()  # does not answer the close
    server.signal(signal.SIGTERM)

    def draining():
        answer = server.http("GET", "/readyz", key=NO_KEY)
        return answer.status == 503 and answer

    assert eventually(draining).json == {"status": "draining"}
    assert server.http("GET", "/livez", key=NO_KEY).status == 200
    assert server.process.wait(timeout=10) == 0
