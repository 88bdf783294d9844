"""What a run reads of its thread: no more than its model can be shown, however long the thread is."""

from understudy.core.chat.context import Entry, Window, prompt_budget
from understudy.core.ids import RunId, ThreadId
from understudy.core.limits import CONTEXT_HEAD_MESSAGES, CONTEXT_PAGE_MESSAGES
from understudy.ports import Store, StoredMessage, StoredRun
from understudy.wire.messages import Message


async def load_window(store: Store, stored: StoredRun, context_window_tokens: int) -> Window:
    """The newest messages that the budget can hold, the oldest few, and all of the run's own steps."""
    run, progress = stored.state.run, stored.state.progress
    thread_id = ThreadId(run.thread_id)
    budget = prompt_budget(run, progress.usage, context_window_tokens)
    wanted = run.truncation_strategy.last_messages if run.truncation_strategy.type == "last_messages" else None
    recent: list[StoredMessage] = []
    own: dict[str, Message] = {}
    tokens, before_seq = 0, None
    while tokens <= budget and (wanted is None or len(recent) < wanted):
        page = await store.recent_messages(thread_id, before_seq=before_seq, limit=CONTEXT_PAGE_MESSAGES)
        for one in page:
            if one.message.run_id == run.id:
                own[one.message.id] = one.message
            else:
                recent.append(one)
                tokens += one.tokens
        if len(page) < CONTEXT_PAGE_MESSAGES:
            break
        before_seq = page[-1].seq
    oldest = recent[-1].seq if recent else 0
    head = await store.first_messages(thread_id, limit=CONTEXT_HEAD_MESSAGES) if wanted is None else ()
    return Window(
        head=[_entry(one) for one in head if one.seq < oldest and one.message.run_id != run.id],
        recent=[_entry(one) for one in reversed(recent)],
        own=await store.steps(RunId(run.id)) if progress.turns else (),
        own_messages=own,
    )


def _entry(stored: StoredMessage) -> Entry:
    return Entry(message=stored.message, tokens=stored.tokens)
