"""Who connects, and what a token allows: places, grants, refreshing, expiry, revocation."""

import itertools
import time
from datetime import datetime
from urllib.parse import quote

import jwt
import pytest

from client import SUBPROTOCOL
from serving import PLACES, bearer, hello, new_user, not_let_in, offered, presented
from waiting import eventually, unique

WRONG = "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"


def moment(text):
    """Seconds, of a time as answers give it."""
    assert isinstance(text, str) and text.endswith("Z"), text
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def user_of(server, client):
    return server.session(client.session)["user"]


# --- where a token is taken from ---

@pytest.mark.parametrize("place", PLACES)
def test_r22_a_token_from_each_place(serving, connect, place):
    user, room = new_user(), unique("room")
    client = connect(serving, room, **presented(**{place: serving.token(user)}))
    assert user_of(serving, client) == user
    client.messages(serving.to_room(room, 1))
    serving.publish({"user": user}, {"type": "for-you"})
    client.expect("for-you", room=f"@user/{user}")


@pytest.mark.parametrize("first, later", list(itertools.combinations(PLACES, 2)))
def test_r22_the_first_place_that_has_a_token_counts(serving, connect, first, later):
    user, other = new_user(), new_user()
    tokens = {first: serving.token(user), later: serving.token(other)}
    assert user_of(serving, connect(serving, **presented(**tokens))) == user


@pytest.mark.parametrize("first, later", list(itertools.combinations(PLACES, 2)))
def test_r22_a_refused_token_is_not_replaced_by_a_later_one(serving, connect, first, later):
    tokens = {first: WRONG, later: serving.token(new_user())}
    not_let_in(connect.raw(serving, **presented(**tokens)))


def test_r22_nobody_comes_in_without_a_token(serving, connect):
    room = unique("room")
    not_let_in(connect.raw(serving))
    not_let_in(connect.raw(serving, room))
    not_let_in(connect.raw(serving, hello={}))
    not_let_in(connect.raw(serving, hello={"session": unique("s"), "metadata": {}}))
    serving.http("GET", f"/v1/rooms/{room}").problem(404)


@pytest.mark.parametrize("place", PLACES)
def test_r22_a_bad_token_is_told_after_the_handshake(serving, connect, place):
    not_let_in(connect.raw(serving, **presented(**{place: WRONG})))


def test_r22_an_api_key_is_no_token(serving, connect):
    not_let_in(connect.raw(serving, headers=bearer(serving.key)))
    not_let_in(connect.raw(serving, hello={"token": serving.key}))


def test_r22_nobody_is_believed_a_user_parameter(serving):
    serving.upgrade("/ws?user=ann", bearer(serving.token(new_user()))).problem(400)


def test_r22_a_token_alone_is_no_protocol(serving):
    token = serving.token(new_user())
    serving.upgrade("/ws", {"Sec-WebSocket-Protocol": f"moorline.token.{token}"}).problem(400)
    answer = serving.upgrade("/ws", offered(token))
    assert answer.status == 101 and answer.headers["sec-websocket-protocol"] == SUBPROTOCOL
    swapped = {"Sec-WebSocket-Protocol": f"moorline.token.{token}, {SUBPROTOCOL}"}
    answer = serving.upgrade("/ws", swapped)
    assert answer.status == 101 and answer.headers["sec-websocket-protocol"] == SUBPROTOCOL


def test_r22_no_cookie_counts_unless_one_is_named(serve, connect):
    server = serve()
    not_let_in(connect.raw(server, **presented(cookie=server.token("ann"))))
    assert user_of(server, connect(server, **presented(header=server.token("ann")))) == "ann"


def test_r22_another_cookie_is_not_the_token(serving, connect):
    token = serving.token(new_user())
    for cookie in (f"other={token}", f"x_moorline_token={token}", f"moorline_token_x={token}"):
        not_let_in(connect.raw(serving, headers={"Cookie": cookie}))


def test_r22_an_endpoint_that_checks_no_tokens_says_so(server, connect):
    not_let_in(connect.raw(server, hello={"token": "x.y.z"}), reason=None, error="no_authenticator")
    client = connect(server)
    client.fails({"type": "auth", "token": "x.y.z"}, "no_authenticator")
    assert client.is_open()


