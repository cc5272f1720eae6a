"""The Python programs that README.md and docs/streaming.md show, as they stand there: the server's port alone is another."""

import ast
import json
import re
import subprocess
import sys
import threading

from server import REPO
from streaming import state
from waiting import eventually


def programs(page):
    return re.findall(r"^```python\n(.*?)^```$", (REPO / page).read_text(), re.MULTILINE | re.DOTALL)


def run(program, server):
    """Runs it to its end; what it printed."""
    assert "127.0.0.1:8080" in program
    program = program.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_r27_streams_the_readmes_producer_writes_its_answer(start, connect):
    server = start()
    reader = connect(server, "talk")
    ended = json.loads(run(programs("README.md")[0], server))
    text, chunks = "", 0
    while (frame := reader.next())["type"] == "chunk":
        assert frame["at"] == len(text)
        text, chunks = text + frame["content"], chunks + 1
    assert text == "This answer comes word by word, and once, whatever happens to who reads it. "
    assert chunks > 2, "it came in one piece"
    assert (frame["type"], frame["message_id"], len(text)) == ("complete", ended["message_id"], ended["at"])


def test_r38_the_readmes_program_publishes(start, connect):
    server = start()
    reader = connect(server, "talk")
    answer = ast.literal_eval(run(programs("README.md")[1], server))
    assert (answer["room"], answer["reached"]) == ("talk", 1)
    reader.expect("say", text="hi", message_id=answer["message_id"])


def test_r27_streams_a_producer_by_requests_goes_on_after_a_kill(kept):
    server = kept()
    [program] = programs("docs/streaming.md")
    writing = threading.Thread(target=lambda: ended.append(ast.literal_eval(run(program, server))))
    ended = []
    writing.start()
    stream = eventually(lambda: server.get("/v1/rooms/talk/streams")["streams"])[0]["stream"]
    eventually(lambda: state(server, "talk", stream)["at"] > 5)
    server.restart("kill")
    assert state(server, "talk", stream)["state"] == "open"
    writing.join(30)
    seen = state(server, "talk", stream)
    assert seen["content"] == "This answer goes on where it was after the server was killed, word by word. "
    assert (seen["state"], len(ended)) == ("complete", 1)
    assert server.messages("talk")[-1]["message_id"] == ended[0]["message_id"]
