"""What a run reads of a long thread, counted in statements of the real store."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from support.store import PROJECT, message, new_run, settings, thread
from understudy.core.limits import CONTEXT_HEAD_MESSAGES, CONTEXT_PAGE_MESSAGES
from understudy.core.run.state import RunState
from understudy.engine.window import load_window
from understudy.ports import StoredRun
from understudy.store.sqlite import open_sqlite
from understudy.wire.runs import Truncation

MESSAGE_TOKENS = 10


@pytest.mark.parametrize(
    ("strategy", "context_window_tokens", "pages"),
    [
        (Truncation(), 2048, 2),  # half of the window is kept for the answer, so 103 messages are more than fit
        (Truncation(), 6024, 6),
        (Truncation(type="last_messages", last_messages=5), 128_000, 1),
        (Truncation(type="last_messages", last_messages=250), 128_000, 3),
    ],
)
async def test_a_run_reads_no_more_of_a_long_thread_than_its_window_holds(
    tmp_path: Path, strategy: Truncation, context_window_tokens: int, pages: int
) -> None:
    store = await open_sqlite(tmp_path / "understudy.db")
    made = thread()
    await store.add_thread(PROJECT, made, [message(made.id, f"{n}", MESSAGE_TOKENS) for n in range(3000)])
    run = replace(new_run(made.id).state.run, truncation_strategy=strategy)
    stored = StoredRun(project=PROJECT, state=RunState(run=run), settings=settings(), seq=2, lease=None)
    statements: list[str] = []
    store._reader.set_trace_callback(statements.append)
    window = await load_window(store, stored, context_window_tokens, 1.0)
    await store.close()
    # A page is two statements: one of them for what was added while the thread was busy. And the thread's beginning.
    assert len(statements) == 2 * pages + 1
    assert len(window.recent) == pages * CONTEXT_PAGE_MESSAGES
    assert len(window.head) == CONTEXT_HEAD_MESSAGES
    texts = [entry.message.content[0].text.value for entry in window.recent]  # type: ignore[union-attr]
    assert texts == [f"{n}" for n in range(3000 - len(texts), 3000)]


async def test_a_run_that_began_with_its_thread_reads_nothing_for_its_first_turn_alone(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "understudy.db")
    made = thread()
    opening = [message(made.id, f"{n}", MESSAGE_TOKENS) for n in range(3)]
    new = new_run(made.id, thread=made, messages=opening)
    await store.add_run(new)
    stored = StoredRun(
        project=PROJECT, state=new.state, settings=settings(), seq=2, lease=None, opening=tuple(new.messages)
    )
    later = replace(stored, state=replace(stored.state, progress=replace(stored.state.progress, turns=1)))
    statements: list[str] = []
    store._reader.set_trace_callback(statements.append)
    at_hand = await load_window(store, stored, 128_000, 1.0)
    assert not statements
    read = await load_window(store, later, 128_000, 1.0)
    assert statements
    await store.close()
    assert at_hand.recent == read.recent
    assert len(at_hand.recent) == len(opening)
