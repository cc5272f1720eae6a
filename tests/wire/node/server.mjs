// Starts the program under test, and stops it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const repo = fileURLToPath(new URL("../../../", import.meta.url));
const binary = process.env.MOORLINE_BIN
  ? path.resolve(process.env.MOORLINE_BIN)
  : path.join(repo, "target", "debug", "moorline");
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(143));

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/** Waits for `condition` to return something true, and returns that. */
export async function eventually(condition, what = "the condition", timeout = 5000) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${timeout} ms for ${what}`);
    await sleep(20);
  }
}

let numbers = 0;
export const unique = (prefix) => `${prefix}-${process.pid.toString(16)}-${++numbers}`;

export class Server {
  static async start(settings = {}) {
    for (let attempt = 0; ; attempt++) {
      const server = new Server();
      await server.spawn(settings);
      if (await server.comesUp()) return server;
      await server.stop();
      if (attempt === 4 || !/in use/i.test(server.log)) throw new Error(`the server did not start:\n${server.log}`);
    }
  }

  async spawn(settings, port) {
    this.port = port ?? (await freePort());
    this.log = "";
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MOORLINE_")));
    for (const [name, value] of Object.entries(settings))
      env["MOORLINE__" + name.toUpperCase().replaceAll(".", "__")] = String(value);
    const stdio = ["ignore", "pipe", "pipe"];
    this.child = spawn(binary, ["dev", "--listen", `127.0.0.1:${this.port}`], { env, stdio });
    this.ended = once(this.child, "close").catch((error) => { this.log += error; });
    running.add(this.child);
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.on("data", (piece) => { this.log = (this.log + piece).slice(-20000); });
  }

  async comesUp() {
    const deadline = Date.now() + 15000;
    while (Date.now() < deadline && this.child.exitCode === null && this.child.signalCode === null && this.child.pid) {
      if ((await fetch(this.url("/livez")).catch(() => null))?.ok) return true;
      await sleep(10);
    }
    return false;
  }

  /** Kills it, and starts it again at the same place. */
  async restart(settings) {
    await this.stop();
    await this.spawn(settings, this.port);
    if (!(await this.comesUp())) throw new Error(`the server did not start again:\n${this.log}`);
  }

  url = (path) => `http://127.0.0.1:${this.port}${path}`;

  async stop() {
    this.child.kill("SIGKILL");
    await this.ended;
    running.delete(this.child);
  }

  async get(path) {
    const answer = await fetch(this.url(path));
    if (!answer.ok) throw new Error(`GET ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async post(path, body) {
    const answer = await fetch(this.url(path), {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  publish = (to, message, more = {}) => this.post("/v1/publish", { to, message, ...more });

  async toRoom(room, count) {
    const ids = [];
    for (let n = 0; n < count; n++) ids.push((await this.publish({ room }, { type: "note", n })).message_id);
    return ids;
  }

  isAway = (session) =>
    eventually(async () => !(await this.get(`/v1/sessions/${session}`)).connected, `${session} to be absent`);
}

/** Runs `body` with a server of its own; prints the server's log where it fails. */
export async function withServer(settings, body) {
  const server = await Server.start(settings);
  try {
    await printingLog(server, () => body(server));
  } finally {
    await server.stop();
  }
}

/** `test` for tests that share a server: prints its log where one fails. */
export const testsOf = (server) => (name, body) => test(name, () => printingLog(server(), body));

async function printingLog(server, body) {
  try {
    await body();
  } catch (error) {
    console.error(`--- log of the server on port ${server?.port}\n${server?.log || "(nothing)"}`);
    throw error;
  }
}
