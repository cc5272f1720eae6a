"""Under a service manager: it says when it is ready and when it stops, and takes a socket that is open already."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from server import BINARY, environment, free_port
from waiting import eventually, unique


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.settimeout(10)
        self.heard = []

    def waits_for(self, line):
        while line not in self.heard:
            try:
                self.heard += self.sock.recv(4096).decode().splitlines()
            except TimeoutError:
                raise AssertionError(f"wanted {line}, heard {self.heard}") from None
        return True

    def close(self):
        self.sock.close()


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "a path" else "\0" + unique("moorline-notify")
    manager = Manager(name)
    manager.address = name.replace("\0", "@")
    yield manager
    manager.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_r32_the_manager_is_told_when_it_is_ready_and_when_it_stops(serve, connect, manager, number):
    server = serve(env={"NOTIFY_SOCKET": manager.address})
    assert manager.waits_for("READY=1")
    assert "STOPPING=1" not in manager.heard
    client = connect(server, **server.as_user("ann"))
    server.signal(number)
    assert manager.waits_for("STOPPING=1")
    client.closed(1001, timeout=10)
    assert server.process.wait(timeout=10) == 0


def test_r32_ready_is_said_once_it_can_be_reached(serve, tmp_path):
    """A second process on the same port cannot listen, so it must not say that it is ready."""
    server = serve()
    manager = Manager(str(tmp_path / "notify"))
    env = environment({"store.directory": tmp_path / "data"})  # so that the port is all that they share
    done = subprocess.run([BINARY, "serve", "--config", str(server.config)], capture_output=True, timeout=15,
                          env={**env, "NOTIFY_SOCKET": str(tmp_path / "notify")}, stdin=subprocess.DEVNULL)
    assert done.returncode != 0
    manager.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        raise AssertionError(manager.sock.recv(4096))
    manager.close()


def test_r32_no_manager_is_no_trouble(serve, tmp_path):
    server = serve(env={"NOTIFY_SOCKET": str(tmp_path / "nobody-listens-here")})
    assert server.get("/readyz") == {"status": "ok"}


# Becomes the server, as a manager's child would: the socket is descriptor 3, and its own id is in the environment.
BECOME = """
import os, sys
given, whose = int(sys.argv[1]), sys.argv[2]
os.dup2(given, 3)
os.set_inheritable(3, True)
if given != 3:
    os.close(given)
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid() if whose == "ours" else 1)
os.execv(sys.argv[3], sys.argv[3:])
"""


def activated(serve, listener, whose, port, config_of):
    given = listener.fileno()
    return serve(port=port, command=lambda config: [
        sys.executable, "-c", BECOME, str(given), whose, BINARY, "serve", "--config", str(config)],
        pass_fds=(given,), settings=config_of)


@pytest.fixture
def listener():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener


def test_r32_a_socket_that_is_open_already_is_served(serve, connect, listener):
    port = listener.getsockname()[1]
    early = socket.create_connection(("127.0.0.1", port))  # before there is a server at all
    early.settimeout(10)
    early.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    other = free_port()
    server = activated(serve, listener, "ours", port, {"http.listen": f"127.0.0.1:{other}"})
    assert b" 200 " in early.recv(4096)
    early.close()
    assert connect(server, **server.as_user("ann")).is_open()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", other), timeout=2)
    server.signal(signal.SIGTERM)
    assert server.process.wait(timeout=10) == 0
    # The socket is the manager's: who comes now waits for the next process.
    late = socket.create_connection(("127.0.0.1", port), timeout=5)
    late.close()


def test_r32_a_socket_for_another_process_is_left_alone(serve, listener):
    port = free_port()
    server = activated(serve, listener, "another", port, {})
    assert server.port == port and server.get("/readyz") == {"status": "ok"}
    listener.settimeout(5)
    with socket.create_connection(listener.getsockname(), timeout=5):
        accepted, _ = listener.accept()  # by us: nobody else takes it
        accepted.close()


def test_r32_nothing_of_it_is_inherited_by_chance(serve):
    """Words that are no numbers: the settings count."""
    for fds in ("", "many", "0", "-1"):
        server = serve(env={"LISTEN_FDS": fds, "LISTEN_PID": str(os.getpid())})
        assert eventually(lambda: server.http("GET", "/livez").status == 200)