def test_r22_the_user_is_what_the_named_claim_says(serve, connect):
    server = serve({"auth.user_claim": "https://example.com/uid", "auth.grants_claim": "can"})
    named = {"https://example.com/uid": "u 7/ü", "can": {"join": ["a"]}, "moorline": {"join": ["b"]}}
    client = connect(server, "a", headers=bearer(server.token("somebody", **named)))
    assert user_of(server, client) == "u 7/ü"
    client.fails({"type": "join", "room": "b"}, "forbidden")
    not_let_in(connect.raw(server, headers=bearer(server.token("somebody"))))


# --- rooms ---

JOINS = [
    (["news"], "ann", "news", True), (["news"], "ann", "news2", False), (["news"], "ann", "mynews", False),
    (["news"], "ann", "News", False), (["a", "b", "c"], "ann", "c", True), ([], "ann", "news", False),
    (["*"], "ann", "anything at all/ü", True), (["**"], "ann", "x", True),
    (["a*z"], "ann", "az", True), (["a*z"], "ann", "a/b:c z", True), (["a*z"], "ann", "azb", False),
    (["*end"], "ann", "the end", True), (["*end"], "ann", "endless", False), (["be*"], "ann", "abe", False),
    (["*a*b*"], "ann", "xxaxxbxx", True), (["*a*b*"], "ann", "xxbxxaxx", False), (["*a*ab"], "ann", "aab", True),
    (["a.c"], "ann", "abc", False), (["a?c"], "ann", "abc", False), (["[ab]"], "ann", "a", False),
    (["a+"], "ann", "aa", False), (["(a|b)"], "ann", "a", False), (["\\*"], "ann", "*", False),
    (["inbox:{user}"], "ann", "inbox:ann", True), (["inbox:{user}"], "ann", "inbox:bob", False),
    (["inbox:{user}"], "ann", "inbox:{user}", False), (["{user}/{user}/*"], "ann", "ann/ann/x", True),
    (["inbox:{user}:*"], "ann", "inbox:ann:1", True), (["inbox:{user}:*"], "ann", "inbox:annabel:1", False),
    # What stands in a user's name is literal.
    (["inbox:{user}"], "*", "inbox:*", True), (["inbox:{user}"], "*", "inbox:bob", False),
    (["inbox:{user}"], "a*b", "inbox:axb", False), (["{user}"], "{user}", "{user}", True),
    (["{user}"], ".*", "xx", False), (["room:{user}"], "@all", "room:@all", True),
]


@pytest.mark.parametrize("patterns, user, room, allowed", JOINS)
def test_r22_rooms_that_a_token_allows(serving, connect, patterns, user, room, allowed):
    options = presented(header=serving.token(user, moorline={"join": patterns}))
    client = connect(serving, **options)
    if allowed:
        client.join(room)
        client.ok({"type": "leave", "room": room})
        client.expect("left", room=room)
        assert room in connect(serving, room, **options).established["rooms"]
    else:
        client.fails({"type": "join", "room": room}, "forbidden")
        assert client.is_open() and serving.session(client.session)["rooms"] == []
        not_let_in(connect.raw(serving, room, **options), reason="not allowed here", error="forbidden")
    client.close()


def test_r22_a_room_that_is_not_allowed_is_told_to_who_says_hello_too(serving, connect):
    token = serving.token(new_user(), moorline={"join": ["a"]})
    not_let_in(connect.raw(serving, unique("b"), **hello(token)), reason="not allowed here", error="forbidden")


@pytest.mark.parametrize("grants", [None, {}, {"publish": ["*"]}], ids=str)
def test_r22_own_rooms_need_no_grant_and_nothing_else_goes_without(serving, connect, grants):
    user, room = new_user(), unique("room")
    client = connect(serving, headers=bearer(serving.token(user, moorline=grants)))
    client.fails({"type": "join", "room": room}, "forbidden")
    for to in ({"session": client.session}, {"user": user}, "all"):
        serving.publish(to, {"type": "for-you", "to": to})
        client.expect("for-you", to=to)


