"""Fixtures: the program under test, clients that are closed afterwards, and its log where a test fails."""

import os
import pathlib
import signal
import sys
import tempfile

import pytest

from client import Connector, others_left_alone
from raw import Raw
from server import Server
from serving import COOKIE, KeySets, Serving
from streaming import Put

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

_seen = pytest.StashKey()


@pytest.fixture(scope="session", autouse=True)
def elsewhere():
    """What a command keeps where it runs is not kept among the tests."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.getcwd()
        os.chdir(folder)
        yield
        os.chdir(before)


@pytest.fixture(scope="session")
def shared_server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(shared_server, request):
    """The server that most tests share, with default settings. Names are each test's own."""
    request.node.stash.setdefault(_seen, []).append((shared_server, len(shared_server.log())))
    return shared_server


@pytest.fixture
def start(request):
    """Starts servers of this test's own: `start({"heartbeat.interval_ms": 200})`."""
    started = []

    def start(settings=None, port=None, **options):
        started.append(Server(settings, port, **options))
        request.node.stash.setdefault(_seen, []).append((started[-1], 0))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def kept(request):
    """Starts `moorline dev --data` of this test's own, in a directory of its own: `kept({"retention.own_records": 5})`."""
    with tempfile.TemporaryDirectory() as folder:
        started = []

        def kept(settings=None, **options):
            options.setdefault("directory", pathlib.Path(folder) / f"data-{len(started)}")
            started.append(Server(settings, **options))
            request.node.stash.setdefault(_seen, []).append((started[-1], 0))
            return started[-1]

        yield kept
        for server in started:
            server.stop()


@pytest.fixture(params=["kill", "drain"])
def how(request):
    """How a server ends: by kill -9, and in order by SIGTERM."""
    return request.param


@pytest.fixture(scope="session")
def shared_serving():
    # Many tests come from one address, and take tokens from every place.
    serving = Serving({
        "auth.cookie": COOKIE, "limits.address_handshakes_per_s": 0, "limits.user_handshakes_per_s": 0,
        "session.per_user_max": 1000,
    })
    yield serving
    serving.stop()


@pytest.fixture
def serving(shared_serving, request):
    """`moorline serve` that most tests share. Users and rooms are each test's own."""
    request.node.stash.setdefault(_seen, []).append((shared_serving, len(shared_serving.log())))
    return shared_serving


@pytest.fixture
def serve(request):
    """Starts `moorline serve` of this test's own: `serve({"auth.leeway_ms": 0})`."""
    started = []

    def serve(settings=None, **options):
        started.append(Serving(settings, **options))
        request.node.stash.setdefault(_seen, []).append((started[-1], 0))
        return started[-1]

    yield serve
    for serving in started:
        serving.stop()


@pytest.fixture
def key_sets():
    """Makes HTTP servers of key sets: `key_sets([jwk], mode="slow")`."""
    made = []

    def make(*args, **options):
        made.append(KeySets(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def connect():
    connector = Connector()
    yield connector
    connector.close()


@pytest.fixture
def raw():
    """Makes `Raw` peers, and closes them afterwards."""
    peers = []

    def make(*args, **options):
        peers.append(Raw(*args, **options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture(params=["socket", "http"])
def by(request, server, connect):
    """Who streams: a connection that is in no room, or the application over HTTP."""
    return connect(server) if request.param == "socket" else server


@pytest.fixture
def put():
    """Makes `Put` requests, and closes them afterwards."""
    made = []

    def make(*args, **options):
        made.append(Put(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def bystander(server, connect):
    """Bad input of one peer is nobody else's trouble: checked when the test is over."""
    with others_left_alone(server, connect) as other:
        yield other


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for server, since in item.stash.get(_seen, []):
            log = server.log()[since:]
            report.sections.append((f"log of the server on port {server.port}", log[-20000:] or "(nothing)"))
