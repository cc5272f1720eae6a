// The development page: two panes, each a person with a connection.

import { Connection, TERMINAL } from "./connection.js";
import { typeAnswer } from "./typist.js";

const PRESENCE_INTERVAL_MS = 2000;
const MESSAGES_MAX = 500;
const EVENTS_MAX = 200;
// Names that a URL cannot give to a room.
const RESOURCES = new Set(["stats", "status"]);
// Beside each other, as in page.css.
const SIDE_BY_SIDE = matchMedia("(min-width: 760px)");

const clock = new Intl.DateTimeFormat("en", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const bytes = (text) => new TextEncoder().encode(text).length;
const count = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const seconds = (ms) => `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;

function element(name, { text, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** Changes what is in a scrolling box, which stays at its end if it was there. */
function following(box, change) {
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
  change();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function appendTo(box, list, item, max) {
  following(box, () => {
    list.append(item);
    while (list.children.length > max) list.firstElementChild.remove();
  });
}

/** Why `name` is no room to connect to, or "". */
function roomTrouble(name) {
  if (name.startsWith("@")) return "A room's name does not begin with @.";
  if (RESOURCES.has(name)) return "In a URL this name is not a room's.";
  if (bytes(name) > 255) return "A room's name has up to 255 bytes.";
  return "";
}

class Pane {
  #root;
  #connection = null;
  #room = "";
  #waiting = 0;
  #heartbeats = 0;
  // By stream: the item in which it grows.
  #streams = new Map();
  // The connection over which a stream is being written.
  #typing = null;

  constructor(root) {
    this.#root = root;
    root.append(document.getElementById("pane").content.cloneNode(true));
    const { name, user } = root.dataset;
    this.#part("name").textContent = name;
    root.setAttribute("aria-label", name);
    this.#at("user").value = user;
    this.#at("text").setAttribute("aria-label", `Message of ${name}`);
    this.#part("messages-box").setAttribute("aria-label", `Messages of ${name}`);
    this.#part("events-box").setAttribute("aria-label", `What happened to ${name}`);

    this.#part("who").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#connect();
    });
    this.#part("compose").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say();
    });
    this.#at("room").addEventListener("input", ({ target }) => {
      target.setCustomValidity(roomTrouble(target.value));
      showCurls();
    });
    this.#at("user").addEventListener("input", ({ target }) => {
      target.setCustomValidity(bytes(target.value) > 128 ? "A user's id has up to 128 bytes." : "");
    });
    this.#at("write").addEventListener("click", () => this.#write());
    this.#at("kill").addEventListener("click", () => this.#kill());
    this.#at("disconnect").addEventListener("click", () => this.#disconnect());
    this.#show("disconnected");
  }

  get room() {
    return this.#at("room").value;
  }

  get connected() {
    return this.#connection?.status === "connected";
  }

  askPresence() {
    if (this.connected && this.#connection.position(this.#room)) this.#connection.askPresence(this.#room);
  }

  /** The network is back: no need to wait for the backoff. */
  hurry() {
    if (this.#connection?.status === "reconnecting") this.#connection.open();
  }

  focus() {
    this.#at("text").focus({ preventScroll: true });
  }

  #at = (id) => this.#root.querySelector(`[data-testid=${id}]`);
  #part = (name) => this.#root.querySelector(`[data-part=${name}]`);

  #connect() {
    if (this.#connection?.status === "reconnecting") return this.#connection.open();
    this.#room = this.room;
    this.#waiting = this.#heartbeats = 0;
    const user = this.#at("user").value;
    const url = `ws://${location.host}/ws/${encodeURIComponent(this.#room)}?user=${encodeURIComponent(user)}`;
    const connection = new Connection(url);
    this.#connection = connection;
    this.#at("messages").replaceChildren();
    this.#streams.clear();
    for (const [type, heard] of Object.entries(this.#handlers))
      connection.addEventListener(type, ({ detail }) => connection === this.#connection && heard(detail));
    this.#show("connecting");
    connection.open();
    this.focus();
  }

  #handlers = {
    status: ({ status }) => this.#show(status),

    established: ({ session, resumed, replayed, heartbeat_ms }) => {
      if (resumed) this.#note(`resumed, ${count(replayed, "message")} replayed`, "good");
      else this.#note(`connected, new session ${session}, a heartbeat every ${seconds(heartbeat_ms)}`, "good");
      this.#showPosition();
      for (const pane of panes) pane.askPresence();
    },

    message: ({ message, replayed }) => {
      if (TERMINAL.has(message.type) && message.stream !== undefined) this.#endStream(message);
      else this.#showMessage(message, replayed);
      this.#showPosition();
    },

    chunk: ({ message, again }) => {
      this.#growStream(message);
      if (again) this.#note(`${message.stream}: ${count(again, "character")} came again and were cut off`);
      this.#showPosition();
    },

    dropped: ({ message }) => this.#note(`#${message.message_id} came again and was dropped`),

    reset: ({ room, reason, from, to }) => {
      const what = from === null
        ? `what was missed is lost, the position is now #${to}`
        : `what lies after #${from} up to #${to} is lost`;
      this.#note(`reset of ${room} (${reason}): ${what}`, "bad");
      this.#append(element("li", { className: "gap", text: `Reset (${reason}): ${what}` }));
      // What is open of its streams comes anew.
      for (const [key, item] of this.#streams) {
        if (item.dataset.room !== room) continue;
        item.remove();
        this.#streams.delete(key);
      }
      this.#showPosition();
    },

    left: ({ room, reason }) => {
      this.#note(`no member of ${room} any more: ${reason}`, "bad");
      this.#showMembers([]);
      this.#showPosition();
    },

    presence: ({ room, sessions }) => {
      if (room === this.#room) this.#showMembers(sessions);
    },

    heartbeat: () => {
      this.#heartbeats += 1;
      this.#part("heartbeats").textContent = `${this.#heartbeats}, last ${clock.format()}`;
    },

    rtt: ({ ms }) => {
      this.#at("rtt").textContent = `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
    },

    published: ({ message_id, reached, queued, duplicate }) => {
      const again = duplicate ? ", known already" : "";
      const absent = queued ? `, kept for ${queued} absent` : "";
      this.#note(`published #${message_id}: reached ${reached}${absent}${again}`);
    },

    refused: ({ code, message }) => this.#note(`not published: ${code}, ${message}`, "bad"),

    outbox: ({ waiting }) => {
      this.#waiting = waiting;
      this.#showWaiting();
    },

    error: ({ code, message }) => this.#note(`error ${code}: ${message}`, "bad"),

    closing: ({ reconnect_in_ms, reason }) =>
      this.#note(`closing (${reason}): to come back in ${seconds(reconnect_in_ms)}`),

    lost: ({ code, reason, retry_ms }) => {
      const why = [code, reason].filter(Boolean).join(" ");
      const next = retry_ms === null ? "not to come back by itself" : `next attempt in ${seconds(retry_ms)}`;
      this.#note(`connection lost (${why}), ${next}`, "bad");
      setTimeout(() => panes.forEach((pane) => pane.askPresence()), 100);
    },
  };

  #say() {
    const field = this.#at("text");
    const text = field.value;
    if (!text.trim() || !this.#connection) return;
    const from = this.#at("user").value;
    this.#connection.publish({ room: this.#room }, { type: "chat", text, from });
    field.value = "";
    field.focus({ preventScroll: true });
  }

  async #write() {
    const connection = this.#connection;
    this.#typing = connection;
    this.#showStreaming();
    try {
      const outcome = await typeAnswer(connection, this.#room, { from: this.#at("user").value });
      this.#note(`wrote a stream: ${outcome}`, outcome === "complete" ? "good" : "");
    } catch ({ code, message }) {
      this.#note(`stream broken off: ${code}, ${message}`, "bad");
    }
    if (this.#typing === connection) this.#typing = null;
    this.#showStreaming();
  }

  #showStreaming() {
    const away = !this.#connection || this.#connection.status === "disconnected";
    this.#at("write").disabled = away || this.#typing === this.#connection;
  }

  /** The cursor goes to who can write meanwhile. */
  #kill() {
    const away = this.#part("away").value;
    this.#connection.drop(away ? Number(away) : undefined);
    const other = panes.find((pane) => pane !== this && pane.connected);
    (SIDE_BY_SIDE.matches && other ? other : this).focus();
  }

  #disconnect() {
    this.#connection.close([this.#room]);
    this.#connection = null;
    this.#show("disconnected");
    this.#note("left the room and disconnected (1000), not to come back by itself");
    if (this.#waiting) this.#note(`${count(this.#waiting, "message")} not sent`, "bad");
    this.#waiting = 0;
    this.#showWaiting();
    this.#at("connect").focus();
    setTimeout(() => panes.forEach((pane) => pane.askPresence()), 100);
  }

  #show(status) {
    const connected = status === "connected";
    const away = status === "disconnected";
    const shown = this.#at("status");
    // The first attempt has not brought anything yet.
    shown.textContent = status === "connecting" ? "disconnected" : status;
    shown.dataset.status = shown.textContent;
    this.#root.dataset.status = shown.textContent;
    for (const id of ["user", "room"]) this.#at(id).disabled = !away;
    this.#at("connect").disabled = connected || status === "connecting";
    this.#at("connect").textContent = status === "reconnecting" ? "Connect now" : "Connect";
    this.#at("kill").disabled = !connected;
    this.#at("disconnect").disabled = away;
    for (const id of ["text", "send"]) this.#at(id).disabled = away;
    this.#showStreaming();
    this.#at("text").placeholder = away ? "Connect first" : "Write something, Enter sends";
    if (!connected) {
      this.#at("rtt").textContent = "–";
      this.#showMembers([]);
    }
    if (away) this.#part("heartbeats").textContent = this.#part("position").textContent = "–";
    this.#showWaiting();
  }

  #showWaiting() {
    const late = this.#waiting > 0 && !this.connected;
    this.#part("waiting").textContent = late ? `${count(this.#waiting, "message")} to be sent after the return` : "";
  }

  #showPosition() {
    const position = this.#connection.position(this.#room);
    this.#part("position").textContent = position ? `#${position.message_id}` : "–";
  }

  #showMembers(sessions) {
    const byUser = new Map();
    for (const { user, session } of sessions) {
      const name = user ?? session;
      byUser.set(name, (byUser.get(name) ?? 0) + 1);
    }
    const names = [...byUser].map(([name, n]) => (n > 1 ? `${name} ×${n}` : name));
    const list = this.#at("members");
    const items = [...list.children];
    if (names.length === items.length && names.every((name, i) => items[i].textContent === name)) return;
    list.replaceChildren(...names.map((text) => element("li", { text })));
  }

  #showMessage(message, replayed) {
    const { type, text, from, room, message_id, timestamp, ...rest } = message;
    const chat = type === "chat" && typeof text === "string";
    const facts = [message_id === undefined ? "not kept" : `#${message_id}`, clock.format(new Date(timestamp))];
    if (room !== this.#room) facts.push(room);
    const head = element("p", { className: "head" });
    head.append(element("b", { text: chat && typeof from === "string" ? from : type }));
    head.append(element("span", { text: facts.join(" · ") }));
    if (replayed) head.append(element("span", { className: "tag", text: "replayed" }));
    const body = chat ? text : JSON.stringify({ type, text, from, ...rest });
    const item = element("li", {}, head, element("p", { className: "text", text: body }));
    item.dataset.testid = "message";
    if (replayed) item.classList.add("replayed");
    if (chat && from === this.#at("user").value) item.classList.add("own");
    this.#append(item);
  }

  #growStream({ room, stream, data, content }) {
    const key = JSON.stringify([room, stream]);
    if (!this.#streams.has(key)) {
      const stop = element("button", { type: "button", text: "Stop" });
      stop.dataset.testid = "stop";
      stop.addEventListener("click", () => this.#cancel(room, stream));
      const from = typeof data?.from === "string" ? data.from : "stream";
      const head = element("p", { className: "head" }, element("b", { text: from }), element("span", { text: stream }), stop);
      const item = element("li", { className: "stream open" }, head, element("p", { className: "text" }));
      Object.assign(item.dataset, { testid: "stream", room, state: "open" });
      this.#streams.set(key, item);
      this.#append(item);
    }
    const text = this.#streams.get(key).querySelector(".text");
    following(this.#part("messages-box"), () => text.append(content));
  }

  #endStream({ room, stream, type, message_id, timestamp, error }) {
    const key = JSON.stringify([room, stream]);
    const item = this.#streams.get(key);
    this.#streams.delete(key);
    const why = error === undefined ? "" : `: ${JSON.stringify(error)}`;
    this.#note(`${stream} ended as ${type}${why}`, type === "complete" ? "good" : "bad");
    if (!item) return;
    item.classList.remove("open");
    item.dataset.state = type;
    item.querySelector("button").replaceWith(
      element("span", { text: `#${message_id} · ${clock.format(new Date(timestamp))}` }),
      element("span", { className: "tag", text: `${type}${why}` }),
    );
  }

  async #cancel(room, stream) {
    try {
      await this.#connection.ask({ type: "stream_cancel", room, stream });
      this.#note(`asked to stop ${stream}`);
    } catch ({ code, message }) {
      this.#note(`not stopped: ${code}, ${message}`, "bad");
    }
  }

  #append(item) {
    appendTo(this.#part("messages-box"), this.#at("messages"), item, MESSAGES_MAX);
  }

  #note(text, kind = "") {
    const item = element("li", { className: kind }, element("time", { text: clock.format() }), element("span", { text }));
    appendTo(this.#part("events-box"), this.#at("log"), item, EVENTS_MAX);
  }
}

/** A line for the shell, for each room in the panes. */
function showCurls() {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const blocks = [...new Set(panes.map((pane) => pane.room))].filter(Boolean).map((room) => {
    const body = { to: { room }, message: { type: "chat", text: "hello from curl", from: "curl" } };
    const line = `curl ${quoted(`${location.origin}/v1/publish`)} -d ${quoted(JSON.stringify(body))}`;
    const copy = element("button", { type: "button", text: "Copy" });
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(line);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    return element("div", { className: "curl" }, element("pre", {}, element("code", { text: line })), copy);
  });
  document.getElementById("curls").replaceChildren(...blocks);
}

const panes = [];
for (const root of document.querySelectorAll(".pane")) panes.push(new Pane(root));
showCurls();
setInterval(() => panes.forEach((pane) => pane.askPresence()), PRESENCE_INTERVAL_MS);
addEventListener("online", () => panes.forEach((pane) => pane.hurry()));
