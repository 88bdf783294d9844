"""An answer whose end is known when its beginning is written: it is one write, and told as if it had come in pieces."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from support.house import PROJECT, WEATHER, FaultyStore, House, open_house
from support.model_server import ScriptedModel
from support.readable import check_readable
from understudy.core.chat import assemble
from understudy.core.ids import RunId
from understudy.engine.stream import RunStream
from understudy.ports import Append, Appended, PageQuery
from understudy.wire.chat import ChatRequest, Chunk, ChunkChoice, ChunkDelta, ChunkFunction, ChunkToolCall, ChunkUsage
from understudy.wire.runs import Run

NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}
MESSAGE = ["thread.run.step.created", "thread.run.step.in_progress", "thread.message.created"]
STEP_IS_DONE = "thread.run.step.completed"
WANTED = ChunkToolCall(index=0, id="call_a", function=ChunkFunction(name="weather", arguments='{"city":"Oslo"}'))
ALL = PageQuery(limit=100, descending=False)


def text(*words: str) -> list[Chunk]:
    return [Chunk(choices=[ChunkChoice(delta=ChunkDelta(content=word))]) for word in words]


def calls(*calls: ChunkToolCall) -> list[Chunk]:
    return [Chunk(choices=[ChunkChoice(delta=ChunkDelta(tool_calls=[*calls]))])]


def end(reason: str) -> list[Chunk]:
    return [Chunk(choices=[ChunkChoice(finish_reason=reason)]), Chunk(usage=ChunkUsage(3, 2))]


class Answer:
    """A `ports.ChunkStream` of so many reads; with the last one it is over, or it is not known to be."""

    def __init__(self, *reads: Sequence[Chunk], says_so: bool = True) -> None:
        self._reads = [*reads]
        self._says_so = says_so

    @property
    def over(self) -> bool:
        return self._says_so and not self._reads

    async def next(self, *_: object) -> Sequence[Chunk]:
        return self._reads.pop(0) if self._reads else ()

    async def close(self) -> None:
        pass


class CountingStore(FaultyStore):
    """`before` is called before each append of a run."""

    appends = 0
    before: Callable[[Append], object] | None = None

    async def append(self, append: Append, then: Callable[[Appended], None] | None = None) -> Appended:
        self.appends += 1
        if self.before is not None:
            await self.before(append)  # type: ignore[misc]
        return await super().append(append, then)


async def answered(house: House, answer: Answer, **fields: object) -> tuple[Run, list[str], list[str]]:
    """The run when it rests, the events that a reader saw who was there, and those that one who came late did."""

    async def chat(request: ChatRequest) -> Answer:
        return answer

    house.models.chat = chat  # type: ignore[method-assign,assignment]
    run = await house.start_run(**fields)
    live = await events(house.stream(run))
    late = await events(RunStream(house.store, type(house.bus)(house.clock), RunId(run.id)))
    return (await house.stored(run)).state.run, live, late


async def events(stream: RunStream) -> list[str]:
    seen = []
    while frames := await stream.next():
        for frame in frames:
            fields = dict(line.split(b": ", 1) for line in frame.strip().split(b"\n"))
            seen.append((fields[b"event"].decode(), msgspec.json.decode(fields[b"data"])))
    stream.close()
    check_readable(seen)
    return [event for event, _ in seen]


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.mark.parametrize("whole", [True, False])
async def test_a_text_is_told_the_same_in_one_write_less(whole: bool, model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, store=CountingStore, **NEVER) as house:
        run, live, late = await answered(house, Answer([*text("One", " two."), *end("stop")], says_so=whole))
        delta = "thread.message.delta"
        ends = ["thread.message.completed", STEP_IS_DONE, "thread.run.completed"]
        assert live[-9:] == [*MESSAGE, "thread.message.in_progress", delta, delta, *ends]
        assert late == [*live[:-5], delta, *ends]
        assert run.status == "completed"
        assert run.usage is not None
        assert run.usage.total_tokens == 5
        assert await house.said(run) == ["One two."]
        assert house.store.appends == (1 if whole else 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("whole", [True, False])
async def test_a_text_and_its_calls_are_told_the_same_in_two_writes_less(
    whole: bool, model: ScriptedModel, tmp_path: Path
) -> None:
    answer = Answer([*text("One."), *calls(WANTED), *end("tool_calls")], says_so=whole)
    async with open_house(tmp_path, model, store=CountingStore, **NEVER) as house:
        run, live, late = await answered(house, answer, tools=[WEATHER])
        said = [*MESSAGE, "thread.message.in_progress", "thread.message.delta", "thread.message.completed"]
        begun = ["thread.run.step.created", "thread.run.step.in_progress"]
        delta = "thread.run.step.delta"
        assert live[-12:] == [*said, STEP_IS_DONE, *begun, delta, delta, "thread.run.requires_action"]
        assert [event for event in late if event != delta] == [event for event in live if event != delta]
        assert run.required_action is not None
        wanted = run.required_action.submit_tool_outputs.tool_calls
        assert [(call.id, call.function.arguments) for call in wanted] == [("call_a", '{"city":"Oslo"}')]
        assert await house.said(run) == ["One."]
        assert house.store.appends == (1 if whole else 3)  # type: ignore[attr-defined]
        await house.cancel(run)


async def test_what_comes_behind_a_text_that_was_begun_is_written_apart(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, store=CountingStore, **NEVER) as house:
        run, live, _ = await answered(house, Answer(text("One"), [*text(" two."), *end("stop")]))
        assert live.count("thread.message.delta") == 2
        assert await house.said(run) == ["One two."]
        assert house.store.appends == 2  # type: ignore[attr-defined]


async def test_an_empty_answer_is_one_write(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, store=CountingStore, **NEVER) as house:
        run, live, late = await answered(house, Answer(end("stop")))
        assert late == live
        assert live.count("thread.message.delta") == 1
        assert await house.said(run) == []
        assert house.store.appends == 1  # type: ignore[attr-defined]


async def test_a_run_that_is_cancelled_before_the_write_has_said_nothing(model: ScriptedModel, tmp_path: Path) -> None:
    async with open_house(tmp_path, model, store=CountingStore, **NEVER) as house:
        cancelled: list[str] = []

        async def cancel(append: Append) -> None:
            if not cancelled:
                cancelled.append(append.run_id)
                await house.runs.cancel(PROJECT, append.before.run.thread_id, append.run_id)

        house.store.before = cancel  # type: ignore[attr-defined]
        run, live, late = await answered(house, Answer([*text("One."), *end("stop")]))
        assert cancelled
        assert run.status == "cancelled"
        assert live[-2:] == late[-2:] == ["thread.run.cancelling", "thread.run.cancelled"]
        assert await house.said(run) == []
        assert (await house.store.page("step", PROJECT, run.id, ALL)).ids == []


async def test_an_answer_that_is_too_long_leaves_what_was_in_bounds(
    model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "COMPLETION_BYTES_MAX", 5)
    async with open_house(tmp_path, model, store=CountingStore, **NEVER) as house:
        run, live, late = await answered(house, Answer([*text("One.", " two."), *end("stop")]))
        assert run.status == "failed"
        assert live == late
        ends = ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed"]
        assert live[-5:] == ["thread.message.in_progress", "thread.message.delta", *ends]
        assert await house.said(run) == ["One."]