def test_r22_what_a_token_leaves_out_the_settings_allow(serve, connect):
    server = serve({"auth.join": ["public:*", "inbox:{user}"], "auth.publish": ["public:*"]})
    plain = connect(server, headers=bearer(server.token("ann", moorline=None)))
    plain.join("public:1")
    plain.join("inbox:ann")
    plain.fails({"type": "join", "room": "inbox:bob"}, "forbidden")
    plain.publish({"room": "public:1"}, {"type": "x"})
    plain.fails({"type": "publish", "to": {"room": "inbox:ann"}, "message": {"type": "x"}}, "forbidden")
    # Each claim stands for itself, and one that allows nothing is there.
    mixed = connect(server, headers=bearer(server.token("bob", moorline={"join": [], "publish": ["x"]})))
    mixed.fails({"type": "join", "room": "public:1"}, "forbidden")
    mixed.publish({"room": "x"}, {"type": "x"})
    mixed.fails({"type": "publish", "to": {"room": "public:1"}, "message": {"type": "x"}}, "forbidden")


PUBLISHES = [
    (["news"], {"room": "news"}, True), (["news"], {"room": "other"}, False), ([], {"room": "news"}, False),
    (["*"], {"room": "anything"}, True), (["a*"], {"room": "ba"}, False),
    # Own rooms are matched only by patterns that begin with their sign.
    (["*"], {"user": "bob"}, False), (["*"], {"session": "s"}, False), (["*"], "all", False),
    (["*user/bob"], {"user": "bob"}, False), (["@*"], {"room": "news"}, False),
    (["@user/bob"], {"user": "bob"}, True), (["@user/bob"], {"user": "bobby"}, False),
    (["@user/*"], {"user": "bob"}, True), (["@user/*"], {"session": "bob"}, False), (["@user/*"], "all", False),
    (["@user/{user}"], {"user": "ann"}, True), (["@user/{user}"], {"user": "bob"}, False),
    (["@session/s*"], {"session": "s1"}, True), (["@session/s*"], {"session": "t1"}, False),
    (["@all"], "all", True), (["@al*"], "all", True), (["@*"], "all", True), (["@*"], {"user": "bob"}, True),
]


@pytest.mark.parametrize("patterns, to, allowed", PUBLISHES)
def test_r22_targets_that_a_token_allows(serving, connect, patterns, to, allowed):
    client = connect(serving, headers=bearer(serving.token("ann", moorline={"publish": patterns})))
    frame = {"type": "publish", "to": to, "message": {"type": "x", "mark": unique("m")}}
    if allowed:
        client.ok(frame)
    else:
        client.fails(frame, "forbidden")
        client.fails({**frame, "ephemeral": True}, "forbidden")
    client.close()


@pytest.mark.parametrize("user, to", [("@all", "all"), ("@user/bob", {"user": "bob"}), ("@user/", {"user": "bob"})])
def test_r22_a_user_s_name_does_not_make_a_pattern_one_of_own_rooms(serving, connect, user, to):
    client = connect(serving, headers=bearer(serving.token(user, moorline={"publish": ["{user}", "{user}*"]})))
    client.fails({"type": "publish", "to": to, "message": {"type": "x"}}, "forbidden")


def test_r22_a_publish_that_is_forbidden_reaches_nobody(serving, connect):
    room, user = unique("room"), new_user()
    member = connect(serving, room, **serving.as_user(user))
    sender = connect(serving, headers=bearer(serving.token(new_user(), moorline={"join": ["*"]})))
    sender.join(room)  # being a member is not enough
    sender.fails({"type": "publish", "to": {"room": room}, "message": {"type": "x"}}, "forbidden")
    sender.fails({"type": "publish", "to": {"user": user}, "message": {"type": "x"}}, "forbidden")
    member.nothing_new(room)
    assert serving.room(room)["message_id"] == 1, "the marker is the only record"


def test_r22_a_list_with_a_session_that_is_not_allowed_is_refused_whole(serving, connect):
    open_to, closed_to = unique("open"), unique("closed")
    listener = connect(serving, session=open_to, **serving.as_user(new_user()))
    assert listener.session == open_to
    sender = connect(serving, headers=bearer(serving.token(new_user(), moorline={"publish": ["@session/open*"]})))
    sender.fails({"type": "publish", "to": {"sessions": [open_to, closed_to]}, "message": {"type": "x"}}, "forbidden")
    reply = sender.publish({"sessions": [open_to]}, {"type": "y"})
    assert reply["results"][0]["reached"] == 1
    # The first thing it gets is what was allowed.
    listener.expect("y")


# --- sessions ---

