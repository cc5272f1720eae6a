// One room: every message of a `POST /publish`, one a line, is emitted to it.
import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    for (const line of Buffer.concat(parts).toString().split("\n")) io.to("bench").emit("m", JSON.parse(line));
    response.writeHead(204).end();
  });
});
const io = new Server(server, { transports: ["websocket"], serveClient: false });
io.on("connection", (socket) => socket.join("bench"));
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
