"""API keys: scopes, expiry, revocation while in use, and how they are made."""

import hashlib
import http.client
import json
import os
import re
import stat
import time
import tomllib
from datetime import datetime, timedelta, timezone

import pytest

from client import Client
from serving import NO_KEY, SCOPES, bearer, cli, create_key
from waiting import eventually, unique

PUBLISH = {"to": {"room": "r"}, "message": {"type": "x"}}

# Every resource of the specification's section 8 that wants a key.
RESOURCES = [
    ("POST", "/v1/publish", PUBLISH, "publish"), ("POST", "/v1/batch", {"publishes": [PUBLISH]}, "publish"),
    ("GET", "/v1/sessions", None, "read"), ("GET", "/v1/sessions/none", None, "read"),
    ("PATCH", "/v1/sessions/none", {"metadata": {}}, "manage"), ("DELETE", "/v1/sessions/none", None, "manage"),
    ("PUT", "/v1/sessions/none/rooms/r", None, "manage"), ("DELETE", "/v1/sessions/none/rooms/r", None, "manage"),
    ("GET", "/v1/rooms", None, "read"), ("GET", "/v1/rooms/none", None, "read"),
    ("GET", "/v1/rooms/r/streams", None, "read"), ("GET", "/v1/rooms/r/streams/none", None, "read"),
    ("POST", "/v1/rooms/r/streams", {"stream": "x"}, "publish"), ("PUT", "/v1/rooms/r/streams/none", None, "publish"),
    ("POST", "/v1/rooms/r/streams/none/append", {"fence": 1, "at": 0, "content": ""}, "publish"),
    ("POST", "/v1/rooms/r/streams/none/end", {"fence": 1, "outcome": "complete"}, "publish"),
    ("POST", "/v1/rooms/r/streams/none/cancel", None, "publish"),
    ("GET", "/v1/rooms/r/messages", None, "read"), ("DELETE", "/v1/rooms/none/messages", None, "manage"),
    ("GET", "/v1/users/none", None, "read"), ("DELETE", "/v1/users/none/sessions", None, "manage"),
    ("GET", "/v1/stats", None, "read"), ("GET", "/ws/stats", None, "read"), ("GET", "/ws/status", None, "read"),
    ("DELETE", "/v1/users/none/tokens", None, "manage"), ("POST", "/v1/tokens", {"user": "ann"}, "tokens"),
    ("DELETE", "/v1/tokens/none", None, "manage"), ("POST", "/v1/reload", None, "manage"),
    ("GET", "/metrics", None, "metrics"),
]
NAMES = [f"{method} {path}" for method, path, _, _ in RESOURCES]


@pytest.fixture(scope="module")
def scoped(shared_serving):
    """A key of each scope, and one of all but that."""
    keys = {}
    for scope in SCOPES:
        keys[scope] = shared_serving.new_key(f"only-{scope}", scope)["secret"]
        keys["not " + scope] = shared_serving.new_key(f"not-{scope}", *(set(SCOPES) - {scope}))["secret"]
    shared_serving.reload()
    return keys


def unauthorized(answer):
    assert answer.headers.get("www-authenticate", "").lower().startswith("bearer"), answer
    return answer.problem(401, "not_authenticated")


@pytest.mark.parametrize("method, path, body, scope", RESOURCES, ids=NAMES)
def test_r22_a_resource_wants_a_key_of_its_scope(serving, scoped, method, path, body, scope):
    unauthorized(serving.http(method, path, body, key=NO_KEY))
    unauthorized(serving.http(method, path, body, key="mk_nobody_" + "A" * 43))
    serving.http(method, path, body, key=scoped["not " + scope]).problem(403, "forbidden")
    for other in set(SCOPES) - {scope}:
        serving.http(method, path, body, key=scoped[other]).problem(403, "forbidden")
    assert serving.http(method, path, body, key=scoped[scope]).status in (200, 201, 204, 404, 409)