@pytest.mark.parametrize("how", ["query", "hello"])
def test_r22_a_session_id_is_chosen_where_the_token_grants_it(serving, connect, how):
    token = serving.token(new_user(), moorline={"session": ["tab:*"]})

    def ask(id):
        if how == "query":
            return connect(serving, session=id, headers=bearer(token))
        return connect(serving, **hello(token, session=id))

    mine, other = unique("tab:"), unique("other")
    assert ask(mine).session == mine
    client = ask(other)
    assert client.session != other and client.established["resumed"] is False
    serving.http("GET", f"/v1/sessions/{other}").problem(404)


@pytest.mark.parametrize("grants", [None, {}, {"session": []}, {"join": ["*"]}], ids=str)
def test_r22_no_session_id_is_chosen_without_a_grant(serving, connect, grants):
    asked = unique("s")
    client = connect(serving, session=asked, headers=bearer(serving.token(new_user(), moorline=grants)))
    assert client.session != asked


def test_r22_a_session_belongs_to_its_user(serving, connect):
    user, room = new_user(), unique("room")
    grants = {"moorline": {"join": ["*"]}}
    first = connect(serving, room, **serving.as_user(user, **grants))
    first.drop()
    stolen = {"session": first.session, "resume_token": first.token}
    thief = connect(serving, **stolen, headers=bearer(serving.token(new_user())))
    assert thief.established["resumed"] is False and thief.session != first.session
    not_let_in(connect.raw(serving, **stolen))
    # The owner needs no grant to come back, nor the resume token.
    again = connect(serving, session=first.session, **serving.as_user(user, **grants))
    assert again.established["resumed"] is True and again.session == first.session
    again.messages(serving.to_room(room, 1))


# --- a fresh token on an open connection ---

def auth(client, token, **fields):
    return client.ok({"type": "auth", "token": token, **fields})


def test_r22_a_fresh_token_renews_what_is_allowed(serving, connect):
    user, other = new_user(), unique("other")
    client = connect(serving, headers=bearer(serving.token(user, moorline={})))
    client.fails({"type": "join", "room": other}, "forbidden")
    fresh = serving.token(user, 1234, moorline={"join": ["other*"], "publish": ["other*"]})
    ends = jwt.decode(fresh, options={"verify_signature": False})["exp"]
    assert moment(auth(client, fresh)["expires_at"]) == pytest.approx(ends, abs=1)
    client.join(other)
    client.publish({"room": other}, {"type": "x"})
    client.expect("x")


def test_r22_a_fresh_token_without_ref_is_taken_silently(serving, connect):
    user, room = new_user(), unique("room")
    client = connect(serving, headers=bearer(serving.token(user, moorline={})))
    client.send({"type": "auth", "token": serving.token(user)})
    client.join(room)


def test_r22_a_fresh_token_of_somebody_else_is_forbidden(serving, connect):
    user, room = new_user(), unique("room")
    client = connect(serving, headers=bearer(serving.token(user, moorline={"join": [room]})))
    client.fails({"type": "auth", "token": serving.token(new_user())}, "forbidden")
    assert user_of(serving, client) == user
    client.join(room)
    client.fails({"type": "join", "room": unique("room")}, "forbidden")


@pytest.mark.parametrize("what", ["garbage", "signature", "expired", "audience", "empty"])
def test_r22_a_fresh_token_that_is_not_accepted_changes_nothing(serving, connect, what):
    user, room = new_user(), unique("room")
    client = connect(serving, room, headers=bearer(serving.token(user, moorline={"join": [room]})))
    bad = {
        "garbage": WRONG, "signature": serving.token(user, key=b"k" * 32), "expired": serving.token(user, -120),
        "audience": serving.token(user, aud="else"), "empty": "",
    }[what]
    client.fails({"type": "auth", "token": bad}, "not_authenticated")
    client.send({"type": "auth", "token": bad})
    client.expect("error", code="not_authenticated")
    client.messages(serving.to_room(room, 1))
    client.fails({"type": "join", "room": unique("room")}, "forbidden")
    assert client.is_open()


@pytest.mark.parametrize("frame", [{}, {"token": 1}, {"token": None}, {"token": "x", "user": "y"}], ids=str)
def test_bad_auth_frame(serving, connect, frame):
    client = connect(serving, **serving.as_user(new_user()))
    client.fails({"type": "auth", **frame}, "bad_frame")
    assert client.is_open()


