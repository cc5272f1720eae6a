"""A server of a test's own making, for answers that the real one gives only elsewhere: with keys, tokens, or not at all."""

import base64
import hashlib
import json
import socketserver
import struct
import threading


class StandIn:
    """Answers each request by `answer(method, path, headers, body)`: (status, headers, body), or a function that talks
    over the WebSocket it is given a `Talk` on. `seen` holds the requests."""

    def __init__(self, answer):
        self.seen, stand_in = [], self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(self):
                while (line := self.rfile.readline().decode().strip()):
                    method, path, _ = line.split(" ")
                    headers = {}
                    while (header := self.rfile.readline().decode().strip()):
                        name, _, value = header.partition(":")
                        headers[name.lower()] = value.strip()
                    body = self.rfile.read(int(headers.get("content-length", 0))).decode()
                    stand_in.seen.append((method, path, headers, body))
                    given = answer(method, path, headers, body)
                    if callable(given):
                        return given(Talk(self, headers["sec-websocket-key"]))
                    status, more, text = given
                    head = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(text.encode())}"]
                    head += [f"{name}: {value}" for name, value in more.items()]
                    self.wfile.write(("\r\n".join(head) + "\r\n\r\n" + text).encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def problem(status, code, detail, **more):
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, **more}
    return status, {"Content-Type": "application/problem+json", "X-Request-Id": "req-7"}, json.dumps(body)


class Talk:
    """The server's end of a WebSocket; the handshake is answered at once."""

    def __init__(self, handler, key):
        self._in, self._out = handler.rfile, handler.wfile
        digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self._out.write((
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Protocol: moorline.v1.json\r\n"
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n\r\n"
        ).encode())

    def send(self, **frame):
        self._frame(1, json.dumps(frame, separators=(",", ":")).encode())

    def close(self, code, reason=""):
        self._frame(8, struct.pack(">H", code) + reason.encode())

    def _frame(self, opcode, payload):
        head = bytes([0x80 | opcode])
        head += bytes([len(payload)]) if len(payload) < 126 else bytes([126]) + struct.pack(">H", len(payload))
        self._out.write(head + payload)

    def next(self):
        """The client's next text frame; none where it closes."""
        first, second = self._in.read(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", self._in.read(2))[0]
        mask, payload = self._in.read(4), self._in.read(size)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        return json.loads(payload) if first & 0xF == 1 else None

    def establish(self, room):
        """Greets a client, and lets it join the room."""
        hello = self.next()
        assert hello["type"] == "hello", hello
        self.send(type="connection_established", session="s", resume_token="t", resumed=False, rooms={},
                  heartbeat_ms=30000)
        join = self.next()
        assert (join["type"], join["room"]) == ("join", room), join
        self.send(type="reply", ref=join["ref"], ok=True, room=room, epoch="00000000000000aa", message_id=0)
        self.send(type="joined", room=room, epoch="00000000000000aa", message_id=0)
