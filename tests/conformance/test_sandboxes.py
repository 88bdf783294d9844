"""What all sandboxes must do: those of this machine, and those of a daemon. Over real bubblewrap."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from support.sandbox_daemon import KEY, daemon_over
from support.sandboxes import required
from understudy.ports import (
    CodeEnded,
    CodeEvent,
    CodePicture,
    CodePrinted,
    CodeRaised,
    CodeValue,
    SandboxBusy,
    Sandboxes,
    SandboxRefusal,
    SandboxSession,
    SandboxUnavailable,
)
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.remote import RemoteSandboxes

PNG = (
    "import base64\nfrom IPython.display import Image, display\n"
    "display(Image(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5C"
    "YII=')))"
)


class Opener:
    """Makes sandboxes of one kind; all of them are closed at the end."""

    def __init__(self, kind: str, folder: Path, opened: AsyncExitStack) -> None:
        self._kind = kind
        self._folder = folder
        self._opened = opened

    async def __call__(self, environment: Path | None = None, **options: object) -> Sandboxes:
        given: dict[str, object] = {"folder": self._folder / "sandboxes", "warm": 0, **options}
        local = LocalSandboxes(environment=environment or required(), **given)  # type: ignore[arg-type]
        self._opened.push_async_callback(local.close)
        if self._kind == "local":
            return local
        url = await self._opened.enter_async_context(daemon_over(local, self._folder / "incoming"))
        remote = RemoteSandboxes([url], KEY)
        self._opened.push_async_callback(remote.close)
        return remote


@pytest.fixture(params=["local", "daemon"])
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as opened:
        yield Opener(request.param, tmp_path, opened)


@pytest.fixture
async def sandboxes(opener: Opener) -> Sandboxes:
    return await opener()


async def run(session: SandboxSession, code: str, seconds: float | None = 20.0) -> Sequence[CodeEvent]:
    return [event async for event in session.execute(code, seconds=seconds)]


async def content(session: SandboxSession, name: str) -> bytes:
    return b"".join([block async for block in session.get(name)])


async def test_they_hold(sandboxes: Sandboxes) -> None:
    await sandboxes.check()


async def test_code_tells_what_it_prints_comes_to_raises_and_shows(sandboxes: Sandboxes) -> None:
    async with sandboxes.open("a") as session:
        assert session.state == "fresh"
        assert await run(session, "print('é\\0\\u2028')\n6 * 7") == [
            CodePrinted("é\u2028\n"),
            CodeValue("42"),
            CodeEnded("done"),
        ]
        (raised, ended) = await run(session, "1 / 0")
        assert isinstance(raised, CodeRaised)
        assert "ZeroDivisionError" in raised.text
        assert ended == CodeEnded("done")
        (picture, _) = await run(session, PNG)
        assert isinstance(picture, CodePicture)
        assert picture.png.startswith(b"\x89PNG")


async def test_variables_and_files_stay_from_hold_to_hold_until_the_session_is_ended(sandboxes: Sandboxes) -> None:
    async with sandboxes.open("a") as session:
        await run(session, "x = 1; open('mine', 'w').close()")
    async with sandboxes.open("b") as session:
        assert session.state == "fresh"
    async with sandboxes.open("a") as session:
        assert session.state == "resumed"
        assert (await run(session, "x"))[0] == CodeValue("1")
        (_, ended) = await run(session, "print(1); __import__('os')._exit(3)")
        assert isinstance(ended, CodeEnded)
        assert ended.how == "killed"
        assert ended.lost is not None
    async with sandboxes.open("a") as session:
        assert session.state == "restarted"
        assert (await run(session, "__import__('os').listdir('.')"))[0] == CodeValue("['mine']")
        await session.end()
    async with sandboxes.open("a") as session:
        assert session.state == "fresh"
        assert await session.files() == []


async def test_who_opens_a_held_session_waits(sandboxes: Sandboxes) -> None:
    async def later() -> str:
        async with sandboxes.open("a") as session:
            return session.state

    async with sandboxes.open("a") as session:
        waiting = asyncio.create_task(later())
        await run(session, "x = 1")
        assert not waiting.done()
    assert await asyncio.wait_for(waiting, 10) == "resumed"


async def test_files_come_and_go(sandboxes: Sandboxes, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)) * 4096)
    async with sandboxes.open("a") as session:
        assert await session.put("../../a b/&name=ü?.csv", b"1,2") == "/mnt/data/&name=ü?.csv"
        assert await session.put("large", source) == "/mnt/data/large"
        assert (await session.changes()).files == []
        await run(session, "open('out.txt', 'w').write('made'); import os; os.symlink('/etc/passwd', 'link')")
        found = await session.changes()
        assert [(file.name, file.size_bytes) for file in found.files] == [("out.txt", 4)]
        assert found.left_out == 1
        assert (await session.changes()).files == []
        assert [file.name for file in await session.files()] == ["&name=ü?.csv", "large", "out.txt"]
        assert await content(session, "out.txt") == b"made"
        assert await content(session, "large") == source.read_bytes()
        for name in ("link", "../../etc/passwd", "none"):
            with pytest.raises(SandboxRefusal):
                await content(session, name)


async def test_a_file_that_is_too_large_and_code_that_is_too_long_are_refused(opener: Opener) -> None:
    sandboxes = await opener(limits=SandboxLimits(disk_bytes=1_000_000))
    async with sandboxes.open("a") as session:
        with pytest.raises(SandboxRefusal):
            await session.put("large", bytes(2_000_000))
        with pytest.raises(SandboxRefusal):
            await run(session, "#" * 1_100_000)
        assert (await run(session, "1"))[0] == CodeValue("1")


async def test_code_can_be_interrupted_by_time_by_hand_and_by_giving_it_up(sandboxes: Sandboxes) -> None:
    async with sandboxes.open("a") as session:
        events = await run(session, "x = 1\nwhile True: pass", seconds=0.3)
        assert events[-1] == CodeEnded("timed_out")

        said = []
        async with aclosing(session.execute("print('on')\nwhile True: pass", seconds=20)) as events_of:  # type: ignore[type-var]
            async for event in events_of:
                said.append(event)
                if event == CodePrinted("on\n"):
                    await session.interrupt()
        assert said[-1] == CodeEnded("interrupted")

        async with aclosing(session.execute("print('on')\nwhile True: pass", seconds=20)) as events_of:  # type: ignore[type-var]
            async for _ in events_of:
                break
        assert (await run(session, "x"))[0] == CodeValue("1")


async def test_events_come_while_the_code_runs(sandboxes: Sandboxes) -> None:
    code = "import time\nprint('first', flush=True)\nwhile not __import__('os').path.exists('go'): time.sleep(0.005)"
    async with sandboxes.open("a") as session:
        said: list[CodeEvent] = []
        async for event in session.execute(code, seconds=20):
            if not said:
                await session.put("go", b"")
            said.append(event)
        assert said == [CodePrinted("first\n"), CodeEnded("done")]


async def test_a_flood_ends_the_session_and_little_of_it_is_told(opener: Opener) -> None:
    sandboxes = await opener(limits=SandboxLimits(flood_bytes=4_000_000, text_bytes=100_000))
    async with sandboxes.open("a") as session:
        events = await run(session, "import os\nwhile True: os.write(1, b'\\0<\\xff>' * 16_000)")
    (*printed, ended) = events
    assert isinstance(ended, CodeEnded)
    assert ended.how == "killed"
    assert sum(len(event.text) for event in printed if isinstance(event, CodePrinted)) < 101_000
    async with sandboxes.open("a") as session:
        assert session.state == "restarted"


async def test_with_every_session_at_work_opening_says_that_they_are_busy(opener: Opener) -> None:
    sandboxes = await opener(sessions_max=1, limits=SandboxLimits(wait_seconds=0.1))
    async with sandboxes.open("a"):
        with pytest.raises(SandboxBusy, match="try again later"):
            async with sandboxes.open("b"):
                pass
    async with sandboxes.open("b") as session:
        assert session.state == "fresh"


async def test_without_an_environment_opening_and_checking_say_what_mends_it(opener: Opener, tmp_path: Path) -> None:
    required()
    sandboxes = await opener(environment=tmp_path / "none")
    with pytest.raises(SandboxUnavailable, match="understudy sandbox init"):
        async with sandboxes.open("a"):
            pass
    with pytest.raises(SandboxUnavailable, match="understudy sandbox init"):
        await sandboxes.check()
