"""A server that speaks just enough of the API for a conversation: the other end of the wire for `understudy chat`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from aiohttp import web

KEY = "sk-spoken"


class Spoken:
    """Echoes. The message `wait` is answered until it is cancelled, `fail` fails, `cut` ends with no word about why."""

    def __init__(self) -> None:
        self.base_url = ""
        self.seen: list[str] = []
        self.created: list[dict[str, object]] = []
        self.models = ["m-one", "m-two"]
        self._numbers = count(1)
        self._cancelled = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._check])
        app.add_routes(
            [
                web.get("/v1/models", self._models),
                web.post("/v1/assistants", self._create),
                web.post("/v1/threads", self._create),
                web.post("/v1/threads/{thread}/runs", self._run),
                web.post("/v1/threads/{thread}/runs/{run}/cancel", self._cancel),
                web.delete("/v1/{kind}/{id}", self._delete),
            ]
        )
        return app

    @web.middleware
    async def _check(self, request: web.Request, handler: object) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path.removeprefix('/v1')}")
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"message": "Incorrect API key provided."}}, status=401)
        return await handler(request)  # type: ignore[operator, no-any-return]

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.created.append(body)
        if body.get("model") == "refused":
            return web.json_response({"error": {"message": "No such model here."}}, status=400)
        return web.json_response({"id": f"{request.path.split('/')[2]}_{next(self._numbers)}", "unknown": None})

    async def _delete(self, _: web.Request) -> web.Response:
        return web.json_response({"deleted": True})

    async def _cancel(self, _: web.Request) -> web.Response:
        self._cancelled.set()
        return web.json_response({"id": "run_1", "status": "cancelling"})

    async def _run(self, request: web.Request) -> web.StreamResponse:
        text = (await request.json())["additional_messages"][0]["content"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def send(event: str, data: object) -> None:
            frame = f"event: {event}\ndata: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
            # In two parts: a client must not take a read for an event.
            await response.write(frame[:9])
            await response.write(frame[9:])

        async def run(status: str, **more: object) -> None:
            await send(f"thread.run.{status}", {"object": "thread.run", "id": "run_1", "status": status, **more})

        async def say(part: str) -> None:
            delta = {"content": [{"index": 0, "type": "text", "text": {"value": part}}]}
            await send("thread.message.delta", {"object": "thread.message.delta", "id": "msg_1", "delta": delta})

        await run("queued")
        await say("You said: ")
        match text:
            case "wait":
                await self._cancelled.wait()
                await run("cancelled")
            case "fail":
                await run("failed", last_error={"code": "server_error", "message": "The model is tired."})
            case "crash":
                await send("error", {"error": {"message": "Out of order.", "type": "server_error"}})
            case "cut":
                return response
            case _:
                for word in text.split(" "):
                    await say(word + " ")
                await send("thread.message.completed", {"object": "thread.message", "status": "completed"})
                await run("completed")
        await send("done", "[DONE]")
        return response


@asynccontextmanager
async def spoken() -> AsyncIterator[Spoken]:
    """The server on a free port."""
    server = Spoken()
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.base_url = f"http://{host}:{port}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
