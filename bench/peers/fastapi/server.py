"""One room, kept as most applications begin: a dictionary of connections, sent to one after the other."""

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect

app = FastAPI()


class ConnectionManager:
    def __init__(self) -> None:
        self.active: dict[str, WebSocket] = {}

    async def connect(self, user: str, websocket: WebSocket) -> None:
        await websocket.accept()
        self.active[user] = websocket

    def disconnect(self, user: str) -> None:
        self.active.pop(user, None)

    async def broadcast(self, message: str) -> None:
        for websocket in list(self.active.values()):
            await websocket.send_text(message)


manager = ConnectionManager()


@app.websocket("/ws/{room}")
async def connected(websocket: WebSocket, room: str, user: str) -> None:
    await manager.connect(user, websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        manager.disconnect(user)


@app.post("/publish")
async def publish(request: Request) -> Response:
    """Every message, one a line."""
    for line in (await request.body()).decode().split("\n"):
        await manager.broadcast(line)
    return Response(status_code=204)
