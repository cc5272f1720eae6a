"""Tokens that must not let anybody in, and secrets that must not be written down anywhere."""

import hashlib
import json
import os
import re
import time

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from asymmetric import fresh, pair
from serving import (
    COOKIE, PLACES, KeySets, Serving, b64, bearer, claims, compact, new_user, not_let_in, presented,
)
from waiting import eventually, unique

ISSUER = "https://issuer.example"
SECRET = b"0123456789abcdef0123456789abcdef"
HEADER = {"alg": "HS256", "typ": "JWT"}


@pytest.fixture(scope="module")
def listener():
    """Where headers of bad tokens point to: it has keys that would make them good."""
    sets = KeySets([pair("RS256", "evil").jwk("evil")])
    yield sets
    sets.close()


@pytest.fixture(scope="module")
def checks(listener):
    """A server with a key of each kind, that wants an issuer."""
    server = Serving({
        "auth.issuer": [ISSUER], "limits.address_handshakes_per_s": 0, "limits.user_handshakes_per_s": 0,
        "session.per_user_max": 1000,
        "auth.key": [
            {"algorithm": "HS256", "file": "token.secret"},
            {"id": "hs", "algorithm": "HS256", "file": "token.secret"},
            {"id": "rs", "algorithm": "RS256", "file": "rs.pem"}, {"id": "es", "algorithm": "ES256", "file": "es.pem"},
            {"id": "ed", "algorithm": "EdDSA", "file": "ed.pem"},
        ],
    }, files={
        "token.secret": SECRET + b"\n", "rs.pem": pair("RS256").public_pem, "es.pem": pair("ES256").public_pem,
        "ed.pem": pair("EdDSA").public_pem,
    })
    yield server
    server.stop()


# --- makers ---

def good(**more):
    return claims(**{"iss": ISSUER, **more})


def header(**more):
    return {name: value for name, value in {**HEADER, **more}.items() if value is not ...}


def made(head=None, payload=None, secret=SECRET, hash=hashlib.sha256):
    return compact(HEADER if head is None else head, good() if payload is None else payload, secret, hash)


def unsigned(alg, signature=""):
    return f"{b64(json.dumps(header(alg=alg)))}.{b64(json.dumps(good()))}.{signature}"


def parts(token=None):
    return (token or made()).split(".")


def text_of(payload, **raw):
    """The payload as JSON text with more members, of any text, at its end."""
    return json.dumps(payload)[:-1] + "".join(f', "{name}": {value}' for name, value in raw.items()) + "}"


def flipped(part, at):
    """A bit of one part is another: in its bytes, so that it is no matter of spelling."""
    pieces = parts()
    data = bytearray(jwt.utils.base64url_decode(pieces[part]))
    data[at % len(data)] ^= 1
    pieces[part] = b64(bytes(data))
    return ".".join(pieces)


def es_signed(signature_of):
    signed = f"{b64(json.dumps(header(alg='ES256', kid='es')))}.{b64(json.dumps(good()))}"
    return f"{signed}.{b64(signature_of(signed.encode()))}"


def rs_pss():
    signed = f"{b64(json.dumps(header(alg='RS256', kid='rs')))}.{b64(json.dumps(good()))}"
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return f"{signed}.{b64(pair('RS256').private.sign(signed.encode(), pss, hashes.SHA256()))}"


def in_plain_base64():
    """A signature that is spelt otherwise in plain base64."""
    while True:
        token = made(payload=good(jti=os.urandom(8).hex()))
        if set("-_") & set(token.split(".")[2]):
            return token.replace("-", "+").replace("_", "/")


def evil(listener, **head):
    ours = pair("RS256", "evil")
    head = {"kid": "evil", **{name: value(listener) if callable(value) else value for name, value in head.items()}}
    return jwt.encode(good(), ours.private, "RS256", {name: value for name, value in head.items() if value})


RS_PUBLIC = pair("RS256").public_pem
NOW = int(time.time())

