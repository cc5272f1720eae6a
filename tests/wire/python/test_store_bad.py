"""Directories that cannot be, files that are damaged, and a disk that is full."""

import contextlib
import os
import random
import resource
import shutil
import subprocess
import tempfile
import pathlib

import pytest

from keeping import FILE, as_somebody, open_folder, store
from server import BINARY, _running, environment, free_port
from waiting import eventually, unique


def starts_not(directory, *names, codes=(2,), program=BINARY, timeout=20, **popen):
    """`moorline dev --data` ends by itself, with such a code, and names what is wrong."""
    process = subprocess.Popen(
        [program, "dev", "--listen", f"127.0.0.1:{free_port()}", "--data", str(directory)], env=environment({}),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen)
    _running.add(process)
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it started with {directory}") from None
    finally:
        process.kill()
        process.wait()
        _running.discard(process)
    assert process.returncode in codes, (process.returncode, said)
    assert "panicked" not in said, said
    for name in names or (str(directory),):
        assert str(name) in said, f"{name} is not named: {said}"
    return said


# --- the directory ---

def test_bad_directory_in_use(kept, connect):
    server, room = kept(), unique("room")
    client = connect(server, room)
    starts_not(server.directory, codes=(2,))
    client.messages(server.to_room(room, 2))
    server.down("kill")
    server.up()  # what a killed server held is free at once
    assert [each["type"] for each in server.messages(room)] == ["note"] * 2


def test_bad_directory_in_use_by_another_name(kept, tmp_path):
    server = kept()
    (tmp_path / "link").symlink_to(server.directory)
    starts_not(tmp_path / "link", codes=(2,))


def test_bad_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    starts_not(tmp_path / "file", codes=(1, 2))
    starts_not(tmp_path / "file" / "below", tmp_path / "file", codes=(1, 2))
    assert (tmp_path / "file").read_text() == "mine"


def test_bad_file_that_is_a_directory(tmp_path):
    (tmp_path / "data" / FILE).mkdir(parents=True)
    starts_not(tmp_path / "data", codes=(1, 2))
    assert (tmp_path / "data" / FILE).is_dir()


@pytest.mark.parametrize("what", ["directory", "file", "unreadable"])
def test_bad_directory_that_may_not_be_written(what):
    """Root may do everything: somebody else has to try."""
    with open_folder() as folder:
        program, somebody = as_somebody(folder)
        directory = folder / "data"
        directory.mkdir(mode=0o700)
        if somebody:
            os.chown(directory, somebody["user"], somebody["group"])
        if what == "directory":
            directory.chmod(0o500)
            starts_not(directory, codes=(1, 2), program=program, **somebody)
            assert list(directory.iterdir()) == []
        else:
            subprocess.run([program, "store", "stats", "--data", str(directory)], capture_output=True, timeout=20,
                           env=environment({}), stdin=subprocess.DEVNULL, **somebody)  # makes nothing
            with started_as(program, directory, somebody):
                pass
            (directory / FILE).chmod(0o400 if what == "file" else 0)
            starts_not(directory, codes=(1, 2), program=program, **somebody)
        directory.chmod(0o700)


@contextlib.contextmanager
def started_as(program, directory, somebody):
    """A server of this user that has made its file."""
    process = subprocess.Popen(
        [program, "dev", "--listen", f"127.0.0.1:{free_port()}", "--data", str(directory)], env=environment({}),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **somebody)
    _running.add(process)
    try:
        eventually(lambda: (directory / FILE).exists() and process.poll() is None, 15)
        yield
    finally:
        process.terminate()
        process.wait(timeout=15)
        _running.discard(process)


def test_r32_a_directory_that_is_not_there_is_made(kept, tmp_path):
    server = kept(directory=tmp_path / "new")
    server.to_room(unique("room"), 1)
    assert (tmp_path / "new" / FILE).is_file()


# --- the file ---

@pytest.fixture
def filled(kept):
    """A directory with some 3 MB of messages, and what they are."""
    server, room = kept(), "room"
    for n in range(60):
        server.publish({"room": room}, {"type": "note", "n": n, "fill": random.Random(n).randbytes(25_000).hex()})
    kept_now = server.messages(room)
    server.down("drain")
    return server, room, kept_now


def never_silently_less(server, room, before):
    """Either it does not start and says which file is damaged, or everything is there."""
    try:
        server.up()
    except AssertionError as refused:
        assert server.process.returncode in (1, 2), refused
        assert FILE in str(refused) or str(server.directory) in str(refused), refused
        assert "panicked" not in str(refused)
        return False
    assert server.messages(room) == before
    return True


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_bad_file_that_is_cut_short(filled, part):
    server, room, before = filled
    file = server.directory / FILE
    size = file.stat().st_size
    os.truncate(file, int(size * part))
    never_silently_less(server, room, before)


@pytest.mark.parametrize("content", [b"garbage\n" * 5000, b"x", b"\0" * 1_000_000, b"SQLite format 3\0" + b"\0" * 5000],
                         ids=["garbage", "one byte", "zeros", "another format"])
