// The development page at `/`: two people in one page, who talk, and lose their connection.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { Server, eventually, testsOf, unique } from "../node/server.mjs";
import { launch } from "./chromium.mjs";
import { open, together } from "./person.mjs";

let browser, server;
const row = testsOf(() => server);
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start({ "heartbeat.interval_ms": 1000 })]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const two = () => open(browser, server);
const twoConnected = () => together(browser, server);

row("the page loads without an error, and says that nobody is connected", async () => {
  const { page, a, b } = await two();
  await Promise.all([a, b].map((person) => person.is("disconnected")));
  for (const person of [a, b])
    for (const part of ["user", "room", "connect", "text", "send", "write", "kill", "disconnect"])
      assert.ok(await person.at(part).isVisible(), part);
  assert.deepEqual(page.troubles, []);
});

row("two people see each other, and what they write", async () => {
  const { page, a, b, room } = await twoConnected();
  await Promise.all([a, b].map((person) => person.hasMembers([a.user, b.user])));
  await a.say("hello from a");
  await b.sees(["hello from a"]);
  await b.say("hello from b");
  await a.sees(["hello from a", "hello from b"]);
  await b.sees(["hello from a", "hello from b"]);
  assert.equal((await server.get(`/v1/rooms/${room}`)).connected, 2);
  assert.deepEqual(page.troubles, []);
});

row("a round-trip time is shown", async () => {
  const { a } = await twoConnected();
  await eventually(async () => /\d/.test(await a.at("rtt").innerText()), "a number", 10000);
});

row("what they write is shown as text, never run", async () => {
  const { page, a, b } = await twoConnected();
  const nasty = `<img src="nowhere" onerror="window.pwned = 1"> & </li> "quoted" ☃`;
  await a.say(nasty);
  await a.say("afterwards");
  await b.sees([nasty, "afterwards"]);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
});

row("a killed connection comes back by itself with every message", async () => {
  const { a, b } = await twoConnected();
  await a.say("one");
  await b.say("two");
  await a.sees(["one", "two"]);
  await a.at("kill").click();
  await b.say("three");
  await b.say("four");
  await eventually(async () => (await a.session()).reconnection_count >= 1, "the reconnect", 15000);
  await a.is("connected");
  await b.say("five");
  await a.sees(["one", "two", "three", "four", "five"]);
  await b.sees(["one", "two", "three", "four", "five"]);
  await a.say("six");
  await b.sees(["five", "six"]);
});

row("both are killed, several times", async () => {
  const { a, b } = await twoConnected();
  const said = [];
  for (let round = 1; round <= 3; round++) {
    for (const person of [a, b]) await person.at("kill").click();
    for (const person of [a, b])
      await eventually(async () => (await person.session()).reconnection_count >= round, "the reconnect", 15000);
    await Promise.all([a.is("connected"), b.is("connected")]);
    said.push(`round ${round}`);
    await a.say(said.at(-1));
    await b.sees(said);
  }
  await a.sees(said);
});

row("disconnect stays disconnected, until one connects again", async () => {
  const { a, b, room } = await twoConnected();
  await a.at("disconnect").click();
  await a.is("disconnected");
  await eventually(async () => (await server.get(`/v1/rooms/${room}`)).connected === 1, "one member");
  await b.say("alone");
  await b.sees(["alone"]);
  await a.is("disconnected");
  await a.at("connect").click();
  await a.is("connected");
  await b.say("again together");
  await a.sees(["again together"]);
});
