"""Compression: what is agreed, what is compressed then, and what a client can do with it."""

import json
import os
import random
import re
import resource
import string
import time
import zlib

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect as open_websocket

from authority import Authority
from raw import BINARY, CLOSE, PING, PONG, TEXT, Raw
from server import Server
from serving import bearer, new_user
from streaming import Stream
from waiting import unique

THRESHOLD = 1024
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
NOTHING_KEPT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
ON = {"compression.enabled": True}
# Many connections, and many large messages, from one address.
NO_RATES = {
    "limits.address_handshakes_per_s": 0, "limits.connection_messages_per_s": 0, "limits.connection_bytes_per_s": 0,
}
MIB = 1 << 20


@pytest.fixture(scope="module")
def on():
    server = Server({**ON, "limits.address_handshakes_per_s": 0})
    yield server
    server.stop()


def deflated(data, bits=15):
    """A payload as RFC 7692 has it."""
    data = data.encode() if isinstance(data, str) else data
    packer = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def inflated(data, bits=15):
    return zlib.decompressobj(-bits).decompress(data + b"\0\0\xff\xff")


class Peer(Raw):
    """Offers compression, and reads both kinds of frames."""

    def __init__(self, server, path="/ws", offer=OFFER, bits=15, **more):
        super().__init__(server, path, headers=offer, **more)
        self.bits = bits

    def next(self, type, timeout=5):
        """The next text frame, which must be of this type: (whether it was compressed, its payload as it came, itself)."""
        deadline = time.monotonic() + timeout
        while True:
            rsv, opcode, payload = self.coded(deadline - time.monotonic())
            assert opcode != CLOSE, payload
            if opcode != TEXT:
                assert rsv == 0
                continue
            assert rsv in (0, 4)
            text = inflated(payload, self.bits) if rsv else payload
            frame = json.loads(text)
            if frame["type"] not in ("ping", "position"):
                assert frame["type"] == type, frame
                return rsv == 4, payload, text

    def deflate(self, frame, **more):
        self.send(deflated(json.dumps(frame)), rsv=4, **more)


def noise(size, seed):
    """Text that does not become much shorter than three quarters."""
    return "".join(random.Random(seed).choices(string.ascii_letters + string.digits, k=size))


# --- what is agreed ---

def test_r34_off_by_default(server):
    peer = Peer(server).established()
    assert "sec-websocket-extensions" not in peer.answered
    peer.deflate({"type": "ping"})
    peer.closed(1002)
    # Nobody looks at the header then.
    assert "sec-websocket-extensions" not in Peer(server, offer={"Sec-WebSocket-Extensions": "=;"}).answered


@pytest.mark.parametrize(("offer", "answer"), [
    ("permessage-deflate", NOTHING_KEPT),
    ("permessage-deflate; client_max_window_bits", NOTHING_KEPT),
    ("permessage-deflate; server_no_context_takeover", NOTHING_KEPT),
    ("permessage-deflate; server_max_window_bits=15", f"{NOTHING_KEPT}; server_max_window_bits=15"),
    ("permessage-deflate; server_max_window_bits=14", f"{NOTHING_KEPT}; server_max_window_bits=12"),
    ("permessage-deflate; server_max_window_bits=10", f"{NOTHING_KEPT}; server_max_window_bits=9"),
    ("permessage-deflate; server_max_window_bits=8", f"{NOTHING_KEPT}; server_max_window_bits=8"),
    ("permessage-deflate; client_max_window_bits=10", f"{NOTHING_KEPT}; client_max_window_bits=10"),
    ("x-other, permessage-deflate; a=b, permessage-deflate;server_max_window_bits=\"9\"",
     f"{NOTHING_KEPT}; server_max_window_bits=9"),
    ("permessage-deflate; unknown", None),
    ("permessage-deflate; server_max_window_bits", None),
    ("permessage-deflate; server_max_window_bits=16", None),
    ("permessage-deflate; server_max_window_bits=09", None),
    ("permessage-deflate; client_max_window_bits=7", None),
    ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
    ("x-webkit-deflate-frame", None),
    ("", None),
])
def test_r34_what_is_answered(on, offer, answer):
    peer = Peer(on, offer={"Sec-WebSocket-Extensions": offer} if offer else {}).established()
    assert peer.answered.get("sec-websocket-extensions") == answer
    if answer is None:
        peer.deflate({"type": "ping"})
        peer.closed(1002)


