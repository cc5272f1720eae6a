"""TLS: the server's own, and nginx's in front of it."""

import datetime
import json
import signal
import socket
import ssl
import subprocess
import time

import pytest
import trustme

from authority import Authority, shake_hands
from nginx import Nginx
from server import BINARY, environment, free_port
from serving import COOKIE, SCOPES, create_key, new_user, settings_text
from waiting import eventually, unique

# Python's TLS between two threads, as the client uses it, stands still now and then where the machine is full of other tests.
pytestmark = pytest.mark.alone

FILES = {"tls.certificate": "tls.pem", "tls.key": "tls.key"}
MOST = 60_000  # of a message's text, under the 64 KiB that a message may have


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def secure(serve, authority):
    """Starts `moorline serve` with TLS."""
    def secure(settings=None, pair=None):
        pair = pair or authority.pair()
        return serve({**FILES, **(settings or {})}, files=pair.files, tls=authority.context)

    return secure


def replace(server, pair):
    for name, content in pair.files.items():
        (server.folder / name).write_bytes(content)


def serial(server, authority):
    return shake_hands(server.port, authority.context)[0]


# --- the server's own ---

def test_r36_connect_publish_and_receive_over_tls(secure, connect):
    server, room = secure(), unique("room")
    ann, bob = (connect(server, room, **server.as_user(new_user())) for _ in range(2))
    ids = server.to_room(room, 20)
    ann.messages(ids, room=room)
    bob.messages(ids, room=room)
    sent = ann.publish({"room": room}, {"type": "note", "text": "x" * MOST})["message_id"]
    assert bob.expect("note", message_id=sent)["text"] == "x" * MOST
    ann.expect("note", message_id=sent)
    assert ann.is_open() and bob.is_open()


def test_r36_a_client_that_comes_back_over_tls_misses_nothing(secure, connect):
    server, room = secure(), unique("room")
    who = server.as_user(new_user())
    ann = connect(server, room, **who)
    ann.messages(server.to_room(room, 2))
    ann.drop()
    long = {"type": "note", "text": "y" * 2000}
    missed = [server.publish({"room": room}, long)["message_id"] for _ in range(100)]
    back = connect(server, room, session=ann.session, resume_token=ann.token, last_message_id=2, **who)
    assert back.established["resumed"] is True
    back.messages(missed)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_r36_both_versions_are_spoken(secure, authority, version):
    server, context = secure(), authority.new_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    assert shake_hands(server.port, context)[1:] == (version.replace("_", "."), "http/1.1")


def test_bad_a_client_that_speaks_only_http2_is_refused(secure, authority):
    server = secure()
    with pytest.raises(ssl.SSLError):
        shake_hands(server.port, authority.new_context(["h2"]))
    assert server.get("/readyz") == {"status": "ok"}


@pytest.mark.parametrize("kind", ["RSA", "ECDSA"])
@pytest.mark.parametrize("form", ["traditional", "PKCS #8", "one file"])
def test_r36_keys_of_each_form(serve, authority, kind, form):
    pair = authority.pair(key_type=trustme.KeyType[kind])
    files = {**pair.files, "tls.key": pair.key if form == "traditional" else pair.pkcs8()}
    settings = dict(FILES)
    if form == "one file":
        files, settings = {"both.pem": files["tls.key"] + pair.certificate}, dict.fromkeys(FILES, "both.pem")
    server = serve(settings, files=files, tls=authority.context)
    assert serial(server, authority) == pair.serial


def test_r36_a_reload_serves_the_new_certificate_and_leaves_connections_open(secure, connect, authority):
    first, second = authority.pair(), authority.pair()
    server, room = secure(pair=first), unique("room")
    client = connect(server, room, **server.as_user(new_user()))
    assert serial(server, authority) == first.serial
    replace(server, second)
    assert serial(server, authority) == first.serial
    server.signal(signal.SIGHUP)
    eventually(lambda: serial(server, authority) == second.serial, what="the new certificate")
    client.messages(server.to_room(room, 3), room=room)
    assert client.is_open()
    assert connect(server, room, **server.as_user(new_user())).is_open()


