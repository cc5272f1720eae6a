"""The keys that check tokens: of each kind, by their ids, from files and from key sets elsewhere."""

import json
import os
import time

import jwt
import pytest

from asymmetric import KINDS, fresh, pair
from server import free_port
from serving import bearer, hello, new_user, not_let_in
from waiting import eventually, unique


def with_keys(serve, folder, keys, **settings):
    """Serves with `[[auth.key]]` of (id, algorithm, file content)."""
    tables = []
    for id, algorithm, content in keys:
        file = folder / f"{unique('key')}.pem"
        file.write_bytes(content)
        tables.append({**({"id": id} if id else {}), "algorithm": algorithm, "file": str(file)})
    return serve({"auth.key": tables, **settings})


def let_in(server, connect, token):
    client = connect(server, headers=bearer(token))
    client.close()
    return True


def refused(server, connect, token):
    not_let_in(connect.raw(server, headers=bearer(token)))
    return True


@pytest.mark.parametrize("algorithm", KINDS)
@pytest.mark.parametrize("half", ["public_pem", "private_pem"])
def test_r22_a_token_of_a_key_pair(serve, connect, tmp_path, algorithm, half):
    ours = pair(algorithm)
    server = with_keys(serve, tmp_path, [(None, algorithm, getattr(ours, half))])
    user = new_user()
    client = connect(server, headers=bearer(server.token(user, key=ours.private, algorithm=algorithm)))
    assert server.session(client.session)["user"] == user
    refused(server, connect, server.token(user, key=pair(algorithm, "second").private, algorithm=algorithm))


@pytest.mark.parametrize("algorithm, size", [("HS256", 32), ("HS384", 48), ("HS512", 64)])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_r22_a_token_of_a_secret(serve, connect, tmp_path, algorithm, size, ending):
    secret = os.urandom(size).replace(b"\n", b"x").replace(b"\r", b"x")
    server = with_keys(serve, tmp_path, [(None, algorithm, secret + ending)])
    assert let_in(server, connect, server.token(key=secret, algorithm=algorithm))
    for other in {"HS256", "HS384", "HS512"} - {algorithm}:
        refused(server, connect, server.token(key=secret, algorithm=other))


def test_r22_the_key_is_the_one_that_the_token_names(serve, connect, tmp_path):
    secrets = {"h1": os.urandom(64).hex().encode(), "h2": os.urandom(64).hex().encode()}
    keys = [(id, "HS256", secret) for id, secret in secrets.items()]
    keys += [(kind, kind, pair(kind).public_pem) for kind in KINDS]
    keys += [("RS256-2", "RS256", pair("RS256", "second").public_pem)]
    server = with_keys(serve, tmp_path, keys)
    for id, secret in secrets.items():
        assert let_in(server, connect, server.token(key=secret, kid=id))
    for kind in KINDS:
        assert let_in(server, connect, server.token(key=pair(kind).private, algorithm=kind, kid=kind))
    second = {"key": pair("RS256", "second").private, "algorithm": "RS256"}
    assert let_in(server, connect, server.token(**second, kid="RS256-2"))
    refused(server, connect, server.token(**second, kid="RS256"))
    refused(server, connect, server.token(key=secrets["h1"], kid="h2"))
    refused(server, connect, server.token(key=secrets["h1"], kid="h3"))
    refused(server, connect, server.token(key=pair("ES256").private, algorithm="ES256", kid="RS256"))
    # Every key has an id and there are many: a token that names none cannot be checked.
    refused(server, connect, server.token(key=secrets["h1"]))
    refused(server, connect, server.token(**second))


def test_r22_a_token_that_names_no_key(serve, connect, tmp_path):
    named, plain = os.urandom(32).hex().encode(), os.urandom(32).hex().encode()
    both = with_keys(serve, tmp_path, [("named", "HS256", named), (None, "HS256", plain)])
    assert let_in(both, connect, both.token(key=plain))
    assert let_in(both, connect, both.token(key=named, kid="named"))
    refused(both, connect, both.token(key=named))
    refused(both, connect, both.token(key=plain, kid="plain"))
    one = with_keys(serve, tmp_path, [("named", "HS256", named)])
    assert let_in(one, connect, one.token(key=named)), "the only key there is"
    refused(one, connect, one.token(key=named, kid="other"))


