"""The local model's process: one at a time, as long as its parent, restarted after its death."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.local import CHILD, ENOUGH_SECONDS, scripted, starts, until
from understudy.models.local_server import COMMAND, Address, LocalServer, LocalUnavailable
from understudy.ports import ModelError
from understudy.weights import SMOLLM2, WeightsUnavailable


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return scripted(tmp_path)


@asynccontextmanager
async def serving(gguf: Path | Callable[[], Path], **options: Any) -> AsyncIterator[LocalServer]:
    find = gguf if callable(gguf) else lambda: gguf
    options = {"model": "tiny", "slots": 2, "slot_tokens": 64, "command": CHILD, **options}
    server = LocalServer(gguf=find, **options)
    try:
        yield server
    finally:
        await server.close()


def listens(address: Address) -> bool:
    port = int(address.base_url.removesuffix("/v1").rpartition(":")[2])
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_concurrent_first_uses_start_one_process(gguf: Path) -> None:
    async with serving(gguf) as server:
        found: list[Address] = []

        async def use() -> None:
            found.append(await server.address())

        async with anyio.create_task_group() as uses:
            for _ in range(8):
                uses.start_soon(use)
        assert len(found) == 8
        assert len(set(map(repr, found))) == 1
        assert len(starts(gguf)) == 1


async def test_the_key_is_random_and_no_argument(gguf: Path) -> None:
    async with serving(gguf) as server:
        address = await server.address()
        (start,) = starts(gguf)
        assert start["order"]["key"] == address.key
        assert len(address.key) == 64
        assert address.key not in " ".join(start["argv"])


async def test_a_caller_that_gives_up_does_not_take_the_start_away_from_others(gguf: Path) -> None:
    async with serving(gguf) as server:
        async with anyio.create_task_group() as uses:
            uses.start_soon(server.address)
            await anyio.lowlevel.checkpoint()
            uses.cancel_scope.cancel()
        await server.address()
        assert len(starts(gguf)) == 1


async def test_the_next_use_after_its_death_starts_it_again(gguf: Path) -> None:
    async with serving(gguf) as server:
        first = await server.address()
        os.kill(starts(gguf)[0]["pid"], signal.SIGKILL)
        await until(lambda: not listens(first))
        with anyio.fail_after(ENOUGH_SECONDS):
            while (second := await server.address()) == first:
                await anyio.lowlevel.checkpoint()
        assert second.key != first.key
        assert listens(second)
        assert len(starts(gguf)) == 2


async def test_close_ends_the_process(gguf: Path) -> None:
    async with serving(gguf) as server:
        address = await server.address()
        assert listens(address)
    assert not listens(address)


async def test_close_kills_a_process_that_does_not_end_by_itself(gguf: Path) -> None:
    scripted(gguf.parent, start="stubborn")
    async with serving(gguf, stop_seconds=0.1) as server:
        address = await server.address()
        began = time.monotonic()
    assert not listens(address)
    assert time.monotonic() - began < 2


async def test_close_during_the_start_ends_the_start_and_whoever_waits_for_it(gguf: Path) -> None:
    scripted(gguf.parent, start="hang")
    async with serving(gguf, stop_seconds=0.1) as server, anyio.create_task_group() as uses:
        refused: list[str] = []

        async def use() -> None:
            try:
                await server.address()
            except ModelError as error:
                refused.append(error.message)

        uses.start_soon(use)
        await until(lambda: len(starts(gguf)) == 1)
        await server.close()
        await until(lambda: refused == ["The server is shutting down."])
    with pytest.raises(ProcessLookupError):
        os.kill(starts(gguf)[0]["pid"], 0)


async def test_close_without_a_start_is_nothing(gguf: Path) -> None:
    async with serving(gguf) as server:
        await server.close()
        with pytest.raises(ModelError):
            await server.address()


async def test_a_process_that_says_why_it_cannot_start_is_quoted(gguf: Path) -> None:
    scripted(gguf.parent, start="fail")
    async with serving(gguf) as server:
        with pytest.raises(ModelError, match="could not start: bad magic"):
            await server.address()


async def test_a_process_that_ends_at_once_is_an_error_with_its_exit_code(gguf: Path) -> None:
    scripted(gguf.parent, start="exit")
    async with serving(gguf) as server:
        with pytest.raises(ModelError, match="ended with exit code 3"):
            await server.address()


async def test_a_process_that_does_not_answer_is_given_up(gguf: Path) -> None:
    scripted(gguf.parent, start="hang")
    async with serving(gguf, start_seconds=0.3, stop_seconds=0.1) as server:
        with pytest.raises(ModelError, match=r"within 0\.3 seconds"):
            await server.address()


async def test_a_failed_start_is_tried_again_at_the_next_use(gguf: Path) -> None:
    scripted(gguf.parent, start="fail")
    async with serving(gguf) as server:
        with pytest.raises(ModelError):
            await server.address()
        scripted(gguf.parent)
        assert listens(await server.address())


async def test_missing_weights_are_said_in_their_own_words() -> None:
    def none() -> Path:
        raise WeightsUnavailable(SMOLLM2, "no index")

    async with serving(none) as server:
        with pytest.raises(LocalUnavailable, match=r"no index.*UNDERSTUDY_UPSTREAM_BASE_URL"):
            await server.address()


PARENT = """
import asyncio, pathlib, sys
from understudy.models.local_server import LocalServer

