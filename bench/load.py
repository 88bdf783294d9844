"""The load client: a process that does one volley of requests after the other, and answers with what it saw.

`python -m bench.load` reads orders from its input and writes outcomes to its output, as JSON, one a line.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, cast

import httptools
import msgspec

from bench.child import lines, run
from bench.orders import Finish, Hold, Order, Outcome, Together, Volley

_FAILURES_TOLD: Final = 3
_TAIL_BYTES: Final = 4096
_orders = msgspec.json.Decoder(Order)
_encode = msgspec.json.Encoder().encode


class Connection(asyncio.Protocol):
    """A kept-alive connection. `ask` gives the answer's times; the pieces of its body are searched, not kept."""

    def __init__(self, volley: Volley, outcome: Outcome) -> None:
        self._request = volley.request.encode()
        self._token = volley.token.encode()
        self._end = volley.end.encode()
        self._outcome = outcome
        self._done: asyncio.Future[None] | None = None
        self._lost: Exception | None = None
        self.begun = asyncio.Event()  # the answer's first piece came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or ConnectionError("the connection was closed")
        self.begun.set()
        self._fail(self._lost)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    async def ask(self) -> None:
        """Raises `OSError`, `httptools.HttpParserError`."""
        if self._lost is not None:
            raise self._lost
        self._done = asyncio.get_running_loop().create_future()
        self._forget()
        asked = time.perf_counter()
        self._transport.write(self._request)
        await self._done
        ended = time.perf_counter()
        status = self._parser.get_status_code()
        if status != 200 or self._first is None or self._end not in self._tail:
            raise ConnectionError(f"status {status}, {self._tokens} tokens, ending in {self._tail[-200:]!r}")
        self._outcome.first_ms.append(1000 * (self._first - asked))
        self._outcome.whole_ms.append(1000 * (ended - asked))
        self._outcome.tokens += self._tokens

    def _forget(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._tail = b""
        self._tokens = 0
        self._first: float | None = None

    def close(self) -> None:
        self._transport.close()

    # --- what the parser calls

    def on_body(self, body: bytes) -> None:
        self.begun.set()
        # A token's mark may be split over two pieces; what is left of the first is too short to hold a whole one.
        found = (self._tail[1 - len(self._token) :] + body).count(self._token)
        if found and self._first is None:
            self._first = time.perf_counter()
        self._tokens += found
        self._tail = (self._tail + body)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


class Load:
    """`held` are the streams that were opened and not yet waited for."""

    def __init__(self) -> None:
        self._held: list[asyncio.Task[None]] = []
        self._held_outcome = Outcome()

    async def obey(self, order: Order) -> Outcome:
        match order:
            case Volley():
                return await self._volleys([order])
            case Together(volleys=volleys):
                return await self._volleys(volleys)
            case Hold(volley=volley):
                return await self._hold(volley)
            case Finish(seconds_max=seconds_max):
                await asyncio.wait_for(asyncio.gather(*self._held), seconds_max)
                outcome, self._held, self._held_outcome = self._held_outcome, [], Outcome()
                return outcome

    async def _volleys(self, volleys: Sequence[Volley]) -> Outcome:
        outcome, began = Outcome(), time.perf_counter()
        await asyncio.gather(*(self._volley(volley, outcome) for volley in volleys))
        outcome.seconds = time.perf_counter() - began
        return outcome

    async def _volley(self, volley: Volley, outcome: Outcome) -> None:
        left = iter(range(volley.count))
        try:
            async with asyncio.timeout(volley.seconds_max), asyncio.TaskGroup() as tasks:
                for place in range(min(volley.concurrency, volley.count)):
                    connection = await _connect(volley, outcome)
                    delay = volley.spread_seconds * place / volley.concurrency
                    tasks.create_task(_repeat(connection, outcome, left, delay))
        except TimeoutError:
            outcome.failures += 1
            outcome.failed.append(f"{len(outcome.whole_ms)} of {volley.count} answered in {volley.seconds_max:g} s")

    async def _hold(self, volley: Volley) -> Outcome:
        """Opens the streams and returns when all of them have begun; they go on."""
        async with asyncio.timeout(volley.seconds_max):
            for _ in range(volley.count):
                connection = await _connect(volley, self._held_outcome)
                self._held.append(asyncio.create_task(_repeat(connection, self._held_outcome, iter((0,)), 0)))
                # One after the other: what is measured is waiting, not a rush.
                await connection.begun.wait()
        return Outcome(failures=self._held_outcome.failures, failed=self._held_outcome.failed)


async def _connect(volley: Volley, outcome: Outcome) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(volley, outcome), "127.0.0.1", volley.port)
    return connection


async def _repeat(connection: Connection, outcome: Outcome, left: Iterator[int], delay: float) -> None:
    await asyncio.sleep(delay)
    try:
        for _ in left:
            await connection.ask()
    except (OSError, httptools.HttpParserError) as error:
        outcome.failures += 1
        if len(outcome.failed) < _FAILURES_TOLD:
            outcome.failed.append(str(error))
    finally:
        connection.close()


async def _serve() -> None:
    orders, load = lines(), Load()
    while line := await orders.readline():
        sys.stdout.buffer.write(_encode(await load.obey(_orders.decode(line))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    run(_serve())
