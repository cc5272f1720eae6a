"""Starts the program under test, talks HTTP to it, and stops it."""

import atexit
import http.client
import itertools
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from urllib.parse import quote

from waiting import eventually

REPO = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.path.abspath(os.environ.get("MOORLINE_BIN") or REPO / "target" / "debug" / "moorline")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}

_running = set()


@atexit.register
def _kill_what_is_left():
    for process in list(_running):
        process.kill()


@dataclass
class Answer:
    status: int
    headers: dict
    text: str

    @property
    def json(self):
        return json.loads(self.text)

    def problem(self, status, code=None):
        """Asserts that this is an RFC 9457 problem, and which."""
        assert self.status == status, self
        assert self.headers["content-type"].split(";")[0] == "application/problem+json", self
        body = self.json
        assert {"type", "title", "status", "detail", "code"} <= set(body), body
        assert body["status"] == status, body
        if code is not None:
            assert body["code"] in ([code] if isinstance(code, str) else code), body
        return body


def environment(settings):
    """The environment of a server: ours without any setting of ours, and these settings."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MOORLINE_")}
    for name, value in settings.items():
        value = str(value).lower() if isinstance(value, bool) else str(value)
        env["MOORLINE__" + name.upper().replace(".", "__")] = value
    return env


def _own_ports():
    """Each worker of a parallel run has ports of its own, below those that the system gives to whoever asks for any."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    begin = 10_000 + worker % 16 * 1_000
    ports = list(range(begin, begin + 1_000))
    first = random.SystemRandom().randrange(len(ports))
    return itertools.cycle(ports[first:] + ports[:first])


_ports = _own_ports()


def free_port():
    for port in itertools.islice(_ports, 1_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def run_to_end(settings=None, listen=None, timeout=10):
    """For starts that must fail: (exit code, what it said)."""
    listen = f"127.0.0.1:{free_port()}" if listen is None else listen
    process = subprocess.Popen(
        [BINARY, "dev", "--listen", listen], env=environment(settings or {}),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    _running.add(process)
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it started, with {settings} on {listen}") from None
    finally:
        process.kill()
        process.wait()
        _running.discard(process)
    return process.returncode, said


class Server:
    """`moorline dev`; with a `directory` everything is kept there, without one in memory."""

    tls = None  # an SSLContext that trusts it, where it speaks TLS

    def __init__(self, settings=None, port=None, directory=None, **popen):
        self.settings, self.directory, self.popen = settings or {}, directory, popen
        self._log = tempfile.TemporaryFile("w+b")
        self._start(port)

    def _start(self, port=None):
        for attempt in range(5):
            self.port = port or free_port()
            said = len(self.log())
            self._launch()
            _running.add(self.process)
            if self._comes_up():
                return
            self._end()
            if "in use" not in self.log()[said:].lower():
                break
            time.sleep(0.05 * (attempt + 1))
        raise AssertionError(f"the server did not start (exit code {self.process.returncode}):\n{self.log()[said:]}")

    def _launch(self):
        data = [] if self.directory is None else ["--data", str(self.directory)]
        self.process = subprocess.Popen(
            [BINARY, "dev", "--listen", f"127.0.0.1:{self.port}", *data], env=environment(self.settings),
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, **self.popen,
        )

    def _comes_up(self, timeout=15):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.http("GET", "/livez").status == 200 and self.process.poll() is None:
                    return True
            except OSError:
                pass
            time.sleep(0.01)
        return False

    def log(self):
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
        _running.discard(self.process)

    def down(self, how="kill"):
        """Ends the process: by `kill` (-9), or by `drain` (SIGTERM), which must end it in order."""
        if how == "drain":
            self.signal(signal.SIGTERM)
            assert self.process.wait(timeout=15) == 0, self.log()[-2000:]
        self._end()

    def up(self):
        """Starts it again: the same port, settings and directory."""
        self._start(self.port)

    def restart(self, how="kill"):
        self.down(how)
        self.up()

    def stop(self):
        self._end()

    # --- HTTP ---

    def http(self, method, path, body=None, headers=None, timeout=10, source=None):
        """`body` is JSON where it is not bytes already; `source` is the address to come from."""
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind, more = (http.client.HTTPSConnection, {"context": self.tls}) if self.tls else (http.client.HTTPConnection, {})
        connection = kind(
            "127.0.0.1", self.port, timeout=timeout, source_address=(source, 0) if source else None, **more)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = "" if response.status == 101 else response.read().decode()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, text)
        finally:
            connection.close()

    def get(self, path):
        answer = self.http("GET", path)
        assert answer.status == 200, answer
        return answer.json

    def upgrade(self, path, headers=None, source=None):
        """Asks for a WebSocket and hangs up, whatever the answer."""
        return self.http("GET", path, headers={**UPGRADE, **(headers or {})}, source=source)

    def publish(self, to, message, **more):
        answer = self.http("POST", "/v1/publish", {"to": to, "message": message, **more})
        assert answer.status == 200, answer
        return answer.json

    def to_room(self, room, count, type="note", **more):
        """Publishes numbered messages; the ids that they got."""
        return [self.publish({"room": room}, {"type": type, "n": n}, **more)["message_id"] for n in range(count)]

    def messages(self, room, after=None, limit=1000):
        """All messages that a room keeps, page by page."""
        kept = []
        while True:
            page = self.get(f"/v1/rooms/{quote(room, safe='')}/messages?limit={limit}"
                            + ("" if after is None else f"&after={after}"))["messages"]
            kept += page
            if len(page) < limit:
                return kept
            after = page[-1]["message_id"]

    def has_committed(self):
        """Waits until the store holds what was answered before: commits keep their order."""
        assert self.publish({"room": "committed"}, {"type": "note"})["durability"] == "disk"

    def session(self, id):
        return self.get(f"/v1/sessions/{quote(id, safe='')}")

    def room(self, room):
        return self.get(f"/v1/rooms/{quote(room, safe='')}")

    def is_away(self, id, timeout=5):
        """Waits until the server has noticed that this session's connection is gone."""
        eventually(lambda: not self.session(id)["connected"], timeout, f"session {id} to be absent")
