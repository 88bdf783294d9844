"""A program of its own that adds messages to a database and prints each id once the store has acknowledged it.

    python -m support.store_writer FILE [FILE_BYTES_MAX]

With a limit it goes on until the store can write no more, says so, and shows that it can still read.
"""

import asyncio
import resource
import sys
from pathlib import Path

from support.store import PROJECT, message, thread
from understudy.ports import PageQuery, Store, StoreUnavailable
from understudy.store.sqlite import open_sqlite


async def write(store: Store, thread_id: str) -> None:
    while True:
        stored = message(thread_id, "x" * 1000)
        await store.add_message(PROJECT, stored)
        print(stored.message.id, flush=True)


async def main(path: Path, file_bytes_max: int | None) -> None:
    store = await open_sqlite(path)
    made = thread(id="thread_child")
    await store.add_thread(PROJECT, made, ())
    if file_bytes_max is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
    outcomes = await asyncio.gather(*(write(store, made.id) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes), outcomes
    page = await store.page("message", PROJECT, made.id, PageQuery(limit=1, descending=True))
    assert len(page.ids) == 1
    print(*outcomes, sep="\n", file=sys.stderr)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