def test_r22_rooms_that_a_fresh_token_no_longer_allows_are_left(serving, connect):
    user = new_user()
    kept, lost, url, added = (unique(name) for name in ("kept", "lost", "url", "added"))
    client = connect(serving, url, **serving.as_user(user))
    client.join(kept)
    client.join(lost)
    assert serving.http("PUT", f"/v1/sessions/{client.session}/rooms/{added}").status == 204
    client.expect("joined", room=added)
    client.ok({"type": "auth", "token": serving.token(user, moorline={"join": ["kept*"]})})
    left = [client.expect("left", reason="forbidden")["room"] for _ in range(2)]
    assert sorted(left) == sorted([lost, url])
    assert serving.session(client.session)["rooms"] == sorted([kept, added])
    for room in (lost, url):
        assert serving.publish({"room": room}, {"type": "secret"})["reached"] == 0
    client.messages(serving.to_room(kept, 1) + serving.to_room(added, 1))


def test_r22_a_session_that_comes_back_with_less_leaves_rooms_too(serving, connect):
    user = new_user()
    kept, lost, added = (unique(name) for name in ("kept", "lost", "added"))
    client = connect(serving, **serving.as_user(user))
    client.join(kept)
    client.join(lost)
    assert serving.http("PUT", f"/v1/sessions/{client.session}/rooms/{added}").status == 204
    client.expect("joined", room=added)
    client.drop()
    missed = {room: serving.publish({"room": room}, {"type": "missed"})["message_id"] for room in (kept, lost, added)}
    again = connect(serving, session=client.session, resume_token=client.token,
                    headers=bearer(serving.token(user, moorline={"join": ["kept*"]})))
    assert again.established["resumed"] is True
    eventually(lambda: serving.session(again.session)["rooms"] == sorted([kept, added]))
    serving.publish({"room": lost}, {"type": "secret"})
    end = serving.publish({"session": again.session}, {"type": "end"})["message_id"]
    seen = [again.next()]
    while seen[-1].get("message_id") != end or seen[-1]["type"] != "end":
        seen.append(again.next())
    assert {frame["room"] for frame in seen if frame["type"] == "missed"} == {kept, added}, (missed, seen)
    assert not [frame for frame in seen if frame["type"] == "secret"]


# --- expiry ---

QUICK = {"auth.leeway_ms": 0}


def wait_for_close(client):
    """Reads up to the close of an expired token: when it came, and what came before."""
    before = client.closed(1008, "token expired", timeout=20)
    return time.time(), before


def test_r22_a_connection_lives_as_long_as_its_token(serve, connect):
    server, room = serve({**QUICK, "auth.notice_ms": 1000}), unique("room")
    ends = int(time.time()) + 4
    client = connect(server, room, **server.as_user("ann", exp=ends))
    closed_at, before = wait_for_close(client)
    assert ends - 0.1 <= closed_at <= ends + 1, closed_at - ends
    assert [frame["type"] for frame in before] == ["token_expiring"], before
    assert 0 < before[0]["expires_in_ms"] <= 1000, before
    # Its session waits for a fresh token, and has missed nothing then.
    eventually(lambda: not server.session(client.session)["connected"])
    ids = server.to_room(room, 2)
    not_let_in(connect.raw(server, session=client.session, resume_token=client.token,
                           headers=bearer(server.token("ann", exp=ends))))
    again = connect(server, session=client.session, resume_token=client.token, **server.as_user("ann"))
    assert again.established["resumed"] is True
    again.messages(ids, room=room)


def test_r22_the_notice_comes_in_time(serve, connect):
    server = serve({**QUICK, "auth.notice_ms": 2000})
    ends = int(time.time()) + 5
    client = connect(server, **server.as_user("ann", exp=ends))
    notice = client.expect("token_expiring", timeout=10)
    assert ends - 2.1 <= time.time() <= ends - 1
    assert 1000 < notice["expires_in_ms"] <= 2000, notice


def test_r22_a_token_that_ends_within_the_notice_is_told_at_once(serve, connect):
    server = serve()
    client = connect(server, **server.as_user("ann", 20))
    assert 15_000 < client.expect("token_expiring", timeout=2)["expires_in_ms"] <= 20_000


def test_r22_the_leeway_is_added_to_the_end(serve, connect):
    server = serve({"auth.leeway_ms": 2000, "auth.notice_ms": 0})
    ends = int(time.time()) + 1
    client = connect(server, **server.as_user("ann", exp=ends))
    closed_at, _ = wait_for_close(client)
    assert ends + 1.9 <= closed_at <= ends + 3, closed_at - ends


