"""Every write of a run goes wrong in every way, one at a time: the run still ends as it should, and is told so once."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from support.faults import FAULTS, Client, Fault, Ordeal, Shown
from support.house import PROJECT, WEATHER
from support.model_server import ScriptedModel
from support.readable import check_readable
from support.scripted_search import SEARCH
from support.sdk import accumulated
from support.store import message
from understudy.core.ids import RunId, ThreadId
from understudy.engine import stream as stream_module
from understudy.wire.messages import Message, TextPart
from understudy.wire.steps import FunctionCall, MessageCreation, ToolCalls

PARALLEL = '@calls [{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "weather", "arguments": {}}]'
BESIDE = '@calls [{"name": "file_search", "arguments": {"query": "rain"}}, {"name": "weather", "arguments": {}}]'
NOTHING = "Nothing was found. Try other words, or answer without the files and say so."
TWO = ["output of weather; output of weather"]
# What each client asks for, how its run ends, and what may stand in the thread in the end.
COURSES: Final[dict[str, tuple[Client, str, list[list[str]]]]] = {
    "text": (Client(asks="@say One two."), "completed", [["One two."]]),
    "text, a call and its output": (
        Client(asks='@saycall weather {"city": "Oslo"}', fields={"tools": [WEATHER]}),
        "completed",
        [["Let me look that up.", "The tools say: output of weather"]],
    ),
    "parallel calls": (
        Client(asks=PARALLEL, fields={"tools": [WEATHER]}),
        "completed",
        [["The tools say: output of weather; output of weather"]],
    ),
    "a text that comes whole": (Client(asks="@whole One two."), "completed", [["One two."]]),
    "a text and a call that come whole": (
        Client(asks="@wholecall weather {}", fields={"tools": [WEATHER]}),
        "completed",
        [["Let me look that up.", "The tools say: output of weather"]],
    ),
    "waiting for outputs": (
        Client(asks="@saycall weather {}", fields={"tools": [WEATHER]}, answers_calls=False),
        "requires_action",
        [["Let me look that up."]],
    ),
    "cancelled while waiting": (
        Client(asks="@call weather {}", fields={"tools": [WEATHER]}, answers_calls=False, cancels="waiting"),
        "cancelled",
        [[]],
    ),
    "a search": (
        Client(asks='@call file_search {"queries": ["rain"]}', fields={"tools": [SEARCH]}),
        "completed",
        [[f"The tools say: {NOTHING}"]],
    ),
    "a search and a call beside it": (
        Client(asks=BESIDE, fields={"tools": [SEARCH, WEATHER]}),
        "completed",
        [[f"The tools say: {NOTHING}; output of weather"]],
    ),
    "cancelled mid-search": (
        Client(asks='@saycall file_search {"query": "rain"}', fields={"tools": [SEARCH]}, cancels="mid-search"),
        "cancelled",
        [[], ["Let me look that up."]],
    ),
    "cancelled mid-text": (Client(asks="@hang One two", cancels="mid-text"), "cancelled", [[], ["One"], ["One two"]]),
    "expired mid-text": (Client(asks="@hang One", lifetime_seconds=1), "expired", [[], ["One"]]),
    "a failing model server": (Client(asks="@cut One two"), "failed", [["One two"], ["One"]]),
    "a refusing model server": (Client(asks="@fail 400 No."), "failed", [[]]),
    "a token limit": (Client(asks="@length One two"), "incomplete", [["One two"]]),
}
WRITES_MAX: Final = 12


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LOG_LOOK_SECONDS", 0.01)


@pytest.fixture(autouse=True)
def nothing_crashes() -> Iterator[None]:
    """What goes wrong here is foreseen, and logged so."""
    with capture_logs() as logged:
        yield
    assert not [entry for entry in logged if entry["log_level"] == "error"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("course", COURSES)
async def test_a_run_ends_well_whichever_of_its_writes_goes_wrong(
    course: str, fault: Fault, model: ScriptedModel, tmp_path: Path
) -> None:
    client, status, texts = COURSES[course]
    for number in count(1):
        ordeal = Ordeal(tmp_path / str(number), model, client, fault=fault, number=number)
        async with ordeal.survived() as something_went_wrong:
            assert ordeal.run.status == status, f"write {number}"
            await check_end(ordeal, texts)
        if not something_went_wrong:
            assert number > 2
            break
        assert number < WRITES_MAX


async def check_end(ordeal: Ordeal, texts: list[list[str]]) -> None:
    stored = await ordeal.house.stored(ordeal.run)
    assert stored.state.run == ordeal.run
    messages = await said(ordeal)
    assert [text_of(one) for one in messages] in texts
    await check_steps(ordeal, messages)
    if ordeal.run.status == "requires_action":
        assert stored.lease is None
    else:
        assert stored.lease is None
        assert ordeal.run.usage is not None
        assert (stored.state.step, stored.state.message) == (None, None)
        thread_id = ordeal.run.thread_id
        await ordeal.house.store.add_message(PROJECT, message(thread_id))
    facts = await ordeal.house.facts(ordeal.run)
    assert [fact.seq for fact in facts] == list(range(1, stored.seq + 1))
    check_told(ordeal.shown, messages, whole=False)
    check_told(await ordeal.retold(), messages, whole=True)


async def said(ordeal: Ordeal) -> list[Message]:
    """The run's messages, oldest first. None is empty, none is still open."""
    run = ordeal.run
    found = await ordeal.house.store.recent_messages(ThreadId(run.thread_id), before=None, limit=100)
    messages = [one.message for one in found[::-1] if one.message.run_id == run.id]
    assert all(text_of(one) for one in messages)
    return messages


async def check_steps(ordeal: Ordeal, messages: list[Message]) -> None:
    """Each message has its step; nothing is in progress but the calls that a client is asked for."""
    steps = await ordeal.house.store.steps(RunId(ordeal.run.id))
    open_steps = [step for step in steps if step.status == "in_progress"]
    assert len(open_steps) == (1 if ordeal.run.status == "requires_action" else 0)
    created = [
        step.step_details.message_creation.message_id
        for step in steps
        if isinstance(step.step_details, MessageCreation)
    ]
    assert created == [one.id for one in messages]
    for step in steps:
        if isinstance(step.step_details, ToolCalls) and step.status == "completed":
            assert step.step_details.tool_calls
            calls = [call for call in step.step_details.tool_calls if isinstance(call, FunctionCall)]
            assert all(call.function.output is not None for call in calls)


def check_told(events: list[Shown], messages: list[Message], *, whole: bool) -> None:
    """What a reader was told is a stream that the SDKs can read, of what is in the thread now."""
    check_readable([(event.name, event.data) for event in events])
    ids = [event.id for event in events]
    assert len(set(ids)) == len(ids)
    ended = [event.data for event in events if event.name in ("thread.message.completed", "thread.message.incomplete")]
    assert [one["id"] for one in ended] == [one.id for one in messages]
    for one in ended if whole else ():
        deltas = [
            event.data["delta"] for event in events if event.name.endswith(".delta") and event.data["id"] == one["id"]
        ]
        assert written(accumulated(deltas)) == written(one)


def written(message_or_delta: dict[str, Any]) -> str:
    return "".join(part["text"]["value"] for part in message_or_delta["content"])


def text_of(one: Message) -> str:
    return "".join(part.text.value for part in one.content if isinstance(part, TextPart))
