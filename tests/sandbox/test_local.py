"""Sessions by key: warm ones, those that are held, and those that make room for others."""

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

import understudy
from support.sandboxes import alive, required
from understudy.ports import CodeEnded, CodeEvent, CodeValue, SandboxBusy, SandboxSession, SandboxUnavailable
from understudy.sandbox.diagnosis import NO_BWRAP
from understudy.sandbox.launcher import Launcher
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.local import LocalSandboxes, sessions_that_fit
from understudy.sandbox.tree import below


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[list[LocalSandboxes]]:
    """Those in it are closed at the end."""
    made: list[LocalSandboxes] = []
    yield made
    for sandboxes in made:
        await sandboxes.close()


def sandboxes_in(folder: Path, made: list[LocalSandboxes], **options: object) -> LocalSandboxes:
    given: dict[str, object] = {"environment": required(), "folder": folder / "sandboxes", "warm": 0, **options}
    made.append(LocalSandboxes(**given))  # type: ignore[arg-type]
    return made[-1]


async def run(session: SandboxSession, code: str) -> Sequence[CodeEvent]:
    return [event async for event in session.execute(code)]


async def value(sandboxes: LocalSandboxes, key: str, code: str) -> tuple[str, str]:
    async with sandboxes.open(key) as session:
        (result, _) = await run(session, code)
        assert isinstance(result, CodeValue)
        return session.state, result.text


async def until_warm(sandboxes: LocalSandboxes) -> None:
    assert sandboxes._filling is not None
    await asyncio.wait_for(asyncio.shield(sandboxes._filling), 20)


async def test_this_machine_holds_the_sandbox(tmp_path: Path, opened: list[LocalSandboxes]) -> None:
    await sandboxes_in(tmp_path, opened).check()


def test_a_server_below_tmp_has_a_sandbox_too(tmp_path: Path) -> None:
    """Where the server is root, its sandboxes' folders are put there for the eyes of bubblewrap alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as code:
        shutil.copytree(Path(understudy.__file__).parent, Path(code, "understudy"))
        environment, folder = str(required()), str(tmp_path / "boxes")
        program = f"""
import asyncio
from pathlib import Path
from understudy.sandbox.local import LocalSandboxes

async def check() -> None:
    sandboxes = LocalSandboxes(environment=Path({environment!r}), folder=Path({folder!r}), warm=0)
    try:
        await sandboxes.check()
    finally:
        await sandboxes.close()

