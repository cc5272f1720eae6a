// One session of Moorline, in a browser: speaks `moorline.v1.json` and comes back by itself.

const BACKOFF_MIN_MS = 1000;
const BACKOFF_MAX_MS = 30_000;
// A connection that lasted this long starts the backoff afresh.
const STABLE_MS = 10_000;
const ESTABLISH_TIMEOUT_MS = 10_000;
const PING_INTERVAL_MS = 5000;
const PING_TIMEOUT_MS = 15_000;

// Close codes after which the application has to act first.
const FINAL = new Set([1000, 1003, 1008, 1009, 4001, 4002, 4003]);
// Close codes after which the delay is the one that `closing` named.
const DEFERRED = new Set([1001, 1013]);
// How streams end.
export const TERMINAL = new Set(["complete", "error", "cancelled", "orphaned"]);

/**
 * Events, each a `CustomEvent` with a `detail`:
 *
 * - `status` {status}: connected, reconnecting or disconnected
 * - `established` {session, resumed, replayed, heartbeat_ms}
 * - `message` {message, replayed}: each message of a room once
 * - `dropped` {message}: one that came again
 * - `chunk` {message, again}: what is new of a stream's text, behind `again` characters that came before
 * - `reset` {room, reason, epoch, from, to}, `left` {room, reason}, `presence` {room, count, sessions}
 * - `heartbeat` {positions}: the server asked for a sign of life, and got it with these positions
 * - `rtt` {ms}
 * - `published` (the reply), `refused` {code, message}, `outbox` {waiting}: publishes that are not answered
 * - `stream_cancel` {room, stream, by}: somebody asks the producer of a stream to stop
 * - `error` {code, message}, `closing` {reconnect_in_ms, reason}
 * - `lost` {code, reason, retry_ms}: the connection is gone; `retry_ms` is null where it stays gone
 */
export class Connection extends EventTarget {
  #url;
  #socket = null;
  #established = false;
  #establishedAt = 0;
  #session = null;
  #resumeToken = null;
  // By room: {epoch, message_id}. The epoch is null until the server has named it.
  #positions = new Map();
  // By room: up to which message_id the replay of this connection goes.
  #replayEnds = new Map();
  // By room, then by stream: how many characters (code points) of its text were given out.
  #lengths = new Map();
  // By ref: {frame, answered, failed}, what is not answered yet, oldest first. To send one twice does no harm.
  #outbox = new Map();
  #status = "disconnected";
  #attempt = 0;
  #closingDelay = null;
  #pingSent = null;
  #retryTimer = 0;
  #establishTimer = 0;
  #pingTimer = 0;

  /** `url`: of the WebSocket, with the user and the room. */
  constructor(url) {
    super();
    this.#url = url;
  }

  get status() {
    return this.#status;
  }

  /** How far this session has come in `room`, or undefined. */
  position(room) {
    return this.#positions.get(room);
  }

