"""Peers that mean harm, many at a time: each is told what the spec says, all of them cost little memory and time, and who is
served beside them notices nothing. One peer of each kind, and the whole table of close codes: test_bad_wire.py."""

import os
import select
import socket
import struct
import sys
import time

import pytest

from client import others_left_alone
from raw import CLOSE, PING, TEXT, Raw, ended_within, tcp
from server import Server
from waiting import eventually, unique

MIB = 1024 * 1024
GROWTH_MAX = 8 * MIB
CPU_MAX_S = 1.0
PROMPT_S = 1.0
# Short, so that a test sees them run out.
HEAD_TIMEOUT_S = 1.5
SETTINGS = {
    "http.head_timeout_ms": int(HEAD_TIMEOUT_S * 1000), "connection.stall_timeout_ms": 1000, "session.hello_timeout_ms": 1000,
}
HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LONGEST = b'{"type":"ping"}'.ljust(65536)


def frame(opcode, payload=b"", fin=True):
    """A client's frame, with a mask that changes nothing."""
    first, size = (0x80 if fin else 0) | opcode, len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([first]) + length + b"\0\0\0\0" + payload


def announced(size):
    """What comes before the payload of a text frame of so many bytes: more than 65,535 are written like this."""
    return b"\x81\xff" + struct.pack(">Q", size) + b"\0\0\0\0"


def close(code, reason=b""):
    return frame(CLOSE, struct.pack(">H", code) + reason)


def push(sock, data, timeout=10):
    """Sends data, as far as the server takes it."""
    sock.settimeout(timeout)
    try:
        sock.sendall(data)
    except (ConnectionError, TimeoutError):
        pass


def received(sock):
    """All that comes until the server ends the connection."""
    text, deadline = b"", time.monotonic() + 5
    try:
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            piece = sock.recv(65536)
            if not piece:
                return text
            text += piece
    except ConnectionError:
        return text
    raise AssertionError(f"it is still open, after {text[-200:]}")


class Peers:
    """The hostile ones: sockets without a handshake, and established connections."""

    def __init__(self, server):
        self.server, self.sockets, self.raws = server, [], []

    def tcp(self, count):
        made = [tcp(self.server) for _ in range(count)]
        self.sockets += made
        return made

    def raw(self, count, **options):
        made = [Raw(self.server, **options).established() for _ in range(count)]
        self.raws += made
        return made

    def close(self):
        for each in self.sockets + self.raws:
            each.close()


# --- what they do ---

def connects_without_a_word(peers):
    peers.tcp(300)


def heads_byte_by_byte(peers):
    slow = peers.tcp(200)
    for byte in HEAD[:40]:
        for peer in slow:
            push(peer, bytes([byte]))


def heads_that_never_end_again_and_again(peers):
    until = time.monotonic() + 2 * HEAD_TIMEOUT_S
    while time.monotonic() < until:
        for peer in peers.tcp(10):
            push(peer, HEAD[:50])
        time.sleep(0.1)