@pytest.mark.parametrize("header", [
    "=", "permessage-deflate; =1", "permessage-deflate; server_max_window_bits=", "a b", "a;b=\"", ", ".join(["x"] * 17),
])
def test_bad_extensions_that_are_no_list(on, header):
    answer = on.upgrade("/ws", {"Sec-WebSocket-Extensions": header})
    assert answer.status == 400, answer
    assert "Sec-WebSocket-Extensions" in answer.text


@pytest.mark.parametrize(("server_bits", "client_bits"), [(None, None), (15, 15), (12, 9), (9, 12), (10, 11)])
def test_r34_a_client_of_somebody_else_talks_both_ways(on, server_bits, client_bits):
    offer = ClientPerMessageDeflateFactory(
        server_max_window_bits=server_bits, client_max_window_bits=client_bits or True)
    room = unique("room")
    with open_websocket(
        f"ws://127.0.0.1:{on.port}/ws/{room}", extensions=[offer], compression=None, proxy=None, max_size=None,
    ) as ws:
        (extension,) = ws.protocol.extensions
        assert extension.remote_no_context_takeover and extension.local_no_context_takeover
        assert json.loads(ws.recv(5))["type"] == "connection_established"
        for size in (1, 1000, 30_000, 60_000):
            for text in ("x" * size, noise(size, size), "κόσμε 𝄞 " * (size // 60)):
                ws.send(json.dumps({"type": "publish", "to": {"room": room}, "message": {"type": "note", "text": text}}))
                got = json.loads(ws.recv(5))
                assert (got["type"], got["text"]) == ("note", text)


def test_r34_browsers_hello_works_as_well(on, connect):
    client = connect(on, hello={"metadata": {"long": "x" * 3000}})
    assert client.ws.protocol.extensions
    assert client.is_open()


# --- what is sent ---

def test_r34_from_the_threshold_on(on):
    room = unique("room")
    packed, plain = Peer(on, f"/ws/{room}").established(), Raw(on, f"/ws/{room}").established()
    assert "sec-websocket-extensions" not in plain.answered
    sizes = set()
    for fill in range(THRESHOLD - 140, THRESHOLD - 60):
        on.publish({"room": room}, {"type": "note", "text": "x" * fill})
        is_compressed, payload, text = packed.next("note")
        opcode, as_it_is = plain.answer()
        assert (opcode, text) == (TEXT, as_it_is)
        assert is_compressed == (len(text) >= THRESHOLD), len(text)
        assert len(payload) < len(text) // 4 if is_compressed else payload == text
        sizes.add(len(text))
    assert {THRESHOLD - 1, THRESHOLD} <= sizes


def test_r34_once_for_all_receivers_of_the_same_window(start):
    server = start(ON)
    room = unique("room")
    offers = [(OFFER, 15)] * 5 + [({"Sec-WebSocket-Extensions": "permessage-deflate; server_max_window_bits=9"}, 9)] * 2
    peers = [Peer(server, f"/ws/{room}", offer, bits).established() for offer, bits in offers]
    plain = Raw(server, f"/ws/{room}").established()
    message = {"type": "note", "text": noise(20_000, 7)}
    server.publish({"room": room}, message)
    got = [peer.next("note") for peer in peers]
    text = plain.answer()[1]
    assert all(is_compressed and one == text for is_compressed, _, one in got)
    assert len({payload for _, payload, _ in got[:5]}) == 1
    assert len({payload for _, payload, _ in got[5:]}) == 1
    metrics = server.http("GET", "/metrics").text
    counted = dict(re.findall(r'moorline_compression_bytes_total\{form="(\w+)"\} (\d+)', metrics))
    frame = len(text) + 4
    assert int(counted["plain"]) == 2 * frame, "for two windows, however many receive it"
    assert int(counted["compressed"]) == sum(len(payload) + 4 for payload in {payload for _, payload, _ in got})


def test_r34_what_the_server_says_itself_is_never_compressed(on):
    user = unique("ann")
    peer = Peer(on, f"/ws?user={user}").established()
    names = [unique("room" + "x" * 200) for _ in range(20)]
    for name in names:
        peer.text({"type": "join", "room": name})
        peer.next("joined")
    peer.reset()
    back = Peer(on, f"/ws?user={user}&session={peer.session}&resume_token={peer.token}")
    is_compressed, payload, _ = back.next("connection_established")
    assert not is_compressed and len(payload) > 4 * THRESHOLD
    assert set(json.loads(payload)["rooms"]) == set(names)


def test_r34_ephemeral_messages_and_those_to_users_and_sessions(on):
    user, room = unique("ann"), unique("room")
    peer = Peer(on, f"/ws/{room}?user={user}").established()
    text = "y" * 2000
    for to, more in [({"room": room}, {"ephemeral": True}), ({"user": user}, {}), ({"session": peer.session}, {}), ("all", {})]:
        on.publish(to, {"type": "note", "text": text}, **more)
        is_compressed, _, plain = peer.next("note")
        assert is_compressed and json.loads(plain)["text"] == text, to


def test_r34_who_comes_back_reads_compressed_messages(on):
    room = unique("room")
    peer = Peer(on, f"/ws/{room}").established()
    peer.reset()
    on.is_away(peer.session)
    texts = [noise(3000 if number % 2 else 10, number) for number in range(40)]
    ids = [on.publish({"room": room}, {"type": "note", "text": text})["message_id"] for text in texts]
    path = f"/ws/{room}?session={peer.session}&resume_token="
    back = Peer(on, path + peer.token).established()
    assert back.first["resumed"] is True

    def replayed(peer):
        for id, text in zip(ids, texts, strict=True):
            is_compressed, _, plain = peer.next("note")
            assert (json.loads(plain)["message_id"], json.loads(plain)["text"]) == (id, text)
            assert is_compressed == (len(text) > THRESHOLD)

    replayed(back)
    back.reset()
    on.is_away(peer.session)
    # The next connection of the session has agreed on nothing.
    plain = Raw(on, path + back.token).established()
    assert [plain.json()["text"] for _ in ids] == texts


def test_r34_a_slow_reader_gets_everything(start):
    server = start({**ON, "connection.pending_max_bytes": 32_768, "retention.room_bytes": 64 * MIB})
    room = unique("room")
    slow = Peer(server, f"/ws/{room}", rcvbuf=4096).established()
    quick = Peer(server, f"/ws/{room}").established()
    texts = [noise(random.Random(number).choice([50, 900, 20_000]), number) for number in range(500)]
    ids = []
    for text in texts:
        ids.append(server.publish({"room": room}, {"type": "note", "text": text})["message_id"])
        quick.next("note")
    compressed = 0
    for id, text in zip(ids, texts, strict=True):
        is_compressed, _, plain = slow.next("note")
        assert (json.loads(plain)["message_id"], json.loads(plain)["text"]) == (id, text)
        compressed += is_compressed
    assert compressed == sum(len(text) > THRESHOLD for text in texts)


def test_r34_the_text_of_a_stream(on):
    room = unique("room")
    peer = Peer(on, f"/ws/{room}").established()
    stream = Stream(on, room, data={"about": "x"})
    content = noise(40_000, 3)
    for at in range(0, len(content), 10_000):
        stream.append(content[at:at + 10_000])
    got, compressed = "", 0
    while len(got) < len(content):
        is_compressed, _, plain = peer.next("chunk")
        got += json.loads(plain).get("content", "")
        compressed += is_compressed
    assert got == content and compressed > 0
    # Who comes later reads it from the log.
    late = Peer(on, "/ws").established()
    late.text({"type": "join", "room": room, "since": "start"})
    late.next("joined")
    got, compressed = "", 0
    while len(got) < len(content):
        is_compressed, _, plain = late.next("chunk")
        got += json.loads(plain).get("content", "")
        compressed += is_compressed
    assert got == content and compressed > 0
    stream.end()


def test_r34_over_tls(serve):
    authority = Authority()
    pair = authority.pair()
    server = serve({"tls.certificate": "tls.pem", "tls.key": "tls.key", **ON}, files=pair.files, tls=authority.context)
    room = unique("room")
    ann, bob = (
        Peer(server, f"/ws/{room}", {**OFFER, **bearer(server.token(new_user()))}).established() for _ in range(2))
    text = noise(60_000, 11)
    ann.deflate({"type": "publish", "to": {"room": room}, "message": {"type": "note", "text": text}})
    for peer in (ann, bob):
        is_compressed, _, plain = peer.next("note")
        assert is_compressed and json.loads(plain)["text"] == text


def test_r34_a_reload_changes_nothing_of_it(serve):
    server, room = serve(), unique("room")
    offer = {**OFFER, **bearer(server.token(new_user()))}
    before = Peer(server, f"/ws/{room}", offer).established()
    assert "sec-websocket-extensions" not in before.answered
    server.configure(ON)
    assert server.reload() == {"reloaded": [], "needs_restart": ["compression.enabled"]}
    after = Peer(server, f"/ws/{room}", offer).established()
    assert "sec-websocket-extensions" not in after.answered
    server.publish({"room": room}, {"type": "note", "text": "x" * 5000})
    assert [peer.next("note")[0] for peer in (before, after)] == [False, False]


# --- what is received ---

def test_r34_messages_of_clients_may_be_compressed_or_not(on):
    room = unique("room")
    peer = Peer(on, f"/ws/{room}").established()
    for text in ("short", "z" * 60_000):
        frame = {"type": "publish", "to": {"room": room}, "message": {"type": "note", "text": text}}
        for send in (peer.text, peer.deflate):
            send(frame)
            assert json.loads(peer.next("note")[2])["text"] == text


def test_r34_what_comes_behind_the_handshake_at_once(on):
    peer = Peer(on, early=frames(deflated('{"type":"ping"}'), 2)).established()
    assert [json.loads(peer.answer()[1]) for _ in range(2)] == [{"type": "pong"}] * 2


def test_r34_fragments_of_a_compressed_message(on):
    peer = Peer(on).established()
    payload = deflated('{"type":"ping"}' + " " * 5000)
    for size in (1, 3, len(payload)):
        parts = [payload[at:at + size] for at in range(0, len(payload), size)]
        peer.send(parts[0], fin=False, rsv=4)
        for part in parts[1:]:
            peer.send(b"between", opcode=PING)
            peer.send(part, opcode=0, fin=False)
        peer.send(b"", opcode=0)
        pongs = 0
        while True:
            opcode, answer = peer.frame()
            if opcode == TEXT:
                break
            pongs += opcode == PONG
        assert json.loads(answer) == {"type": "pong"}
        assert pongs == len(parts) - 1


def test_r34_rates_count_what_is_inflated(start):
    server = start({**ON, "limits.connection_bytes_per_s": 1024, "limits.connection_bytes_burst": 100_000})
    peer, room = Peer(server).established(), unique("room")
    frame = {"type": "publish", "to": {"room": room}, "message": {"type": "note", "text": "z" * 60_000}, "ref": 1}
    assert len(deflated(json.dumps(frame))) < 500
    peer.deflate(frame)
    assert json.loads(peer.next("reply")[2])["ok"] is True
    peer.deflate(frame)
    assert json.loads(peer.next("reply")[2])["error"]["code"] == "rate_limited"


def garbage(peer):
    peer.send(b"\xff\xff\xff\xff", rsv=4)


def cut_off(peer):
    peer.send(deflated("x" * 100 + noise(100, 1))[:-20], rsv=4)


def garbage_in_fragments(peer):
    peer.send(b"\xff", rsv=4, fin=False)
    peer.send(b"\xff\xff", opcode=0)


def no_utf8(peer):
    peer.send(deflated(b"\xff\xfe"), rsv=4)


def compressed_ping(peer):
    peer.send(deflated("x"), opcode=PING, rsv=4)


def compressed_close(peer):
    peer.send(deflated(b"\x03\xe8"), opcode=CLOSE, rsv=4)


def second_fragment_marked(peer):
    peer.send(deflated("x"), rsv=4, fin=False)
    peer.send(b"", opcode=0, rsv=4)


def other_bit(peer):
    peer.send("x", rsv=2)


def both_bits(peer):
    peer.send(deflated("x"), rsv=6)


def compressed_binary(peer):
    peer.send(deflated("x" * 1000), opcode=BINARY, rsv=4)


@pytest.mark.parametrize(("break_rule", "code"), [
    (garbage, 1007), (cut_off, 1007), (garbage_in_fragments, 1007), (no_utf8, 1007), (compressed_ping, 1002),
    (compressed_close, 1002), (second_fragment_marked, 1002), (other_bit, 1002), (both_bits, 1002),
    (compressed_binary, 1003),
])
def test_bad_compressed_frames(on, connect, break_rule, code):
    other = connect(on)
    peer = Peer(on).established()
    break_rule(peer)
    peer.closed(code)
    assert other.is_open()


# --- bombs ---

class Watch:
    """What a server takes while something happens: the most memory beyond that before, in bytes, and seconds of its processors."""

    def __init__(self, server):
        self.pid = server.process.pid

    def _kilobytes(self, name):
        with open(f"/proc/{self.pid}/status") as status:
            return int(re.search(rf"{name}:\s+(\d+) kB", status.read())[1])

    def _seconds(self):
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self):
        return self._kilobytes("VmRSS") * 1024

    def __enter__(self):
        with open(f"/proc/{self.pid}/clear_refs", "w") as peak:
            peak.write("5")
        self.before, self.began = self.resident(), self._seconds()
        return self

    def __exit__(self, *_):
        self.grown = self._kilobytes("VmHWM") * 1024 - self.before
        self.spent = self._seconds() - self.began


def bomb(size):
    packer, zeroes = zlib.compressobj(9, zlib.DEFLATED, -15), b" " * MIB
    parts = [packer.compress(zeroes) for _ in range(size // MIB)]
    return (b"".join(parts) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def shot(peer, payload, size=None):
    """Sends it, whole or in fragments, as far as the server takes it."""
    try:
        if size is None:
            peer.send(payload, rsv=4)
        else:
            for at in range(0, len(payload), size):
                peer.send(payload[at:at + size], opcode=TEXT if at == 0 else 0, rsv=0 if at else 4,
                          fin=at + size >= len(payload))
    except (ConnectionError, TimeoutError):
        pass


@pytest.mark.parametrize(("size", "fragments"), [
    (256 * MIB, None), (256 * MIB, 4096), (32 * MIB, None), (32 * MIB, 1000),
])
def test_bad_bomb(on, connect, size, fragments):
    other, payload = connect(on), bomb(size)
    # The first use of what inflates and of the clients' threads is no bomb's.
    warm = Peer(on).established()
    warm.deflate({"type": "ping"})
    assert warm.answer()[0] == TEXT
    peers = [Peer(on).established() for _ in range(20)]
    with Watch(on) as watch:
        for peer in peers:
            shot(peer, payload, fragments)
            peer.closed(1009)
    assert watch.grown < 8 * MIB, watch.grown
    assert watch.spent < 1, watch.spent
    assert other.is_open()


def test_bad_bombs_before_hello(on, connect):
    other, payload = connect(on), bomb(32 * MIB)
    peers = [Peer(on, offer={**OFFER, "Sec-WebSocket-Protocol": "moorline.v1.json"}) for _ in range(20)]
    with Watch(on) as watch:
        for peer in peers:
            shot(peer, payload)
            peer.closed(1009)
    assert watch.grown < 8 * MIB and watch.spent < 1, (watch.grown, watch.spent)
    assert other.is_open()


def frames(payload, count):
    """So many times the same compressed message, as one piece of bytes with a mask of zeroes."""
    assert len(payload) < 65536
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return (b"\xc1" + size + bytes(4) + payload) * count


def test_r34_many_messages_that_become_large_are_not_all_held_at_once(start, connect):
    """A read of 16 KiB is a hundred messages of 60 KB here, which hold their text until the shard has them."""
    server = start({**ON, **NO_RATES})
    other, room = connect(server), unique("room")
    append = {"type": "stream_append", "room": room, "stream": "none", "fence": 7, "at": 0, "content": "z" * 60_000}
    payload = deflated(json.dumps(append))
    count = 16 * 1024 // (len(payload) + 8)
    assert count > 80, count
    warm = Peer(server).established()
    warm.sock.sendall(frames(payload, 1))
    warm.next("error")
    peers = [Peer(server).established() for _ in range(8)]
    with Watch(server) as watch:
        for peer in peers:
            peer.sock.sendall(frames(payload, count))
        for peer in peers:
            for _ in range(count):
                assert json.loads(peer.next("error", timeout=20)[2])["code"] == "not_found"
    # 46 MB came of them; all at once they were 23 MB, and a reader may be 32 frames ahead of its shard.
    assert watch.grown < 16 * MIB, watch.grown
    assert other.is_open()


def test_r34_order_is_kept_where_a_read_is_decoded_in_parts(start):
    server = start({**ON, **NO_RATES})
    peer, room = Peer(server).established(), unique("room")
    sent = b""
    for number in range(300):
        text = json.dumps({"type": "publish", "to": {"room": room}, "message": {"type": "note", "n": number}})
        payload = deflated(text + " " * [0, 50_000, 20_000][number % 3])
        sent += frames(payload, 1)
    # In pieces of odd sizes, so that reads end within frames too.
    for at in range(0, len(sent), 9001):
        peer.sock.sendall(sent[at:at + 9001])
    peer.text({"type": "publish", "to": {"room": room}, "message": {"type": "end"}, "ref": "end"})
    assert json.loads(peer.next("reply", timeout=20)[2])["ok"] is True
    assert [message.get("n") for message in server.messages(room)] == [*range(300), None]


# --- what it costs ---

CONNECTIONS = 600


def cost(start, settings):
    """Bytes for each connection that has sent and received a compressed message, and is idle."""
    server = start({**NO_RATES, **settings})
    room = unique("room")
    peers = []

    def more(count):
        for _ in range(count):
            peers.append(Peer(server, f"/ws/{room}").established())

    more(100)
    watch = Watch(server)
    before = watch.resident()
    more(CONNECTIONS)
    text = json.dumps({"type": "ack", "message_id": 1}) + " " * 3000
    server.publish({"room": room}, {"type": "note", "text": "x" * 5000})
    for peer in peers:
        assert peer.next("note")[0] == bool(settings)
        if settings:
            peer.send(deflated(text), rsv=4)
        else:
            peer.text(text)
        peer.send(b"", opcode=PING)
    for peer in peers:
        while peer.frame()[0] != PONG:
            pass
    grown = watch.resident() - before
    for peer in peers:
        peer.close()
    return grown / CONNECTIONS


def test_r34_an_idle_connection_costs_the_same(start):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        off, on = cost(start, {}), cost(start, ON)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # A window would be 32 KiB, what inflates 47 KB; the shards and threads of the server have theirs among these.
    assert on < off + 4 * 1024, (on, off)
