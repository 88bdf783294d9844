"""What a run reads of its thread: no more than its model can be shown, however long the thread is."""

import asyncio
from collections.abc import Mapping, Sequence

from understudy.core.chat.context import Entry, Reach, Window, prompt_budget
from understudy.core.ids import RunId, ThreadId
from understudy.core.limits import CONTEXT_HEAD_MESSAGES, CONTEXT_PAGE_MESSAGES
from understudy.core.run.state import Note
from understudy.ports import Store, StoredMessage, StoredRun
from understudy.wire.messages import Message


async def load_window(
    store: Store,
    stored: StoredRun,
    context_window_tokens: int,
    correction: float,
    notes: Mapping[str, Mapping[str, Note]] | None = None,
) -> Window:
    """The newest messages that the budget can hold, the oldest few, and all of the run's own steps with their notes."""
    run, progress = stored.state.run, stored.state.progress
    thread_id = ThreadId(run.thread_id)
    reach = Reach(run, prompt_budget(run, progress.usage, context_window_tokens, correction))
    newest_first: list[Entry] = []
    own: dict[str, Message] = {}
    before: StoredMessage | None = None
    whole = False
    while not reach.enough:
        if stored.opening is not None and not progress.turns:
            page: Sequence[StoredMessage] = stored.opening[::-1]
        else:
            page = await store.recent_messages(thread_id, before=before, limit=CONTEXT_PAGE_MESSAGES)
        for one in page:
            if one.message.run_id == run.id:
                own[one.message.id] = one.message
            else:
                entry = _entry(one)
                newest_first.append(entry)
                reach.add(entry)
        if len(page) < CONTEXT_PAGE_MESSAGES:
            whole = True
            break
        before = page[-1]
        # A read may keep the event loop to itself: between the pages of a long thread the others have their turn.
        await asyncio.sleep(0)
    oldest_first = () if whole else await store.first_messages(thread_id, limit=CONTEXT_HEAD_MESSAGES)
    return Window(
        head=[_entry(one) for one in oldest_first if one.message.run_id != run.id],
        recent=newest_first[::-1],
        own=await store.steps(RunId(run.id)) if progress.turns else (),
        own_messages=own,
        notes=notes or {},
    )


def _entry(stored: StoredMessage) -> Entry:
    return Entry(stored.message, stored.tokens)