def test_r22_what_is_refused_is_not_done(serving, connect, scoped):
    room = unique("room")
    client = connect(serving, room, **serving.as_user(unique("ann")))
    for key in (NO_KEY, scoped["not publish"]):
        body = {"to": {"room": room}, "message": {"type": "x"}}
        assert serving.http("POST", "/v1/publish", body, key=key).status in (401, 403)
    for key in (NO_KEY, scoped["not manage"]):
        assert serving.http("DELETE", f"/v1/sessions/{client.session}", key=key).status in (401, 403)
    client.nothing_new(room)
    assert serving.room(room)["message_id"] == 1


def test_r22_every_resource_has_been_asked_for(serving):
    """The table above against the interface's own description."""
    described = serving.http("GET", "/openapi.json", key=NO_KEY)
    assert described.status == 200
    known = {(method, re.sub(r"\{[^}]*\}", "*", path)) for path, item in described.json["paths"].items()
             for method in item if method in ("get", "post", "put", "patch", "delete")}
    here = {(method.lower(), path.replace("/none", "/*").replace("/rooms/r", "/rooms/*"))
            for method, path, _, _ in RESOURCES}
    free = {("get", "/livez"), ("get", "/readyz"), ("get", "/openapi.json"), ("get", "/ws"), ("get", "/ws/*"),
    ("get", "/")}
    assert here <= known, here - known
    assert known - here <= free, known - here - free


def test_r22_what_needs_no_key(serving):
    for path in ("/livez", "/readyz", "/openapi.json"):
        assert serving.http("GET", path, key=NO_KEY).status == 200, path
        assert serving.http("GET", path, headers=bearer("nonsense")).status == 200, path


@pytest.mark.parametrize("value", [
    "", "Bearer", "Bearer ", "Basic {key}", "{key}", "Token {key}", "Bearer {key}x", "Bearer x{key}", "Bearer {short}",
    "Bearer {key} {key}", "Bearer {key},{key}", "Bearer {id}", "Bearer {upper}", "Bearer mk_", "Bearer mk__",
    "Bearer mk_x_y", "Bearer {other_id}", "Bearer {hash}", "Bearer \xff\xfe", "Bearer " + "x" * 8000,
    "Bearer mk_{long}_x", "Bearer %6dk_x",
])
def test_bad_api_key(serving, value):
    key = serving.key
    mine = next(one for one in tomllib.loads(serving.keys_file.read_text())["key"] if one["name"] == "main")
    filled = {
        "key": key, "short": key[:-1], "id": mine["id"], "upper": key.upper(), "hash": mine["hash"], "long": "i" * 5000,
        "other_id": key.replace(mine["id"], mine["id"][::-1] + "0", 1),
    }
    for name, text in filled.items():
        value = value.replace("{" + name + "}", text)
    unauthorized(serving.http("GET", "/v1/stats", headers={"Authorization": value}))
    assert serving.http("GET", "/v1/stats").status == 200


def test_r22_a_token_is_no_api_key(serving):
    unauthorized(serving.http("GET", "/v1/stats", headers=bearer(serving.token("ann"))))
    for path in (f"/v1/stats?token={serving.key}", f"/v1/stats?key={serving.key}", f"/v1/stats?api_key={serving.key}"):
        assert serving.http("GET", path, key=NO_KEY).status in (400, 401), path
    assert serving.http("GET", "/v1/stats", headers={"X-Api-Key": serving.key}, key=NO_KEY).status == 401


def test_r22_development_wants_none(server):
    assert server.http("GET", "/v1/stats").status == 200
    assert server.http("GET", "/v1/stats", headers=bearer("whatever")).status == 200


# --- ends ---

