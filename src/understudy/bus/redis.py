"""A link over Redis or Valkey: publish and subscribe."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from understudy.core.limits import LINK_BYTES_MAX, LINK_CONNECT_SECONDS, LINK_RETRY_SECONDS
from understudy.ports import StoreUnavailable

log = structlog.get_logger()

_PREFIX: Final = "understudy:bus"
_QUEUED_BYTES_MAX: Final = 4 * LINK_BYTES_MAX


class RedisLink:
    """Each node listens to a channel of its own and to one that all have.

    Redis keeps nothing of it: what was said while a node was away is in the rows.
    """

    carries_frames = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = redis.from_url(url, socket_connect_timeout=LINK_CONNECT_SECONDS, health_check_interval=30)
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._to_send = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def open(self, node: str, take: Callable[[bytes], None], joined: Callable[[], None]) -> None:
        is_there = await self._is_there()
        subscribed = asyncio.Event()

        def first_joined() -> None:
            subscribed.set()
            joined()

        self._tasks = [
            asyncio.create_task(self._listen(node, take, first_joined), name="redis-listen"),
            asyncio.create_task(self._deliver(), name="redis-deliver"),
        ]
        if is_there:
            await subscribed.wait()

    async def _is_there(self) -> bool:
        """Whether there is a Redis now: one that is away may come back, one that refuses us will not change its mind.

        Raises `StoreUnavailable`.
        """
        # A client of its own: the other's pauses between attempts would hold the start up for seconds.
        once = redis.from_url(self._url, socket_connect_timeout=LINK_CONNECT_SECONDS, retry=Retry(NoBackoff(), 0))
        try:
            async with once:
                await once.ping()
        except (RedisError, OSError) as error:
            # The client wraps a refusal of the password as if there were no connection.
            if isinstance(refusal := error.__cause__ or error, AuthenticationError | ResponseError):
                raise StoreUnavailable(f"Redis refuses the redis_url: {refusal}") from error
            log.warning("bus_link_not_there", reason=str(error), meanwhile="streams of other processes' runs lag")
            return False
        return True

    def send(self, to: str | None, message: bytes) -> None:
        if self._queued_bytes + len(message) > _QUEUED_BYTES_MAX:
            return
        self._queue.append((_PREFIX if to is None else f"{_PREFIX}:{to}", message))
        self._queued_bytes += len(message)
        self._to_send.set()

    async def _deliver(self) -> None:
        while not self._closing:  # the client may swallow a cancellation
            await self._to_send.wait()
            self._to_send.clear()
            batch, self._queue, self._queued_bytes = self._queue, deque(), 0
            try:
                await self._publish(batch)
            except (RedisError, OSError) as error:
                log.warning("bus_link_lost", reason=str(error), thrown_away=len(batch))
                await asyncio.sleep(LINK_RETRY_SECONDS)

    async def _publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        if len(batch) == 1:  # as most are: a pipeline of one costs twice as much
            await self._redis.publish(*batch[0])
            return
        async with self._redis.pipeline(transaction=False) as pipeline:
            for channel, message in batch:
                pipeline.publish(channel, message)
            await pipeline.execute()

    async def _listen(self, node: str, take: Callable[[bytes], None], joined: Callable[[], None]) -> None:
        while not self._closing:  # the client may swallow a cancellation
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as listener:
                    await listener.subscribe(_PREFIX, f"{_PREFIX}:{node}")
                    joined()
                    async for message in listener.listen():
                        take(message["data"])
            except (RedisError, OSError) as error:
                log.warning("bus_link_lost", reason=str(error))
            await asyncio.sleep(LINK_RETRY_SECONDS)

    async def close(self) -> None:
        if self._tasks:
            await asyncio.sleep(0)  # what was said last is on its way
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.aclose()