def test_bad_file_that_is_something_else(tmp_path, content):
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    (directory / FILE).write_bytes(content)
    starts_not(directory, FILE, codes=(1, 2))
    assert (directory / FILE).read_bytes() == content, "somebody's file is not written over"
    store("stats", directory, code=(1, 2))
    store("export", directory, code=(1, 2))
    assert (directory / FILE).read_bytes() == content


@pytest.mark.parametrize("length", [0, 100])
def test_bad_file_of_no_length(tmp_path, filled, length):
    """What a copy that failed leaves: whoever begins anew there loses everything without a word."""
    server, _, _ = filled
    directory = tmp_path / "copy"
    directory.mkdir(mode=0o700)
    content = (server.directory / FILE).read_bytes()[:length]
    (directory / FILE).write_bytes(content)
    starts_not(directory, FILE, codes=(1, 2))
    for command in ["stats", "check", "compact", "new-epoch", "export"]:
        assert "is damaged" in store(command, directory, code=1).stderr
    assert (directory / FILE).read_bytes() == content


def test_bad_file_with_damage_in_it(filled):
    """Pieces of the file are something else, as after a bad disk: found by `store check`, never shown as a message."""
    server, room, before = filled
    file, seed = server.directory / FILE, random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    whole = file.read_bytes()
    damaged = bytearray(whole)
    for at in range(65536, len(whole) - 4096, 30_000):  # past the head, and in every part
        damaged[at:at + 2048] = rng.randbytes(2048)
    file.write_bytes(damaged)
    done = store("check", server.directory, code=1)
    assert done.stdout + done.stderr
    done = store("check", server.directory, "-o", "json", code=1)
    try:
        server.up()
        shown = server.http("GET", f"/v1/rooms/{room}/messages?limit=1000")
        messages = shown.json["messages"] if shown.status == 200 else []
    except (AssertionError, OSError) as refused:
        assert "panicked" not in server.log(), refused
        messages = []
    known = {each["message_id"]: each for each in before}
    assert all(each == known[each["message_id"]] for each in messages), "damage is not passed on as a message"
    server.down("kill")
    # And with the file as it was, all is well.
    file.write_bytes(whole)
    store("check", server.directory)
    server.up()
    assert server.messages(room) == before


def test_bad_copy_that_was_taken_while_it_ran(kept, tmp_path):
    """A file that was copied as it changed is no backup: it opens as a moment of the past, or it is refused."""
    server, room = kept(), unique("room")
    ids = server.to_room(room, 50)
    (tmp_path / "copy").mkdir(mode=0o700)
    shutil.copy(server.directory / FILE, tmp_path / "copy" / FILE)
    try:
        other = kept(directory=tmp_path / "copy")
    except AssertionError as refused:
        assert "panicked" not in str(refused)
    else:
        listed = [each["message_id"] for each in other.messages(room)]
        assert listed == ids[:len(listed)]


# --- no space ---

class SmallDisk:
    """A file system of its own, with a file that takes up nearly all of it until it is freed."""

    options = {}

    def __init__(self, folder):
        self.directory = folder / "disk" / "data"

    def leave(self, server, room_left):
        stats = os.statvfs(self.directory)
        with open(self.directory.parent / "ballast", "wb") as ballast:
            ballast.write(b"\1" * (stats.f_bavail * stats.f_frsize - room_left))

    def free(self, server):
        (self.directory.parent / "ballast").unlink()


class FileLimit:
    """The process may not write files beyond a size, until it may again."""

    options = {"restore_signals": False}  # SIGXFSZ stays ignored: the write fails, the process lives

    def __init__(self, folder):
        self.directory = folder / "data"

    def leave(self, server, room_left):
        size = (self.directory / FILE).stat().st_size
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + room_left, resource.RLIM_INFINITY))

    def free(self, server):
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(params=["full disk", "file too large"])
def scarce(request):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if request.param == "file too large":
            if not hasattr(resource, "prlimit"):
                pytest.skip("NOT TESTED: this system cannot limit another process's files")
            yield FileLimit(folder)
            return
        (folder / "disk").mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=0755", "none", str(folder / "disk")],
                              capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED: a full disk needs root, who may mount: {done.stderr.strip()}")
        try:
            yield SmallDisk(folder)
        finally:
            subprocess.run(["umount", "-l", str(folder / "disk")], check=False)


class Filling:
    """Publishes numbered messages of 50 KB, with ids, in order."""

    def __init__(self, server, room):
        self.server, self.room, self.kept = server, room, []

    def one(self, **more):
        n = len(self.kept)
        message = {"type": "big", "n": n, "fill": "x" * 50_000}
        body = {"to": {"room": self.room}, "message": message, "id": f"b{n}", **more}
        answer = self.server.http("POST", "/v1/publish", body, timeout=20)
        if answer.status == 200:
            self.kept.append(answer.json["message_id"])
        return answer

    def until_refused(self):
        for _ in range(1200):
            answer = self.one()
            if answer.status != 200:
                return answer
        raise AssertionError(f"{len(self.kept)} messages were kept where there is no space")


