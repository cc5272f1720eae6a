// One room: every message of a `POST /publish`, one a line, goes to every client.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    for (const line of Buffer.concat(parts).toString().split("\n")) {
      const message = Buffer.from(line);
      for (const client of sockets.clients) client.send(message, { binary: false });
    }
    response.writeHead(204).end();
  });
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
