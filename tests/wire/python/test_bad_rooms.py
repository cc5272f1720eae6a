"""Names that are no room's: in frames, in URLs, over HTTP. And other people's sessions."""

from urllib.parse import quote

import pytest

from waiting import unique

pytestmark = pytest.mark.usefixtures("bystander")

NAMES = {
    "empty": "", "256 bytes": "x" * 256, "300 characters": "x" * 300, "256 bytes of UTF-8": "é" * 128,
    "newline": "a\nb", "NUL": "a\x00b", "DEL": "\x7f", "C1": "a\x85b", "at sign": "@x", "all": "@all", "own": "@session/x",
    "only @": "@",
}


@pytest.fixture(params=NAMES)
def name(request):
    return NAMES[request.param]


def test_bad_room_in_a_frame(server, connect, name):
    client = connect(server)
    for frame in (
        {"type": "join", "room": name}, {"type": "join", "room": name, "since": "start"},
        {"type": "leave", "room": name},
        {"type": "publish", "to": {"room": name}, "message": {"type": "x"}},
    ):
        client.fails(frame, "room_invalid")
    assert client.is_open()
    assert server.session(client.session)["rooms"] == []


def test_bad_room_in_a_url(server, name):
    answer = server.upgrade("/ws/" + quote(name, safe=""))
    if name == "":
        assert answer.status in (400, 404), answer
    else:
        answer.problem(400, "room_invalid")


def test_bad_room_over_http(server, connect, name):
    server.http("POST", "/v1/publish", {"to": {"room": name}, "message": {"type": "x"}}).problem(400, "room_invalid")
    if name:
        client = connect(server)
        path = f"/v1/sessions/{client.session}/rooms/{quote(name, safe='')}"
        server.http("PUT", path).problem(400, "room_invalid")
        assert server.session(client.session)["rooms"] == []


@pytest.mark.parametrize("path", ["/ws/%ff", "/ws/%zz", "/ws/a%", "/ws/%c0%80"])
def test_bad_percent_encoding_in_a_url(server, path):
    assert server.upgrade(path).status == 400


QUERIES = [
    "unknown=1", "user=a&user=b", "user=a&user=a", "last_message_id=abc", "last_message_id=-1", "last_message_id=1.5",
    "last_message_id=99999999999999999999999", "last_message_id=", "session=", "user=", "session=" + "x" * 129,
    "user=" + "x" * 129, "session=a%00b", "user=a%0Ab", "User=ann", "session=%ff", "tokens=x", "last_message_id=0x1",
]


@pytest.mark.parametrize("query", QUERIES)
def test_bad_query(server, query):
    room = unique("room")
    server.upgrade(f"/ws/{room}?{query}").problem(400)
    server.http("GET", f"/v1/rooms/{room}").problem(404)


def test_bad_query_that_names_a_position_without_a_room(server):
    server.upgrade("/ws?last_message_id=1").problem(400)


# --- claims to the session of someone else ---

CLAIMS = {
    "nobody, without a token": lambda token: {},
    "nobody, with another token": lambda token: {"resume_token": "A" * 43},
    "another user, without a token": lambda token: {"user": unique("bob")},
    "another user, with another token": lambda token: {"user": unique("bob"), "resume_token": "B" * 43},
    "another user, with the right token": lambda token: {"user": unique("bob"), "resume_token": token},
    "a guess, one character off": lambda token: {"resume_token": ("B" if token[0] == "A" else "A") + token[1:]},
    "a guess, cut short": lambda token: {"resume_token": token[:-1]},
    "a guess, too long": lambda token: {"resume_token": token + "A"},
    "a guess, in another case": lambda token: {"resume_token": token.swapcase()},
}


@pytest.mark.parametrize("owner_is", ["connected", "away"])
@pytest.mark.parametrize("how", ["url", "hello"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_bad_claim_to_the_session_of_another(server, connect, claim, how, owner_is):
    room = unique("room")
    owner = connect(server, room, user=unique("ann"))
    claimed = {"session": owner.session, **CLAIMS[claim](owner.token)}
    if owner_is == "away":
        owner.drop()
    secret = server.publish({"session": owner.session}, {"type": "secret"})["message_id"]
    if how == "url":
        thief = connect(server, **claimed)
    else:
        user = claimed.pop("user", None)
        thief = connect(server, user=user, hello=claimed)
    assert thief.established["resumed"] is False, "no error, but a session of its own"
    assert thief.session != owner.session
    assert thief.established["rooms"] == {}
    own = server.publish({"session": thief.session}, {"type": "own"})["message_id"]
    thief.messages([own], type="own")
    assert thief.is_open(), "and nothing else came"
    assert server.session(owner.session)["user"] == owner.user
    if owner_is == "away":
        owner = connect.back(owner)
    owner.messages([secret], type="secret")
    assert owner.is_open()


def test_bad_claim_by_many_guesses(server, connect):
    owner = connect(server, user=unique("ann"))
    sessions = set()
    for n in range(100):
        thief = connect(server, session=owner.session, resume_token=f"{n:043}")
        assert thief.established["resumed"] is False
        sessions.add(thief.session)
        thief.cut()
    assert len(sessions) == 100 and owner.session not in sessions
    assert owner.is_open()
    assert len({connect(server).session for _ in range(10)}) == 10