def test_r22_a_fresh_token_in_time_keeps_the_connection(serve, connect):
    server = serve({**QUICK, "auth.notice_ms": 1500})
    ends = int(time.time()) + 3
    client = connect(server, **server.as_user("ann", exp=ends))
    client.expect("token_expiring", timeout=10)
    later = ends + 3
    assert moment(auth(client, server.token("ann", exp=later))["expires_at"]) == pytest.approx(later, abs=1)
    # Beyond the first end it is still open; then the second token has a notice and an end of its own.
    client.expect("token_expiring", timeout=10)
    assert time.time() > ends
    assert client.is_open()
    closed_at, before = wait_for_close(client)
    assert later - 0.1 <= closed_at <= later + 1 and before == []


def test_r22_a_fresh_token_may_end_sooner(serve, connect):
    server = serve({**QUICK, "auth.notice_ms": 0})
    client = connect(server, **server.as_user("ann", 600))
    ends = int(time.time()) + 2
    auth(client, server.token("ann", exp=ends))
    closed_at, _ = wait_for_close(client)
    assert ends - 0.1 <= closed_at <= ends + 1


def test_r22_an_expired_token_ends_its_own_connection_alone(serve, connect):
    server = serve({**QUICK, "auth.notice_ms": 0})
    staying = connect(server, **server.as_user("ann", 600))
    leaving = connect(server, **server.as_user("ann", 2))
    wait_for_close(leaving)
    assert staying.is_open()


# --- revocation ---

def revoke(server, path):
    answer = server.http("DELETE", path)
    assert answer.status == (200 if path.startswith("/v1/users") else 204), answer
    return answer


def gone(server, client):
    """Ended by a revocation: closed, told why, and forgotten."""
    client.closed(4003)
    eventually(lambda: server.http("GET", f"/v1/sessions/{client.session}").status == 404)


def test_r22_a_revoked_token_ends_its_sessions(serving, connect):
    user, id = new_user(), unique("jti/ü")
    token, another = serving.token(user, jti=id), serving.token(user, jti=unique("jti"))
    first, second = connect(serving, headers=bearer(token)), connect(serving, headers=bearer(token))
    other, stranger = connect(serving, headers=bearer(another)), connect(serving, **serving.as_user(new_user()))
    assert revoke(serving, f"/v1/tokens/{quote(id, safe='')}").text == ""
    gone(serving, first)
    gone(serving, second)
    for place in PLACES:
        not_let_in(connect.raw(serving, **presented(**{place: token})))
    other.fails({"type": "auth", "token": token}, "not_authenticated")
    assert other.is_open() and stranger.is_open()
    late = connect(serving, session=first.session, resume_token=first.token, headers=bearer(another))
    assert late.established["resumed"] is False
    revoke(serving, f"/v1/tokens/{quote(id, safe='')}")
    revoke(serving, f"/v1/tokens/{unique('never-seen')}")
    assert other.is_open()


def test_r22_a_revoked_token_that_refreshed_a_connection_ends_it(serving, connect):
    user, first, second = new_user(), unique("jti"), unique("jti")
    client = connect(serving, headers=bearer(serving.token(user, jti=first)))
    auth(client, serving.token(user, jti=second))
    revoke(serving, f"/v1/tokens/{second}")
    gone(serving, client)


def test_r22_a_revoked_token_ends_a_session_that_is_away(serving, connect):
    user, id = new_user(), unique("jti")
    client = connect(serving, headers=bearer(serving.token(user, jti=id)))
    client.drop()
    revoke(serving, f"/v1/tokens/{id}")
    eventually(lambda: serving.http("GET", f"/v1/sessions/{client.session}").status == 404)
    back = connect(serving, session=client.session, resume_token=client.token, **serving.as_user(user))
    assert back.established["resumed"] is False


def test_r22_all_tokens_of_a_user_are_revoked_until_a_later_one(serving, connect):
    user = new_user()
    tokens = [serving.token(user), serving.token(user, jti=unique("jti"))]
    clients = [connect(serving, headers=bearer(token)) for token in tokens]
    stranger = connect(serving, **serving.as_user(new_user()))
    answer = revoke(serving, f"/v1/users/{user}/tokens")
    at = int(time.time())
    assert answer.json == {"disconnected": 2}
    for client in clients:
        gone(serving, client)
    for token in tokens:
        not_let_in(connect.raw(serving, headers=bearer(token)))
    serving.http("GET", f"/v1/users/{user}").problem(404)
    assert stranger.is_open()
    eventually(lambda: int(time.time()) > at, what="a later second")
    assert connect(serving, **serving.as_user(user)).is_open()
    not_let_in(connect.raw(serving, headers=bearer(tokens[0])))


