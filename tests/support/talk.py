"""An assistant and a thread on a running server, and what a client does with them."""

import asyncio
from typing import Any

from support.client import Client, Event

__all__ = ["WEATHER", "Talk"]

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


class Talk:
    """An assistant and a thread with one message, and the runs on it."""

    def __init__(self, client: Client, assistant: dict[str, Any], thread: dict[str, Any]) -> None:
        self.client = client
        self.assistant = assistant
        self.thread = thread
        self.path = f"/v1/threads/{thread['id']}"

    @classmethod
    async def begin(cls, client: Client, *, content: str = "What is 2+2?", **assistant: Any) -> "Talk":
        made = await client.post("/v1/assistants", {"model": "gpt-4o", **assistant})
        thread = await client.post("/v1/threads", {"messages": [{"role": "user", "content": content}]})
        return cls(client, made, thread)

    async def run(self, **body: Any) -> dict[str, Any]:
        """Starts a run without streaming."""
        run: dict[str, Any] = await self.client.post(
            f"{self.path}/runs", {"assistant_id": self.assistant["id"], **body}
        )
        return run

    async def stream(self, **body: Any) -> list[Event]:
        """A streamed run, to the end of its stream."""
        return await self.client.stream(f"{self.path}/runs", {"assistant_id": self.assistant["id"], **body})

    async def get(self, run: dict[str, Any]) -> dict[str, Any]:
        fresh: dict[str, Any] = await self.client.get(f"{self.path}/runs/{run['id']}")
        return fresh

    async def until(self, run: dict[str, Any], *statuses: str, seconds: float = 5.0) -> dict[str, Any]:
        """The run once it has one of these statuses, looked at as a client's poller does."""
        async with asyncio.timeout(seconds):
            while True:
                fresh = await self.get(run)
                if fresh["status"] in statuses:
                    return fresh
                await asyncio.sleep(0.005)  # a poller's pause: the wire offers nothing to wait on

    async def messages(self) -> list[dict[str, Any]]:
        page = await self.client.get(f"{self.path}/messages", order="asc")
        found: list[dict[str, Any]] = page["data"]
        return found

    async def steps(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        page = await self.client.get(f"{self.path}/runs/{run['id']}/steps", order="asc")
        found: list[dict[str, Any]] = page["data"]
        return found