@pytest.mark.parametrize("algorithm", KINDS)
def test_r22_tokens_are_made_with_the_first_key_that_can_sign(serve, connect, tmp_path, algorithm):
    first, second = pair(algorithm), os.urandom(32).hex().encode()
    server = with_keys(serve, tmp_path, [
        ("checks", "RS256", pair("RS256", "second").public_pem), ("signs", algorithm, first.private_pem),
        ("too", "HS256", second),
    ])
    made = server.http("POST", "/v1/tokens", {"user": "ann"}).json["token"]
    assert jwt.get_unverified_header(made)["kid"] == "signs"
    jwt.decode(made, first.private.public_key(), algorithms=[algorithm], audience="moorline")
    assert let_in(server, connect, made)


def test_r22_no_token_is_made_where_no_key_can_sign(serve, connect, tmp_path):
    server = with_keys(serve, tmp_path, [(None, "ES256", pair("ES256").public_pem)])
    server.http("POST", "/v1/tokens", {"user": "ann"}).problem(400, "no_authenticator")


# --- key sets ---

def signed(server, kind, name, kid, user="ann", **more):
    return server.token(user, key=pair(kind, name).private, algorithm=kind, kid=kid, **more)


def from_url(serve, url, refresh=1000, **settings):
    return serve({
        "auth.key": None, "auth.jwks": [{"url": url, "algorithms": list(KINDS)}], "auth.jwks_refresh_ms": refresh,
        "limits.address_handshakes_per_s": 0, "limits.user_handshakes_per_s": 0, **settings,
    })


@pytest.mark.parametrize("where", ["file", "url"])
def test_r22_keys_of_a_key_set(serve, connect, tmp_path, key_sets, where):
    keys = [pair(kind).jwk(f"{kind}/1") for kind in KINDS] + [
        pair("RS256", "second").jwk(None), {"kty": "oct", "kid": "secret", "k": "c2VjcmV0" * 8, "alg": "HS256"},
        {"kty": "new-kind", "kid": "odd", "stuff": [1, 2]}, pair("ES256", "second").jwk("enc", use="enc"),
    ]
    if where == "file":
        (tmp_path / "set.json").write_text(json.dumps({"keys": keys}))
        source = {"file": str(tmp_path / "set.json")}
    else:
        source = {"url": key_sets(keys).url}
    server = serve({"auth.key": None, "auth.jwks": [{**source, "algorithms": ["RS256", "ES256"]}]})
    eventually(lambda: server.http("GET", "/readyz").status == 200)
    for kind in ("RS256", "ES256"):
        assert let_in(server, connect, signed(server, kind, "first", f"{kind}/1"))
        refused(server, connect, signed(server, kind, "first", f"{kind}/2"))
        refused(server, connect, signed(server, kind, "second", f"{kind}/1"))
    # One that is not of the algorithms, one without an id, and one of another kind.
    refused(server, connect, signed(server, "EdDSA", "first", "EdDSA/1"))
    refused(server, connect, signed(server, "RS256", "second", None))
    refused(server, connect, server.token(key=b"secret" * 8, kid="secret"))


def test_r22_keys_of_a_set_and_of_files_together(serve, connect, key_sets):
    sets = key_sets([pair("ES256").jwk("es")])
    server = serve({"auth.jwks": [{"url": sets.url, "algorithms": ["ES256"]}]})
    assert let_in(server, connect, server.token())
    assert let_in(server, connect, signed(server, "ES256", "first", "es"))


def test_r22_rotated_keys_count_after_the_next_fetch(serve, connect, key_sets):
    sets = key_sets([pair("ES256").jwk("old")])
    server = from_url(serve, sets.url)
    old, new = signed(server, "ES256", "first", "old"), signed(server, "ES256", "second", "new")
    staying = connect(server, headers=bearer(old))
    refused(server, connect, new)
    sets.keys = [pair("ES256", "second").jwk("new")]
    fetched = len(sets.asked)
    eventually(lambda: len(sets.asked) >= fetched + 2, timeout=10)
    assert let_in(server, connect, new)
    refused(server, connect, old)
    assert staying.is_open(), "who is there stays"


