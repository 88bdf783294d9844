"""The stage of the measurements: a model server, the yardstick, Understudy and a load client, all running."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bench.machine import durable_write_ms
from bench.orders import Order, Outcome, Volley
from bench.processes import Failed, LoadClient, Server, call, load_client, module_server, request, understudy

SETTLE_SECONDS: Final = 0.05  # for what a server does behind the last byte of an answer
_QUESTION: Final = "What is the answer to the great question of life, the universe and everything?"


class Cost(Struct):
    """What volleys took of a server, summed up."""

    cpu_seconds: float = 0.0
    requests: int = 0
    tokens: int = 0
    first_ms: list[float] = []

    @property
    def cpu_ms_per_request(self) -> float:
        return 1000 * self.cpu_seconds / self.requests

    @property
    def cpu_us_per_token(self) -> float:
        return 1e6 * self.cpu_seconds / self.tokens


class Stage(Struct, frozen=True, kw_only=True):
    directory: Path
    model: Server
    proxy: Server
    understudy: Server
    client: LoadClient
    assistant_id: str
    durable_ms: list[float] = []  # what the disk took for a small durable write, all along

    def chats(self, server: Server, script: str, count: int, *, concurrency: int = 1, spread: float = 0.0) -> Volley:
        """Streamed chat completions, passed through."""
        messages = [{"role": "user", "content": _QUESTION}]
        body = json.dumps({"model": script, "messages": messages, "stream": True}).encode()
        return Volley(
            port=server.port,
            request=request("POST", "/v1/chat/completions", body),
            count=count,
            token='"content":" token"',
            end="[DONE]",
            concurrency=concurrency,
            spread_seconds=spread,
        )

    def runs(
        self,
        script: str,
        count: int,
        *,
        server: Server | None = None,
        assistant_id: str | None = None,
        thread_id: str | None = None,
        concurrency: int = 1,
        spread: float = 0.0,
        seconds_max: float = 60.0,
        **fields: object,
    ) -> Volley:
        """Streamed runs, each of a thread of its own with one message, or all of the same thread."""
        body = {"assistant_id": assistant_id or self.assistant_id, "model": script, "stream": True, **fields}
        if thread_id is None:
            body["thread"] = {"messages": [{"role": "user", "content": _QUESTION}]}
        path = "/v1/threads/runs" if thread_id is None else f"/v1/threads/{thread_id}/runs"
        return Volley(
            port=(server or self.understudy).port,
            request=request("POST", path, json.dumps(body).encode()),
            count=count,
            token="event: thread.message.delta",
            end="event: thread.run.completed",
            concurrency=concurrency,
            spread_seconds=spread,
            seconds_max=seconds_max,
        )

    def reads(self, server: Server, path: str, count: int) -> Volley:
        """GETs of an object, one after the other."""
        return Volley(port=server.port, request=request("GET", path), count=count, token='"object":', end="}")

    def alternate(self, rounds: int, orders: Mapping[str, tuple[Server, Volley]]) -> dict[str, Cost]:
        """What the servers took, when they take turns: whatever else the machine does meets all of them."""
        costs = {name: Cost(first_ms=[]) for name in orders}
        for _ in range(rounds):
            self.durable_ms.append(durable_write_ms(self.directory))
            for name, (server, volley) in orders.items():
                cost, before = costs[name], server.cpu_seconds()
                outcome = self.obey(volley)
                time.sleep(SETTLE_SECONDS)
                cost.cpu_seconds += server.cpu_seconds() - before
                cost.requests += len(outcome.first_ms)
                cost.tokens += outcome.tokens
                cost.first_ms += outcome.first_ms
        return costs

    def obey(self, order: Order) -> Outcome:
        return self.client.obey(order)


@contextmanager
def open_stage(parent: Path | None) -> Iterator[Stage]:
    """All servers, started. What they write goes into a directory below `parent` that is removed at the end."""
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="understudy-bench-", dir=parent)))
        model = opened.enter_context(module_server("model", directory / "model.log"))
        proxy = opened.enter_context(module_server("proxy", directory / "proxy.log", f"http://127.0.0.1:{model.port}"))
        measured = opened.enter_context(understudy(model, directory / "understudy"))
        client = opened.enter_context(load_client(directory / "load.log"))
        yield Stage(
            directory=directory,
            model=model,
            proxy=proxy,
            understudy=measured,
            client=client,
            assistant_id=new_assistant(measured),
            durable_ms=[],
        )


def new_assistant(server: Server) -> str:
    body = {"model": "tokens=1", "instructions": "You are a helpful assistant.", "name": "Bench"}
    return _post(server, "/v1/assistants", body)["id"]


def new_run(server: Server, assistant_id: str) -> tuple[str, str]:
    """The ids of a thread and of its run."""
    run = _post(server, "/v1/threads/runs", {"assistant_id": assistant_id})
    return run["thread_id"], run["id"]


def _post(server: Server, path: str, body: object) -> dict[str, str]:
    status, answer = call(server.port, "POST", path, json.dumps(body).encode())
    if status != 200:
        raise Failed(f"{path} answered {status}: {answer.decode()}")
    return msgspec.json.decode(answer, type=dict[str, Any])
