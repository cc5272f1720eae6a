"""The interface is what its OpenAPI document says: requests that the document allows and ones that it does not, made up by
schemathesis, against a running server. The same requests in every run."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode

from client import Connector
from server import REPO, Server

DOCUMENT = json.loads((REPO / "spec" / "openapi.json").read_text())
# What makes a token is refused where no tokens are checked.
NOT_IN_DEVELOPMENT = {"/v1/tokens"}
SESSION, USER, ROOM, STREAM = "s1", "ann", "lobby", "answer"
NAME_BYTES_MAX = {"room": 255, "stream": 255}
ID_BYTES_MAX = 128


def development():
    """The document without what development does not ask for."""
    document = json.loads(json.dumps(DOCUMENT))
    document["paths"] = {path: item for path, item in document["paths"].items() if path not in NOT_IN_DEVELOPMENT}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            operation["security"] = []
            if method != "delete":
                add_examples(path, operation.get("parameters", []))
    return document


def add_examples(path, parameters):
    """What there is, for requests that end none of it."""
    exists = {"room": ROOM, "stream": STREAM, "id": USER if path.startswith("/v1/users") else SESSION}
    for parameter in parameters:
        if parameter["in"] == "path":
            parameter["example"] = exists[parameter["name"]]


schema = schemathesis.openapi.from_dict(development())


@pytest.fixture(scope="module")
def api():
    """A server with a session in it, so that lists and totals have something to show."""
    server, connector = Server(), Connector()
    connector(server, ROOM, user=USER, session=SESSION)
    server.to_room(ROOM, 3)
    assert server.http("POST", f"/v1/rooms/{ROOM}/streams", {"stream": STREAM, "lease_ms": 600_000}).status == 201
    yield f"http://127.0.0.1:{server.port}"
    connector.close()
    server.stop()


def fits(name, value):
    """Lengths are in bytes, and a JSON schema can only say characters."""
    return not isinstance(value, str) or len(value.encode(errors="replace")) <= NAME_BYTES_MAX.get(name, ID_BYTES_MAX)


def contradicts_itself(case):
    """What a schema cannot say: the header and the body name one id, and an ephemeral publish has none."""
    if "Idempotency-Key" not in (case.headers or {}) or not isinstance(case.body, dict):
        return False
    return case.body.get("ephemeral") is True or case.body.get("id") is not None


@schema.hook
def filter_case(context, case):
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return True
    named = {**(case.path_parameters or {}), **(case.query or {})}
    is_labelled_rightly = all(part.mode == GenerationMode.POSITIVE for part in case.meta.components.values())
    return is_labelled_rightly and all(fits(*pair) for pair in named.items()) and not contradicts_itself(case)


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_interface_is_what_its_document_says(case, api):
    case.call_and_validate(base_url=api)


def test_the_document_that_is_served_is_the_committed_one(server):
    answer = server.http("GET", "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == DOCUMENT