  /** Connects, or where a reconnect is waiting, does it now. */
  open() {
    if (this.#socket) return;
    clearTimeout(this.#retryTimer);
    this.#closingDelay = null;
    const socket = new WebSocket(this.#url, ["moorline.v1.json"]);
    this.#socket = socket;
    socket.onopen = () => this.#hello();
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#establishTimer = setTimeout(() => this.#abandon("not established in time"), ESTABLISH_TIMEOUT_MS);
  }

  /** Goes for good: leaves `rooms`, and does not come back. */
  close(rooms = []) {
    for (const room of rooms) this.#send({ type: "leave", room });
    this.#release(1000);
    clearTimeout(this.#retryTimer);
    this.#forsake();
    this.#setStatus("disconnected");
  }

  /** Loses the connection, as a network would, and comes back after `delay` (by default, that of the backoff). */
  drop(delay = this.#backoff()) {
    if (!this.#socket) return;
    this.#release();
    this.#retry(delay, { code: null, reason: "killed here" });
  }

  /** Publishes once, now or after the return. */
  publish(to, message) {
    this.ask({ type: "publish", to, message, id: crypto.randomUUID() }).then(
      (reply) => this.#emit("published", reply),
      (error) => this.#emit("refused", error),
    );
  }

  /** Sends a frame that may come twice, now and after each return until it is answered. The reply; throws {code, message}. */
  ask(frame) {
    return new Promise((answered, failed) => {
      const ref = crypto.randomUUID();
      this.#outbox.set(ref, { frame: { ...frame, ref }, answered, failed });
      this.#countOutbox();
      this.#send(this.#outbox.get(ref).frame);
    });
  }

  /** Asks who is in `room`; a `presence` event answers. */
  askPresence(room) {
    this.#send({ type: "presence", room });
  }

  #hello() {
    const hello = { type: "hello" };
    if (this.#session) {
      hello.session = this.#session;
      hello.resume_token = this.#resumeToken;
      hello.positions = this.#namedPositions();
    }
    this.#socket.send(JSON.stringify(hello));
  }

  #receive(data) {
    if (data === "pong") return;
    const frame = JSON.parse(data);
    switch (frame.type) {
      case "connection_established":
        return this.#establish(frame);
      case "ping":
        return this.#answerHeartbeat();
      case "pong":
        return this.#measure();
      case "reply":
        return this.#answered(frame);
      case "joined":
        this.#positions.set(frame.room, { epoch: frame.epoch, message_id: frame.message_id });
        return;
      case "left":
        this.#positions.delete(frame.room);
        this.#lengths.delete(frame.room);
        return this.#emit("left", frame);
      case "reset":
        this.#positions.set(frame.room, { epoch: frame.epoch, message_id: frame.to });
        // The texts of its streams come anew, from their beginning.
        this.#lengths.delete(frame.room);
        return this.#emit("reset", frame);
      case "position":
        return this.#advance(frame.room, frame.message_id, frame.epoch);
      case "presence":
        return this.#emit("presence", frame);
      case "closing":
        this.#closingDelay = frame.reconnect_in_ms;
        return this.#emit("closing", frame);
      case "stream_cancel":
        return this.#emit("stream_cancel", frame);
      case "token_expiring":
        return;
    }
    if (frame.type === "chunk" && frame.stream !== undefined) this.#grow(frame);
    else if (frame.room !== undefined) this.#deliver(frame);
    else if (frame.type === "error") this.#emit("error", frame);
    // A server may be set to another `type` for its heartbeat.
    else this.#answerHeartbeat();
  }

  #establish({ session, resume_token, resumed, rooms, heartbeat_ms }) {
    clearTimeout(this.#establishTimer);
    this.#established = true;
    this.#establishedAt = performance.now();
    this.#session = session;
    this.#resumeToken = resume_token;
    this.#replayEnds.clear();
    if (!resumed) for (const known of [this.#positions, this.#lengths]) known.clear();
    let replayed = 0;
    for (const [room, head] of Object.entries(rooms)) {
      replayed += head.replayed;
      if (head.replayed > 0) this.#replayEnds.set(room, head.message_id);
      // With a replay the position is that of before: the messages move it. Without one it is the head.
      if (head.replayed === 0) this.#advance(room, head.message_id, head.epoch);
      else if (!this.#positions.has(room)) this.#positions.set(room, { epoch: head.epoch, message_id: 0 });
    }
    this.#setStatus("connected");
    this.#emit("established", { session, resumed, replayed, heartbeat_ms });
    for (const { frame } of this.#outbox.values()) this.#send(frame);
    this.#ping();
    this.#pingTimer = setInterval(() => this.#ping(), PING_INTERVAL_MS);
  }

  /** Exactly once: what is not beyond the position came before. */
  #deliver(message) {
    const { room, message_id } = message;
    if (message_id !== undefined) {
      const position = this.#positions.get(room);
      if (position && message_id <= position.message_id) return this.#emit("dropped", { message });
      this.#advance(room, message_id);
    }
    // A terminal record ends a stream. No other message has a `stream` beside one of these types.
    if (TERMINAL.has(message.type)) this.#lengths.get(room)?.delete(message.stream);
    this.#emit("message", { message, replayed: message_id <= (this.#replayEnds.get(room) ?? 0) });
  }

  /** A chunk is judged by where it begins in the text: after a return the text comes anew, and what is known of it is cut off. */
  #grow(message) {
    const { room, stream, at, content, message_id } = message;
    if (!this.#lengths.has(room)) this.#lengths.set(room, new Map());
    const lengths = this.#lengths.get(room);
    const length = lengths.get(stream) ?? 0;
    if (at > length) return this.#abandon(`a gap in ${stream}`);
    const points = [...content];
    const again = Math.min(points.length, length - at);
    lengths.set(stream, length + points.length - again);
    this.#advance(room, message_id);
    this.#emit("chunk", { message: { ...message, at: at + again, content: points.slice(again).join("") }, again });
  }

  #advance(room, message_id, epoch) {
    const position = this.#positions.get(room);
    const sameHistory = position && (!epoch || !position.epoch || position.epoch === epoch);
    this.#positions.set(room, {
      epoch: epoch ?? position?.epoch ?? null,
      message_id: sameHistory ? Math.max(position.message_id, message_id) : message_id,
    });
  }

  #namedPositions() {
    return Object.fromEntries([...this.#positions].filter(([, { epoch }]) => epoch));
  }

  #answerHeartbeat() {
    const positions = this.#namedPositions();
    this.#send({ type: "pong", positions });
    this.#emit("heartbeat", { positions });
  }

  #ping() {
    const now = performance.now();
    if (this.#pingSent !== null) {
      if (now - this.#pingSent > PING_TIMEOUT_MS) this.#abandon("no answer to ping");
      return;
    }
    this.#pingSent = now;
    this.#send({ type: "ping" });
  }

  #measure() {
    if (this.#pingSent === null) return;
    this.#emit("rtt", { ms: performance.now() - this.#pingSent });
    this.#pingSent = null;
  }

  #answered({ ref, ok, error, ...reply }) {
    const asked = this.#outbox.get(ref);
    if (!this.#outbox.delete(ref)) return;
    this.#countOutbox();
    if (ok) asked.answered(reply);
    else asked.failed(error);
  }

  /** What waits for an answer gets none. */
  #forsake() {
    for (const { failed } of this.#outbox.values()) failed({ code: "disconnected", message: "no answer came" });
    this.#outbox.clear();
  }

  #countOutbox() {
    const publishes = [...this.#outbox.values()].filter(({ frame }) => frame.type === "publish");
    this.#emit("outbox", { waiting: publishes.length });
  }

  #send(frame) {
    if (this.#established && this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #closed(code, reason) {
    this.#release();
    if (FINAL.has(code)) {
      this.#forsake();
      this.#countOutbox();
      this.#emit("lost", { code, reason, retry_ms: null });
      this.#setStatus("disconnected");
      return;
    }
    const named = DEFERRED.has(code) ? this.#closingDelay : null;
    this.#retry(named ?? this.#backoff(), { code, reason });
  }

  /** Gives up a connection that does not answer. */
  #abandon(reason) {
    this.#release();
    this.#retry(this.#backoff(), { code: null, reason });
  }

  #retry(delay, { code, reason }) {
    this.#retryTimer = setTimeout(() => this.open(), delay);
    this.#emit("lost", { code, reason, retry_ms: delay });
    this.#setStatus("reconnecting");
  }

  /** Exponential, with full jitter. */
  #backoff() {
    if (this.#establishedAt && performance.now() - this.#establishedAt > STABLE_MS) this.#attempt = 0;
    this.#establishedAt = 0;
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.#attempt++);
    return Math.random() * ceiling;
  }

  /** Lets go of the socket: nothing of it is heard any more. */
  #release(...code) {
    clearTimeout(this.#establishTimer);
    clearInterval(this.#pingTimer);
    const socket = this.#socket;
    this.#socket = null;
    this.#established = false;
    this.#pingSent = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(...code);
  }

  #setStatus(status) {
    if (status === this.#status) return;
    this.#status = status;
    this.#emit("status", { status });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
