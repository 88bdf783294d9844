"""A model turn that is lost with its worker and made again: nothing of it is said twice, to nobody."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from support.house import PROJECT, WEATHER, House, open_house
from support.model_server import Call, Reply, ScriptedModel, Silence
from support.readable import check_readable
from support.talk import polled
from understudy.bus.memory import MemoryBus
from understudy.core.ids import RunId
from understudy.engine import stream as stream_module
from understudy.engine.position import Position
from understudy.engine.stream import RunStream
from understudy.wire.runs import Run

NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}
LOST = Reply("Let me see.", Call("call_a", "weather", '{"city'), Silence())


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


async def until_it_calls(house: House, run: Run) -> None:
    async def look() -> bool | None:
        step = (await house.stored(run)).state.step
        return True if step is not None and step.type == "tool_calls" else None

    await polled(look)


@asynccontextmanager
async def handed_on(house: House, model: ScriptedModel, tmp_path: Path) -> AsyncIterator[House]:
    """Another process, after this one has stopped in the middle of a turn."""
    await house.stop()
    async with open_house(tmp_path, model, owner="w2", **{**NEVER, "sweep_seconds": 0.01}) as taker:
        yield taker


async def read(stream: RunStream) -> Sequence[str]:
    """The names of the stream's frames to its end."""
    names: list[str] = []
    while frames := await stream.next():
        names += [frame.split(b"\n")[1].removeprefix(b"event: ").decode() for frame in frames]
    stream.close()
    return names


async def test_a_text_before_calls_is_said_once_although_its_worker_was_lost(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, **NEVER) as house:
        model.script(LOST, Reply("Let me see.", Call("call_b", "weather", "{}")), Reply("Wet."))
        run = await house.start_run(tools=[WEATHER])
        await until_it_calls(house, run)
        async with handed_on(house, model, tmp_path) as taker:
            await taker.until(run, "requires_action")
            assert await taker.said(run) == ["Let me see."]
            assert [step.type for step in await taker.store.steps(RunId(run.id))] == ["message_creation", "tool_calls"]
            await taker.submit(run, call_b="Rain")
            await taker.until(run, "completed")
            assert await taker.said(run) == ["Let me see.", "Wet."]
            facts = await taker.facts(run)
            check_readable([(fact.event, msgspec.json.decode(fact.data)) for fact in facts])


async def test_a_later_turn_that_was_lost_is_asked_for_as_if_it_had_said_nothing(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, **NEVER) as house:
        model.script(Reply("One.", Call("call_0", "weather", "{}")), LOST, Reply("Wet."))
        run = await house.start_run(tools=[WEATHER])
        await house.until(run, "requires_action")
        await house.submit(run, call_0="Rain")
        await until_it_calls(house, run)
        async with handed_on(house, model, tmp_path) as taker:
            await taker.until(run, "completed")
            assert await taker.said(run) == ["One.", "Wet."]
        assert model.chats[2].body == model.chats[1].body


async def test_readers_are_shown_a_lost_turns_text_once_or_told_to_read_again(
    model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LOG_LOOK_SECONDS", 0.01)
    async with open_house(tmp_path, model, **NEVER) as house:
        model.script(LOST, Reply("Let me see.", Call("call_b", "weather", "{}")))
        run = await house.start_run(tools=[WEATHER])
        early = house.stream(run)
        await until_it_calls(house, run)
        assert b"thread.message.completed" in b"".join(await early.next())
        numbers = {fact.event: fact.seq for fact in await house.facts(run)}
        async with handed_on(house, model, tmp_path) as taker:
            await taker.until(run, "requires_action")
            third = MemoryBus(taker.clock)  # of a process that has heard nothing of all this
            for bus in (taker.bus, third):
                late = await read(RunStream(taker.store, bus, RunId(run.id)))
                assert late.count("thread.message.completed") == 1
                assert late[-1] == "thread.run.requires_action"
            for shown in ("thread.message.created", "thread.message.completed", "thread.run.step.completed"):
                for bus in (taker.bus, house.bus, third):
                    stream = RunStream(taker.store, bus, RunId(run.id), after=Position(numbers[shown]))
                    told = await read(stream)
                    assert stream.begun_anew, (shown, told)
                    assert "thread.message.created" not in told
            await third.close()
        assert "thread.message.completed" not in await read(early)
        assert early.begun_anew


async def test_a_lost_message_that_a_client_has_deleted_is_discarded_like_any_other(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, **NEVER) as house:
        model.script(Reply("Half", Silence()), Reply("Whole."))
        run = await house.start_run()
        half = await house.until_it_speaks(run)
        assert await house.store.delete_message(PROJECT, run.thread_id, half.id)
        async with handed_on(house, model, tmp_path) as taker:
            await taker.until(run, "completed")
            assert await taker.said(run) == ["Whole."]
            late = await read(RunStream(taker.store, taker.bus, RunId(run.id)))
            assert late.count("thread.message.created") == 1


async def test_a_deleted_message_of_a_run_that_expires_without_a_worker_leaves_nothing(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, **NEVER) as house:
        model.script(Reply("Half", Silence()))
        run = await house.start_run()
        half = await house.until_it_speaks(run)
        assert await house.store.delete_message(PROJECT, run.thread_id, half.id)
        await house.die()
        later = house.clock() + 601
        async with open_house(tmp_path, model, works=False, clock=lambda: later) as sweeper:
            await sweeper.runs.expire(RunId(run.id))
            facts = await sweeper.facts(run)
            check_readable([(fact.event, msgspec.json.decode(fact.data)) for fact in facts])
            assert [fact.event for fact in facts[-2:]] == ["discarded", "thread.run.expired"]
            assert await sweeper.store.body("message", PROJECT, run.thread_id, half.id) is None
