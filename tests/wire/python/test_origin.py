"""Pages of other places: what a browser sends along by itself counts only where the page is ours."""

import pytest

from client import SUBPROTOCOL
from serving import COOKIE, Serving, bearer, new_user, not_let_in, presented
from waiting import unique

APP = "https://app.example"


@pytest.fixture(scope="module")
def pages():
    server = Serving({
        "auth.cookie": COOKIE, "http.origins": [APP, "http://localhost:3000"], "limits.address_handshakes_per_s": 0,
        "http.trusted_proxies": ["127.0.0.8", "127.1.0.0/16"], "session.per_user_max": 1000,
    })
    yield server
    server.stop()


def cookie(server, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"Cookie": f"{COOKIE}={server.token(new_user())}", **names}


def test_r22_a_cookie_beside_one_that_is_no_text(pages, raw):
    good = f"{COOKIE}={pages.token(new_user())}"
    raw(pages, headers={"Cookie": f"name=\xe9; {good}"}).established()
    raw(pages, headers={"Cookie": good, "cookie": "name=\xe9"}).established()
    for headers in ({"Cookie": good, "cookie": f"{COOKIE}=x; name=\xe9"}, {"Cookie": f"{good}\xe9"}):
        refused = raw(pages, headers=headers)
        assert refused.json()["code"] == "not_authenticated"
        refused.closed(1008, "not authenticated")


FOREIGN = [
    "https://evil.example", "null", "https://app.example.evil.example", "https://evilapp.example", "http://app.example",
    "https://app.example:8443", "https://sub.app.example", "https://app.example@evil.example", "http://localhost",
    "http://localhost:30000", "http://127.0.0.1", "http://127.0.0.1:1", "file://", "https://APP.example.", "",
    "https://app.example https://evil.example", "app.example",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_mistake8_a_foreign_page_has_no_use_of_a_cookie(pages, origin):
    room = unique("room")
    pages.upgrade(f"/ws/{room}", cookie(pages, Origin=origin)).problem(403, "forbidden_origin")
    pages.http("GET", f"/v1/rooms/{room}").problem(404)


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_mistake8_nor_has_one_that_speaks_first(pages, connect, origin):
    """Whether it is told at the handshake or after its hello, it does not come in."""
    headers = cookie(pages, Origin=origin, Sec_WebSocket_Protocol=SUBPROTOCOL)
    answer = pages.upgrade("/ws", headers)
    if answer.status != 101:
        answer.problem(403, "forbidden_origin")
    else:
        not_let_in(connect.raw(pages, hello={}, origin=origin, headers={"Cookie": headers["Cookie"]}))


def test_mistake8_pages_of_ours(pages, connect):
    for origin in (APP, "http://localhost:3000", f"http://127.0.0.1:{pages.port}", f"https://127.0.0.1:{pages.port}"):
        client = connect(pages, origin=origin, **presented(cookie=pages.token(new_user())))
        assert client.is_open(), origin


def test_mistake8_our_own_is_what_the_request_says_of_itself(pages):
    def ask(host, origin):
        return pages.upgrade("/ws", cookie(pages, Host=host, Origin=origin))

    for host, origin in (("chat.example", "https://chat.example"), ("chat.example", "http://chat.example"),
                         ("chat.example:8443", "https://chat.example:8443"), ("[::1]:80", "http://[::1]:80")):
        assert ask(host, origin).status == 101, (host, origin)
    for host, origin in (("chat.example", "https://chat.example:8443"), ("chat.example:8443", "https://chat.example"),
                         ("chat.example", "https://chat.example.evil.example"), ("chat.example", "https://example"),
                         ("chat.example:443", "https://chat.example:4433")):
        ask(host, origin).problem(403, "forbidden_origin")


def test_mistake8_what_has_no_origin_is_no_browser(pages, connect):
    assert connect(pages, **presented(cookie=pages.token(new_user()))).is_open()


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
@pytest.mark.parametrize("place", ["hello", "header", "subprotocol", "query"])
def test_mistake8_a_token_that_a_page_shows_itself_counts_from_anywhere(pages, connect, origin, place):
    user = new_user()
    client = connect(pages, origin=origin, **presented(**{place: pages.token(user)}))
    assert pages.session(client.session)["user"] == user


@pytest.mark.parametrize("place", ["header", "subprotocol", "query"])
def test_mistake8_a_cookie_beside_it_changes_nothing(pages, connect, place):
    user = new_user()
    options = presented(**{place: pages.token(user), "cookie": pages.token(new_user())})
    client = connect(pages, origin="https://evil.example", **options)
    assert pages.session(client.session)["user"] == user
    bad = presented(**{place: pages.token(user, key=b"k" * 32), "cookie": pages.token(new_user())})
    not_let_in(connect.raw(pages, origin="https://evil.example", **bad))


def test_mistake8_a_foreign_page_with_nothing_is_nobody(pages, connect):
    not_let_in(connect.raw(pages, origin="https://evil.example"))
    not_let_in(connect.raw(pages, origin="https://evil.example", headers={"Cookie": "theme=dark"}))


def forwarded(pages, source, origin="https://chat.example", **headers):
    names = {"X-Forwarded-Host": "chat.example", **headers}
    return pages.upgrade("/ws", {**cookie(pages, Origin=origin), **names}, source=source)


def test_mistake8_a_proxy_is_believed_where_it_is_named(pages):
    for source in ("127.0.0.8", "127.1.2.3"):
        assert forwarded(pages, source).status == 101, source
        forwarded(pages, source, "https://evil.example").problem(403, "forbidden_origin")
    for source in ("127.0.0.1", "127.0.0.9", "127.2.0.1"):
        forwarded(pages, source).problem(403, "forbidden_origin")
        forwarded(pages, source, **{"X-Forwarded-For": "127.0.0.8"}).problem(403, "forbidden_origin")
    # What the application listed needs nobody's word.
    assert forwarded(pages, "127.0.0.1", APP).status == 101


def test_mistake8_no_proxy_is_believed_unless_named(serve):
    server = serve({"auth.cookie": COOKIE})
    forwarded(server, "127.0.0.1").problem(403, "forbidden_origin")


def test_r23_an_address_is_the_proxy_s_word_where_it_is_believed(serve):
    """Each client behind a trusted proxy has a rate of its own; one that only says so has not."""
    server = serve({
        "http.trusted_proxies": ["127.0.0.8"], "limits.address_handshakes_per_s": 1,
        "limits.address_handshakes_burst": 3,
    })

    def statuses(source, count, address):
        return [server.upgrade("/ws", {**bearer(server.token(new_user())), "X-Forwarded-For": address(n)},
                               source=source).status for n in range(count)]

    assert statuses("127.0.0.8", 8, lambda n: f"192.0.2.{n}") == [101] * 8
    assert 429 in statuses("127.0.0.8", 8, lambda n: "198.51.100.7")
    assert 429 in statuses("127.0.0.1", 8, lambda n: f"203.0.113.{n}")
    # The last entry is the one that the proxy wrote itself.
    assert 429 in statuses("127.0.0.8", 8, lambda n: f"192.0.2.{n}, 198.51.100.8")