async def main():
    gguf = pathlib.Path(sys.argv[1])
    server = LocalServer(gguf=lambda: gguf, model="m", slots=1, slot_tokens=1, command=sys.argv[2:])
    print((await server.address()).base_url, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_it_dies_with_its_parent(gguf: Path) -> None:
    parent = await anyio.open_process([sys.executable, "-c", PARENT, str(gguf), *CHILD])
    async with parent:
        assert parent.stdout is not None
        printed = b""
        with anyio.fail_after(ENOUGH_SECONDS):
            # A log line comes first.
            while not (found := re.search(rb"^(http:\S+)$", printed, re.MULTILINE)):
                printed += await parent.stdout.receive()
        parent.kill()
    address = Address(found[1].decode(), "")
    await until(lambda: not listens(address))


# --- the real child, with a stand-in for the package that it loads


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a module `xllamacpp` of the given text in front of any real one, for child processes only."""

    def place(text: str) -> None:
        folder = tmp_path / "package"
        folder.mkdir()
        (folder / "xllamacpp.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, sys.path)]))

    return place


FAKE_PACKAGE = """
import json, sys
from types import SimpleNamespace

def CommonParams():
    groups = ("model", "sampling", "cpuparams", "cpuparams_batch")
    return SimpleNamespace(**{group: SimpleNamespace() for group in groups})

class Server:
    def __init__(self, params):
        print("native code prints")
        if not params.model.path.endswith("model.gguf"):
            raise RuntimeError("failed to load")
        with open(params.model.path + ".params", "w") as file:
            json.dump({"n_ctx": params.n_ctx, "n_parallel": params.n_parallel, "keys": params.api_keys}, file)
        self.listening_address = "http://127.0.0.1:1"
"""


def params_of(gguf: Path) -> object:
    return json.loads(Path(f"{gguf}.params").read_text())


async def test_without_the_package_the_error_says_what_to_set(gguf: Path, package: Callable[[str], None]) -> None:
    package("raise ImportError('No module named xllamacpp')")
    async with serving(gguf, command=COMMAND) as server:
        with pytest.raises(LocalUnavailable, match=r"UNDERSTUDY_UPSTREAM_BASE_URL and UNDERSTUDY_UPSTREAM_API_KEY"):
            await server.address()


async def test_what_native_code_prints_does_not_reach_the_answer(gguf: Path, package: Callable[[str], None]) -> None:
    package(FAKE_PACKAGE)
    async with serving(gguf, command=COMMAND) as server:
        address = await server.address()
        assert address.base_url == "http://127.0.0.1:1/v1"
        assert params_of(gguf) == {"n_ctx": 128, "n_parallel": 2, "keys": [address.key]}


async def test_a_broken_file_is_an_error(tmp_path: Path, package: Callable[[str], None]) -> None:
    package(FAKE_PACKAGE)
    async with serving(tmp_path / "broken", command=COMMAND) as server:
        with pytest.raises(ModelError, match="failed to load"):
            await server.address()


def test_the_real_child_outlives_a_ctrl_c_and_ends_with_its_input(gguf: Path, package: Callable[[str], None]) -> None:
    package(FAKE_PACKAGE)
    order = {"gguf": str(gguf), "key": "k", "model": "m", "slots": 1, "slot_tokens": 64, "threads": 1}
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()
        assert b"Ready" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.1)
        child.stdin.close()
        assert child.wait(ENOUGH_SECONDS) == 0