def bad_pairs(authority):
    now = datetime.datetime.now(datetime.timezone.utc)
    day, good = datetime.timedelta(days=1), authority.pair()
    expired = authority.pair(not_before=now - 9 * day, not_after=now - day)
    early = authority.pair(not_before=now + day, not_after=now + 9 * day)
    return {
        "expired": (expired.files, "expired"),
        "not yet valid": (early.files, "counts from"),
        "another key": ({**good.files, "tls.key": authority.pair().key}, "tls.key"),
        "no certificate": ({**good.files, "tls.pem": good.key}, "no certificate"),
        "no key": ({**good.files, "tls.key": good.certificate}, "no private key"),
        "nothing": ({**good.files, "tls.pem": b""}, "no certificate"),
        "a passphrase": ({**good.files, "tls.key": good.pkcs8(b"secret")}, "encrypted"),
        "an old passphrase": ({**good.files, "tls.key": good.traditional(b"secret")}, "encrypted"),
        "missing": ({"tls.pem": good.certificate}, "tls.key"),
        "too long": ({**good.files, "tls.pem": good.certificate + b"\n" * 1_048_577}, "1048576"),
    }


BAD = ["expired", "not yet valid", "another key", "no certificate", "no key", "nothing", "a passphrase",
       "an old passphrase", "missing", "too long"]


@pytest.mark.parametrize("what", BAD)
def test_bad_certificates_stop_the_start(tmp_path, authority, what):
    files, says = bad_pairs(authority)[what]
    for name, content in {**files, "token.secret": b"s" * 32}.items():
        (tmp_path / name).write_bytes(content)
    create_key(tmp_path / "keys.toml", "main", SCOPES)
    config = tmp_path / "moorline.toml"
    config.write_text(settings_text({
        "http.listen": f"127.0.0.1:{free_port()}", "keys.file": "keys.toml", **FILES,
        "auth.key": [{"algorithm": "HS256", "file": "token.secret"}],
    }))
    done = subprocess.run([BINARY, "serve", "--config", str(config)], env=environment({}), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=15)
    assert done.returncode == 2, done
    assert says in done.stderr and "tls." in done.stderr, done.stderr
    secret = files.get("tls.key", b"none\nnothing at all").decode().splitlines()[1]
    assert secret not in done.stderr


@pytest.mark.parametrize("how", ["SIGHUP", "POST"])
def test_bad_reload_keeps_the_certificate_that_there_is(secure, connect, authority, how):
    good, other = authority.pair(), authority.pair()
    server = secure(pair=good)
    client = connect(server, **server.as_user(new_user()))
    for files, says in bad_pairs(authority).values():
        replace(server, good)
        for name, content in files.items():
            (server.folder / name).write_bytes(content)
        if "tls.key" not in files:
            (server.folder / "tls.key").unlink()
        if how == "POST":
            assert says in server.http("POST", "/v1/reload").problem(400, "bad_frame")["detail"]
        else:
            seen = len(server.log())
            server.signal(signal.SIGHUP)
            eventually(lambda: says in server.log()[seen:], what=f"{says!r} in the log")
        assert serial(server, authority) == good.serial
    assert client.is_open()
    replace(server, other)
    server.reload()
    assert serial(server, authority) == other.serial