# What is kept is bounded by the disk alone.
ROOMY = {"retention.room_bytes": 67108864, "retention.room_records": 100000}


@pytest.mark.timeout(120)
def test_r32_a_disk_that_is_full(kept, connect, scarce):
    server, room = kept(ROOMY, directory=scarce.directory, **scarce.options), unique("room")
    member, away = connect(server, room, user="ann"), connect(server, room)
    away.drop()
    filling = Filling(server, room)
    for _ in range(5):
        assert filling.one().status == 200
    scarce.leave(server, 1 << 20)
    problem = filling.until_refused().problem(503, "unavailable")
    assert problem["detail"]
    # Nothing more is acknowledged, however little it asks for, and by whatever way.
    filling.one(durability="memory").problem(503, "unavailable")
    member.fails({"type": "publish", "to": {"room": room}, "message": {"type": "small"}}, "unavailable")
    server.http("POST", "/v1/publish", {"to": "all", "message": {"type": "small"}}).problem(503, "unavailable")
    # It says why, and lives.
    ready = eventually(lambda: (answer := server.http("GET", "/readyz")).status == 503 and answer)
    assert ready.json["status"] == "unready" and ready.json["reasons"]
    assert all(isinstance(reason, str) and reason for reason in ready.json["reasons"])
    assert server.get("/livez") == {"status": "ok"}
    # What was delivered stays readable, by HTTP and by who is connected; new connections are asked to come later.
    listed = [each["message_id"] for each in server.messages(room, limit=20)]
    assert listed[:len(filling.kept)] == filling.kept and len(listed) <= len(filling.kept) + 1
    member.messages(filling.kept)
    member.ok({"type": "reconnect", "room": room, "last_message_id": filling.kept[-3]})
    member.messages(filling.kept[-2:])
    assert member.is_open()
    connect.raw(server).closed(1013)
    connect.raw(server, session=away.session, resume_token=away.token).closed(1013)
    # There is space again: it goes on by itself, within seconds.
    scarce.free(server)
    eventually(lambda: server.http("GET", "/readyz").status == 200, 15)
    first = eventually(lambda: (answer := filling.one()).status == 200 and answer, 15)
    for _ in range(3):
        assert filling.one().status == 200
    assert first.json["durability"] == "disk"
    listed = server.messages(room, limit=20)
    assert [each["n"] for each in listed if each["type"] == "big"] == list(range(len(filling.kept))), \
        "each once, in order, also what was repeated"
    rest = [each["message_id"] for each in listed if each["message_id"] > filling.kept[0]]
    position = member.next()["message_id"]
    while position < filling.kept[-1]:
        frame = member.next()
        assert frame["message_id"] == next(id for id in rest if id > position)
        position = frame["message_id"]
    connect.back(away).next()
    # And nothing of it was only promised.
    server.restart("kill")
    assert server.messages(room, limit=20) == listed
    assert server.http("GET", "/readyz").status == 200
    store_ids = filling.kept
    server.publish({"room": room}, {"type": "after"})
    assert [each["message_id"] for each in server.messages(room, limit=20)][-1] > store_ids[-1]


@pytest.mark.timeout(120)
def test_r32_killed_while_the_disk_is_full(kept, connect, scarce):
    server, room = kept(ROOMY, directory=scarce.directory, **scarce.options), unique("room")
    client = connect(server, room)
    client.drop()
    filling = Filling(server, room)
    assert filling.one().status == 200
    scarce.leave(server, 1 << 20)
    filling.until_refused().problem(503, "unavailable")
    server.down("kill")
    if isinstance(scarce, SmallDisk):
        scarce.free(server)
    server.up()
    listed = server.messages(room, limit=20)
    assert [each["message_id"] for each in listed][:len(filling.kept)] == filling.kept
    assert [each["n"] for each in listed] == list(range(len(listed))) and len(listed) <= len(filling.kept) + 1
    again = connect.back(client)
    again.messages([each["message_id"] for each in listed])
    assert filling.one().status == 200


@pytest.mark.timeout(120)
def test_r32_ended_in_order_while_the_disk_is_full(kept, scarce):
    """It ends within its deadline, and what was acknowledged is there."""
    settings, room = {**ROOMY, "drain.timeout_ms": 2000}, unique("room")
    server = kept(settings, directory=scarce.directory, **scarce.options)
    filling = Filling(server, room)
    assert filling.one().status == 200
    scarce.leave(server, 1 << 20)
    filling.until_refused().problem(503, "unavailable")
    server.process.terminate()
    server.process.wait(timeout=15)
    server.down("kill")
    if isinstance(scarce, SmallDisk):
        scarce.free(server)
    server.up()
    assert [each["message_id"] for each in server.messages(room, limit=20)][:len(filling.kept)] == filling.kept
