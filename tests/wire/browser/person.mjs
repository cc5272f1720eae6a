// The development page at `/`, and the two people in it.
import assert from "node:assert/strict";
import { eventually, unique } from "../node/server.mjs";
import * as chromium from "./chromium.mjs";

/** One of the two panes. */
class Person {
  constructor(page, which, server) {
    this.server = server;
    this.pane = page.getByTestId(which);
  }

  at = (part) => this.pane.getByTestId(part);

  async connect(user, room) {
    this.user = user;
    await this.at("user").fill(user);
    await this.at("room").fill(room);
    await this.at("connect").click();
    await this.is("connected");
  }

  /** How long a killed connection stays away. */
  back = (label) => this.pane.locator("[data-part=away]").selectOption({ label });

  status = async () => (await this.at("status").innerText()).trim().toLowerCase();

  is = (status) => eventually(async () => (await this.status()) === status, `to be ${status}`, 15000);

  async say(text) {
    await this.at("text").fill(text);
    await this.at("send").click();
  }

  /** How often each of these texts stands in the list, once the last of them does. */
  async sees(texts) {
    const items = this.at("messages").getByTestId("message");
    await items.filter({ hasText: texts.at(-1) }).first().waitFor();
    const shown = await items.allInnerTexts();
    const places = texts.map((text) => shown.flatMap((item, place) => (item.includes(text) ? [place] : [])));
    assert.deepEqual(places.map(({ length }) => length), texts.map(() => 1), `each once: ${JSON.stringify(shown)}`);
    assert.deepEqual(places.flat(), places.flat().toSorted((a, b) => a - b), `in order: ${JSON.stringify(shown)}`);
  }

  hasMembers = (names) =>
    eventually(async () => {
      const text = await this.at("members").innerText();
      return names.every((name) => text.includes(name));
    }, `members ${names}`, 10000);

  /** What the server knows of this person's session. */
  async session() {
    const { sessions } = await this.server.get(`/v1/sessions?user=${this.user}`);
    assert.equal(sessions.length, 1, "one session, however often it reconnected");
    return sessions[0];
  }
}

/** The page; nobody is connected. */
export async function open(browser, server) {
  const page = await chromium.open(browser, server.url("/"));
  const [a, b] = ["person-a", "person-b"].map((which) => new Person(page, which, server));
  return { page, a, b };
}

/** The page; both are connected to a room of their own. */
export async function together(browser, server) {
  const { page, a, b } = await open(browser, server);
  const room = unique("room");
  await a.connect(unique("ann"), room);
  await b.connect(unique("bob"), room);
  return { page, a, b, room };
}
