"""Peers that break the rules of the wire: the right close code, and everyone else left alone."""

import socket
import struct
import time

import pytest

from client import SUBPROTOCOL
from raw import BINARY, CLOSE, PING, PONG, TEXT, ended_within
from waiting import unique

pytestmark = pytest.mark.usefixtures("bystander")
PING_FRAME = '{"type":"ping"}'


def unmasked(peer):
    peer.send(PING_FRAME, mask=False)


def reserved_bit(bit):
    return lambda peer: peer.send(PING_FRAME, rsv=bit)


def opcode(number):
    return lambda peer: peer.send(b"", opcode=number)


def fragmented_control(peer):
    peer.send(b"", opcode=PING, fin=False)


def big_control(peer):
    peer.send(b"x" * 126, opcode=PING)


def continuation_of_nothing(peer):
    peer.send("x", opcode=0)


def message_within_a_message(peer):
    peer.send('{"type":', fin=False)
    peer.send(PING_FRAME)


def close_of_one_byte(peer):
    peer.send(b"\x03", opcode=CLOSE)


def close_with_code(code):
    return lambda peer: peer.send(struct.pack(">H", code), opcode=CLOSE)


def length_with_its_top_bit(peer):
    peer.sock.sendall(b"\x81\xff" + struct.pack(">Q", 1 << 63 | 5) + b"\0\0\0\0hello")


def invalid_utf8(payload):
    return lambda peer: peer.send(payload)


def utf8_broken_across_fragments(peer):
    peer.send(b'{"type":"\xe2\x98', fin=False)
    peer.send(b'"}', opcode=0)


def close_reason_not_utf8(peer):
    peer.send(b"\x03\xe8\xff\xfe", opcode=CLOSE)


def binary(peer):
    peer.send(b"\x00\x01", opcode=BINARY)


def empty_binary(peer):
    peer.send(b"", opcode=BINARY)


def too_big(peer):
    peer.send('{"type":"x","fill":"%s"}' % ("x" * 65536))


def too_big_in_fragments(peer):
    peer.send("x" * 40000, fin=False)
    peer.send("x" * 40000, opcode=0, fin=False)


def announced_too_big(peer):
    peer.sock.sendall(b"\x81\xff" + struct.pack(">Q", 1 << 62) + b"\0\0\0\0")


BROKEN = [
    (1002, unmasked), (1002, reserved_bit(4)), (1002, reserved_bit(2)), (1002, reserved_bit(1)),
    (1002, opcode(3)), (1002, opcode(7)), (1002, opcode(11)), (1002, opcode(15)),
    (1002, fragmented_control), (1002, big_control), (1002, continuation_of_nothing), (1002, message_within_a_message),
    (1002, close_of_one_byte), (1002, close_with_code(0)), (1002, close_with_code(999)), (1002, close_with_code(1005)),
    (1002, close_with_code(1006)), (1002, close_with_code(2999)), (1002, close_with_code(5000)),
    (1002, length_with_its_top_bit),
    (1007, invalid_utf8(b'{"type":"\xff"}')), (1007, invalid_utf8(b"\xc0\xaf")), (1007, invalid_utf8(b"\xed\xa0\x80")),
    (1007, invalid_utf8(b"\xf4\x90\x80\x80")), (1007, utf8_broken_across_fragments), (1007, close_reason_not_utf8),
    (1003, binary), (1003, empty_binary), (1009, too_big), (1009, too_big_in_fragments), (1009, announced_too_big),
]


@pytest.mark.parametrize("code, what", BROKEN, ids=lambda each: getattr(each, "__qualname__", each))
def test_bad_wire(server, connect, raw, code, what):
    room = unique("room")
    peer = raw(server, f"/ws/{room}").established()
    what(peer)
    peer.closed(code)
    # Its session is absent, no worse.
    server.is_away(peer.session)
    ids = server.to_room(room, 1)
    connect(server, session=peer.session, resume_token=peer.token).messages(ids)


