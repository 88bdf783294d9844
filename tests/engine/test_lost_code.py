"""Code whose run is taken from it: its worker is asked to end, its process dies, its session is killed or held."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.house import PROJECT, House, open_house
from support.model_server import Call, Reply, ScriptedModel
from support.sandboxes import required
from support.talk import polled
from understudy import entropy
from understudy.blobs.local import open_local_blobs
from understudy.core.ids import RunId
from understudy.engine.files import Files
from understudy.ports import Blobs, BuiltIn, PageQuery, Store
from understudy.sandbox import LocalSandboxes, SandboxLimits
from understudy.tools.code_files import CodeFiles
from understudy.tools.code_interpreter import CodeInterpreter
from understudy.wire.runs import Run
from understudy.wire.steps import RunStep, ToolCalls
from understudy.wire.tools import CodeInterpreterToolBody

NEVER = {"lease_seconds": 600.0, "renew_seconds": 600.0, "sweep_seconds": 600.0}
DRAW = "from PIL import Image\ndisplay(Image.new('RGB', (4, 4), 'red'))\n"
WAITS = DRAW + "import os, time\nif not os.path.exists('go'):\n    open('go', 'w').close()\n    time.sleep(60)\n"


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@asynccontextmanager
async def opened(folder: Path, **more: float) -> AsyncIterator[LocalSandboxes]:
    limits = SandboxLimits(wait_seconds=0.2)
    sandboxes = LocalSandboxes(
        environment=required(), folder=folder / "sandboxes", limits=limits, warm=0, sessions_max=1, **more
    )
    try:
        yield sandboxes
    finally:
        await sandboxes.close()


@pytest.fixture
async def sandboxes(tmp_path: Path) -> AsyncIterator[LocalSandboxes]:
    async with opened(tmp_path) as local:
        yield local


@pytest.fixture
async def tools(sandboxes: LocalSandboxes, tmp_path: Path) -> AsyncIterator[Callable[[Store], Sequence[BuiltIn]]]:
    blobs: Blobs = await open_local_blobs(tmp_path / "files")

    def made(store: Store) -> Sequence[BuiltIn]:
        files = Files(store, blobs, entropy.now, entropy.new_id)
        return [CodeInterpreter(CodeFiles(store, blobs, files, entropy.now), sandboxes)]

    yield made
    await blobs.close()


def runs(code: str) -> Reply:
    return Reply(Call("call_c", "code_interpreter", json.dumps({"code": code})))


async def begin(house: House, thread_id: str | None = None) -> Run:
    return await house.start_run(thread_id, tools=[CodeInterpreterToolBody()])


async def files_of(house: House) -> list[str]:
    page = await house.store.files_page(
        PROJECT, PageQuery(limit=100, descending=False), purpose=None, now=int(house.clock())
    )
    return [*page.ids]


async def until_drawn(house: House) -> None:
    async def look() -> bool | None:
        return True if await files_of(house) else None

    await polled(look, seconds=10)


async def steps_of(house: House, run: Run) -> Sequence[RunStep]:
    return await house.store.steps(RunId(run.id))


async def test_the_turn_of_a_worker_that_ends_is_made_again_and_leaves_no_file_twice(
    model: ScriptedModel, tools: Callable[[Store], Sequence[BuiltIn]], tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, tools=tools, **NEVER) as house:
        model.script(runs(WAITS), runs(WAITS), Reply("Drawn."))
        run = await begin(house)
        await until_drawn(house)
        await house.stop()
        async with open_house(tmp_path, model, tools=tools, owner="w2", **{**NEVER, "sweep_seconds": 0.01}) as taker:
            await taker.until(run, "completed", seconds=10)
            details = (await steps_of(taker, run))[0].step_details
            assert isinstance(details, ToolCalls)
            (call,) = details.tool_calls
            (image,) = call.code_interpreter.outputs  # type: ignore[union-attr]
            assert image.image.file_id in await files_of(taker)  # type: ignore[union-attr]
            assert len(await files_of(taker)) == 2  # the image, and `go`


async def test_a_cancelled_step_keeps_what_was_shown_of_it(
    model: ScriptedModel, tools: Callable[[Store], Sequence[BuiltIn]], tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, tools=tools, **NEVER) as house:
        model.script(runs("kept = 5\n" + WAITS), runs("print(kept)"), Reply("So."))
        run = await begin(house)
        await until_drawn(house)
        await house.cancel(run)
        run = await house.until(run, "cancelled")
        (step,) = await steps_of(house, run)
        assert step.status == "cancelled"
        assert b"file-" in json.dumps([repr(step.step_details)]).encode()
        assert len(await files_of(house)) == 1
        again = await house.until(await begin(house, run.thread_id), "completed")
        assert "5" in repr((await steps_of(house, again))[0].step_details)


async def test_a_run_expires_while_its_code_runs(
    model: ScriptedModel, tools: Callable[[Store], Sequence[BuiltIn]], tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, tools=tools, **NEVER) as house:
        model.script(runs("while True: pass"))
        run = await house.start_run(tools=[CodeInterpreterToolBody()], lifetime_seconds=1)
        run = await house.until(run, "expired")
        assert [step.status for step in await steps_of(house, run)] == ["expired"]


async def test_a_session_that_is_killed_fails_no_run(
    model: ScriptedModel, sandboxes: LocalSandboxes, tools: Callable[[Store], Sequence[BuiltIn]], tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, tools=tools, **NEVER) as house:
        model.script(runs(WAITS), runs("print('again')"), Reply("So."))
        run = await begin(house)
        await until_drawn(house)
        (place,) = sandboxes._places.values()
        assert place.session is not None
        await place.session.kill("Somebody killed it.")
        run = await house.until(run, "completed")
        first, second, _ = await steps_of(house, run)
        assert "Somebody killed it. Variables are lost, files are kept." in repr(first.step_details)
        assert "again" in repr(second.step_details)


async def test_a_run_fails_with_a_sentence_when_all_sessions_are_at_work(
    model: ScriptedModel, sandboxes: LocalSandboxes, tools: Callable[[Store], Sequence[BuiltIn]], tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, tools=tools, **NEVER) as house, sandboxes.open("another"):
        model.script(runs("1"))
        run = await house.until(await begin(house), "failed")
        assert run.last_error is not None
        assert "at work" in run.last_error.message


async def test_a_cancel_does_not_wait_for_a_session(
    model: ScriptedModel, sandboxes: LocalSandboxes, tools: Callable[[Store], Sequence[BuiltIn]], tmp_path: Path
) -> None:
    async with open_house(tmp_path, model, tools=tools, **NEVER) as house:
        model.script(runs("1"))
        made = await begin(house)
        async with sandboxes.open(f"{PROJECT}.{made.thread_id}"):
            await asyncio.wait_for(model.until(lambda: len(model.chats) == 1), 5)
            await house.cancel(made)
            await house.until(made, "cancelled")