@pytest.mark.parametrize("mode", ["slow", "huge", "many", "elsewhere", "broken", "nonsense", "drips"])
def test_r22_a_failed_fetch_keeps_the_keys_there_are(serve, connect, key_sets, mode):
    sets = key_sets([pair("ES256").jwk("es")])
    server = from_url(serve, sets.url)
    token = signed(server, "ES256", "first", "es")
    assert let_in(server, connect, token)
    sets.mode, sets.keys = mode, [pair("ES256", "second").jwk("es2")]
    tried = len(sets.asked)
    # The third attempt shows that the first of them is over: none waits longer than its 5 s.
    eventually(lambda: len(sets.asked) >= tried + 3, timeout=25)
    began = time.monotonic()
    assert let_in(server, connect, token)
    refused(server, connect, signed(server, "ES256", "second", "es2"))
    assert time.monotonic() - began < 2, "nobody waits for it"
    assert server.http("GET", "/readyz").status == 200
    assert "/other.json" not in sets.asked
    sets.mode = "well"
    eventually(lambda: connects(server, connect, signed(server, "ES256", "second", "es2")), timeout=15)


def connects(server, connect, token):
    """Whether the token is taken now."""
    client = connect.raw(server, headers=bearer(token))
    first = client.next()
    client.close()
    return first["type"] == "connection_established"


@pytest.mark.parametrize("mode", ["slow", "huge", "elsewhere", "broken", "nonsense", "down"])
def test_r22_keys_that_were_never_fetched(serve, connect, key_sets, mode):
    keys, port = [pair("ES256").jwk("es")], free_port()
    sets = key_sets(keys, mode, port) if mode != "down" else None
    server = from_url(serve, f"http://127.0.0.1:{port}/keys.json")
    token = signed(server, "ES256", "first", "es")
    if sets:
        eventually(lambda: sets.asked)
    ready = server.http("GET", "/readyz")
    assert ready.status == 503 and ready.json["status"] == "unready", ready
    assert ready.json["reasons"] and all(isinstance(reason, str) and reason for reason in ready.json["reasons"])
    assert server.http("GET", "/livez").status == 200
    for options in ({"headers": bearer(token)}, hello(token)):
        connect.raw(server, **options).closed(1013)
    assert server.http("GET", "/v1/stats").status == 200, "API keys do not depend on it"
    if sets:
        sets.mode = "well"
    else:
        sets = key_sets(keys, port=port)
    eventually(lambda: server.http("GET", "/readyz").status == 200, timeout=20)
    assert let_in(server, connect, token)
    assert "/other.json" not in sets.asked


def test_r22_a_key_set_that_comes_late_does_not_hold_up_the_keys_there_are(serve, connect, key_sets):
    server = serve({"auth.jwks": [{"url": key_sets(mode="slow").url, "algorithms": ["ES256"]}]})
    assert let_in(server, connect, server.token())


def test_r22_nothing_is_fetched_because_of_a_token(serve, connect, key_sets):
    sets = key_sets([pair("ES256").jwk("es")])
    server = from_url(serve, sets.url, refresh=86400000)
    assert let_in(server, connect, signed(server, "ES256", "first", "es"))
    fetched = len(sets.asked)
    for n in range(30):
        refused(server, connect, signed(server, "ES256", "second", f"unknown-{n}"))
    refused(server, connect, signed(server, "ES256", "second", "es"))
    assert let_in(server, connect, signed(server, "ES256", "first", "es"))
    assert len(sets.asked) == fetched == 1, sets.asked


def test_r22_a_weak_key_of_a_set_is_left_out(serve, connect, tmp_path):
    weak = fresh("RS256", 1024)
    (tmp_path / "set.json").write_text(json.dumps({"keys": [weak.jwk("weak"), pair("RS256").jwk("good")]}))
    server = serve({"auth.key": None, "auth.jwks": [{"file": str(tmp_path / "set.json"), "algorithms": ["RS256"]}]})
    assert let_in(server, connect, signed(server, "RS256", "first", "good"))
    refused(server, connect, server.token(key=weak.private, algorithm="RS256", kid="weak"))
