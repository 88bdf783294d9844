"""The yardstick: the least that a streaming proxy in Python does, on aiohttp. `python -m bench.proxy UPSTREAM_URL`"""

import sys

import aiohttp
from aiohttp import web

from bench.child import run, serve_until_stdin_ends


class Proxy:
    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session

    async def relay(self, request: web.Request) -> web.StreamResponse:
        """The model server's own answer, piece by piece as it arrives."""
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        async with self._session.post(
            self._upstream + request.path, data=await request.read(), headers=headers
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


async def _serve(upstream: str) -> None:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", Proxy(upstream, session).relay)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        await serve_until_stdin_ends(runner.addresses[0][1])
        await runner.cleanup()


if __name__ == "__main__":
    run(_serve(sys.argv[1]))