asyncio.run(check())
"""
        variables = {**os.environ, "PYTHONPATH": code}
        ended = subprocess.run([sys.executable, "-P", "-c", program], env=variables, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


async def test_keys_have_sessions_of_their_own(tmp_path: Path, opened: list[LocalSandboxes]) -> None:
    sandboxes = sandboxes_in(tmp_path, opened)
    async with sandboxes.open("a") as a, sandboxes.open("b") as b:
        await asyncio.gather(run(a, "x = 1; open('mine', 'w').close()"), run(b, "x = 2"))
    assert await value(sandboxes, "a", "x") == ("resumed", "1")
    assert await value(sandboxes, "b", "x, __import__('os').listdir('.')") == ("resumed", "(2, [])")


async def test_who_opens_a_held_session_waits(tmp_path: Path, opened: list[LocalSandboxes]) -> None:
    sandboxes = sandboxes_in(tmp_path, opened)
    async with sandboxes.open("a") as session:
        later = asyncio.create_task(value(sandboxes, "a", "x"))
        await run(session, "x = 'first'")
        assert not later.done()
    assert await later == ("resumed", "'first'")


async def test_a_warm_session_is_taken_with_what_it_has_loaded_and_replaced(
    tmp_path: Path, opened: list[LocalSandboxes]
) -> None:
    sandboxes = sandboxes_in(tmp_path, opened, warm=1, preload=("json.tool", "no.such.module"))
    sandboxes.warm_up()
    await until_warm(sandboxes)
    (warm,) = sandboxes._warm
    assert await value(sandboxes, "a", "__import__('sys').modules.get('json.tool') is not None") == ("fresh", "True")
    assert sandboxes._places["a"].session is warm
    await until_warm(sandboxes)
    assert len(sandboxes._warm) == 1


async def test_the_longest_unused_session_makes_room(tmp_path: Path, opened: list[LocalSandboxes]) -> None:
    sandboxes = sandboxes_in(tmp_path, opened, sessions_max=2)
    for key in ("a", "b", "a", "c"):
        await value(sandboxes, key, "1")
    assert (await value(sandboxes, "a", "1"))[0] == "resumed"
    assert (await value(sandboxes, "b", "1"))[0] == "fresh"


async def test_when_all_are_at_work_who_comes_waits_and_is_told(tmp_path: Path, opened: list[LocalSandboxes]) -> None:
    sandboxes = sandboxes_in(tmp_path, opened, sessions_max=1, limits=SandboxLimits(wait_seconds=0.05))
    async with sandboxes.open("a"):
        with pytest.raises(SandboxBusy, match="All 1 sessions"):
            await value(sandboxes, "b", "1")
    assert await value(sandboxes, "b", "1") == ("fresh", "1")


async def test_an_idle_and_an_old_session_are_not_gone_on_with(tmp_path: Path, opened: list[LocalSandboxes]) -> None:
    for limits in (SandboxLimits(idle_seconds=0.0), SandboxLimits(life_seconds=0.0)):
        sandboxes = sandboxes_in(tmp_path, opened, limits=limits)
        await value(sandboxes, "a", "1")
        assert await value(sandboxes, "a", "'x' in dir()") == ("fresh", "False")


async def test_a_call_that_is_given_up_is_interrupted_and_keeps_its_variables(
    tmp_path: Path, opened: list[LocalSandboxes]
) -> None:
    sandboxes = sandboxes_in(tmp_path, opened)
    async with sandboxes.open("a") as session:
        async with aclosing(session.execute("x = 5\nprint('on')\nwhile True: pass")) as events:
            async for _ in events:
                break
        assert await run(session, "x") == [CodeValue("5"), CodeEnded("done")]
        reading = asyncio.create_task(run(session, "print('on')\nwhile True: pass"))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await run(session, "x") == [CodeValue("5"), CodeEnded("done")]
    gc.collect()


async def test_a_call_that_is_dropped_without_a_word_is_over_with_its_holder(
    tmp_path: Path, opened: list[LocalSandboxes]
) -> None:
    sandboxes = sandboxes_in(tmp_path, opened)
    async with sandboxes.open("a") as session:
        events = session.execute("print('on')\nwhile True: pass")
        await anext(events)
    assert await value(sandboxes, "a", "1") == ("restarted", "1")
    await events.aclose()  # type: ignore[attr-defined]
    assert await value(sandboxes, "a", "1") == ("resumed", "1")


async def test_a_start_that_is_called_away_leaves_no_process(tmp_path: Path, opened: list[LocalSandboxes]) -> None:
    sandboxes = sandboxes_in(tmp_path, opened)
    before = {member.pid for member in below(os.getpid())}  # other tests' servers
    opening = asyncio.create_task(value(sandboxes, "a", "1"))
    while not (started := [member.pid for member in below(os.getpid()) if member.pid not in before]):  # noqa: ASYNC110 - another thread
        await asyncio.sleep(0.001)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await sandboxes.close()
    assert alive(started) == []
    assert sandboxes._taken == 0


async def test_without_an_environment_one_sentence_says_what_to_do(
    tmp_path: Path, opened: list[LocalSandboxes]
) -> None:
    sandboxes = sandboxes_in(tmp_path, opened, environment=tmp_path / "none")
    with pytest.raises(SandboxUnavailable, match="run `understudy sandbox init`"):
        await value(sandboxes, "a", "1")
    with pytest.raises(SandboxUnavailable):
        await sandboxes.check()
    assert sandboxes._taken == 0


async def test_without_bubblewrap_one_sentence_says_how_to_install_it(
    tmp_path: Path, opened: list[LocalSandboxes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandboxes = sandboxes_in(tmp_path, opened)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable) as caught:
        await sandboxes.check()
    assert str(caught.value) == NO_BWRAP


async def test_after_closing_nothing_is_opened(tmp_path: Path, opened: list[LocalSandboxes]) -> None:
    sandboxes = sandboxes_in(tmp_path, opened)
    await sandboxes.close()
    with pytest.raises(SandboxUnavailable):
        await value(sandboxes, "a", "1")


def test_a_sandbox_as_root_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Launcher(environment=tmp_path, folder=tmp_path, uid=0, proc="empty", limits=SandboxLimits())


def test_no_more_sessions_than_there_is_memory_for() -> None:
    assert sessions_that_fit(SandboxLimits(memory_bytes=2**60)) == 1
    assert sessions_that_fit(SandboxLimits(memory_bytes=1)) == 8
