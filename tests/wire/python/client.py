"""A well-behaved client over the `websockets` package: answers pings, and hands out frames one by one."""

import itertools
import json
import time
from collections import deque
from contextlib import contextmanager
from urllib.parse import quote, urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as open_websocket

from waiting import eventually, unique

SUBPROTOCOL = "moorline.v1.json"


class Client:
    """One connection. `established` is its first frame; `hello` makes it speak first."""

    def __init__(self, server, room=None, *, hello=None, origin=None, answer_pings=True, headers=None, offers=(),
                 source=None, **query):
        """`offers`: subprotocols beside ours; `source`: the address to come from."""
        self.server, self.answer_pings = server, answer_pings
        self.user = query.get("user")
        self._backlog, self._refs = deque(), itertools.count(1)
        path = "/ws" if room is None else "/ws/" + quote(room, safe="")
        query = {key: value for key, value in query.items() if value is not None}
        self.ws = open_websocket(
            f"{'wss' if server.tls else 'ws'}://127.0.0.1:{server.port}{path}" + (f"?{urlencode(query, quote_via=quote)}" if query else ""),
            origin=origin, subprotocols=None if hello is None else [SUBPROTOCOL, *offers],
            additional_headers=headers, ssl=server.tls, **({"source_address": (source, 0)} if source else {}),
            proxy=None, ping_interval=None, close_timeout=2, max_size=None, max_queue=None, legacy=True,
        )
        if hello is not None:
            assert self.ws.subprotocol == SUBPROTOCOL
            self.send({"type": "hello", **hello})
        self.established = None

    def establish(self):
        self.established = self.next()
        assert self.established["type"] == "connection_established", self.established
        self.session = self.established["session"]
        self.token = self.established["resume_token"]
        return self

    # --- sending ---

    def send(self, frame):
        self.ws.send(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))

    def ask(self, frame, timeout=5):
        """Sends with a `ref`; the reply. What arrives before the reply is kept for `next`."""
        ref = f"r{next(self._refs)}"
        self.send({**frame, "ref": ref})
        before = []
        deadline = time.monotonic() + timeout
        while True:
            seen = self.next(deadline - time.monotonic())
            if isinstance(seen, dict) and seen["type"] == "reply" and seen["ref"] == ref:
                self._backlog.extendleft(reversed(before))
                return seen
            before.append(seen)

    def ok(self, frame, timeout=5):
        reply = self.ask(frame, timeout)
        assert reply["ok"] is True, (frame, reply)
        return reply

    def fails(self, frame, code):
        reply = self.ask(frame)
        assert reply["ok"] is False, (frame, reply)
        assert reply["error"]["code"] in ([code] if isinstance(code, str) else code), (frame, reply)
        assert isinstance(reply["error"]["message"], str)
        return reply["error"]

    def publish(self, to, message, **more):
        return self.ok({"type": "publish", "to": to, "message": message, **more})

    def join(self, room, **more):
        """Joins, and takes the `joined` frame that must come next."""
        self.ok({"type": "join", "room": room, **more})
        return self.expect("joined", room=room)

    # --- receiving ---

    def next_text(self, timeout=5):
        try:
            return self.ws.recv(timeout=max(timeout, 0))
        except TimeoutError:
            raise AssertionError(f"nothing arrived within {timeout:.1f} s") from None

    def next(self, timeout=5, skip=("ping", "position")):
        """The next frame, parsed; server pings are answered, and passed over as `position` is."""
        if self._backlog:
            return self._backlog.popleft()
        deadline = time.monotonic() + timeout
        while True:
            text = self.next_text(deadline - time.monotonic())
            frame = text if text == "pong" else json.loads(text)
            if frame == "pong":
                return frame
            if frame["type"] == "ping" and self.answer_pings:
                self.send({"type": "pong"})
            if frame["type"] not in skip:
                return frame

    def expect(self, type, timeout=5, **fields):
        """The next frame must be this one."""
        frame = self.next(timeout)
        assert isinstance(frame, dict) and frame["type"] == type, f"wanted {type}, got {frame}"
        for name, value in fields.items():
            assert frame.get(name) == value, f"wanted {name}={value!r}, got {frame}"
        return frame

    def messages(self, ids, **fields):
        """The next frames must be the messages of these ids, in this order."""
        got = []
        for id in ids:
            frame = self.next()
            assert frame.get("message_id") == id, f"wanted message {id} after {got}, got {frame}"
            for name, value in fields.items():
                assert frame.get(name) == value, frame
            got.append(id)

    def nothing_new(self, room, skip=()):
        """Proves that nothing more of `room` was on its way: a marker published there is what comes next."""
        mark = unique("mark")
        id = self.server.publish({"room": room}, {"type": "marker", "mark": mark})["message_id"]
        frame = self.next()
        while frame["type"] in skip:
            frame = self.next()
        assert frame.get("mark") == mark, f"wanted nothing more in {room}, got {frame}"
        return id

    def closed(self, code, reason=None, timeout=5):
        """Reads up to the close, which must have this code; the frames before it."""
        before, deadline = [], time.monotonic() + timeout
        try:
            while True:
                before.append(self.next(deadline - time.monotonic()))
        except ConnectionClosed as end:
            assert end.rcvd is not None, f"cut without a close frame, after {before}"
            assert end.rcvd.code == code, (end, before)
            assert reason is None or reason in end.rcvd.reason, end
        return before

    def is_open(self):
        """A ping that is answered next shows that the connection lives, and that nothing else was sent before."""
        self.ok({"type": "ping"})
        self.expect("pong")
        return True

    # --- leaving ---

    def cut(self):
        """Drops the TCP connection without a close frame."""
        try:
            self.ws.socket.shutdown(2)
        except OSError:
            pass

    def drop(self):
        """Cuts, and waits until the server has noticed."""
        self.cut()
        self.server.is_away(self.session)

    def close(self):
        self.ws.close()


class Connector:
    """The `connect` fixture: makes clients, and closes them when the test is over."""

    def __init__(self):
        self._clients = []

    def __call__(self, server, room=None, **options):
        return self.raw(server, room, **options).establish()

    def raw(self, server, room=None, **options):
        """Without reading the first frame."""
        client = Client(server, room, **options)
        self._clients.append(client)
        return client

    def back(self, client, room=None, **options):
        """Resumes the session of `client` with its token."""
        options = {"user": client.user, "session": client.session, "resume_token": client.token, **options}
        again = self(client.server, room, **options)
        assert again.established["resumed"] is True, again.established
        assert again.session == client.session
        return again

    def close(self):
        for client in self._clients:
            client.cut()


@contextmanager
def others_left_alone(server, connect):
    """Whatever happens inside: a connection that was there before still gets its messages, and only those."""
    room = unique("bystander")
    other = connect(server, room)
    yield other
    other.messages(server.to_room(room, 3), room=room)
    assert eventually(lambda: server.session(other.session)["connected"])


def check_contiguous(published, position, frames):
    """Guarantee 1, seen by a client: after `position` each of the `published` ids comes, in order, or a reset
    says exactly from where to where they are gone. Returns the end position and the resets."""
    resets = []
    for frame in frames:
        if frame["type"] == "reset":
            assert frame["from"] == position, f"at {position}, but {frame}"
            assert frame["to"] > position, frame
            resets.append(frame)
            position = frame["to"]
        else:
            due = next(id for id in published if id > position)
            assert frame["message_id"] == due, f"at {position}, {due} was due, got {frame}"
            position = due
    return position, resets