def rfc3339(seconds_from_now):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds_from_now)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_r22_a_key_ends_when_it_says(serve):
    server = serve()
    past = server.new_key("past", "read", expires=rfc3339(-5))["secret"]
    later = server.new_key("later", "read", expires=rfc3339(3600))["secret"]
    ends = time.time() + 3
    soon = server.new_key("soon", "read", expires=rfc3339(3))["secret"]
    server.reload()
    unauthorized(server.http("GET", "/v1/stats", key=past))
    assert server.http("GET", "/v1/stats", key=later).status == 200
    assert server.http("GET", "/v1/stats", key=soon).status == 200
    eventually(lambda: server.http("GET", "/v1/stats", key=soon).status == 401, timeout=10)
    assert ends - 1.1 <= time.time() <= ends + 1.5
    assert server.http("GET", "/v1/stats", key=later).status == 200


@pytest.mark.parametrize("how", ["SIGHUP", "POST"])
def test_r22_a_revoked_key_is_refused_while_in_use(serve, how):
    server = serve()
    revoked = server.new_key("gone", "read")
    kept = server.new_key("kept", "read")
    server.reload()
    busy = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)

    def on_the_open_connection():
        busy.request("GET", "/v1/stats", headers=bearer(revoked["secret"]))
        answer = busy.getresponse()
        answer.read()
        return answer.status

    assert on_the_open_connection() == 200
    server.edit_keys(lambda keys: [key for key in keys if key["id"] != revoked["id"]])
    assert on_the_open_connection() == 200, "the file alone changes nothing yet"
    if how == "POST":
        assert "keys.file" in server.reload()["reloaded"]
        assert on_the_open_connection() == 401
    else:
        server.signal(1)
        eventually(lambda: on_the_open_connection() == 401)
    busy.close()
    unauthorized(server.http("GET", "/v1/stats", key=revoked["secret"]))
    assert server.http("GET", "/v1/stats", key=kept["secret"]).status == 200


def test_r22_a_key_of_fewer_scopes_after_a_reload(serve):
    server = serve()
    key = server.new_key("narrow", "read", "publish")
    server.reload()
    assert server.http("POST", "/v1/publish", PUBLISH, key=key["secret"]).status == 200
    server.edit_keys(lambda keys: [{**one, "scopes": ["read"]} if one["id"] == key["id"] else one for one in keys])
    server.reload()
    server.http("POST", "/v1/publish", PUBLISH, key=key["secret"]).problem(403, "forbidden")
    assert server.http("GET", "/v1/stats", key=key["secret"]).status == 200


# --- names ---

def test_r22_publish_ids_belong_to_the_name_of_a_key(serve):
    server, room = serve(), unique("room")
    old, new = (server.new_key("billing", "publish")["secret"] for _ in range(2))
    other = server.new_key("shipping", "publish")["secret"]
    server.reload()

    def publish(key, n=1):
        body = {"to": {"room": room}, "message": {"type": "x", "n": n}, "id": "order-1"}
        return server.http("POST", "/v1/publish", body, key=key)

    first = publish(old).json
    again = publish(new).json
    assert again["message_id"] == first["message_id"] and again["duplicate"] is True
    publish(new, 2).problem(409, "conflict")
    stranger = publish(other).json
    assert stranger["message_id"] == first["message_id"] + 1 and "duplicate" not in stranger
    assert publish(other).json["duplicate"] is True


def test_r22_publish_ids_of_users_and_keys_do_not_meet(serving, connect):
    room = unique("room")
    client = connect(serving, **serving.as_user("main"))  # the name of the key
    first = client.publish({"room": room}, {"type": "x"}, id="same")
    assert "duplicate" not in serving.publish({"room": room}, {"type": "y"}, id="same")
    assert client.publish({"room": room}, {"type": "x"}, id="same")["message_id"] == first["message_id"]


# --- making them ---

