"""A real upstream for the tests: FastAPI under uvicorn."""

import asyncio
import hashlib
import os

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, StreamingResponse

app = FastAPI()
name = os.environ.get("UPSTREAM_NAME", "upstream")
seen = {"requests": 0, "cancelled": 0}


@app.get("/health")
async def health():
    return {"ok": True}


@app.get("/seen")
async def counts():
    """How much reached this upstream; asked directly by a test, not through the gateway."""
    return seen


@app.get("/plants")
@app.get("/plants/{plant}")
async def plants(plant: str | None = None):
    seen["requests"] += 1
    return {"served_by": name, "plant": plant}


@app.api_route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def echo(request: Request):
    seen["requests"] += 1
    digest, length = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        length += len(chunk)
    return {
        "served_by": name,
        "method": request.method,
        "path": request.url.path,
        "query": request.url.query,
        "headers": [[key, value] for key, value in request.headers.items()],
        "length": length,
        "sha256": digest.hexdigest(),
    }


@app.get("/stream")
async def stream(chunks: int = 10, size: int = 1000, pause_ms: int = 0):
    async def body():
        for number in range(chunks):
            yield bytes([number % 256]) * size
            if pause_ms:
                await asyncio.sleep(pause_ms / 1000)

    return StreamingResponse(body(), media_type="application/octet-stream")


@app.get("/slow")
async def slow(ms: int):
    try:
        await asyncio.sleep(ms / 1000)
    except asyncio.CancelledError:
        seen["cancelled"] += 1
        raise
    return {"served_by": name, "waited_ms": ms}


@app.get("/status/{code}")
async def status(code: int):
    seen["requests"] += 1
    return JSONResponse({"status": code}, status_code=code)


@app.websocket("/ws")
async def web_socket(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        pass
