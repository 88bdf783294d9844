"""Long threads, written through the store: to send 10,000 messages one by one would take longer than measuring."""

import asyncio
from pathlib import Path
from typing import Final

from understudy import entropy
from understudy.core.objects import new_message, new_thread
from understudy.keys import DEFAULT_PROJECT
from understudy.ports import StoredMessage
from understudy.store.sqlite import open_sqlite
from understudy.wire.messages import CreateMessage
from understudy.wire.threads import CreateThread

_TEXT: Final = "The quick brown fox jumps over the lazy dog, message {number}."
_TOKENS: Final = 17


def add_thread(database: Path, length: int) -> str:
    """The id of a new thread of that many messages, in a database that a server may have open."""
    return asyncio.run(_add_thread(database, length))


async def _add_thread(database: Path, length: int) -> str:
    at = int(entropy.now())
    thread = new_thread(CreateThread(), thread_id=entropy.new_id("thread"), at=at)
    messages = []
    for number in range(length):
        body = CreateMessage(role="user" if number % 2 == 0 else "assistant", content=_TEXT.format(number=number))
        message = new_message(body, message_id=entropy.new_id("message"), thread_id=thread.id, at=at)
        messages.append(StoredMessage(message=message, tokens=_TOKENS))
    store = await open_sqlite(database)
    try:
        await store.add_thread(DEFAULT_PROJECT, thread, messages)
    finally:
        await store.close()
    return thread.id
