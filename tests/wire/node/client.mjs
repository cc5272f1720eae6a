// A client over the `ws` package, which answers WebSocket pings by itself.
import assert from "node:assert/strict";
import WebSocket from "ws";

export const SUBPROTOCOL = "moorline.v1.json";

export class Client {
  #arrived = [];
  #waiting = null;

  /** Opens, says `hello` where one is given, and reads the first frame. */
  static async connect(server, path = "/ws", { hello, origin } = {}) {
    const client = new Client(server, path, hello, origin);
    client.established = await client.next();
    assert.equal(client.established.type, "connection_established");
    ({ session: client.session, resume_token: client.token } = client.established);
    return client;
  }

  constructor(server, path, hello, origin) {
    this.ws = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, hello ? [SUBPROTOCOL] : [], { origin });
    this.ws.on("open", () => hello && this.send({ type: "hello", ...hello }));
    this.ws.on("message", (data, binary) => {
      assert.equal(binary, false);
      const text = data.toString();
      const frame = text === "pong" ? text : JSON.parse(text);
      if (frame.type === "ping") return this.send({ type: "pong" });
      if (frame.type !== "position") this.#arrive({ frame });
    });
    this.ws.on("close", (code, reason) => this.#arrive({ closed: { code, reason: reason.toString() } }));
    this.ws.on("error", (error) => this.#arrive({ error }));
  }

  #arrive(event) {
    this.#arrived.push(event);
    this.#waiting?.();
  }

  async #event(timeout = 5000) {
    if (!this.#arrived.length) {
      let timer;
      await new Promise((resolve, reject) => {
        this.#waiting = resolve;
        timer = setTimeout(() => reject(new Error("nothing arrived in time")), timeout);
      }).finally(() => { clearTimeout(timer); this.#waiting = null; });
    }
    const event = this.#arrived.shift();
    if (event.error) throw event.error;
    return event;
  }

  send(frame) {
    this.ws.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  /** The next frame, pings and positions passed over. */
  async next() {
    const { frame, closed } = await this.#event();
    assert.ok(frame, `closed instead: ${JSON.stringify(closed)}`);
    return frame;
  }

  async messages(ids) {
    for (const id of ids) assert.equal((await this.next()).message_id, id);
  }

  /** The close, which must come before any further frame. */
  async closed() {
    const { frame, closed } = await this.#event();
    assert.ok(closed, `a frame instead of the close: ${JSON.stringify(frame)}`);
    return closed;
  }

  cut() {
    this.ws.terminate();
  }
}
