"""However a handshake is taken in, it is judged alike: `Content-Length: 0` keeps one from the short way, and changes nothing else."""

import json
import re

import pytest

from raw import tcp

FIELDS = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TARGETS = [
    "/ws", "/ws?", "/ws?user=ann", "/ws/lobby", "/ws/lobby?user=ann&last_message_id=3", "/ws?last_message_id=3", "/ws/", "/ws//", "/ws/a/b",
    "/ws/%6c", "/ws/@all", "/ws/" + "x" * 300, "/ws/a+b", "/ws/a;b", "/ws/{room}", "/ws?token=a", "/ws?user=%ff", "/ws?bogus=1",
    "//ws", "/ws/..", "http://evil.example/ws/lobby",
]
HEADS = {
    "as it should be": {}, "a foreign page": {"Origin": "http://evil.example"}, "a page of this machine": {"Origin": "http://localhost:3"},
    "a foreign host": {"Host": "evil.example"}, "no host": {"Host": None}, "no key": {"Sec-WebSocket-Key": None},
    "an old version": {"Sec-WebSocket-Version": "12"}, "another protocol": {"Upgrade": "h2c"}, "no connection": {"Connection": None},
    "a subprotocol": {"Sec-WebSocket-Protocol": "moorline.v1"}, "an unknown subprotocol": {"Sec-WebSocket-Protocol": "x"},
    "an extension": {"Sec-WebSocket-Extensions": "permessage-deflate"}, "a request id": {"X-Request-Id": "abc"},
    "a token": {"Authorization": "Bearer zzz"}, "forwarded": {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Host": "evil"},
    "a large head": {"X-Padding": "y" * 20_000},
}


def answer(server, request):
    """The status, the headers but for what is another in each answer, and of a refusal the problem."""
    with tcp(server) as peer:
        peer.settimeout(10)
        peer.sendall(request.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            piece = peer.recv(65536)
            assert piece, data
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while length and len(body) < int(length[1]):
            body += peer.recv(65536)
    headers = sorted(line for line in headers if not re.match(r"(?i)(date|x-request-id): ", line) or line.endswith(" abc"))
    problem = None
    if length and body.startswith(b"{"):
        problem = {key: value for key, value in json.loads(body).items() if key != "request_id"}
    return status, headers, problem


@pytest.mark.parametrize("target", TARGETS)
def test_a_handshake_is_judged_alike_however_it_comes_in(server, target):
    statuses = set()
    for name, changes in HEADS.items():
        fields = {"Host": f"127.0.0.1:{server.port}", **FIELDS, **changes}
        lines = [f"{field}: {value}" for field, value in fields.items() if value is not None]
        short, long = (
            answer(server, "\r\n".join([f"GET {target} HTTP/1.1", *lines, *more, "", ""])) for more in ([], ["Content-Length: 0"])
        )
        assert short == long, name
        statuses.add(short[0])
    assert len(statuses) > 1, "these heads are told apart"
