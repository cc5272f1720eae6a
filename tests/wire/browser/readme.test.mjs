// The page that README.md shows, as it stands there: the server's port alone is another.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, beforeEach } from "node:test";
import { fileURLToPath } from "node:url";
import { Server, eventually, testsOf, unique } from "../node/server.mjs";
import { launch, open } from "./chromium.mjs";

const ROOM = "/v1/rooms/talk/streams";

let browser, server, files, wire, directory, page;
const cables = new Set();
const settings = () => ({ "store.directory": directory });
const row = testsOf(() => server);
before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "moorline-readme-"));
  [browser, server] = await Promise.all([launch(), Server.start(settings())]);
  const readme = await readFile(fileURLToPath(new URL("../../../README.md", import.meta.url)), "utf8");
  const [, html] = readme.match(/^```html\n(.*?)^```$/ms);
  assert.ok(html.includes("127.0.0.1:8080"));
  wire = net.createServer(join).listen(0, "127.0.0.1");
  await once(wire, "listening");
  const here = html.replace("127.0.0.1:8080", `127.0.0.1:${wire.address().port}`);
  files = createServer((_, answer) => answer.writeHead(200, { "content-type": "text/html" }).end(here)).listen(0, "127.0.0.1");
  await once(files, "listening");
});
after(async () => {
  await browser?.close();
  await server?.stop();
  for (const each of [files, wire]) each?.close();
  await rm(directory, { recursive: true });
});

/** A page of its own, which is in the room. */
beforeEach(async () => {
  await page?.context().close();
  page = await open(browser, `http://localhost:${files.address().port}/talk.html`);
  const hello = unique("hello");
  // The page may not be there yet when it is said: said again until it is.
  await eventually(async () => {
    await say(hello);
    return (await lines()).includes(hello);
  }, "the page to be there", 15000);
});

const say = (text) => server.publish({ room: "talk" }, { type: "say", text });
const lines = () => page.locator("p").allTextContents();
const last = async () => (await lines()).at(-1);
const shows = (text) => eventually(async () => (await last()) === text, `the page to show ${text}`, 15000);
const kept = () => page.evaluate(() => JSON.parse(sessionStorage.getItem("kept")));

/** Between the page and the server, so that it can be cut. */
function join(near) {
  const far = net.connect(server.port, "127.0.0.1");
  const cut = () => [near, far].forEach((end) => end.destroy());
  cables.add(cut);
  for (const end of [near, far]) end.on("error", cut).on("close", cut);
  near.on("close", () => cables.delete(cut)).pipe(far).pipe(near);
}

function drop() {
  assert.equal(cables.size, 1);
  for (const cut of cables) cut();
}

/** A producer, by requests. */
async function write() {
  const { stream, fence } = await server.post(ROOM, {});
  let at = 0;
  return {
    add: async (content) => ({ at } = await server.post(`${ROOM}/${stream}/append`, { fence, at, content })),
    end: (outcome) => server.post(`${ROOM}/${stream}/end`, { fence, outcome }),
  };
}

row("r27_streams_the_page_of_the_readme_shows_text_that_grows", async () => {
  const answer = await write();
  await answer.add("An añswer ");
  await shows("An añswer ");
  await answer.add("😀 by word");
  await answer.end("complete");
  await shows("An añswer 😀 by word [complete]");
  await say("and then?");
  await shows("and then?");
});

row("r27_streams_the_page_of_the_readme_survives_a_dropped_socket", async () => {
  const answer = await write();
  await answer.add("before, 😀 ");
  await shows("before, 😀 ");
  drop();
  await answer.add("meanwhile, ");
  await shows("before, 😀 meanwhile, ");
  drop();
  await answer.add("and behind");
  await answer.end("complete");
  await shows("before, 😀 meanwhile, and behind [complete]");
  assert.equal((await lines()).filter((line) => line.includes("before")).length, 1);
});

row("r27_streams_the_page_of_the_readme_has_the_text_again_after_a_reload", async () => {
  const answer = await write();
  await answer.add("one ");
  await shows("one ");
  const { session } = await kept();
  await page.reload();
  await shows("one ");
  await answer.add("two");
  await shows("one two");
  await page.reload();
  await answer.end("cancelled");
  await shows("one two [cancelled]");
  assert.equal((await kept()).session, session);
  assert.deepEqual(await lines(), ["one two [cancelled]"]);
});

row("r27_streams_the_page_of_the_readme_is_told_what_it_lost_and_has_open_texts_anew", async () => {
  const answer = await write();
  await answer.add("one ");
  await shows("one ");
  drop();
  await say("never to be read");
  await fetch(server.url("/v1/rooms/talk/messages"), { method: "DELETE" });
  await answer.add("two");
  await shows("one two");
  const shown = (await lines()).slice(-2);
  assert.match(shown[0], /^lost: \d+ to \d+ \(cleared\)$/);
  assert.equal((await lines()).filter((line) => line.includes("one")).length, 1);
  await answer.end("complete");
  await shows("one two [complete]");
});

row("r27_streams_the_page_of_the_readme_goes_on_after_the_server_was_killed", async () => {
  const answer = await write();
  await answer.add("kept ");
  await shows("kept ");
  await server.restart(settings());
  await answer.add("and gone on with");
  await answer.end("complete");
  await shows("kept and gone on with [complete]");
  assert.deepEqual((await lines()).filter((line) => line.startsWith("lost")), []);
});
