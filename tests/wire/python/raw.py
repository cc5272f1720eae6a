"""A WebSocket peer made of bytes, to do what a proper client cannot: break rules, stop reading, never answer."""

import base64
import json
import os
import socket
import struct
import time

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def tcp(server, rcvbuf=None, source=None):
    peer = socket.socket()
    if source:
        peer.bind((source, 0))
    if rcvbuf:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    peer.settimeout(5)
    peer.connect(("127.0.0.1", server.port))
    return peer


def ended_within(peer, seconds):
    """Whether the other side ends this TCP connection in time; what it sends before is thrown away."""
    deadline = time.monotonic() + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            peer.settimeout(left)
            if not peer.recv(65536):
                return True
    except ConnectionError:
        return True
    except TimeoutError:
        pass
    return False


class Raw:
    def __init__(self, server, path="/ws", headers=None, rcvbuf=None, early=b""):
        """`early`: what follows the request at once."""
        self.server, self.buffer = server, b""
        self.sock = tcp(server, rcvbuf)
        if server.tls:
            self.sock = server.tls.wrap_socket(self.sock, server_hostname="127.0.0.1")
        lines = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(),
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + early)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.sock.recv(4096)
            assert piece, f"closed during the handshake: {head}"
            head += piece
        head, _, self.buffer = head.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        self.answered = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])

    def established(self):
        self.first = self.json()
        assert self.first["type"] == "connection_established", self.first
        self.session, self.token = self.first["session"], self.first["resume_token"]
        return self

    def send(self, payload, opcode=TEXT, fin=True, rsv=0, mask=True):
        payload = payload.encode() if isinstance(payload, str) else payload
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        bit, size = 0x80 if mask else 0, len(payload)
        if size < 126:
            head += bytes([bit | size])
        elif size < 65536:
            head += bytes([bit | 126]) + struct.pack(">H", size)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", size)
        if mask:
            key = os.urandom(4)
            stream = (key * (size // 4 + 1))[:size]
            payload = key + (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
        self.sock.sendall(head + payload)

    def text(self, frame):
        self.send(frame if isinstance(frame, str) else json.dumps(frame))

    def _take(self, size, deadline):
        while len(self.buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError("no frame in time")
            self.sock.settimeout(left)
            try:
                piece = self.sock.recv(1 << 20)
            except TimeoutError:
                raise AssertionError("no frame in time") from None
            if not piece:
                raise EOFError
            self.buffer += piece
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def frame(self, timeout=5):
        """(opcode, payload) of the next frame, which must not be compressed."""
        rsv, opcode, payload = self.coded(timeout)
        assert rsv == 0, "a reserved bit is set"
        return opcode, payload

    def coded(self, timeout=5):
        """(reserved bits, opcode, payload) of the next frame."""
        deadline = time.monotonic() + timeout
        first, second = self._take(2, deadline)
        assert first & 0x80, "the server fragments nothing here"
        assert not second & 0x80, "a server never masks"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2, deadline))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8, deadline))
        return first >> 4 & 7, first & 0x0F, self._take(size, deadline)

    def answer(self):
        """The next frame that is no heartbeat of the server."""
        while True:
            opcode, payload = self.frame()
            if opcode != PING and not (opcode == TEXT and payload == b'{"type":"ping"}'):
                return opcode, payload

    def json(self, timeout=5):
        """The next text frame, parsed; control frames are passed over."""
        deadline = time.monotonic() + timeout
        while True:
            opcode, payload = self.frame(deadline - time.monotonic())
            assert opcode != CLOSE, f"closed: {payload}"
            if opcode == TEXT:
                return json.loads(payload)

    def closed(self, code, reason=None, timeout=5):
        """Reads up to the close frame, which must have this code."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                opcode, payload = self.frame(deadline - time.monotonic())
                if opcode == CLOSE:
                    break
        except (EOFError, ConnectionError) as end:
            raise AssertionError(f"cut without a close frame ({end!r}), wanted {code}") from None
        assert struct.unpack(">H", payload[:2])[0] == code, payload
        assert reason is None or reason in payload[2:].decode(), payload

    def reset(self):
        """Ends the TCP connection by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()