def heads_of(line):
    def attack(peers):
        for peer in peers.tcp(30):
            # In pieces until the server speaks, so that its answer is not lost to a reset.
            for piece in [HEAD] + [line * (4096 // len(line))] * 32:
                if select.select([peer], [], [], 0.002)[0]:
                    break
                push(peer, piece)
    return attack


def behind_the_handshake(data):
    def attack(peers):
        for peer in peers.tcp(50):
            push(peer, HEAD + b"\r\n" + data)
    return attack


def handshakes_cut_off(peers):
    for peer in peers.tcp(300):
        push(peer, HEAD + b"\r\n" + frame(TEXT, b'{"type":"ping"}'))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()


def each_sends(data, count=50):
    def attack(peers):
        for peer in peers.raw(count):
            push(peer.sock, data)
    return attack


def longest_messages_announced(peers):
    for peer in peers.raw(50):
        push(peer.sock, announced(len(LONGEST)) + LONGEST[:100])


def empty_fragments(peers):
    (peer,) = peers.raw(1)
    push(peer.sock, frame(TEXT, b'{"type":"ping"}', fin=False))
    for _ in range(200):
        push(peer.sock, frame(0, fin=False) * 1000)
    push(peer.sock, frame(0))


def small_fragments(peers):
    (peer,) = peers.raw(1)
    push(peer.sock, frame(TEXT, b"x" * 64, fin=False) + frame(0, b"x" * 64, fin=False) * (4 * MIB // 64 - 1))


def pings_and_reads_nothing(peers):
    flood = frame(PING, b"x" * 125) * 1000
    for peer in peers.raw(2, rcvbuf=4096):
        for _ in range(20):
            push(peer.sock, flood, timeout=0.2)


def resets_in_the_middle_of_a_frame(peers):
    for peer in peers.raw(100):
        push(peer.sock, announced(65_536) + b"x" * 1000)
        peer.reset()


def frames_byte_by_byte(peers):
    """A byte at a time: each keeps to the rules, and nobody is longer about it than a client on a bad line."""
    slow, whole = peers.raw(50), frame(TEXT, b'{"type":"ping"}')
    for byte in whole:
        for peer in slow:
            push(peer.sock, bytes([byte]))
        time.sleep(0.02)


# --- what becomes of them ---

def all_end(peers):
    for peer in peers.sockets:
        assert ended_within(peer, HEAD_TIMEOUT_S + 5), "it is still open"


def all_refused(status):
    def check(peers):
        for peer in peers.sockets:
            assert received(peer).startswith(b"HTTP/1.1 %d " % status)
    return check


def all_upgraded_and_closed(code):
    def check(peers):
        for peer in peers.sockets:
            text = received(peer)
            assert text.startswith(b"HTTP/1.1 101 ") and struct.pack(">H", code) in text.partition(b"\r\n\r\n")[2], text
    return check


def all_closed(code):
    def check(peers):
        for peer in peers.raws:
            peer.closed(code, timeout=10)
    return check


def all_pong(peers):
    for peer in peers.raws:
        assert peer.json() == {"type": "pong"}


def all_pong_once_sent(peers):
    for peer in peers.raws:
        push(peer.sock, LONGEST[100:])
    all_pong(peers)


def all_gone(peers):
    # The one that is left is the bystander.
    eventually(lambda: peers.server.get("/v1/stats")["connections"] == 1, 10, "them to be gone")


ATTACKS = {
    "connections without a word": (connects_without_a_word, all_end),
    "heads byte by byte": (heads_byte_by_byte, all_end),
    "heads without an end, again and again": (heads_that_never_end_again_and_again, all_end),
    "heads of 128 KiB": (heads_of(b"X-Big: " + b"x" * 2000 + b"\r\n"), all_refused(431)),
    "heads of 128 KiB in short lines": (heads_of(b"a:b\r\n"), all_refused(431)),
    "garbage behind the handshake": (behind_the_handshake(b"\xff" * 10_000), all_upgraded_and_closed(1002)),
    "handshakes behind the handshake": (behind_the_handshake((HEAD + b"\r\n") * 50), all_upgraded_and_closed(1002)),
    "handshakes cut off": (handshakes_cut_off, all_gone),
    "a length of 2^62": (each_sends(announced(1 << 62)), all_closed(1009)),
    "a length of 2^63": (each_sends(announced(1 << 63)), all_closed(1002)),
    "the longest messages, announced and not sent": (longest_messages_announced, all_pong_once_sent),
    "frames without a mask": (each_sends(b"\x81\x05hello"), all_closed(1002)),
    "reserved bits": (each_sends(b"\xf1\x80\0\0\0\0"), all_closed(1002)),
    "reserved opcodes": (each_sends(frame(3)), all_closed(1002)),
    "200,000 empty fragments": (empty_fragments, all_pong),
    "4 MiB in fragments of 64 bytes": (small_fragments, all_closed(1009)),
    "pings of one that reads nothing": (pings_and_reads_nothing, all_closed(1013)),
    "a close with a bad code": (each_sends(close(1005)), all_closed(1002)),
    "a close of one byte": (each_sends(frame(CLOSE, b"\x03")), all_closed(1002)),
    "a close whose reason is no text": (each_sends(close(1000, b"\xff\xfe")), all_closed(1007)),
    "bytes behind the close": (each_sends(close(1000) + b"\xff" * 100_000), all_closed(1000)),
    "a reset in the middle of a frame": (resets_in_the_middle_of_a_frame, all_gone),
    "frames byte by byte": (frames_byte_by_byte, all_pong),
}


# --- what it costs ---

class Cost:
    """What the process has used since: memory at its peak, and processor time. Read where the system tells it, which is Linux."""

    def __init__(self, pid):
        self.folder = f"/proc/{pid}"
        self.is_told = sys.platform == "linux"
        if self.is_told:
            with open(f"{self.folder}/clear_refs", "w") as peak:
                peak.write("5")  # the peak begins anew
            self.bytes, self.seconds = self._bytes("VmRSS"), self._seconds()

    def check(self):
        if self.is_told:
            grown, spent = self._bytes("VmHWM") - self.bytes, self._seconds() - self.seconds
            assert grown < GROWTH_MAX, f"the server grew by {grown / MIB:.1f} MiB"
            assert spent < CPU_MAX_S, f"the server worked for {spent:.2f} s"

    def _bytes(self, name):
        with open(f"{self.folder}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{name}:"))

    def _seconds(self):
        with open(f"{self.folder}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def target():
    """A server of these tests' own: what others use would be measured too. It has served before it is measured."""
    server = Server(SETTINGS)
    warm = Peers(server)
    warm.raw(100)
    warm.close()
    eventually(lambda: server.get("/v1/stats")["connections"] == 0)
    yield server
    server.stop()


@pytest.fixture
def peers_of():
    made = []

    def make(server):
        made.append(Peers(server))
        return made[-1]

    yield make
    for peers in made:
        peers.close()


@pytest.fixture
def peers(target, peers_of):
    peers = peers_of(target)
    yield peers
    peers.close()
    eventually(lambda: target.get("/v1/stats")["connections"] <= 1, 10, "them to be gone")


def is_served_promptly(server, connect):
    """Somebody who comes now is served, over both roads."""
    began, room = time.monotonic(), unique("room")
    client = connect(server, room)
    client.messages(server.to_room(room, 1))
    client.drop()
    took = time.monotonic() - began
    assert took < PROMPT_S, f"another client waited {took:.2f} s"


@pytest.mark.parametrize("attack, outcome", ATTACKS.values(), ids=ATTACKS)
def test_hostile(target, connect, peers, attack, outcome):
    with others_left_alone(target, connect):
        cost = Cost(target.process.pid)
        attack(peers)
        is_served_promptly(target, connect)
        outcome(peers)
        cost.check()


def test_hostile_bytes_that_never_become_a_frame(start, connect, peers_of):
    """A sign of life is a frame: bytes that trickle in keep nobody alive."""
    server = start({"heartbeat.interval_ms": 300, "heartbeat.idle_timeout_ms": 1000})
    peers = peers_of(server)
    for peer in peers.raw(20):
        push(peer.sock, announced(65_536))
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for peer in peers.raws:
            push(peer.sock, b"x")
        time.sleep(0.1)
    is_served_promptly(server, connect)
    all_closed(1001)(peers)
