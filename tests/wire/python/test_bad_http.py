"""HTTP requests that are wrong: a problem with its code, and everyone else left alone."""

import json
import select
import socket

import pytest

from raw import tcp
from waiting import unique

pytestmark = pytest.mark.usefixtures("bystander")


def test_bad_http_body(server):
    room = unique("room")
    good = {"to": {"room": room}, "message": {"type": "x"}}
    bodies = [
        b"", b"{", b"[]", b"null", b"nonsense", b'"text"', b"\xff\xfe", b"{}",
        json.dumps({**good, "excpet": {}}).encode(), json.dumps({"to": good["to"]}).encode(),
        json.dumps({"message": good["message"]}).encode(), json.dumps(good).encode() + b"x",
        json.dumps({**good, "ephemeral": 1}).encode(), json.dumps({**good, "durability": "stone"}).encode(),
    ]
    for body in bodies:
        server.http("POST", "/v1/publish", body).problem(400, "bad_frame")
    for body in (b"{}", b'{"publishes":{}}', b'{"publishes":[],"more":1}', b"[]"):
        server.http("POST", "/v1/batch", body).problem(400, "bad_frame")
    server.http("GET", f"/v1/rooms/{room}").problem(404)


@pytest.mark.parametrize("depth", [200, 100_000])
def test_bad_http_json_deeper_than_allowed(server, depth):
    room = unique("room")
    deep = "[" * depth + "]" * depth
    objects = '{"a":' * depth + "1" + "}" * depth
    bodies = [deep, objects, "[" * depth, '{"to":{"room":"%s"},"message":{"type":"x","d":%s}}' % (room, deep),
              '{"to":{"room":"%s"},"message":{"type":"x","d":%s}}' % (room, objects)]
    for body in bodies:
        server.http("POST", "/v1/publish", body.encode()).problem(400, "bad_frame")
    server.http("POST", "/v1/batch", ('{"publishes":%s}' % deep).encode()).problem(400, "bad_frame")
    server.http("GET", f"/v1/rooms/{room}").problem(404)


