"""Which bus a process has: it follows from what it shares with others."""

from understudy.bus.memory import MemoryBus
from understudy.bus.shared import Link, SharedBus
from understudy.ports import Bus, Clock, StoreUnavailable


async def open_bus(clock: Clock, *, node: str, redis_url: str | None, postgres_url: str | None) -> Bus:
    """Over Redis, or else over PostgreSQL; in memory where neither is given. Raises `StoreUnavailable`."""
    local = MemoryBus(clock)
    if redis_url is None and postgres_url is None:
        return local
    bus = SharedBus(local, _link(redis_url, postgres_url), clock, node=node)
    await bus.open()
    return bus


def _link(redis_url: str | None, postgres_url: str | None) -> Link:
    try:
        if redis_url is not None:
            from understudy.bus.redis import RedisLink

            return RedisLink(redis_url)
        from understudy.bus.notify import NotifyLink
    except ImportError as error:
        raise StoreUnavailable(
            "The link between processes needs its client: pip install 'understudy[scale]'"
        ) from error
    assert postgres_url is not None
    return NotifyLink(postgres_url)