def test_bad_plain_http_to_the_tls_port_is_no_trouble(secure, connect):
    server = secure()
    client = connect(server, **server.as_user(new_user()))
    for start in (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 64, b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
            plain.sendall(start)
            plain.shutdown(socket.SHUT_WR)
            try:
                assert b"HTTP/" not in plain.recv(4096)
            except ConnectionResetError:
                pass
    assert client.is_open() and server.get("/readyz") == {"status": "ok"}


def test_bad_slow_handshakes_hold_nobody_up_and_end(secure, connect):
    server = secure({"http.head_timeout_ms": 2000})
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(200)]
    for peer in slow[::2]:
        peer.sendall(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello
    began = time.monotonic()
    assert connect(server, **server.as_user(new_user())).is_open()
    assert time.monotonic() - began < 1.5
    for peer in slow:
        try:
            assert peer.recv(1) == b""
        except ConnectionResetError:
            pass
        peer.close()
    assert server.get("/readyz") == {"status": "ok"}


def test_r36_a_drain_reaches_clients_over_tls(secure, connect):
    server = secure({"drain.spread_ms": 0})
    client = connect(server, **server.as_user(new_user()))
    server.signal(signal.SIGTERM)
    assert [frame["type"] for frame in client.closed(1001, timeout=10)] == ["closing"]
    assert server.process.wait(timeout=10) == 0


def test_r36_the_end_of_the_certificate_is_a_metric_and_the_doctor_knows_it(secure, authority):
    now = datetime.datetime.now(datetime.timezone.utc)
    server = secure(pair=authority.pair(not_after=now + datetime.timedelta(days=5)))
    assert server.log().count("expires soon") == 1
    server.reload()
    assert server.log().count("expires soon") == 2
    lines = server.http("GET", "/metrics").text.splitlines()
    value = next(line.split()[1] for line in lines if line.startswith("moorline_tls_certificate_expires_seconds"))
    assert abs(float(value) - now.timestamp() - 5 * 86_400) < 120
    done = subprocess.run([BINARY, "doctor", "--config", str(server.config), "-o", "json"], env=environment({}),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["settings"]["verdict"] == "ok", checks
    assert checks["TLS certificate"]["verdict"] == "warn" and checks["TLS certificate"]["mend"]
    assert checks["http.listen"]["verdict"] == "warn"  # it is in use, by the server


def test_bad_certificates_are_bad_to_the_doctor(secure, authority):
    server = secure()
    (server.folder / "tls.key").write_bytes(authority.pair().key)
    done = subprocess.run([BINARY, "doctor", "--config", str(server.config)], env=environment({}),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert any(line.startswith("bad") and "TLS certificate" in line for line in done.stdout.splitlines()), done.stdout


# --- nginx in front ---

@pytest.fixture
def through(serve, authority, tmp_path_factory):
    """Starts `moorline serve` and nginx in front of it: the server as it is, and as it is seen through nginx."""
    started = []

    def through(settings=None):
        server = serve({"http.trusted_proxies": ["127.0.0.1"], "auth.cookie": COOKIE, **(settings or {})})
        proxy = Nginx(tmp_path_factory.mktemp("nginx"), authority.pair(), server, authority.context)
        started.append(proxy)
        return server, proxy

    yield through
    for proxy in started:
        proxy.stop()


def test_r36_connect_publish_and_receive_through_nginx(through, connect):
    server, proxy = through({"heartbeat.interval_ms": 300})
    front, room = proxy.front(server), unique("room")
    ann, bob = (connect(front, room, **server.as_user(new_user())) for _ in range(2))
    ids = front.to_room(room, 5)
    ann.messages(ids, room=room)
    bob.messages(ids, room=room)
    sent = ann.publish({"room": room}, {"type": "note", "text": "x" * MOST})["message_id"]
    assert bob.expect("note", message_id=sent)["text"] == "x" * MOST
    for _ in range(3):
        assert bob.next(skip=("position",))["type"] == "ping"
    server.http("DELETE", f"/v1/sessions/{bob.session}")
    bob.closed(4002)


def test_r36_a_page_under_the_proxys_name_is_our_own(through):
    server, proxy = through()
    front = proxy.front(server)

    def ask(origin, host="chat.example.com"):
        cookie = f"{COOKIE}={server.token(new_user())}"
        return front.upgrade("/ws", {"Host": host, "Origin": origin, "Cookie": cookie})

    assert ask("https://chat.example.com").status == 101
    assert ask("https://chat.example.com:8443", "chat.example.com:8443").status == 101
    ask("https://evil.example").problem(403, "forbidden_origin")
    ask(f"http://127.0.0.1:{server.port}").problem(403, "forbidden_origin")


def test_r36_clients_are_told_apart_by_their_addresses(through):
    """Each has a limit of its own, and cannot get another's by saying that it is somebody else."""
    server, proxy = through({"limits.address_handshakes_per_s": 1, "limits.address_handshakes_burst": 2})
    front = proxy.front(server)

    def statuses(source, **headers):
        headers = {"Authorization": f"Bearer {server.token(new_user())}", **headers}
        answers = [front.upgrade("/ws", headers, source=source) for _ in range(8)]
        for answer in answers:
            assert answer.status == 101 or answer.problem(429, "rate_limited")
        return [answer.status for answer in answers]

    assert statuses("127.0.0.5")[:2] == [101, 101]
    assert 429 in statuses("127.0.0.6")
    forged = [statuses("127.0.0.7", **{"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(2)]
    assert 429 in forged[0] and 429 in forged[1]
    assert statuses("127.0.0.8")[:2] == [101, 101]


def test_r36_nginx_writes_no_token_down(through, connect):
    server, proxy = through()
    token = server.token(new_user())
    connect(proxy.front(server), "lobby", token=token).cut()
    log = eventually(lambda: "/ws/lobby" in proxy.access_log() and proxy.access_log())
    assert token not in log and "?" not in log


def test_r36_metrics_are_not_for_the_world(through):
    server, proxy = through()
    assert server.http("GET", "/metrics").status == 200
    assert proxy.front(server).http("GET", "/metrics").status == 403