def test_r22_a_key_is_made_once_and_kept_as_a_hash(tmp_path):
    file = tmp_path / "keys.toml"
    made = create_key(file, "first", ["publish", "read"])
    assert {"id", "name", "scopes", "secret"} <= set(made)
    assert made["name"] == "first" and sorted(made["scopes"]) == ["publish", "read"]
    assert re.fullmatch(rf"mk_{re.escape(made['id'])}_[A-Za-z0-9_-]{{43}}", made["secret"]), made
    (kept,) = tomllib.loads(file.read_text())["key"]
    assert kept["hash"] == "sha256:" + hashlib.sha256(made["secret"].encode()).hexdigest()
    assert made["secret"] not in file.read_text() and made["secret"][-43:] not in file.read_text()
    assert datetime.fromisoformat(str(kept["created"]).replace("Z", "+00:00")).tzinfo
    assert stat.S_IMODE(os.stat(file).st_mode) & 0o077 == 0, "nobody else may read it"
    second = create_key(file, "first", ["read"])
    assert second["id"] != made["id"] and second["secret"] != made["secret"]
    assert [key["id"] for key in tomllib.loads(file.read_text())["key"]] == [made["id"], second["id"]]


def test_r22_a_made_key_is_said_on_the_last_line(tmp_path):
    done = cli("keys", "create", "--name", "plain", "--scope", "read", "--file", tmp_path / "keys.toml")
    assert done.returncode == 0, done
    assert re.fullmatch(r"mk_[^_\s]+_[A-Za-z0-9_-]{43}", done.stdout.strip().splitlines()[-1]), done
    assert done.stdout.strip().splitlines()[-1] not in done.stderr


def test_r22_a_file_without_a_key_is_told(serve):
    server = serve()
    server.edit_keys(lambda keys: [])
    server.reload()
    eventually(lambda: "nobody can use the HTTP interface" in server.log())
    unauthorized(server.http("GET", "/v1/stats"))


@pytest.mark.parametrize("name", ["moorline.toml", "keys.toml", "token.secret"])
def test_bad_pipe_in_place_of_a_file(tmp_path, name):
    (tmp_path / "moorline.toml").write_text(
        '[keys]\nfile = "keys.toml"\n[[auth.key]]\nalgorithm = "HS256"\nfile = "token.secret"\n')
    (tmp_path / "keys.toml").write_text("")
    (tmp_path / "token.secret").write_text("s" * 32)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    for command in (("serve",), ("config", "check")):
        done = cli(*command, "--config", tmp_path / "moorline.toml", timeout=5)
        assert done.returncode == 2 and name in done.stderr, done


@pytest.mark.parametrize("args", [
    ["--name", "x"], ["--name", "x", "--scope", "everything"], ["--scope", "read"], ["--name", "", "--scope", "read"],
    ["--name", "x", "--scope", "Read"], ["--name", "a\nb", "--scope", "read"], ["--name", "x" * 129, "--scope", "read"],
], ids=str)
def test_bad_key_to_make(tmp_path, args):
    file = tmp_path / "keys.toml"
    done = cli("keys", "create", *args, "--file", file)
    assert done.returncode == 2, done
    assert not file.exists() or "[[key]]" not in file.read_text()


def test_bad_file_is_not_written_over(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text("[[key]\nbroken")
    assert cli("keys", "create", "--name", "x", "--scope", "read", "--file", file).returncode != 0
    assert file.read_text() == "[[key]\nbroken"


def test_r22_keys_are_problems_in_json(serving, scoped):
    """The whole shape, for each refusal."""
    for answer, status, code in (
        (serving.http("GET", "/v1/stats", key=NO_KEY), 401, "not_authenticated"),
        (serving.http("GET", "/v1/stats", key=scoped["publish"]), 403, "forbidden"),
    ):
        body = answer.problem(status, code)
        assert all(isinstance(body[name], str) and body[name] for name in ("type", "title", "detail", "code")), body
        assert json.loads(answer.text) == body and "retry_in_ms" not in body


def test_r22_a_client_with_a_key_s_name_is_nothing_special(serving):
    client = Client(serving, **serving.as_user("main")).establish()
    assert serving.session(client.session)["user"] == "main"
    client.cut()
