// An answer that comes word by word, on the development page: it grows for both, survives killed connections, and can be stopped.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { Server, eventually, testsOf } from "../node/server.mjs";
import { launch } from "./chromium.mjs";
import { together } from "./person.mjs";

let browser, server;
const row = testsOf(() => server);
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const item = (person) => person.at("messages").getByTestId("stream");
const text = (person) => item(person).locator(".text").textContent();
const state = (person) => item(person).getAttribute("data-state");
const ends = (person, as) => eventually(async () => (await state(person)) === as, `it to end as ${as}`, 40000);
const logs = (person, what) => person.at("log").getByText(what).first().waitFor();

/** Waits until the person has so many characters more than now, of a stream that is open. */
async function grows(person, by) {
  await item(person).waitFor();
  const before = (await text(person)).length;
  await eventually(async () => (await text(person)).length >= before + by, "it to grow", 10000);
  assert.equal(await state(person), "open");
}

/** What the server keeps of the room's one stream, which both people must have. */
async function whole(room, ...people) {
  const { messages } = await server.get(`/v1/rooms/${room}/messages`);
  const { stream } = messages.find(({ type }) => type === "chunk");
  const kept = await server.get(`/v1/rooms/${room}/streams/${stream}`);
  for (const person of people) assert.equal(await text(person), kept.content);
  return kept;
}

row("r27_streams_an_answer_grows_for_both", async () => {
  const { page, a, b, room } = await together(browser, server);
  await a.at("write").click();
  for (const person of [a, b, a, b]) await grows(person, 1);
  await Promise.all([a, b].map((person) => ends(person, "complete")));
  assert.equal((await whole(room, a, b)).state, "complete");
  await logs(a, "wrote a stream: complete");
  assert.equal(await a.at("write").isEnabled(), true);
  assert.deepEqual(page.troubles, []);
});

row("r27_streams_killed_connections_come_back_into_the_middle", async () => {
  const { page, a, b, room } = await together(browser, server);
  for (const person of [a, b]) await person.back("at once");
  await a.at("write").click();
  // Who reads, then who writes: both at once would leave nobody to see it go on.
  for (const [killed, other] of [[b, a], [a, b]]) {
    await grows(killed, 20);
    await killed.at("kill").click();
    await eventually(async () => (await killed.session()).reconnection_count >= 1, "the reconnect", 15000);
    await killed.is("connected");
    await grows(killed, 1);
    await grows(other, 1);
    await logs(killed, "came again and were cut off");
  }
  await Promise.all([a, b].map((person) => ends(person, "complete")));
  assert.equal((await whole(room, a, b)).state, "complete");
  assert.deepEqual(page.troubles, []);
});

row("r27_streams_the_other_person_stops_it", async () => {
  const { page, a, b, room } = await together(browser, server);
  await a.at("write").click();
  await grows(b, 20);
  await b.at("stop").click();
  await Promise.all([a, b].map((person) => ends(person, "cancelled")));
  assert.equal((await whole(room, a, b)).state, "cancelled");
  await logs(a, "wrote a stream: cancelled");
  assert.deepEqual(page.troubles, []);
});
