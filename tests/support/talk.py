"""An assistant and a thread on a running server, and what a client does with them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from support.client import Client, Event

__all__ = ["WEATHER", "Talk", "polled", "sent"]

T = TypeVar("T")

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

    async def submit(self, run: dict[str, Any], **outputs: str | None) -> dict[str, Any]:
        """Submits outputs by call id, without streaming."""
        moved: dict[str, Any] = await self.client.post(
            f"{self.path}/runs/{run['id']}/submit_tool_outputs", sent(outputs)
        )
        return moved

    async def submit_streaming(self, run: dict[str, Any], **outputs: str | None) -> list[Event]:
        """Submits outputs by call id; the continuation, to the end of its stream."""
        return await self.client.stream(f"{self.path}/runs/{run['id']}/submit_tool_outputs", sent(outputs))

    async def cancel(self, run: dict[str, Any]) -> dict[str, Any]:
        moved: dict[str, Any] = await self.client.post(f"{self.path}/runs/{run['id']}/cancel")
        return moved

    async def until(self, run: dict[str, Any], *statuses: str, seconds: float = 5.0) -> dict[str, Any]:
        """The run once it has one of these statuses, looked at as a client's poller does."""

        async def look() -> dict[str, Any] | None:
            fresh = await self.get(run)
            return fresh if fresh["status"] in statuses else None

        return await polled(look, seconds=seconds)

    async def newest_run(self) -> dict[str, Any]:
        """The thread's newest run, as soon as there is one."""

        async def look() -> dict[str, Any] | None:
            page = await self.client.get(f"{self.path}/runs")
            return page["data"][0] if page["data"] else None

        return await polled(look)

    async def until_it_speaks(self) -> dict[str, Any]:
        """The thread's newest message, as soon as it is an assistant's."""

        async def look() -> dict[str, Any] | None:
            newest = (await self.messages())[-1]
            return newest if newest["role"] == "assistant" else None

        return await polled(look)

    async def messages(self) -> list[dict[str, Any]]:
        page = await self.client.get(f"{self.path}/messages", order="asc")
        found: list[dict[str, Any]] = page["data"]
        return found

    async def steps(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        page = await self.client.get(f"{self.path}/runs/{run['id']}/steps", order="asc")
        found: list[dict[str, Any]] = page["data"]
        return found


def sent(outputs: Mapping[str, str | None]) -> dict[str, Any]:
    """The body of a submit."""
    return {"tool_outputs": [{"tool_call_id": call_id, "output": output} for call_id, output in outputs.items()]}


async def polled(look: Callable[[], Awaitable[T | None]], *, seconds: float = 5.0) -> T:
    """What `look` finds at last. The wire offers nothing to wait on, so this asks again and again. `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while True:
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(0.005)
