"""The settings file: written, checked, shown, refused where it is wrong, and taken over while the server runs."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import tomllib

import jwt
import pytest

from asymmetric import fresh, pair
from serving import COOKIE, bearer, claims, cli, create_key, keys_text, not_let_in, settings_text
from server import BINARY, REPO, environment, free_port, run_to_end
from waiting import eventually, unique

SPEC = (REPO / "spec" / "protocol.md").read_text()
SECTION = SPEC.partition("## 10.")[2].partition("## 11.")[0]
TABLE = re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| (\S+)[^|]*\| ([^|]*)\|$", SECTION, re.M)
SETTINGS = {name: default.strip("`") for name, default, _ in TABLE}
RELOADED = {name for name, _, range in TABLE if "**R**" in range}


def test_the_table_of_settings_has_been_read():
    assert len(SETTINGS) > 60 and SETTINGS["http.listen"] == "127.0.0.1:8080" and SETTINGS["auth.key"] == "[]"
    assert "http.origins" in RELOADED and "http.listen" not in RELOADED


# --- init, check, show ---

@pytest.fixture
def written(tmp_path):
    """What `config init` makes, and the API key that it says."""
    folder = tmp_path / "made"
    done = cli("config", "init", "--dir", folder)
    assert done.returncode == 0, done
    (key,) = set(re.findall(r"mk_[^_\s]+_[A-Za-z0-9_-]{43}", done.stdout))
    return folder, key


def test_r32_a_written_configuration_serves(written, serve, connect):
    folder, key = written
    assert {file.name for file in folder.iterdir()} == {"moorline.toml", "token.secret", "keys.toml"}
    for secret in ("token.secret", "keys.toml"):
        assert stat.S_IMODE(os.stat(folder / secret).st_mode) & 0o077 == 0, secret
    assert key not in "".join(file.read_text() for file in folder.iterdir())
    port = free_port()
    server = serve(port=port, env={"MOORLINE__HTTP__LISTEN": f"127.0.0.1:{port}"}, command=lambda _: [
        BINARY, "serve", "--config", str(folder / "moorline.toml")])
    assert server.http("GET", "/v1/stats", key=key).status == 200
    server.key = key
    made = server.http("POST", "/v1/tokens", {"user": "ann", "join": ["lobby"]}).json["token"]
    assert connect(server, "lobby", headers=bearer(made)).is_open()
    secret = (folder / "token.secret").read_bytes().strip()
    inside = jwt.decode(made, secret, algorithms=["HS256", "HS384", "HS512"], audience="moorline")
    head = jwt.get_unverified_header(made)
    ours = jwt.encode(claims("bob"), secret, head["alg"], {"kid": head["kid"]} if "kid" in head else None)
    assert inside["sub"] == "ann" and connect(server, headers=bearer(ours)).is_open()


def test_r32_what_is_there_is_not_written_over(written):
    folder, _ = written
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert cli("config", "init", "--dir", folder).returncode != 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_r32_two_configurations_share_no_secret(tmp_path):
    for name in ("one", "two"):
        assert cli("config", "init", "--dir", tmp_path / name).returncode == 0
    one, two = ((tmp_path / name / "token.secret").read_bytes().strip() for name in ("one", "two"))
    assert one != two and len(one) >= 32


def test_r32_every_setting_is_explained_in_what_is_written(written):
    text = (written[0] / "moorline.toml").read_text()
    tomllib.loads(text)
    for name in SETTINGS:
        assert re.search(rf"\b{name.partition('.')[2]}\b", text), name


def test_r32_a_written_configuration_is_right(written):
    done = cli("config", "check", "--config", written[0] / "moorline.toml")
    assert done.returncode == 0, done


def shown(config, **env):
    done = cli("config", "show", "--config", config, env=env)
    assert done.returncode == 0, done
    return done.stdout, tomllib.loads(done.stdout)


def test_r32_every_setting_is_shown(tmp_path):
    base = good(tmp_path)
    text, tree = shown(base)
    for name, default in SETTINGS.items():
        section, _, rest = name.partition(".")
        assert rest in tree[section], name
        if name in ("http.listen", "auth.key", "keys.file", "retention.rule", "auth.jwks"):
            continue
        if name == "store.directory":
            assert tmp_path / tree[section][rest] == tmp_path / default, "a path, from the file's folder on"
            continue
        wanted = json.loads(default) if re.fullmatch(r"\d+|\[.*\]|true|false", default) else default
        assert tree[section][rest] == wanted, name
    assert len(tree["auth"]["key"]) == 1 and tree["auth"]["key"][0]["algorithm"] == "HS256"
    assert (tmp_path / "token.secret").read_text().strip() not in text, "a file's name, not what it holds"


def line_of(text, setting):
    """The line that sets it, and a comment line right before it."""
    lines = text.splitlines()
    (at,) = [n for n, line in enumerate(lines) if re.match(rf"{setting}\s*=", line)]
    before = lines[at - 1] if lines[at - 1].lstrip().startswith("#") else ""
    assert "#" in lines[at] + before, lines[at]
    return (before + lines[at]).partition("#")[2]


def test_r32_where_a_setting_came_from_is_shown(tmp_path):
    config = good(tmp_path, {"heartbeat.interval_ms": 20000, "heartbeat.idle_timeout_ms": 70000})
    text, tree = shown(config, MOORLINE__HEARTBEAT__IDLE_TIMEOUT_MS="80000", MOORLINE__DRAIN__SPREAD_MS="7")
    assert tree["heartbeat"]["interval_ms"] == 20000
    assert tree["heartbeat"]["idle_timeout_ms"] == 80000, "the environment wins"
    assert tree["drain"]["spread_ms"] == 7
    assert "default" in line_of(text, "hello_timeout_ms")
    of_file, of_environment = line_of(text, "interval_ms"), line_of(text, "idle_timeout_ms")
    assert "file" in of_file or "moorline.toml" in of_file, of_file
    assert "environment" in of_environment or "MOORLINE__HEARTBEAT__IDLE_TIMEOUT_MS" in of_environment, of_environment


def test_r32_what_is_shown_can_be_served(tmp_path):
    text, tree = shown(good(tmp_path, {"heartbeat.interval_ms": 20000, "http.origins": ["https://app.example"]}))
    (tmp_path / "again.toml").write_text(text)
    assert shown(tmp_path / "again.toml")[1] == tree


def test_r32_paths_start_at_the_file_s_folder(serve, connect):
    server = serve({"store.directory": "kept"}, cwd="/")
    assert connect(server, **server.as_user("ann")).is_open()
    assert (server.folder / "kept").is_dir()


def test_r32_the_environment_wins_over_the_file(serve, connect):
    server = serve({"heartbeat.interval_ms": 20000}, env={"MOORLINE__HEARTBEAT__INTERVAL_MS": "25000"})
    assert connect(server, **server.as_user("ann")).established["heartbeat_ms"] == 25000


# --- wrong ones ---

def good(folder, settings=None):
    """A configuration that is right, but for these settings."""
    (folder / "token.secret").write_bytes(b"k" * 40 + b"\n")
    if not (folder / "keys.toml").exists():
        create_key(folder / "keys.toml", "main", ["read"])
    config = folder / "moorline.toml"
    config.write_text(settings_text({
        "http.listen": f"127.0.0.1:{free_port()}", "auth.key": [{"algorithm": "HS256", "file": "token.secret"}],
        "keys.file": "keys.toml", **(settings or {}),
    }))
    return config


def ends_with_2(*names, args):
    process = subprocess.Popen([BINARY, *map(str, args)], env=environment({}), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{args[0]} did not end") from None
    finally:
        process.kill()
        process.wait()
    said = out + err
    assert process.returncode == 2, (process.returncode, said)
    assert "panicked" not in said, said
    for name in names:
        assert name.lower() in said.lower(), f"{name} is not named: {said}"
    return said


def refused(config, *names):
    """Neither served nor found right; both say why."""
    ends_with_2(*names, args=["serve", "--config", config])
    ends_with_2(*names, args=["config", "check", "--config", config])


HS = {"algorithm": "HS256", "file": "token.secret"}
RULE = [{"prefix": "a", "records": 5}]

WRONG = [
    # names
    ({"http.orgins": []}, "orgins", "origins"), ({"limit.rooms_max": 5}, "limit"), ({"nonsense.value": 1}, "nonsense"),
    ({"heartbeat.intervall_ms": 1000}, "intervall_ms", "interval_ms"), ({"auth.audiance": ["a"]}, "audience"),
    ({"limits.connection_message_per_s": 1}, "connection_messages_per_s"), ({"auth.secret": "x"}, "auth.secret"),
    # kinds
    ({"heartbeat.interval_ms": "1000"}, "interval_ms"), ({"heartbeat.interval_ms": 1000.5}, "interval_ms"),
    ({"heartbeat.interval_ms": True}, "interval_ms"), ({"heartbeat.interval_ms": [1000]}, "interval_ms"),
    ({"http.origins": "https://app.example"}, "origins"), ({"http.origins": [1]}, "origins"),
    ({"auth.audience": "moorline"}, "audience"), ({"auth.cookie": 1}, "cookie"), ({"keys.file": 7}, "keys.file"),
    ({"auth.key": "token.secret"}, "auth.key"), ({"auth.key": {"file": "x"}}, "auth.key"),
    ({"log.format": "xml"}, "log.format"), ({"log.level": "loud"}, "log.level"), ({"http.listen": 8080}, "listen"),
    # ranges
    ({"heartbeat.interval_ms": 99}, "interval_ms", "100"), ({"heartbeat.interval_ms": -1}, "interval_ms"),
    ({"heartbeat.interval_ms": 3600001}, "interval_ms", "3600000"), ({"auth.leeway_ms": 300001}, "leeway_ms", "300000"),
    ({"auth.lifetime_max_ms": 59999}, "lifetime_max_ms", "60000"),
    ({"auth.jwks_refresh_ms": 999}, "jwks_refresh_ms", "1000"),
    ({"limits.connection_messages_burst": 0}, "connection_messages_burst"), ({"limits.rooms_max": 0}, "rooms_max"),
    ({"limits.connection_bytes_burst": 1024}, "connection_bytes_burst"),  # less than one message may have
    ({"limits.unestablished_max": 0}, "unestablished_max"), ({"http.head_timeout_ms": 99}, "head_timeout_ms"),
    ({"session.metadata_max_bytes": 1}, "metadata_max_bytes"), ({"auth.audience": []}, "audience"),
    ({"auth.audience": [f"a{n}" for n in range(17)]}, "audience"),
    ({"auth.issuer": [f"i{n}" for n in range(17)]}, "issuer"),
    ({"http.origins": [f"https://a{n}.example" for n in range(257)]}, "origins"),
    ({"http.trusted_proxies": [f"10.0.{n}.0/24" for n in range(256)] + ["10.1.0.0/16"]}, "trusted_proxies"),
    ({"auth.key": [{**HS, "id": f"k{n}"} for n in range(65)]}, "auth.key"),
    ({"retention.rule": RULE * 65}, "retention.rule"),
    # values
    *[({"http.origins": [origin]}, "origins") for origin in (
        "app.example", "https://", "https://app.example/path", "https://user@app.example", "*", "https://*.example", "",
        "null", "https://app.example:99999", "https://app.example?x")],
    *[({"http.trusted_proxies": [proxy]}, "trusted_proxies") for proxy in (
        "proxy.example", "10.0.0.0/33", "10.0.0", "10.0.0.0/x", "::1/129", "", "*")],
    *[({setting: [pattern]}, setting) for setting in ("auth.join", "auth.publish") for pattern in ("*a" * 9,)],
    *[({"http.listen": listen}, "listen") for listen in ("localhost", "127.0.0.1", "127.0.0.1:99999", "", "[::1")],
    ({"retention.rule": [{"records": 5}]}, "prefix"), ({"retention.rule": [{"prefix": "a", "record": 5}]}, "record"),
    ({"retention.rule": [{"prefix": "a", "records": 0}]}, "records"),
    ({"auth.cookie": "a b"}, "cookie"), ({"auth.cookie": "a=b"}, "cookie"),
    # keys of tokens
    ({"auth.key": None}, "auth"), ({"auth.key": []}, "auth"),
    ({"auth.key": [{**HS, "file": "missing.secret"}]}, "missing.secret"),
    ({"auth.key": [{**HS, "file": "."}]}, "auth.key"),
    ({"auth.key": [{**HS, "file": ""}]}, "auth.key"), ({"auth.key": [{"algorithm": "HS256"}]}, "file"),
    ({"auth.key": [{"file": "token.secret"}]}, "algorithm"), ({"auth.key": [{**HS, "algorithm": "none"}]}, "none"),
    ({"auth.key": [{**HS, "algorithm": "RS512"}]}, "RS512"), ({"auth.key": [{**HS, "algorithm": "hs256"}]}, "hs256"),
    ({"auth.key": [{**HS, "kid": "x"}]}, "kid"), ({"auth.key": [{**HS, "id": 1}]}, "id"),
    ({"auth.key": [{**HS, "file": "short.secret"}]}, "32"),
    ({"auth.key": [{**HS, "file": "empty.secret"}]}, "empty.secret"),
    ({"auth.key": [{**HS, "algorithm": "HS512"}]}, "64"), ({"auth.key": [{**HS, "algorithm": "HS384"}]}, "48"),
    ({"auth.key": [{**HS, "id": "a"}, {**HS, "id": "a"}]}, "a"),
    *[({"auth.key": [{"algorithm": algorithm, "file": file}]}, file) for algorithm, file in (
        ("RS256", "token.secret"), ("RS256", "es.pem"), ("ES256", "rs.pem"), ("EdDSA", "es.pem"), ("ES256", "ed.pem"),
        ("RS256", "weak.pem"), ("RS256", "broken.pem"), ("ES256", "empty.secret"))],
    # key sets
    *[({"auth.jwks": [{"url": url, "algorithms": ["RS256"]}]}, "jwks") for url in (
        "http://example.com/keys.json", "ftp://example.com/x", "keys.json", "", "https://", "http://10.0.0.1/x")],
    ({"auth.jwks": [{"algorithms": ["RS256"]}]}, "jwks"), ({"auth.jwks": [{"file": "set.json"}]}, "algorithms"),
    ({"auth.jwks": [{"file": "set.json", "algorithms": []}]}, "algorithms"),
    ({"auth.jwks": [{"file": "set.json", "algorithms": ["none"]}]}, "none"),
    ({"auth.jwks": [{"file": "set.json", "url": "https://example.com/x", "algorithms": ["RS256"]}]}, "jwks"),
    ({"auth.jwks": [{"file": "missing.json", "algorithms": ["RS256"]}]}, "missing.json"),
    ({"auth.jwks": [{"file": "broken.pem", "algorithms": ["RS256"]}]}, "broken.pem"),
    ({"auth.jwks": [{"file": "set.json", "algorithms": ["RS256"]}] * 17}, "jwks"),
    # API keys
    ({"keys.file": None}, "keys.file"), ({"keys.file": ""}, "keys.file"),
    ({"keys.file": "missing.toml"}, "missing.toml"),
    ({"keys.file": "."}, "keys.file"), ({"keys.file": "broken.pem"}, "broken.pem"),
    *[({"keys.file": f"keys-{name}.toml"}, f"keys-{name}.toml") for name in (
        "hash", "scope", "unknown", "twice", "id", "expires")],
    # TLS
    ({"tls.certificate": "cert.pem"}, "tls"), ({"tls.key": "rs.pem"}, "tls"),
    ({"tls.certificate": "missing-cert.pem", "tls.key": "rs.pem"}, "missing-cert.pem"),
]

HASH = "sha256:" + "0" * 64
KEY = {"id": "abc", "name": "x", "scopes": ["read"], "hash": HASH, "created": "2026-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def broken_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    files = {
        "short.secret": b"k" * 31 + b"\n", "empty.secret": b"", "es.pem": pair("ES256").private_pem,
        "rs.pem": pair("RS256").private_pem, "ed.pem": pair("EdDSA").public_pem,
        "weak.pem": fresh("RS256", 1024).public_pem,
        "broken.pem": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "set.json": json.dumps({"keys": [pair("RS256").jwk("a")]}).encode(),
        "cert.pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    }
    keys = {
        "hash": [{**KEY, "hash": "sha256:12"}], "scope": [{**KEY, "scopes": ["root"]}],
        "unknown": [{**KEY, "scope": "read"}],
        "twice": [KEY, {**KEY, "name": "y"}], "id": [{name: value for name, value in KEY.items() if name != "id"}],
        "expires": [{**KEY, "expires": "tomorrow"}],
    }
    for name, entries in keys.items():
        files[f"keys-{name}.toml"] = keys_text(entries).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    create_key(folder / "keys.toml", "main", ["read"])
    return folder


@pytest.fixture
def folder(broken_files, tmp_path):
    shutil.copytree(broken_files, tmp_path, dirs_exist_ok=True)
    return tmp_path


def id_of(row):
    return " ".join(f"{name}={str(value)[:50]}" for name, value in row[0].items()) if isinstance(row, tuple) else None


@pytest.mark.parametrize("row", WRONG, ids=id_of)
def test_bad_configuration(folder, row):
    settings, *names = row
    refused(good(folder, settings), *names)


def test_r32_what_is_wrong_above_is_wrong_for_its_own_sake(folder):
    """The same folder with nothing changed, and with values that are merely unusual."""
    for settings in ({}, {
        "http.origins": ["https://app.example", "http://localhost:3000", "https://[::1]:8443"],
        "http.trusted_proxies": ["10.0.0.0/8", "::1", "2001:db8::/32", "192.0.2.1"], "auth.join": ["*a" * 8, "{user}"],
        "auth.key": [{**HS, "id": "h1"}, {**HS, "id": "h2"}, HS, {"algorithm": "RS256", "file": "rs.pem", "id": "rs"},
                     {"algorithm": "ES256", "file": "es.pem", "id": "es"},
                     {"algorithm": "EdDSA", "file": "ed.pem", "id": "ed"}],
        "auth.jwks": [{"file": "set.json", "algorithms": ["RS256"]},
                      {"url": "https://example.com/x", "algorithms": ["ES256"]},
                      {"url": "http://127.0.0.1:1/x", "algorithms": ["EdDSA"]}],
        "retention.rule": [{"prefix": "a", "records": 5}, {"prefix": "ab", "bytes": 5000, "age_ms": 5000}],
        "limits.connection_messages_per_s": 0, "auth.cookie": "__Host-token",
        "log.level": "trace", "log.format": "json",
    }):
        done = cli("config", "check", "--config", good(folder, settings))
        assert done.returncode == 0, done


@pytest.mark.parametrize("text, name", [
    ("[http", "moorline.toml"), ("[http]\nlisten = \n", "moorline.toml"), ("x", "moorline.toml"),
    ("\0", "moorline.toml"),
    ("[http]\nhead_max_bytes = 9000\nhead_max_bytes = 9000\n", "moorline.toml:3"), ("http = 5\n", "http"),
    ("listen = '127.0.0.1:1'\n", "listen"), ("[[http]]\nhead_max_bytes = 9000\n", "http"),
])
def test_bad_settings_file(tmp_path, text, name):
    config = good(tmp_path)
    config.write_text(text)
    refused(config, name)


def test_bad_settings_file_that_cannot_be_read(tmp_path):
    refused(tmp_path / "none.toml", "none.toml")
    refused(tmp_path, tmp_path.name)
    (tmp_path / "latin.toml").write_bytes(b"# \xff\n")
    refused(tmp_path / "latin.toml", "latin.toml")


@pytest.mark.parametrize("file", ["moorline.toml", "token.secret", "keys.toml"])
def test_bad_file_that_may_not_be_read(file):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        config = good(folder)
        for one in folder.iterdir():
            one.chmod(0o644)
        (folder / file).chmod(0)
        # Root may read everything, so somebody else has to try.
        program, somebody = folder / "moorline", {"user": 65534} if os.geteuid() == 0 else {}
        shutil.copy(BINARY, program)
        program.chmod(0o755)
        done = subprocess.run([program, "serve", "--config", config], env=environment({}), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=10, **somebody)
    assert done.returncode == 2 and file in done.stdout + done.stderr, done


def test_bad_environment(tmp_path):
    config = good(tmp_path)
    for name, value, named in (("MOORLINE__HEARTBEAT__INTERVAL_MS", "soon", "interval_ms"),
                               ("MOORLINE__HEARTBEAT__INTERVALL_MS", "1000", "interval_ms"),
                               ("MOORLINE__LIMITS__ROOMS_MAX", "0", "rooms_max")):
        done = cli("config", "check", "--config", config, env={name: value})
        assert done.returncode == 2 and named in (done.stdout + done.stderr).lower(), done


def test_bad_serve_without_settings(tmp_path):
    done = subprocess.run([BINARY, "serve"], env=environment({}), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=10, cwd=tmp_path)
    assert done.returncode == 2, done


@pytest.mark.parametrize("setting, values", [
    ("keys.file", {"keys.file": "keys.toml"}),
    ("tls.certificate", {"tls.certificate": "cert.pem", "tls.key": "key.pem"}),
])
def test_bad_setting_of_serve_in_development(setting, values):
    code, said = run_to_end(values)
    assert code == 2 and setting in said.lower().replace("__", ".") and "dev" in said.lower(), said


def test_bad_development_beyond_this_machine():
    code, said = run_to_end(listen="0.0.0.0:0")
    assert code == 2 and "loopback" in said.lower(), said


def test_r32_serve_may_listen_beyond_this_machine(serve):
    port = free_port()
    server = serve({"http.listen": f"0.0.0.0:{port}"}, port=port)
    assert server.http("GET", "/livez").status == 200


def test_bad_address_that_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        config = good(tmp_path, {"http.listen": address})
        done = cli("serve", "--config", config)
        assert done.returncode not in (0, -6, 101) and address in done.stdout + done.stderr, done


# --- while it runs ---

def hup(server):
    server.signal(signal.SIGHUP)


def test_r32_origins_are_taken_over(serve):
    server = serve({"auth.cookie": COOKIE})
    headers = {"Cookie": f"{COOKIE}={server.token('ann')}", "Origin": "https://app.example"}
    assert server.upgrade("/ws", headers).status == 403
    server.configure({"http.origins": ["https://app.example"]})
    hup(server)
    eventually(lambda: server.upgrade("/ws", headers).status == 101)
    server.configure({"http.origins": []})
    answer = server.reload()
    assert answer["reloaded"] == ["http.origins"] and answer["needs_restart"] == []
    assert server.upgrade("/ws", headers).status == 403
    assert server.reload() == {"reloaded": [], "needs_restart": []}


def test_r32_limits_are_taken_over_by_who_is_there(serve, connect):
    server = serve()
    client = connect(server, **server.as_user("ann"))
    assert client.is_open()
    server.configure({"limits.connection_messages_per_s": 1, "limits.connection_messages_burst": 2})
    assert sorted(server.reload()["reloaded"]) == [
        "limits.connection_messages_burst", "limits.connection_messages_per_s"]

    def refusals(client):
        replies = [client.ask({"type": "ping"}) for _ in range(10)]
        return [reply for reply in replies if not reply["ok"]]

    assert refusals(client), "an open connection"
    assert refusals(connect(server, **server.as_user("bob"))), "a new one"


def test_r32_token_keys_are_taken_over(serve, connect):
    server = serve()
    old = server.token("ann")
    staying = connect(server, headers=bearer(old))
    first, second = server.secret, os.urandom(32).hex().encode()
    (server.folder / "new.secret").write_bytes(second)
    server.configure({"auth.key": [HS, {**HS, "id": "new", "file": "new.secret"}]})
    assert server.reload()["reloaded"] == ["auth.key"]
    fresh_token = server.token("bob", key=second, kid="new")
    for token in (old, fresh_token):
        assert connect(server, headers=bearer(token)).is_open()
    server.configure({"auth.key": [{**HS, "id": "new", "file": "new.secret"}]})
    hup(server)
    eventually(lambda: first_frame(connect.raw(server, headers=bearer(old)))["type"] == "error")
    not_let_in(connect.raw(server, headers=bearer(server.token("eve", key=first))))
    assert connect(server, headers=bearer(fresh_token)).is_open()
    assert staying.is_open(), "its token was checked when it came"


def first_frame(client):
    frame = client.next()
    client.cut()
    return frame


def test_r32_a_key_s_file_with_another_content_is_taken_over(serve, connect):
    server = serve()
    old = server.token("ann")
    (server.folder / "token.secret").write_bytes(b"n" * 40)
    server.reload()
    not_let_in(connect.raw(server, headers=bearer(old)))
    assert connect(server, headers=bearer(server.token("ann", key=b"n" * 40))).is_open()


def test_r32_api_keys_are_taken_over(serve):
    server = serve()
    made = server.new_key("late", "read")["secret"]
    assert server.http("GET", "/v1/stats", key=made).status == 401
    hup(server)
    eventually(lambda: server.http("GET", "/v1/stats", key=made).status == 200)


def test_r32_grants_audience_and_issuer_are_taken_over(serve, connect):
    server = serve({"auth.join": ["a"]})
    plain = server.as_user("ann", moorline=None)
    connect(server, "a", **plain).close()
    server.configure({"auth.join": ["b"], "auth.audience": ["moorline", "other"], "auth.issuer": ["me"]})
    assert sorted(server.reload()["reloaded"]) == ["auth.audience", "auth.issuer", "auth.join"]
    not_let_in(connect.raw(server, **plain))
    named = server.as_user("ann", moorline=None, iss="me", aud="other")
    not_let_in(connect.raw(server, "a", **named), reason="not allowed here", error="forbidden")
    assert connect(server, "b", **named).is_open()


BROKEN = [
    ({"http.orgins": []}, "origins"), ({"limits.rooms_max": 0}, "rooms_max"),
    ({"auth.key": [{**HS, "file": "gone.secret"}]}, "gone.secret"), ({"keys.file": "gone.toml"}, "gone.toml"),
    ({"auth.key": []}, "auth"), ({"http.origins": ["*"]}, "origins"), (None, "moorline.toml"),
]


@pytest.mark.parametrize("change, name", BROKEN, ids=lambda value: str(value)[:50])
def test_r32_a_reload_that_cannot_be_changes_nothing(serve, connect, change, name):
    server = serve({"auth.cookie": COOKIE})
    before = dict(server.settings)
    if change is None:
        server.config.write_text("[http")
    else:
        # What is right in the same file is not taken over either.
        server.configure({"auth.audience": ["elsewhere"], **change})
    problem = server.http("POST", "/v1/reload").problem(400, "bad_frame")
    assert name in problem["detail"], problem
    logged = len(server.log())
    hup(server)
    eventually(lambda: name in server.log()[logged:], what="the refusal in the log")
    assert server.process.poll() is None
    assert connect(server, **server.as_user("ann")).is_open()
    server.settings = before
    server.configure({"http.origins": ["https://app.example"]})
    assert server.reload()["reloaded"] == ["http.origins"], "a right one is taken afterwards"


def test_r32_what_needs_a_restart_is_named(serve, connect):
    server = serve({"heartbeat.interval_ms": 20000})
    server.configure({"heartbeat.interval_ms": 25000, "session.rooms_max": 1, "http.origins": ["https://app.example"]})
    answer = server.reload()
    assert answer["reloaded"] == ["http.origins"]
    assert sorted(answer["needs_restart"]) == ["heartbeat.interval_ms", "session.rooms_max"]
    client = connect(server, **server.as_user("ann"))
    assert client.established["heartbeat_ms"] == 20000
    client.join("a")
    client.join("b")
    logged = len(server.log())
    hup(server)
    eventually(lambda: "heartbeat.interval_ms" in server.log()[logged:], what="it to be logged")


def test_r32_many_reloads_disturb_nobody(serve, connect):
    server, room = serve(), unique("room")
    client = connect(server, room, **server.as_user("ann"))
    for n in range(20):
        server.configure({"http.origins": [f"https://app{n}.example"]})
        hup(server)
        client.messages(server.to_room(room, 1))
    assert client.is_open() and server.process.poll() is None
