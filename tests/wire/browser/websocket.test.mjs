// A browser's own WebSocket, without any library, in a page of the server's own origin.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { Server, eventually, testsOf, unique, withServer } from "../node/server.mjs";
import { Socket, launch, open } from "./chromium.mjs";

let browser, server;
const row = testsOf(() => server);
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

row("r01: a bare WebSocket is established", async () => {
  const page = await open(browser, server.url("/livez"));
  const room = unique("room");
  const socket = await Socket.open(page, `/ws/${room}?user=a`);
  await socket.frame({ type: "connection_established" });
  const [first] = await socket.frames();
  assert.equal(first.type, "connection_established");
  assert.deepEqual(Object.keys(first.rooms), [room]);
  const [id] = await server.toRoom(room, 1);
  assert.equal((await socket.frame({ type: "note" })).message_id, id);
});

row("r01: the subprotocol is agreed with a browser too", async () => {
  const page = await open(browser, server.url("/livez"));
  const socket = await Socket.open(page, "/ws", ["moorline.v1.json"]);
  await page.waitForFunction((state) => state.socket.readyState === WebSocket.OPEN, socket.handle);
  assert.equal(await socket.handle.evaluate((state) => state.socket.protocol), "moorline.v1.json");
  await socket.send({ type: "hello", metadata: { in: "browser" } });
  const { session } = await socket.frame({ type: "connection_established" });
  assert.deepEqual((await server.get(`/v1/sessions/${session}`)).metadata, { in: "browser" });
});

row("r18, r19: it lives through heartbeats that no script answers", () =>
  withServer({ "heartbeat.interval_ms": 300, "heartbeat.idle_timeout_ms": 900 }, async (quick) => {
    const page = await open(browser, quick.url("/livez"));
    const room = unique("room");
    const socket = await Socket.open(page, `/ws/${room}?user=a`);
    const { session } = await socket.frame({ type: "connection_established" });
    const enough = ({ closed, frames }) => closed || frames.filter(({ type }) => type === "ping").length >= 8;
    await page.waitForFunction(enough, socket.handle);
    assert.equal(await socket.closed(), null);
    await quick.toRoom(room, 1);
    await socket.frame({ type: "note" });
    assert.equal((await quick.get(`/v1/sessions/${session}`)).reconnection_count, 0);
  }));

row("r14, r15: it resumes with what its URL says", async () => {
  const page = await open(browser, server.url("/livez"));
  const room = unique("room");
  const first = await Socket.open(page, `/ws/${room}?user=a`);
  const { session, resume_token } = await first.frame({ type: "connection_established" });
  const ids = await server.toRoom(room, 2);
  await first.frame({ message_id: ids[1] });
  await first.close();
  await server.isAway(session);
  ids.push(...(await server.toRoom(room, 2)));
  const query = new URLSearchParams({ user: "a", session, resume_token, last_message_id: ids[1] });
  const second = await Socket.open(page, `/ws/${room}?${query}`);
  const established = await second.frame({ type: "connection_established" });
  assert.deepEqual([established.resumed, established.session], [true, session]);
  await second.frame({ message_id: ids[3] });
  const notes = (await second.frames()).filter(({ type }) => type === "note");
  assert.deepEqual(notes.map(({ message_id }) => message_id), ids.slice(2));
});

row("r14: closing the tab leaves a session that can be resumed elsewhere", async () => {
  const page = await open(browser, server.url("/livez"));
  const room = unique("room");
  const { session, resume_token } = await (await Socket.open(page, `/ws/${room}?user=a`))
    .frame({ type: "connection_established" });
  await page.context().close();
  await server.isAway(session);
  const [id] = await server.toRoom(room, 1);
  const other = await open(browser, server.url("/livez"));
  const socket = await Socket.open(other, `/ws/${room}?${new URLSearchParams({ user: "a", session, resume_token })}`);
  assert.equal((await socket.frame({ type: "note" })).message_id, id);
});

row("mistake 5: two tabs are two sessions", async () => {
  const [one, two] = await Promise.all([1, 2].map(() => open(browser, server.url("/livez"))));
  const room = unique("room");
  const [first, second] = [await Socket.open(one, `/ws/${room}?user=a`), await Socket.open(two, `/ws/${room}?user=a`)];
  const [a, b] = await Promise.all([first, second].map((each) => each.frame({ type: "connection_established" })));
  assert.notEqual(a.session, b.session);
  await server.toRoom(room, 1);
  await Promise.all([first, second].map((each) => each.frame({ type: "note" })));
});

row("bad: a page of another origin gets no connection, and cannot publish", async () => {
  // The same machine under a name that is not the loopback's: the browser sends that origin.
  const page = await open(browser, server.url("/livez"));
  await page.route("http://evil.example/", (route) => route.fulfill({ contentType: "text/html", body: "<p>evil</p>" }));
  await page.goto("http://evil.example/");
  const room = unique("room");
  const outcome = await page.evaluate(async ({ port, room }) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws/${room}?user=a`);
    const how = await new Promise((resolve) => {
      socket.onopen = () => resolve("open");
      socket.onclose = () => resolve("refused");
    });
    const body = JSON.stringify({ to: { room }, message: { type: "forged" } });
    await fetch(`http://127.0.0.1:${port}/v1/publish`, { method: "POST", mode: "no-cors", body }).catch(() => null);
    return how;
  }, { port: server.port, room });
  assert.equal(outcome, "refused");
  const status = async () => (await fetch(server.url(`/v1/rooms/${room}`))).status;
  await eventually(async () => (await status()) === 404, "no such room");
});