def test_bad_http_body_too_big(server):
    room = unique("room")
    body = {"to": {"room": room}, "message": {"type": "x", "fill": "x" * 1048576}}
    try:
        answer = server.http("POST", "/v1/publish", body)
    except (BrokenPipeError, ConnectionResetError):
        answer = None  # hung up on while still sending: the next form shows the answer
    if answer:
        answer.problem(413, "message_too_big")
    # Announced, and not even sent.
    peer = tcp(server)
    peer.sendall(b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n")
    assert b" 413 " in first_line(peer)
    peer.close()
    server.http("GET", f"/v1/rooms/{room}").problem(404)


def first_line(peer):
    text = b""
    while b"\r\n" not in text:
        piece = peer.recv(4096)
        assert piece, f"closed after {text}"
        text += piece
    return text.partition(b"\r\n")[0]


@pytest.mark.parametrize("size", [20_000, 128 * 1024])
@pytest.mark.parametrize("start_line", [b"GET /livez HTTP/1.1", b"GET /ws HTTP/1.1", b"POST /v1/publish HTTP/1.1"])
@pytest.mark.parametrize("shape", ["one header", "many headers"])
def test_bad_http_head_too_big(server, start_line, shape, size):
    peer = tcp(server)
    if shape == "one header":
        headers = b"X-Big: " + b"x" * size
    else:
        headers = b"\r\n".join(b"X-%d: %s" % (n, b"x" * 990) for n in range(size // 1000 + 1))
    request = start_line + b"\r\nHost: 127.0.0.1\r\n" + headers + b"\r\n\r\n"
    # Sent in pieces until the server speaks, so that its answer is not lost to a reset.
    for at in range(0, len(request), 4096):
        if select.select([peer], [], [], 0.005)[0]:
            break
        peer.sendall(request[at:at + 4096])
    assert b" 431 " in first_line(peer)
    peer.close()


def test_bad_http_head_just_within_the_bound(server):
    assert server.http("GET", "/livez", headers={"X-Big": "x" * 15000}).status == 200


@pytest.mark.parametrize("head", [
    b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 64 + b"\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
], ids=["no request", "version", "TLS", "zeros", "length", "header"])
def test_bad_http_that_is_none(server, head):
    peer = tcp(server)
    peer.sendall(head)
    peer.shutdown(socket.SHUT_WR)
    text = b""
    try:
        while piece := peer.recv(4096):
            text += piece
    except ConnectionError:
        pass
    assert text == b"" or text.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 505")), text
    peer.close()


def test_bad_http_path_and_method(server):
    server.http("GET", "/v1/nothing").problem(404, "not_found")
    assert server.http("POST", "/v1/stats", {}).status in (404, 405)
    assert server.http("GET", "/v1/publish").status in (404, 405)


FOREIGN = [
    "http://evil.example", "https://evil.example:8080", "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://evil.example/localhost", "http://localhost@evil.example", "null", "http://10.0.0.1", "http://0.0.0.0",
    "http://[::2]", "http://mylocalhost", "http://128.0.0.1", "file://",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_bad_origin(server, origin):
    room = unique("room")
    server.upgrade(f"/ws/{room}", {"Origin": origin}).problem(403, "forbidden_origin")
    body = {"to": {"room": room}, "message": {"type": "x"}}
    server.http("POST", "/v1/publish", body, {"Origin": origin}).problem(403, "forbidden_origin")
    server.http("POST", "/v1/publish", body, {"Origin": origin, "Content-Type": "text/plain"}).problem(403)
    server.http("GET", "/v1/sessions", headers={"Origin": origin}).problem(403, "forbidden_origin")
    server.http("GET", f"/v1/rooms/{room}").problem(404)


def test_bad_origin_is_told_from_a_good_one(server, connect):
    ours = ("http://localhost", "http://localhost:3000", "https://127.0.0.1:8443", "http://127.9.9.9", "http://[::1]:5")
    for origin in ours:
        assert server.upgrade("/ws", {"Origin": origin}).status == 101, origin
        body = {"to": {"room": "r"}, "message": {"type": "x"}}
        assert server.http("POST", "/v1/publish", body, {"Origin": origin}).status == 200, origin
    assert connect(server, origin=f"http://127.0.0.1:{server.port}").is_open()


@pytest.mark.parametrize("host", ["example.com", "example.com:8080", "127.0.0.1.example.com", "localhost.example.com"])
def test_bad_host(server, host):
    """A page whose name was made to lead here sends no foreign Origin: its Host gives it away."""
    server.upgrade("/ws", {"Host": host}).problem(403, "forbidden_origin")
    server.http("GET", "/v1/sessions", headers={"Host": host}).problem(403, "forbidden_origin")
    for ours in ("localhost", f"127.0.0.1:{server.port}", "[::1]:1"):
        assert server.http("GET", "/v1/sessions", headers={"Host": ours}).status == 200


@pytest.mark.parametrize("offer", ["moorline.v2.json", "chat", "moorline.v1.json.x", "MOORLINE.V1.JSON", "a, b"])
def test_bad_subprotocol(server, offer):
    server.upgrade("/ws", {"Sec-WebSocket-Protocol": offer}).problem(400)


@pytest.mark.parametrize("changed", [
    {"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Version": ""}, {"Sec-WebSocket-Key": "short"},
    {"Sec-WebSocket-Key": ""}, {"Upgrade": "h2c"}, {"Connection": "close"},
], ids=str)
def test_bad_handshake(server, changed):
    answer = server.upgrade("/ws", changed)
    assert answer.status in (400, 404, 426), answer


def test_bad_request_without_an_upgrade(server):
    assert server.http("GET", "/ws").status in (400, 404, 426)
    assert server.http("POST", "/ws", {}).status in (400, 404, 405, 426)


PATCHES = [{}, {"metadata": None}, {"metadata": {}, "user": "x"}, [], {"metadata": "x"}]


@pytest.mark.parametrize("body", PATCHES, ids=str)
def test_bad_http_patch(server, connect, body):
    client = connect(server, user=unique("ann"))
    server.http("PATCH", f"/v1/sessions/{client.session}", body).problem(400, ("bad_frame", "metadata_invalid"))
    assert server.session(client.session)["user"] == client.user
