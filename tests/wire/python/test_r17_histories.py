"""Random histories with restarts in them, against a model of what each session is owed."""

import random
import time

import pytest

from keeping import by_room, named
from waiting import unique

ACK_GRACE = 1.0  # a crash may forget the acknowledgements of that long, in seconds


class Peer:
    """A session, and what the model knows of it."""

    def __init__(self, world, number):
        self.world, self.user = world, f"user{number}"
        self.client = world.connect(world.server, user=self.user)
        self.session, self.there = self.client.session, True
        self.joined = {}  # room -> the id from which on it is a member
        self.read = {}  # room -> the last id that this connection was sent
        self.starts = {}  # room -> [(when, id)]: where a replay may start; the last one is the newest
        self.due = {}  # room -> ids that are on their way

    def owed(self, room, start):
        return [id for id, excepted in self.world.logs[room] if id > start and self.session not in excepted]

    def takes_what_is_due(self):
        frames = [self.client.next() for _ in range(sum(map(len, self.due.values())))]
        assert by_room(frames) == {room: ids for room, ids in self.due.items() if ids}
        for room, ids in self.due.items():
            self.read[room] = ids[-1] if ids else self.read[room]
            self.due[room] = []

    def joins(self, room):
        self.takes_what_is_due()
        joined = self.client.join(room)
        head = self.world.logs[room][-1][0] if self.world.logs[room] else 0
        assert joined["message_id"] == head, joined
        self.joined[room] = self.read[room] = head
        self.starts[room], self.due[room] = [(0, head)], []

    def leaves(self, room):
        self.takes_what_is_due()
        self.client.ok({"type": "leave", "room": room})
        self.client.expect("left", room=room)
        for each in (self.joined, self.read, self.starts, self.due):
            del each[room]

    def acknowledges(self, rng):
        self.takes_what_is_due()
        for room, upto in self.read.items():
            ids = [id for id in self.owed(room, self.starts[room][-1][1]) if id <= upto]
            if ids:
                id = rng.choice(ids)
                assert self.client.ok({"type": "ack", "room": room, "message_id": id})["message_id"] == id
                self.starts[room].append((time.monotonic(), id))

    def loses_its_connection(self):
        self.there = False
        self.due = {room: [] for room in self.joined}

    def goes(self):
        self.client.drop()
        self.loses_its_connection()

    def after_crash(self, when):
        """Some of its last acknowledgements may be forgotten, from some moment on."""
        for room, starts in self.starts.items():
            sure = [number for number, (at, _) in enumerate(starts) if at < when - ACK_GRACE - 0.3]
            self.starts[room] = starts[sure[-1] if sure else 0:]

    def comes_back(self):
        self.client = self.world.connect.back(self.client)
        self.there = True
        rooms = self.client.established["rooms"]
        assert set(named(self.client)) == set(self.joined)
        for room, starts in self.starts.items():
            possible = {len(self.owed(room, id)): (at, id) for at, id in starts}
            assert rooms[room]["replayed"] in possible, (room, rooms[room], starts)
            at, id = possible[rooms[room]["replayed"]]
            self.starts[room] = [(0, id)]
            self.due[room] = self.owed(room, id)
            self.read[room] = id
        self.takes_what_is_due()


class World:
    def __init__(self, server, connect, rng):
        self.server, self.connect, self.rng = server, connect, rng
        self.logs = {unique("room"): [] for _ in range(3)}  # room -> [(id, sessions that it is not for)]
        self.peers = [Peer(self, number) for number in range(4)]
        self.restarts = 0

    def publish(self):
        room = self.rng.choice(list(self.logs))
        excepted = {peer.session for peer in self.peers if self.rng.random() < 0.2}
        more = {"except": {"sessions": sorted(excepted)}} if excepted else {}
        if self.rng.random() < 0.3:
            more["durability"] = "disk"
        sender = self.rng.choice([self.server, *(peer.client for peer in self.peers if peer.there)])
        members = [peer for peer in self.peers if room in peer.joined and peer.session not in excepted]
        reply = sender.publish({"room": room}, {"type": "note", "n": len(self.logs[room])}, **more)
        assert (reply["reached"], reply["queued"]) == (
            sum(peer.there for peer in members), sum(not peer.there for peer in members))
        assert not self.logs[room] or reply["message_id"] > self.logs[room][-1][0]
        self.logs[room].append((reply["message_id"], excepted))
        for peer in members:
            if peer.there:
                peer.due[room].append(reply["message_id"])

    def restart(self):
        how = self.rng.choice(["kill", "kill", "drain"])
        self.server.has_committed()
        when = time.monotonic()
        self.server.restart(how)
        self.restarts += 1
        for peer in self.peers:
            if how == "kill":
                peer.after_crash(when)
            peer.loses_its_connection()

    def some(self, there):
        peers = [peer for peer in self.peers if peer.there == there]
        return self.rng.choice(peers) if peers else None

    def step(self):
        what = self.rng.random()
        here, away = self.some(True), self.some(False)
        if what < 0.45:
            self.publish()
        elif what < 0.53:
            self.restart()
        elif what < 0.68 and away:
            away.comes_back()
        elif what < 0.75 and here:
            here.goes()
        elif what < 0.85 and here:
            here.acknowledges(self.rng)
        elif what < 0.95 and here:
            rooms = [room for room in self.logs if room not in here.joined]
            if rooms:
                here.joins(self.rng.choice(rooms))
        elif here and here.joined:
            here.leaves(self.rng.choice(sorted(here.joined)))

    def all_come_back(self):
        for peer in self.peers:
            if not peer.there:
                peer.comes_back()
            peer.takes_what_is_due()

    def all_join_anew(self):
        """Positions are known in eight former epochs: no membership, and so none of its positions, is older."""
        self.all_come_back()
        for peer in self.peers:
            for room in list(peer.joined):
                peer.leaves(room)
                peer.joins(room)

    def everyone_has_it_all(self):
        self.all_come_back()
        for room, log in self.logs.items():
            assert [each["message_id"] for each in self.server.messages(room)] == [id for id, _ in log]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("run", range(4))
def test_r17_whatever_happens_in_whatever_order(kept, connect, run):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    world = World(kept({"retention.room_records": 100000}), connect, random.Random(seed))
    anew = 0
    for _ in range(150):
        world.step()
        if world.restarts - anew >= 6:
            world.all_join_anew()
            anew = world.restarts
    world.restart()
    world.everyone_has_it_all()
