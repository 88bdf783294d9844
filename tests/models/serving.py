"""A model server of raw bytes, the `HttpModels` that asks it, and what the tests of both repeat."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.raw_server import LIMIT_SECONDS, RawServer, Script, raw_server
from understudy.models.http import HttpModels
from understudy.models.upstream import Upstream
from understudy.ports import ChunkStream
from understudy.wire.chat import ChatMessage, ChatRequest, Chunk

REQUEST = ChatRequest(model="m", messages=[ChatMessage(role="user", content="Hi")])
DONE = b"data: [DONE]\n\n"


def event(tree: object) -> bytes:
    return b"data: " + json.dumps(tree).encode() + b"\n\n"


def text(words: str) -> bytes:
    return event({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": words}}]})


def stop(reason: str = "stop") -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


@asynccontextmanager
async def serving(script: Script, **settings: object) -> AsyncIterator[tuple[RawServer, HttpModels]]:
    """Both are closed at the end, and no connection may be left."""
    async with raw_server(script) as server:
        upstream = Upstream(**{"name": "m", "base_url": server.url, "api_key": "sk-secret", **settings})  # type: ignore[arg-type]
        models = HttpModels(upstream, models_cache_seconds=60)
        try:
            yield server, models
        finally:
            await models.close()
        async with asyncio.timeout(LIMIT_SECONDS):
            for exchange in server.exchanges:
                await exchange.gone()
        assert not server.open


async def read_all(stream: ChunkStream) -> list[Chunk]:
    """All chunks; the stream is closed after them, or after its failure."""
    chunks: list[Chunk] = []
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while read := await stream.next():
                chunks += read
        assert await stream.next() == ()
    finally:
        await stream.close()
    return chunks


def said(chunks: list[Chunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
