// The main rows once more, with another client than the Python suite's.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { Client, SUBPROTOCOL } from "./client.mjs";
import { Server, eventually, testsOf, unique, withServer } from "./server.mjs";

describe("with default settings", () => {
  let server;
  const clients = [];
  const connect = async (...options) => {
    const client = await Client.connect(server, ...options);
    clients.push(client);
    return client;
  };
  before(async () => { server = await Server.start(); });
  after(async () => {
    clients.forEach((client) => client.cut());
    await server?.stop();
  });
  const row = testsOf(() => server);

  row("r01: the subprotocol is agreed, and hello is answered first", async () => {
    const room = unique("room"), session = unique("chosen");
    const hello = { session, metadata: { from: "node" } };
    const client = await connect(`/ws/${room}?user=${unique("ann")}`, { hello });
    assert.equal(client.ws.protocol, SUBPROTOCOL);
    assert.equal(client.session, session);
    assert.equal(client.established.resumed, false);
    assert.deepEqual(Object.keys(client.established.rooms), [room]);
    assert.deepEqual((await server.get(`/v1/sessions/${session}`)).metadata, { from: "node" });
  });

  row("r01: without a subprotocol one is established at once", async () => {
    const client = await connect("/ws");
    assert.equal(client.ws.protocol, "");
    assert.deepEqual(client.established.rooms, {});
  });

  row("r01: a session is taken over by its token, and the first connection closed with 4001", async () => {
    const first = await connect(`/ws/${unique("room")}`);
    const second = await connect(`/ws?session=${first.session}&resume_token=${first.token}`);
    assert.equal(second.established.resumed, true);
    assert.equal((await first.closed()).code, 4001);
  });

  row("r14, r15: what came while away is replayed, what was acknowledged is not", async () => {
    const room = unique("room");
    let client = await connect(`/ws/${room}`);
    const ids = await server.toRoom(room, 3);
    await client.messages(ids);
    client.send({ type: "ack", message_id: ids[1], ref: 1 });
    assert.equal((await client.next()).ok, true);
    client.cut();
    await server.isAway(client.session);
    ids.push(...(await server.toRoom(room, 2)));
    const hello = { session: client.session, resume_token: client.token };
    client = await connect("/ws", { hello });
    assert.equal(client.established.resumed, true);
    assert.equal(client.established.rooms[room].replayed, 3);
    await client.messages(ids.slice(2));
    // And from a position that is named.
    client.cut();
    const query = `session=${client.session}&resume_token=${client.token}&last_message_id=${ids[3]}`;
    client = await connect(`/ws/${room}?${query}`);
    await client.messages(ids.slice(4));
  });

  row("r09: a broadcast reaches everyone but the excluded, also after a reconnect", async () => {
    const room = unique("room");
    const [one, two, out] = [await connect(`/ws/${room}`), await connect(`/ws/${room}`), await connect(`/ws/${room}`)];
    const except = { sessions: [out.session, one.session] };
    one.send({ type: "publish", to: { room }, message: { type: "news" }, except, ref: "p" });
    const reply = await one.next();
    assert.deepEqual([reply.type, reply.ref, reply.ok, reply.reached], ["reply", "p", true, 1]);
    assert.equal((await two.next()).message_id, reply.message_id);
    out.cut();
    await server.isAway(out.session);
    const [last] = await server.toRoom(room, 1);
    const back = await connect(`/ws?session=${out.session}&resume_token=${out.token}`);
    await Promise.all([one, two, back].map((client) => client.messages([last])));
  });

  row("r21: pings are answered, as JSON, as text, and by the protocol", async () => {
    const client = await connect("/ws");
    client.send({ type: "ping" });
    assert.deepEqual(await client.next(), { type: "pong" });
    client.send("ping");
    assert.equal(await client.next(), "pong");
    const pong = new Promise((resolve) => client.ws.once("pong", resolve));
    client.ws.ping("hello");
    assert.equal((await pong).toString(), "hello");
  });

  row("close codes: 1003, 1008, 1009, 4002", async () => {
    const binary = await connect("/ws");
    binary.ws.send(Buffer.from([0, 1]));
    assert.equal((await binary.closed()).code, 1003);

    const big = await connect("/ws");
    big.send("x".repeat(70000));
    assert.equal((await big.closed()).code, 1009);

    const user = unique("ann");
    for (let n = 0; n < 5; n++) await connect(`/ws?user=${user}`);
    assert.deepEqual(await new Client(server, `/ws?user=${user}`).closed(),
      { code: 1008, reason: "connection limit reached" });

    const silent = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, [SUBPROTOCOL]);
    silent.on("open", () => silent.send("{}"));
    const [code, reason] = await new Promise((resolve) => silent.on("close", (...how) => resolve(how)));
    assert.deepEqual([code, reason.toString()], [1008, "hello expected"]);

    const ended = await connect("/ws");
    assert.equal((await fetch(server.url(`/v1/sessions/${ended.session}`), { method: "DELETE" })).status, 204);
    assert.equal((await ended.closed()).code, 4002);
  });

  row("bad: a foreign origin and another subprotocol are refused", async () => {
    await assert.rejects(Client.connect(server, "/ws", { origin: "https://evil.example" }), /403/);
    const other = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, ["chat"]);
    const error = await new Promise((resolve) => other.on("error", resolve));
    assert.match(error.message, /400/);
  });
});

test("mistake 1, r18: a client that only answers WebSocket pings is never dropped", () =>
  withServer({ "heartbeat.interval_ms": 2000, "heartbeat.idle_timeout_ms": 250 }, async (server) => {
    const ws = new WebSocket(`ws://127.0.0.1:${server.port}/ws`);
    let pings = 0, closed = null;
    ws.on("ping", () => pings++);
    ws.on("close", (code) => { closed = code; });
    await eventually(() => pings >= 5 || closed, "five pings", 10000);
    assert.equal(closed, null);
    ws.terminate();
  }));

test("r32: a drain tells everyone when to come back, and closes with 1001", () =>
  withServer({}, async (server) => {
    const clients = await Promise.all([1, 2, 3].map(() => Client.connect(server, "/ws")));
    server.child.kill("SIGTERM");
    for (const client of clients) {
      const closing = await client.next();
      assert.equal(closing.type, "closing");
      assert.equal(closing.reason, "drain");
      assert.ok(closing.reconnect_in_ms >= 0 && closing.reconnect_in_ms <= 5000);
      assert.equal((await client.closed()).code, 1001);
    }
    await server.ended;
    assert.equal(server.child.exitCode, 0);
  }));

test("r34: messages are compressed for a client that offers it", () =>
  withServer({ "compression.enabled": true }, async (server) => {
    const room = unique("room"), text = "the same again and again, ".repeat(1000);
    const [one, other] = await Promise.all([1, 2].map(() => Client.connect(server, `/ws/${room}`)));
    assert.match(one.ws.extensions, /permessage-deflate/);
    let received = 0;
    one.ws._socket.on("data", (data) => { received += data.length; });
    other.send({ type: "publish", to: { room }, message: { type: "note", text } });
    for (const client of [one, other]) assert.equal((await client.next()).text, text);
    assert.ok(received > 0 && received < text.length / 10, `${received} bytes were received`);
    one.cut();
    other.cut();
  }));