@pytest.mark.parametrize("room", ["st%61ts", "%73tatus", "stat%75s"])
def test_bad_room_with_the_name_of_a_resource(serving, room):
    headers = bearer(serving.token(new_user()))
    serving.upgrade(f"/ws/{room}", headers).problem(400, "room_invalid")


def test_r22_revoking_a_user_that_nobody_knows(serving, connect):
    user = new_user()
    early = serving.token(user)
    assert revoke(serving, f"/v1/users/{user}/tokens").json == {"disconnected": 0}
    not_let_in(connect.raw(serving, headers=bearer(early)))


@pytest.mark.parametrize("path", ["/v1/tokens/", "/v1/tokens/" + "x" * 129, "/v1/users/a%0Ab/tokens"])
def test_bad_revocation(serving, path):
    assert serving.http("DELETE", path).status in (400, 404)


# --- tokens that the server makes ---

def make(server, **body):
    answer = server.http("POST", "/v1/tokens", body)
    assert answer.status == 200, answer
    made = answer.json
    assert set(made) == {"token", "token_id", "user", "expires_at"}, made
    return made


def test_r22_the_application_gets_a_token_for_a_user(serving, connect):
    user, room = new_user(), unique("room")
    made = make(serving, user=user, join=["room*"], publish=[room, "@user/{user}"], session=["tab*"], ttl_ms=60_000)
    inside = jwt.decode(made["token"], serving.secret, algorithms=["HS256"], audience="moorline")
    assert inside["sub"] == user == made["user"] and inside["jti"] == made["token_id"]
    assert moment(made["expires_at"]) == pytest.approx(inside["exp"], abs=1)
    assert inside["exp"] == pytest.approx(time.time() + 60, abs=3)
    asked = unique("tab")
    client = connect(serving, room, session=asked, headers=bearer(made["token"]))
    assert client.session == asked and user_of(serving, client) == user
    client.publish({"room": room}, {"type": "x"})
    client.expect("x")
    client.publish({"user": user}, {"type": "y"})
    client.expect("y")
    client.fails({"type": "join", "room": "elsewhere"}, "forbidden")
    revoke(serving, f"/v1/tokens/{made['token_id']}")
    gone(serving, client)


def test_r22_a_made_token_has_defaults(serve, connect):
    server = serve({"auth.join": ["public"], "auth.audience": ["first", "second"], "auth.issuer": ["me"]})
    made = make(server, user="ann")
    inside = jwt.decode(made["token"], server.secret, algorithms=["HS256"], audience=["first", "second"])
    assert inside["exp"] == pytest.approx(time.time() + 900, abs=3), "15 minutes"
    client = connect(server, "public", headers=bearer(made["token"]))
    client.fails({"type": "join", "room": "other"}, "forbidden")
    assert make(server, user="ann")["token_id"] != made["token_id"]


def test_r22_a_made_token_lives_within_its_bounds(serve):
    server = serve({"auth.lifetime_max_ms": 60_000})
    for good in (1000, 60_000):
        made = make(server, user="ann", ttl_ms=good)
        assert moment(made["expires_at"]) == pytest.approx(time.time() + good / 1000, abs=2)
    for bad in (999, 0, -1, 60_001, "1000", 1000.5, 2**70):
        server.http("POST", "/v1/tokens", {"user": "ann", "ttl_ms": bad}).problem(400)


@pytest.mark.parametrize("body", [
    {}, {"user": ""}, {"user": "a\nb"}, {"user": "x" * 129}, {"user": 1}, {"user": None}, [],
    {"user": "ann", "scope": "x"}, {"user": "ann", "join": "*"}, {"user": "ann", "join": [1]},
    {"user": "ann", "publish": {"a": 1}}, {"user": "ann", "session": [["a"]]},
    {"user": "ann", "join": ["x"] * 65}, {"user": "ann", "join": ["*a" * 9]},
], ids=lambda body: str(body)[:60])
def test_bad_request_for_a_token(serving, body):
    serving.http("POST", "/v1/tokens", body).problem(400)
