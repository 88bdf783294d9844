"""A server over a scripted model on an event loop of its own, for tests that are not async.

with threaded_server(tmp_path) as (server, model):
    answer = server.request("GET", "/v1/assistants")
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from support.client import Answer, Event, JsonBody
from support.model_server import ScriptedModel
from support.server import RunningServer, running_server

__all__ = ["ThreadedServer", "threaded_server"]


class ThreadedServer:
    """Like a `support.client.Client` whose calls wait for their answers."""

    def __init__(self, portal: BlockingPortal, running: RunningServer) -> None:
        self._portal = portal
        self._running = running
        self.url = running.url
        self.key = running.key

    def request(
        self,
        method: str,
        path: str,
        body: JsonBody = None,
        *,
        params: Mapping[str, str | int] | None = None,
        **sent: Any,
    ) -> Answer:
        async def ask() -> Answer:
            return await self._running.client.request(method, path, body, params=params, **sent)

        return self._portal.call(ask)

    def stream(self, path: str, body: dict[str, Any]) -> list[Event]:
        return self._portal.call(self._running.client.stream, path, body)


@contextlib.contextmanager
def threaded_server(
    directory: Path, *, strict: bool = True, **settings: Any
) -> Iterator[tuple[ThreadedServer, ScriptedModel]]:
    """`settings` are fields of `Settings`, `strict` is the model server's."""
    model = ScriptedModel(strict=strict)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(model),
        portal.wrap_async_context_manager(running_server(model, directory, **settings)) as running,
    ):
        yield ThreadedServer(portal, running), model