def test_bad_wire_is_told_from_what_is_allowed(server, raw):
    """The same table from its other side: unusual, and right."""
    peer = raw(server).established()
    peer.send("", fin=False)
    peer.send(b"x" * 125, opcode=PING)
    for byte in PING_FRAME:
        peer.send(byte, opcode=0, fin=False)
    peer.send(b"never asked for", opcode=PONG)
    peer.send("", opcode=0)
    assert peer.answer() == (PONG, b"x" * 125)
    assert peer.json() == {"type": "pong"}
    peer.send('{"type":"\u2603\U0001f600"}')
    assert peer.json()["code"] == "no_handler"
    peer.send(struct.pack(">H", 3000) + "grüß".encode(), opcode=CLOSE)
    assert peer.frame()[0] == CLOSE


def test_bad_message_size_is_counted_exactly(server, connect):
    room = unique("room")
    client = connect(server, room)
    frame = '{"type":"publish","to":{"room":"%s"},"message":{"type":"x","fill":"%s"}}'
    fill = 65536 - len(frame % (room, ""))
    client.send(frame % (room, "x" * fill))
    assert len(client.expect("x")["fill"]) == fill
    client.send(frame % (room, "x" * (fill + 1)))
    client.closed(1009)


def test_bad_frames_one_byte_at_a_time(server, raw):
    """Slow, and right: nothing may depend on how the bytes are cut."""
    peer = raw(server).established()
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    whole, send = [], peer.sock.sendall
    peer.sock = _Recorder(peer.sock, whole)
    peer.send(PING_FRAME)
    peer.sock = peer.sock.sock
    for byte in b"".join(whole):
        send(bytes([byte]))
    assert peer.json() == {"type": "pong"}


class _Recorder:
    def __init__(self, sock, whole):
        self.sock, self.sendall = sock, whole.append


def test_bad_silence_instead_of_hello(start, connect, raw):
    server = start({"session.hello_timeout_ms": 500})
    began = time.monotonic()
    peer = raw(server, headers={"Sec-WebSocket-Protocol": SUBPROTOCOL})
    peer.closed(1008, "hello expected")
    assert 0.4 <= time.monotonic() - began <= 1.5
    stats = server.get("/v1/stats")
    assert (stats["connections"], stats["sessions"]) == (0, 0)
    # One that speaks in time is not closed later.
    spoken = connect(server, hello={})
    waited = raw(server, headers={"Sec-WebSocket-Protocol": SUBPROTOCOL})
    waited.closed(1008)
    assert spoken.is_open()


@pytest.mark.parametrize("first", ['{"type":"ping"}', "ping", "{", '{"type":"join","room":"r"}', '{"type":"message"}'])
def test_bad_first_frame_that_is_no_hello(server, raw, first):
    peer = raw(server, headers={"Sec-WebSocket-Protocol": SUBPROTOCOL})
    peer.text(first)
    peer.closed(1008, "hello expected")


def test_bad_flood_of_pings_by_one_that_reads_nothing(server, connect, raw):
    """It gets no more memory than its bounds, and costs the others nothing."""
    room = unique("room")
    well = connect(server, room)
    peer = raw(server, rcvbuf=4096).established()
    peer.sock.settimeout(0.2)
    sent = 0
    try:
        for _ in range(2000):
            for _ in range(20):
                peer.send(b"x" * 125, opcode=PING)
                peer.text(PING_FRAME)
            sent += 1
    except (TimeoutError, ConnectionError):
        pass  # the server reads no further, or has sent it away
    assert sent > 0
    for _ in range(3):
        began = time.monotonic()
        well.messages(server.to_room(room, 1))
        assert time.monotonic() - began < 1


def test_bad_end_in_the_middle_of_a_frame(server, raw):
    for cut in (b"\x81", b"\x81\xfe", b"\x81\xfe\x01\x00\0\0\0\0half", b"\x01\x80\0\0\0\0"):
        peer = raw(server).established()
        peer.sock.sendall(cut)
        peer.sock.shutdown(socket.SHUT_WR)
        server.is_away(peer.session)
        assert ended_within(peer.sock, 3)


def test_bad_text_after_the_close_is_ignored(server, connect, raw):
    room = unique("room")
    other = connect(server, room)
    peer = raw(server).established()
    peer.send(struct.pack(">H", 1000), opcode=CLOSE)
    try:
        peer.send('{"type":"publish","to":{"room":"%s"},"message":{"type":"late"}}' % room, opcode=TEXT)
    except ConnectionError:
        pass
    peer.closed(1000)
    other.nothing_new(room)
