"""What tests of a server with a directory of its own share."""

import contextlib
import http.client
import os
import pathlib
import shutil
import tempfile
import threading

from websockets.exceptions import ConnectionClosed

from server import BINARY
from serving import cli
from waiting import eventually

FILE = "moorline.redb"
NOBODY = 65534
SESSION = ("session", "user", "connected", "connected_at", "disconnected_at", "reconnection_count", "rooms", "metadata")


def at(epoch, id):
    return {"epoch": epoch, "message_id": id}


def named(client):
    """The rooms that it was told it is in. Own rooms are told too after a crash: their histories have another name then."""
    return [room for room in client.established["rooms"] if not room.startswith("@")]


def to_all_of(server, client, room, count):
    """Publishes to every room that this session is in: the ids of the messages, by room."""
    targets = {
        room: {"room": room}, f"@session/{client.session}": {"session": client.session},
        f"@user/{client.user}": {"user": client.user}, "@all": "all",
    }
    return {name: [server.publish(to, {"type": "note", "n": n})["message_id"] for n in range(count)]
            for name, to in targets.items()}


def together(*parts):
    """Ids by room, of several times that one published."""
    return {room: [id for part in parts for id in part[room]] for room in parts[0]}


def by_room(frames):
    ids = {}
    for frame in frames:
        ids.setdefault(frame["room"], []).append(frame["message_id"])
    return ids


def replayed(client):
    """How many messages its establishment announced, by room."""
    return {room: each["replayed"] for room, each in client.established["rooms"].items() if each["replayed"]}


def rest(client, timeout=10):
    """What arrived on a connection that the server has ended."""
    frames = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            frames.append(client.next(timeout))
    return frames


class Publisher(threading.Thread):
    """Publishes numbered messages to a room, one after the other; what gets no answer is repeated with its id."""

    def __init__(self, server, room):
        super().__init__(daemon=True)
        self.server, self.room = server, room
        self.answered = []  # (epoch, message_id) of message n
        self.wrong = None
        self._over = threading.Event()
        self.start()

    def run(self):
        while not self._over.is_set():
            n = len(self.answered)
            body = {"to": {"room": self.room}, "message": {"type": "note", "n": n}, "id": f"p{n}"}
            try:
                answer = self.server.http("POST", "/v1/publish", body)
            except (OSError, http.client.HTTPException):
                self._over.wait(0.05)
                continue
            if answer.status == 503:
                self._over.wait(0.05)
            elif answer.status == 200:
                self.answered.append((answer.json["epoch"], answer.json["message_id"]))
            else:
                self.wrong = answer
                return

    def goes_on(self, count, timeout=20):
        """Waits until so many more are answered."""
        upto = len(self.answered) + count
        eventually(lambda: self.wrong or len(self.answered) >= upto, timeout, f"{upto} answered publishes")
        assert self.wrong is None, self.wrong

    def end(self):
        """How many it published, all of them answered."""
        self._over.set()
        self.join(15)
        assert not self.is_alive() and self.wrong is None, self.wrong
        return len(self.answered)


# --- the command ---

def store(command, directory, *more, code=0, **options):
    """`moorline store COMMAND --data DIRECTORY`, which must end with this code (or one of these)."""
    done = cli("store", command, "--data", directory, *more, **options)
    assert done.returncode in (code if isinstance(code, tuple) else (code,)), done
    assert "panicked" not in done.stderr, done
    return done


# --- who may not do everything ---

@contextlib.contextmanager
def open_folder():
    """A folder that other users reach too."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield folder


def as_somebody(folder):
    """(program, options of Popen): root may do everything, so that somebody else has to try."""
    program = folder / "moorline"
    shutil.copy(BINARY, program)
    program.chmod(0o755)
    return program, {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
