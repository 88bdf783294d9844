"""The daemon as a process of its own: its key, and what is left when it, or a client of it, is killed."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sandbox_daemon import KEY
from support.sandboxes import alive, required
from understudy.ports import CodeEnded, CodePrinted, SandboxUnavailable
from understudy.sandbox.remote import RemoteSandboxes
from understudy.sandbox.tree import below

START_SECONDS = 30.0
CLIENT = """
import asyncio, sys
from understudy.sandbox.remote import RemoteSandboxes

async def main():
    async with RemoteSandboxes([sys.argv[1]], sys.argv[2]).open("a") as session:
        async for event in session.execute("print('on')\\nwhile True: pass", seconds=60):
            print("on", flush=True)

asyncio.run(main())
"""


def serve(folder: Path, key: str) -> "subprocess.Popen[str]":
    (folder / "sandbox").mkdir(exist_ok=True)
    if not (folder / "sandbox" / "environment").exists():
        (folder / "sandbox" / "environment").symlink_to(required())
    return subprocess.Popen(
        [sys.executable, "-m", "understudy", "sandbox", "serve", "--port", "0", "--data-dir", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"UNDERSTUDY_SANDBOX_KEY": key},
    )


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Its process and its URL."""
    with serve(tmp_path, KEY) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield process, found[0]
                    break
            else:
                pytest.fail("the daemon did not start")
        finally:
            process.kill()


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(START_SECONDS):
        while alive(pids):  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0.01)


def test_without_a_good_key_it_does_not_start(tmp_path: Path) -> None:
    for key in ("", "short"):
        with serve(tmp_path, key) as process:
            _, said = process.communicate(timeout=START_SECONDS)
        assert process.returncode == 1
        assert "UNDERSTUDY_SANDBOX_KEY" in said


async def test_a_daemon_that_is_killed_takes_its_sessions_with_it_and_the_server_is_told(
    daemon: tuple["subprocess.Popen[str]", str],
) -> None:
    process, url = daemon
    sandboxes = RemoteSandboxes([url], KEY)
    try:
        await sandboxes.check()
        async with sandboxes.open("a") as session:
            said = []
            async for event in session.execute("print('on')\nwhile True: pass", seconds=60):
                said.append(event)
                if event == CodePrinted("on\n"):
                    pids = [member.pid for member in below(process.pid)]
                    assert len(pids) > 1
                    process.kill()
            (*_, ended) = said
            assert isinstance(ended, CodeEnded)
            assert ended.how == "killed"
            assert ended.lost is not None
            assert "lost" in ended.lost
        await gone(pids)
        with pytest.raises(SandboxUnavailable, match="understudy sandbox serve"):
            async with sandboxes.open("a"):
                pass
    finally:
        await sandboxes.close()


async def test_a_client_that_is_killed_leaves_its_session_to_the_next(
    daemon: tuple["subprocess.Popen[str]", str],
) -> None:
    _, url = daemon
    sandboxes = RemoteSandboxes([url], KEY)
    try:
        async with sandboxes.open("a") as session:
            assert [event async for event in session.execute("x = 1")] == [CodeEnded("done")]
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, url, KEY, stdout=asyncio.subprocess.PIPE
        )
        assert client.stdout is not None
        assert await client.stdout.readline() == b"on\n"
        client.send_signal(signal.SIGKILL)
        await client.wait()
        async with asyncio.timeout(START_SECONDS), sandboxes.open("a") as session:
            assert session.state == "resumed"
            assert [event async for event in session.execute("print(x)")] == [CodePrinted("1\n"), CodeEnded("done")]
    finally:
        await sandboxes.close()
