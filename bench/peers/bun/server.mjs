// One topic: every message of a `POST /publish`, one a line, is published to it.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  async fetch(request, server) {
    if (request.method !== "POST") return server.upgrade(request) ? undefined : new Response(null, { status: 400 });
    for (const line of (await request.text()).split("\n")) server.publish("bench", line);
    return new Response(null, { status: 204 });
  },
  websocket: {
    idleTimeout: 0,
    open: (socket) => socket.subscribe("bench"),
    message: () => {},
  },
});