BAD = {
    # the algorithm
    **{f"alg {alg}": lambda alg=alg: unsigned(alg) for alg in ("none", "None", "NONE", "nOnE", "", "hs256", "HS256 ")},
    "alg none with a good signature": lambda: made(header(alg="none")),
    "alg none and no last dot": lambda: unsigned("none")[:-1],
    "alg is null": lambda: made(header(alg=None)), "alg is a number": lambda: made(header(alg=256)),
    "alg is an array": lambda: made(header(alg=["HS256"])), "alg is missing": lambda: made(header(alg=...)),
    "alg twice": lambda: made('{"alg":"none","alg":"HS256"}'),
    "alg twice, the other way": lambda: made('{"alg":"HS256","alg":"none"}'),
    "HS512 where the key is for HS256": lambda: made(header(alg="HS512"), hash=hashlib.sha512),
    "HS256 with the public key": lambda: made(header(kid="rs"), secret=RS_PUBLIC),
    "HS256 with the public key, stripped": lambda: made(header(kid="rs"), secret=RS_PUBLIC.strip()),
    "HS256 with the public key, without kid": lambda: made(secret=RS_PUBLIC),
    "HS256 with an empty secret": lambda: made(secret=b""),
    "HS256 with the secret and its newline": lambda: made(secret=SECRET + b"\n"),
    "RS256 by HMAC with the public key": lambda: made(header(alg="RS256", kid="rs"), secret=RS_PUBLIC),
    "RS256 by HMAC with the secret": lambda: made(header(alg="RS256", kid="hs")),
    "RS256 without a signature": lambda: unsigned("RS256"),
    "RS256 of somebody else": lambda: jwt.encode(good(), fresh("RS256").private, "RS256", {"kid": "rs"}),
    "PS256": lambda: jwt.encode(good(), pair("RS256").private, "PS256", {"kid": "rs"}),
    "RS512": lambda: jwt.encode(good(), pair("RS256").private, "RS512", {"kid": "rs"}),
    "RS256 padded as PS256": rs_pss,
    "ES256 of zeros": lambda: es_signed(lambda _: bytes(64)),
    "ES256 of the order": lambda: es_signed(lambda _: bytes.fromhex(
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2),
    "ES256 in DER": lambda: es_signed(lambda signed: pair("ES256").private.sign(signed, ec.ECDSA(hashes.SHA256()))),
    "ES256 of no bytes": lambda: es_signed(lambda _: b""),
    "EdDSA of zeros": lambda: f"{b64(json.dumps(header(alg='EdDSA', kid='ed')))}.{b64(json.dumps(good()))}."
                              + b64(bytes(64)),
    # the key's name
    "kid of another key": lambda: made(header(kid="ed")),
    "kid unknown": lambda: made(header(kid="nobody")),
    "kid empty": lambda: made(header(kid="")), "kid is a number": lambda: made(header(kid=1)),
    "kid is null": lambda: made(header(kid=None)), "kid is an array": lambda: made(header(kid=["hs"])),
    "kid is a path": lambda: made(header(kid="../../../../dev/null"), secret=b""),
    "kid is a file of ours": lambda: made(header(kid="token.secret")),
    "kid with more": lambda: made(header(kid="hs\0")), "kid with a space": lambda: made(header(kid=" hs")),
    "kid as SQL": lambda: made(header(kid="x' UNION SELECT 'hs")),
    "kid of 8000 bytes": lambda: made(header(kid="h" * 5000)),
    # keys and addresses in the header
    "jwk": lambda: evil(None, kid=None, jwk=pair("RS256", "evil").jwk("evil")),
    "jwk beside a good key": lambda: made(header(jwk={"kty": "oct", "k": b64(SECRET)})),
    "x5c": lambda: made(header(x5c=[b64(RS_PUBLIC)])), "crit": lambda: made(header(crit=["exp"])),
    "crit empty": lambda: made(header(crit=[])), "crit with b64": lambda: made(header(crit=["b64"], b64=False)),
    "jku beside a good key": lambda: made(header(jku="https://issuer.example/keys.json")),
    "x5u beside a good key": lambda: made(header(x5u="https://issuer.example/keys.pem")),
    "nested": lambda: made(header(cty="JWT"), made()),
    # times
    "expired": lambda: made(payload=good(lives=-60)), "expired long ago": lambda: made(payload=good(exp=1)),
    "exp missing": lambda: made(payload=good(exp=None)), "exp is text": lambda: made(payload=good(exp=str(NOW + 600))),
    "exp is null": lambda: made(payload=text_of(good(exp=None), exp="null")),
    "exp is true": lambda: made(payload=good(exp=True)), "exp is an array": lambda: made(payload=good(exp=[NOW + 600])),
    "exp is negative": lambda: made(payload=good(exp=-NOW)), "exp too far": lambda: made(payload=good(lives=90_000)),
    "exp beyond any time": lambda: made(payload=text_of(good(exp=None), exp="1e300")),
    "exp beyond any number": lambda: made(payload=text_of(good(exp=None), exp="9" * 400)),
    "exp at the end of 64 bits": lambda: made(payload=good(exp=2**63)),
    "exp that wraps around": lambda: made(payload=good(exp=2**64 + NOW + 600)),
    "nbf in the future": lambda: made(payload=good(nbf=NOW + 3600)),
    "nbf is text": lambda: made(payload=good(nbf="now")),
    "iat in the future": lambda: made(payload=good(iat=NOW + 3600)),
    "iat missing": lambda: made(payload=good(iat=None)),
    "iat too long before exp": lambda: made(payload=good(iat=NOW - 86_400)),
    "iat is text": lambda: made(payload=good(iat=str(NOW))),
    # who it is for, who made it, who it is
    "aud missing": lambda: made(payload=good(aud=None)), "aud of another": lambda: made(payload=good(aud="other")),
    "aud in other case": lambda: made(payload=good(aud="Moorline")), "aud empty": lambda: made(payload=good(aud="")),
    "aud longer": lambda: made(payload=good(aud="moorline ")), "aud is []": lambda: made(payload=good(aud=[])),
    "aud is a number": lambda: made(payload=good(aud=1)), "aud of others": lambda: made(payload=good(aud=["a", "b"])),
    "aud with a number": lambda: made(payload=good(aud=["moorline", 1])),
    "aud is an object": lambda: made(payload=good(aud={"moorline": "moorline"})),
    "iss missing": lambda: made(payload=good(iss=None)), "iss of another": lambda: made(payload=good(iss="evil")),
    "iss longer": lambda: made(payload=good(iss=ISSUER + "/")),
    "iss is an array": lambda: made(payload=good(iss=[ISSUER])),
    "sub missing": lambda: made(payload=good(sub=None)), "sub empty": lambda: made(payload=good(sub="")),
    "sub is a number": lambda: made(payload=good(sub=7)), "sub is an array": lambda: made(payload=good(sub=["ann"])),
    "sub is null": lambda: made(payload=text_of(good(sub=None), sub="null")),
    "sub too long": lambda: made(payload=good(sub="x" * 129)),
    "sub with a newline": lambda: made(payload=good(sub="ann\nbob")),
    "sub with NUL": lambda: made(payload=good(sub="ann\0")),
    "jti is a number": lambda: made(payload=good(jti=1)), "jti too long": lambda: made(payload=good(jti="j" * 129)),
    # grants
    "grants are text": lambda: made(payload=good(moorline="*")),
    "grants are an array": lambda: made(payload=good(moorline=["*"])),
    "grants unknown": lambda: made(payload=good(moorline={"join": ["a"], "admin": True})),
    "grants misspelt": lambda: made(payload=good(moorline={"Join": ["a"]})),
    "join is text": lambda: made(payload=good(moorline={"join": "*"})),
    "join is null": lambda: made(payload=good(moorline={"join": None})),
    "join of numbers": lambda: made(payload=good(moorline={"join": [1]})),
    "join of 65": lambda: made(payload=good(moorline={"join": ["a"] * 65})),
    "a pattern of 9 stars": lambda: made(payload=good(moorline={"join": ["*a" * 9]})),
    "join twice": lambda: made(payload=text_of(good(moorline=None), moorline='{"join":[],"join":["*"]}')),
    # what stands twice
    "sub twice": lambda: made(payload=text_of(good(), sub='"root"')),
    "sub twice, spelt otherwise": lambda: made(payload=text_of(good(), **{"\\u0073ub": '"root"'})),
    "exp twice": lambda: made(payload=text_of(good(), exp=str(NOW + 700))),
    "aud twice": lambda: made(payload=text_of(good(), aud='"moorline"')),
    "grants twice": lambda: made(payload=text_of(good(), moorline='{"join":["*"]}')),
    # its form
    "empty": lambda: "", "a dot": lambda: ".", "two dots": lambda: "..", "no token at all": lambda: "nonsense",
    "one part": lambda: parts()[0], "two parts": lambda: ".".join(parts()[:2]),
    "no signature": lambda: ".".join(parts()[:2]) + ".",
    "four parts": lambda: made() + "." + parts()[2], "five parts": lambda: ".".join(parts() + parts()[:2]),
    "a dot more": lambda: made() + ".", "a dot first": lambda: "." + made(),
    "header empty": lambda: "." + ".".join(parts()[1:]), "payload empty": lambda: f"{parts()[0]}..{parts()[2]}",
    "truncated": lambda: made()[:-1], "half": lambda: made()[:len(made()) // 2], "longer": lambda: made() + "A",
    "padded": lambda: made() + "=", "padded inside": lambda: "{}=.{}=.{}=".format(*parts()),
    "plain base64": in_plain_base64, "a space in it": lambda: "{}. {}.{}".format(*parts()),
    "a space after it": lambda: made() + " ", "a newline in it": lambda: "{}.\n{}.{}".format(*parts()),
    "Bearer twice": lambda: "Bearer " + made(), "a NUL after it": lambda: made() + "\0",
    "letters that look alike": lambda: made().replace("e", "е", 1),
    "header is no JSON": lambda: made("{alg:HS256}"), "header is an array": lambda: made("[]"),
    "header is null": lambda: made("null"), "header has more after it": lambda: made(json.dumps(HEADER) + "x"),
    "payload is no JSON": lambda: made(payload="nonsense"),
    "payload is an array": lambda: made(payload=json.dumps([good()])),
    "payload is null": lambda: made(payload="null"), "payload is nothing": lambda: made(payload=" "),
    "payload is not UTF-8": lambda: made(payload=text_of(good(), x='"?"').encode().replace(b"?", b"\xff")),
    "payload has more after it": lambda: made(payload=json.dumps(good()) + "{}"),
    "payload is deep": lambda: made(payload=text_of(good(), x="[" * 2500 + "]" * 2500)),
    "payload is deep and open": lambda: made(payload="[" * 5000), "header is deep": lambda: made('{"x":' * 1000),
    "more than 8 KiB": lambda: made(payload=good(x="x" * 6200)),
    "60,000 bytes": lambda: made(payload=good(x="x" * 44_000)),
    "encrypted": lambda: ".".join([
        b64('{"alg":"dir","enc":"A256GCM"}'), "", *(b64(os.urandom(size)) for size in (12, 80, 16))]),
    # signatures
    **{f"bit {at} of the {name}": lambda part=part, at=at: flipped(part, at)
       for part, name in enumerate(("header", "payload", "signature")) for at in (0, 7, -1)},
    "another signature": lambda: ".".join(parts()[:2]) + "." + b64(os.urandom(32)),
    "a shorter signature": lambda: ".".join(parts()[:2]) + "." + b64(jwt.utils.base64url_decode(parts()[2])[:16]),
    "the signature of another token": lambda: ".".join(parts(made(payload=good(user="root")))[:2]) + "." + parts()[2],
    "another secret": lambda: made(secret=b"x" * 32),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_token(checks, connect, what):
    token = BAD[what]()
    not_let_in(connect.raw(checks, hello={"token": token}))
    client = connect(checks, headers=bearer(made(payload=good(user=new_user()))))
    client.fails({"type": "auth", "token": token}, "not_authenticated")
    assert client.is_open()
    client.close()


ODD_BUT_GOOD = {
    "plain": lambda: made(), "named": lambda: made(header(kid="hs")),
    "RS256": lambda: jwt.encode(good(), pair("RS256").private, "RS256", {"kid": "rs"}),
    "ES256": lambda: jwt.encode(good(), pair("ES256").private, "ES256", {"kid": "es"}),
    "EdDSA": lambda: jwt.encode(good(), pair("EdDSA").private, "EdDSA", {"kid": "ed"}),
    "within the leeway": lambda: made(payload=good(lives=-10, nbf=int(time.time()) + 10, iat=int(time.time()) + 10)),
    "many audiences": lambda: made(payload=good(aud=["other", "moorline"])),
    "issued long ago": lambda: made(payload=good(iat=int(time.time()) - 85_000)),
    "other claims": lambda: made(payload=good(name="Ann", nested={"a": [1, {"b": None}]})),
    "64 patterns of 8 stars": lambda: made(payload=good(moorline={"join": ["*a" * 8] * 64})),
    "spaces": lambda: made(payload=json.dumps(good(), indent=2)),
    "nearly 8 KiB": lambda: made(payload=good(x="x" * 5700)),
    "longest names": lambda: made(payload=good(sub="s" * 128, jti="j" * 128)),
}


@pytest.mark.parametrize("what", ODD_BUT_GOOD)
def test_r22_a_token_that_is_merely_odd(checks, connect, what):
    """What is refused above is refused for what is wrong with it: these have all the rest in common."""
    connect(checks, hello={"token": ODD_BUT_GOOD[what]()}).close()


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("hello", "cookie")])
@pytest.mark.parametrize("what", ["alg none", "HS256 with the public key", "another secret", "expired", "five parts",
                                  "more than 8 KiB", "bit 0 of the signature", "sub twice"])
def test_bad_token_in_each_place(checks, connect, what, place):
    not_let_in(connect.raw(checks, **presented(**{place: BAD[what]()})))


@pytest.mark.parametrize("head", ["jku", "x5u", "iss", "kid", "jwk"])
def test_bad_token_that_points_somewhere(checks, connect, listener, head):
    address = {"kid": listener.url} if head == "kid" else {head: listener.url}
    if head == "jwk":
        address = {"jwk": {"kty": "RSA", "url": listener.url}}
    token = evil(listener, **address) if head != "iss" else jwt.encode(
        good(iss=f"http://127.0.0.1:{listener.port}"), pair("RS256", "evil").private, "RS256", {"kid": "evil"})
    not_let_in(connect.raw(checks, hello={"token": token}))
    not_let_in(connect.raw(checks, headers=bearer(token)))
    # The server has answered other connections since; nobody has been asked for a key.
    connect(checks, headers=bearer(made())).close()
    assert listener.asked == []


# --- what is written down ---

PIECE = 20
RUN = re.compile(r"[A-Za-z0-9_\-]{%d,}" % PIECE)


def pieces(text):
    return {run[at:at + PIECE] for run in RUN.findall(text) for at in range(len(run) - PIECE + 1)}


def secret_parts(token):
    """Of a token: payload and signature. Its header is no secret. Of anything else: all of it."""
    return token.split(".")[1:3] if token.count(".") >= 2 else [token]


def shows_nothing(secrets, written, where):
    seen = pieces(written)
    for secret in secrets:
        for part in secret_parts(secret):
            part = part.split("_", 2)[-1] if part.startswith("mk_") else part
            found = pieces(part) & seen
            assert not found, f"{found} of a secret stands in {where}"
            for other in (part.encode().hex(), ", ".join(map(str, part.encode()[:12]))):
                assert other[:40] not in written, f"a secret stands in {where}, as numbers"


@pytest.mark.parametrize("format", ["text", "json"])
def test_mistake7_no_secret_is_written_down(serve, connect, format):
    server = serve({"log.format": format, "log.level": "trace", "auth.cookie": COOKIE, "auth.leeway_ms": 0},
                   env={"RUST_LOG": "trace"})
    secrets, answers, room = [server.key, server.secret.decode()], [], unique("room")

    def token(**more):
        secrets.append(server.token(new_user(), jti=unique("jti"), **more))
        return secrets[-1]

    def http(method, path, *args, **options):
        answers.append(server.http(method, path, *args, **options))
        return answers[-1]

    for place in PLACES:
        client = connect(server, room, **presented(**{place: token()}))
        secrets.append(client.token)
        client.fails({"type": "auth", "token": token()}, "forbidden")
        client.fails({"type": "auth", "token": token(key=b"k" * 32)}, "not_authenticated")
        client.fails({"type": "auth", "token": token(), "misspelt": 1}, "bad_frame")
        client.send('{"type":"auth","token":"%s"' % token())  # not even JSON
        answers.append(client.expect("error"))
        client.drop()
        for bad in (token(key=b"k" * 32), token(lives=-60), token(aud="x"), token(sub=1), token()[:-2], token() + ".x"):
            secrets.append(bad)
            seen = connect.raw(server, **presented(**{place: bad}))
            answers.append(not_let_in(seen))
    for how in ("query", "hello"):
        user = new_user()
        first = connect(server, room, headers=bearer(server.token(user)))
        first.drop()
        claim = {"session": first.session, "resume_token": first.token}
        options = claim if how == "query" else {"hello": claim}
        again = connect(server, room, headers=bearer(server.token(user)), **options)
        assert again.established["resumed"] is True
        secrets += [first.token, again.token]
    made = http("POST", "/v1/tokens", {"user": "ann"}).json["token"]
    answers.pop()  # the one answer that is meant to hold a token
    secrets.append(made)
    connect(server, token=made)
    for request in (
        ("GET", f"/ws?token={token()}&token={token()}"), ("GET", f"/ws?token={token()}"),
        ("GET", f"/ws?tokn={token()}"),
        ("GET", f"/ws?resume_token={again.token}&nonsense=1"), ("GET", f"/v1/sessions?token={token()}"),
        ("GET", f"/nowhere?token={token()}"),
    ):
        http(*request)
        http(*request, headers=bearer(token()))
    for path in (f"/ws?token={token()}&token={token()}", f"/ws?token={token()}&nonsense=1", f"/ws/%00?token={token()}"):
        answers.append(server.upgrade(path))
        assert answers[-1].status == 400
    answers.append(server.upgrade("/ws", {"Sec-WebSocket-Protocol": f"moorline.token.{token()}"}))
    wrong = server.key[:-4] + "AAAA"
    secrets.append(wrong)
    for key in (wrong, server.key + "x", made):
        http("GET", "/v1/stats", headers=bearer(key)).problem(401)
    http("GET", "/v1/stats", headers={"Authorization": server.key})
    http("POST", "/v1/tokens", {"user": "ann", "token": token()})
    http("POST", "/v1/publish", {"to": {"room": "x"}, "message": {"type": "x"}, "token": token()})
    metrics = server.http("GET", "/metrics").text
    assert metrics
    server.process.terminate()
    assert server.process.wait(timeout=15) == 0
    written = server.log()
    assert len(written) > 5000 and "DEBUG" in written.upper(), "it wrote what it was asked to"
    shows_nothing(secrets, written, "the log")
    shows_nothing(secrets, metrics, "the metrics")
    shows_nothing(secrets, repr(answers), "an answer")


def test_mistake7_the_search_finds_a_secret():
    """The check above can fail."""
    token = made()
    payload, signature = secret_parts(token)
    for leak in (token, f"x={payload[5:40]},", f"GET /ws?token={token}", signature[-25:],
                 ", ".join(map(str, signature.encode()))):
        with pytest.raises(AssertionError):
            shows_nothing([token], f"before {leak} after", "the log")
    shows_nothing([token], token.split(".")[0], "the log")


def test_bad_tokens_leave_the_server_as_it_was(checks, connect):
    """Many of them at once, from one peer that does not wait."""
    user, room = new_user(), unique("room")
    other = connect(checks, room, headers=bearer(made(payload=good(user=user))))
    peers = [connect.raw(checks, hello={"token": BAD[what]()}) for what in list(BAD)[:40]]
    for peer in peers:
        peer.closed(1008, "not authenticated")
    other.messages(checks.to_room(room, 3))
    eventually(lambda: checks.get("/v1/stats")["connections"] <= 2)
