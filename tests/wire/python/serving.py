"""Starts `moorline serve`, with keys of its own; makes tokens and API keys for it."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time
import tomllib

import jwt

from client import SUBPROTOCOL
from server import BINARY, Server, environment
from waiting import unique

SCOPES = ("publish", "read", "manage", "tokens", "metrics")
EVERYTHING = {"join": ["*"], "publish": ["*", "@*"], "session": ["*"]}
NO_KEY = object()


# --- files ---

def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(one)}" for name, one in value.items()) + " }"
    return json.dumps(value)  # a JSON string or number is one of TOML


def settings_text(settings):
    """`{"http.listen": …}` as a file; None leaves a setting out."""
    sections = {}
    for name, value in settings.items():
        if value is not None:
            section, _, rest = name.partition(".")
            sections.setdefault(section, []).append(f"{rest} = {toml(value)}")
    return "".join(f"[{section}]\n" + "\n".join(lines) + "\n\n" for section, lines in sections.items())


def keys_text(keys):
    return "".join("[[key]]\n" + "".join(f"{name} = {toml(value)}\n" for name, value in key.items()) + "\n"
                   for key in keys)


def cli(*args, env=None, timeout=20):
    """Runs a command to its end, without any setting of ours in its environment."""
    return subprocess.run([BINARY, *map(str, args)], env={**environment({}), **(env or {})}, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)


def create_key(file, name, scopes):
    """`moorline keys create`: what it says about the new key, with its secret."""
    flags = [flag for scope in scopes for flag in ("--scope", scope)]
    done = cli("keys", "create", "--name", name, *flags, "--file", file, "-o", "json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


# --- tokens ---

def b64(data):
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header, payload, secret, hash=hashlib.sha256):
    """A token of any header and payload (JSON text, or what becomes it), signed by HMAC."""
    header, payload = (part if isinstance(part, (str, bytes)) else json.dumps(part) for part in (header, payload))
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hash).digest())}"


def claims(user="ann", lives=600, **more):
    """Those of a good token; None leaves one out."""
    now = int(time.time())
    all = {"sub": user, "aud": "moorline", "iat": now, "exp": now + lives, "moorline": EVERYTHING, **more}
    return {name: value for name, value in all.items() if value is not None}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


COOKIE = "moorline_token"
PLACES = ("hello", "header", "subprotocol", "query", "cookie")


def presented(**tokens):
    """What makes `connect` present tokens: `presented(cookie=token)`."""
    assert set(tokens) <= set(PLACES)
    options, headers = {}, {}
    if "hello" in tokens:
        options["hello"] = {"token": tokens["hello"]}
    if "header" in tokens:
        headers.update(bearer(tokens["header"]))
    if "subprotocol" in tokens:
        options.setdefault("hello", {})
        options["offers"] = ["moorline.token." + tokens["subprotocol"]]
    if "query" in tokens:
        options["token"] = tokens["query"]
    if "cookie" in tokens:
        headers["Cookie"] = f"theme=dark; {COOKIE}={tokens['cookie']}; lang=en"
    return {**options, "headers": headers}


def not_let_in(client, code=1008, reason="not authenticated", error="not_authenticated"):
    """The connection is told why, and closed; nothing else is sent."""
    before = client.closed(code, reason)
    assert [(frame["type"], frame.get("code")) for frame in before] == [("error", error)], before
    assert isinstance(before[0]["message"], str) and "ref" not in before[0]
    return before[0]


# --- the server ---

class Serving(Server):
    """`moorline serve` in a folder of its own, where it keeps its data as well: `settings` are added to an HMAC key
    and a file of API keys."""

    def __init__(self, settings=None, *, files=None, port=None, env=None, command=None, tls=None, **popen):
        self.tls, self.env, self.command = tls, env or {}, command
        self._folder = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self._folder.name)
        self.secret = os.urandom(32).hex().encode()
        (self.folder / "token.secret").write_bytes(self.secret + b"\n")
        for name, content in (files or {}).items():
            (self.folder / name).write_bytes(content)
        self.config, self.keys_file = self.folder / "moorline.toml", self.folder / "keys.toml"
        self.key = self.new_key("main", *SCOPES)["secret"]
        self.settings = {
            "auth.key": [{"algorithm": "HS256", "file": "token.secret"}], "keys.file": "keys.toml", **(settings or {}),
        }
        self.popen = popen
        self._out, self._err = tempfile.TemporaryFile("w+b"), tempfile.TemporaryFile("w+b")
        self._start(port)

    def _launch(self):
        self.configure({})
        self.process = subprocess.Popen(
            self.command(self.config) if self.command else [BINARY, "serve", "--config", str(self.config)],
            env={**environment({}), **self.env}, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err,
            **self.popen,
        )

    def configure(self, changes):
        """Writes the settings file, with these changes from now on."""
        self.settings.update(changes)
        listen = {"http.listen": f"127.0.0.1:{self.port}"}
        self.config.write_text(settings_text({**listen, **self.settings}))

    def out(self):
        return _content(self._out)

    def err(self):
        return _content(self._err)

    def log(self):
        return self.out() + self.err()

    def stop(self):
        super().stop()
        self._folder.cleanup()

    # --- API keys ---

    def new_key(self, name, *scopes, **changes):
        """A key in the file, with other values than the command gives where asked for."""
        made = create_key(self.keys_file, name, scopes)
        if changes:
            self.edit_keys(lambda keys: [{**key, **(changes if key["id"] == made["id"] else {})} for key in keys])
        return made

    def edit_keys(self, edit):
        keys = tomllib.loads(self.keys_file.read_text())["key"]
        plain = [{name: value if isinstance(value, (str, list)) else value.isoformat() for name, value in key.items()}
                 for key in keys]
        self.keys_file.write_text(keys_text(edit(plain)))

    def http(self, method, path, body=None, headers=None, timeout=10, source=None, key=None):
        """As `Server.http`, with the key that may do everything where no other is given."""
        headers = dict(headers or {})
        upgrade = "Upgrade" in headers
        if key is not NO_KEY and not upgrade and not any(name.lower() == "authorization" for name in headers):
            headers.update(bearer(key or self.key))
        return super().http(method, path, body, headers, timeout, source)

    def reload(self):
        answer = self.http("POST", "/v1/reload")
        assert answer.status == 200, answer
        return answer.json

    # --- tokens ---

    def token(self, user="ann", lives=600, *, key=None, algorithm="HS256", kid=None, **more):
        return jwt.encode(claims(user, lives, **more), key or self.secret, algorithm, {"kid": kid} if kid else None)

    def as_user(self, user, lives=600, **more):
        """What makes `connect` come with a token of this user."""
        return {"headers": bearer(self.token(user, lives, **more))}


def _content(file):
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


def hello(token, **fields):
    """What makes `connect` speak first, with this token."""
    return {"hello": {"token": token, **fields}}


def offered(token):
    """Headers that offer the protocol and a token."""
    return {"Sec-WebSocket-Protocol": f"{SUBPROTOCOL}, moorline.token.{token}"}


# --- somebody else's HTTP server ---

class KeySets:
    """Serves a key set over HTTP, well or badly, and counts what is asked."""

    def __init__(self, keys=(), mode="well", port=0):
        self.keys, self.mode, self.asked = list(keys), mode, []
        self._over = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                outer._answer(self)

            do_POST = do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/keys.json"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def _answer(self, request):
        status, headers, body = 200, {}, json.dumps({"keys": self.keys}).encode()
        mode = self.mode if request.path == "/keys.json" else "well"
        if mode == "slow":
            self._over.wait(30)
            return
        if mode == "drips":
            request.send_response(200)
            request.end_headers()
            try:
                while not self._over.wait(0.2):
                    request.wfile.write(b" ")
            except OSError:
                pass
            return
        if mode == "huge":
            body = body[:-1] + b', "fill": "' + b"x" * 300_000 + b'"}'
        if mode == "many":
            body = json.dumps({"keys": [{**self.keys[0], "kid": f"k{n}"} for n in range(64)] + self.keys}).encode()
        if mode == "elsewhere":
            status, headers, body = 302, {"Location": f"http://127.0.0.1:{self.port}/other.json"}, b""
        if mode == "broken":
            status = 500
        if mode == "nonsense":
            body = b"<html>"
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **headers}.items():
            request.send_header(name, str(value))
        request.end_headers()
        try:
            request.wfile.write(body)
        except OSError:
            pass

    def close(self):
        self._over.set()
        self._http.shutdown()
        self._http.server_close()


def new_user():
    return unique("ann")
