"""A real nginx, with the configuration of docs/nginx.md."""

import copy
import os
import re
import shutil
import subprocess
import time

from server import REPO, _running, free_port

NGINX = os.environ.get("MOORLINE_NGINX") or shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def documented():
    """The configuration as a reader would copy it."""
    return re.search(r"```nginx\n(.*?)```", (REPO / "docs" / "nginx.md").read_text(), re.S)[1]


def placed(folder, pair, inner, outer):
    """The same, with this machine's ports and places in it; each of them must be there to be replaced."""
    text = documented()
    temporary = "".join(f"{name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
    for old, new in {
        "worker_processes auto;": "worker_processes 1;",
        "worker_rlimit_nofile 131072;": "",
        "worker_connections 65536;": "worker_connections 1024;",
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid;",
        "error_log /var/log/nginx/error.log warn;": f"error_log {folder}/error.log warn;",
        "access_log /var/log/nginx/access.log no_query;": f"access_log {folder}/access.log no_query;\n{temporary}",
        "listen 443 ssl;": f"listen 127.0.0.1:{outer} ssl;",
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{inner};",
        "/etc/ssl/chat.example.com/fullchain.pem": f"{folder}/tls.pem",
        "/etc/ssl/chat.example.com/privkey.pem": f"{folder}/tls.key",
    }.items():
        assert text.count(old) == 1, f"{old!r} is not in docs/nginx.md once"
        text = text.replace(old, new)
    for name, content in pair.files.items():
        (folder / name).write_bytes(content)
    (folder / "nginx.conf").write_text(text)


class Nginx:
    """`front(server)` is that server as it is reached through here."""

    def __init__(self, folder, pair, server, context):
        assert NGINX, "nginx is missing: apt-get install nginx, or its path in MOORLINE_NGINX"
        self.folder, self.context = folder, context
        for attempt in range(5):
            self.port = free_port()
            placed(folder, pair, server.port, self.port)
            self.process = subprocess.Popen(
                [NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr", "-g", "daemon off;"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
            _running.add(self.process)
            if self._comes_up(server):
                return
            said = self.stop()
            if "in use" not in said:
                break
            time.sleep(0.05 * (attempt + 1))
        raise AssertionError(f"nginx did not start:\n{said}")

    def front(self, server):
        front = copy.copy(server)
        front.port, front.tls = self.port, self.context
        return front

    def _comes_up(self, server, timeout=10):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.front(server).http("GET", "/livez").status == 200:
                    return True
            except OSError:
                pass
            time.sleep(0.02)
        return False

    def access_log(self):
        return (self.folder / "access.log").read_text()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            _, said = self.process.communicate(timeout=10)
        finally:
            self.process.kill()
            _running.discard(self.process)
        return said + (self.folder / "error.log").read_text()
