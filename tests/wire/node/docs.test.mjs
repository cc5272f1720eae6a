// The reader that docs/streaming.md shows, as it stands there.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { Client } from "./client.mjs";
import { unique, withServer } from "./server.mjs";

const page = await readFile(fileURLToPath(new URL("../../../docs/streaming.md", import.meta.url)), "utf8");
const [, program] = page.match(/^```js\n(.*?)^```$/ms);

test("r27_streams_the_documented_reader_has_each_text_once", () =>
  withServer({}, async (server) => {
    const room = unique("room");
    const { rooms, heard } = new Function(`${program}; return { rooms, heard };`)();
    const shown = (stream, of = room) => rooms[of]?.[stream]?.join("");
    const streams = `/v1/rooms/${room}/streams`;
    let at = 0;
    const { stream, fence } = await server.post(streams, { stream: "a" });
    const append = async (content) => {
      ({ at } = await server.post(`${streams}/${stream}/append`, { fence, at, content }));
    };
    const hears = async (client, text) => {
      while (shown(stream) !== text) heard(await client.next());
    };

    const first = await Client.connect(server, `/ws/${room}?user=ann`);
    await append("The añ😀");
    await hears(first, "The añ😀");
    first.ws.terminate();
    await server.isAway(first.session);
    await append("swer");
    const query = new URLSearchParams({ user: "ann", session: first.session, resume_token: first.token });
    const again = await Client.connect(server, `/ws/${room}?${query}`);
    await hears(again, "The añ😀swer");

    heard({ type: "chunk", room: "another", stream, at: 0, content: "of the same name" });
    heard({ type: "reset", room });
    assert.equal(shown(stream), undefined);
    assert.equal(shown(stream, "another"), "of the same name");
    heard({ type: "chunk", room, stream, at: 0, content: "The añ😀swer" });
    await append(" is 42");
    await hears(again, "The añ😀swer is 42");
    await server.post(`${streams}/${stream}/end`, { fence, outcome: "complete" });
    await hears(again, undefined);
    again.ws.close();
  }));
