"""Random histories: producers that cut, repeat and lose their answers, readers that come and go, against the texts."""

import random

import pytest

from streaming import MIXED, Reader, Stream, state, terminals
from waiting import unique

ALPHABET = MIXED + "abc \n"


class Text:
    """A stream that is written, as the model knows it."""

    def __init__(self, world, number):
        self.world, self.name = world, f"s{number}"
        self.stream = Stream(world.rng.choice(world.producers), world.room, self.name, data={"n": number})
        self.text, self.over = "", None

    def grows(self):
        rng = self.world.rng
        more = "".join(rng.choice(ALPHABET) for _ in range(rng.choice((0, 1, 3, 20, 200))))
        at = rng.choice((len(self.text), len(self.text), rng.randrange(len(self.text) + 1)))
        self.stream.append(self.text[at:] + more, at)
        self.text += more
        assert self.stream.at == len(self.text)

    def repeats(self):
        at = self.world.rng.randrange(len(self.text) + 1)
        upto = self.world.rng.randrange(at, len(self.text) + 1)
        assert self.stream.append(self.text[at:upto], at)["at"] == len(self.text)

    def is_wrong(self):
        if self.text:
            at = self.world.rng.randrange(len(self.text))
            other = "x" if self.text[at] != "x" else "y"
            self.stream.refused("conflict", other + "more", at)
        assert self.stream.refused("at_mismatch", "x", len(self.text) + 1 + self.world.rng.randrange(9))["at"] == len(self.text)

    def is_opened_again(self):
        before, self.stream = self.stream, self.stream.again()
        assert self.stream.at == len(self.text)
        before.refused("fenced", "x")

    def ends(self):
        self.over = self.world.rng.choice(("complete", "error", "cancelled"))
        id = self.stream.end(self.over)
        if self.world.rng.random() < 0.5:
            assert self.stream.end(self.over) == id
        self.stream.refused("stream_ended", "x")


class World:
    def __init__(self, server, connect, seed):
        self.server, self.connect, self.rng, self.room = server, connect, random.Random(seed), unique("room")
        self.producers = [connect(server), connect(server, user=unique("ann")), server]
        self.readers = [Reader(self.room, connect(server, self.room)) for _ in range(3)]
        self.texts, self.notes = [], []

    def open(self):
        return [text for text in self.texts if not text.over]

    def writes(self):
        open = self.open()
        if len(open) < 3 or self.rng.random() < 0.05:
            self.texts.append(Text(self, len(self.texts)))
            return
        text = self.rng.choice(open)
        kinds = [text.grows] * 10 + [text.repeats, text.is_wrong, text.is_opened_again, text.ends]
        self.rng.choice(kinds)()

    def publishes(self):
        self.notes.append(self.server.to_room(self.room, 1)[0])

    def a_reader_moves(self):
        reader = self.rng.choice(self.readers)
        self.rng.choice([self.reads, self.comes_back, self.asks_again, self.comes_back_over_the_old])(reader)

    def reads(self, reader):
        """Up to something that is sure to come."""
        self.publishes()
        reader.note(self.notes[-1])

    def comes_back(self, reader):
        reader.client.drop()
        self.back(reader)

    def comes_back_over_the_old(self, reader):
        self.back(reader)

    def back(self, reader):
        position = reader.last
        client = self.connect.back(reader.client, room=self.room, last_message_id=position)
        reader.on(client, keep=self.rng.random() < 0.5)
        reader.last = position if client.established["rooms"][self.room]["message_id"] >= position else 0

    def asks_again(self, reader):
        """From somewhere; what was under way before the answer counts as read."""
        self.reads(reader)
        place = self.rng.choice([0, *self.notes, *(frame["message_id"] for frame in reader.frames[-20:])])
        reply = reader.client.ok({"type": "reconnect", "room": self.room, "last_message_id": place})
        while reader.client._backlog:  # what came before the reply is judged as it was sent
            reader.next()
        reader.on(reader.client, keep=self.rng.random() < 0.5)
        reader.last = reply["message_id"]
        reader.done = {}

    def late(self):
        client = self.connect(self.server)
        client.join(self.room, since="start")
        reader = Reader(self.room, client)
        reader.note(self.last)
        return reader

    def is_over(self):
        for text in self.open():
            text.ends()
        self.last = self.server.publish({"room": self.room}, {"type": "last"})["message_id"]
        due = {text.name: (text.text, text.over) for text in self.texts}
        listed = Reader(self.room)
        for frame in self.server.messages(self.room):
            listed.take(frame)
        for reader in self.readers:
            reader.note(self.last, 20)
        for reader in [*self.readers, self.late(), listed]:
            got = {name: (whole, record["type"]) for name, (whole, record) in reader.done.items()}
            assert {name: got[name] for name in got if got[name] != due[name]} == {}
            assert not reader.text, "nothing is left without an end"
        assert set(listed.done) == set(due)
        for text in self.texts:
            assert len(terminals(listed.frames, text.name)) == 1
            seen = state(self.server, self.room, text.name)
            assert (seen["content"], seen["state"]) == due[text.name]


@pytest.mark.parametrize("run", range(4))
def test_r27_streams_random_histories(server, connect, run):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    world = World(server, connect, seed)
    for _ in range(150):
        world.rng.choice([world.writes] * 8 + [world.publishes, world.a_reader_moves])()
    world.is_over()
