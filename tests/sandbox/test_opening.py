"""The sandboxes that follow from a server's settings."""

from pathlib import Path

import pytest

from understudy.app import make_sandboxes
from understudy.ports import SandboxUnavailable
from understudy.sandbox.local import LocalSandboxes
from understudy.settings import Settings


async def test_a_server_runs_code_on_its_own_machine(tmp_path: Path) -> None:
    sandboxes = make_sandboxes(Settings(data_dir=tmp_path))
    assert isinstance(sandboxes, LocalSandboxes)
    await sandboxes.close()


async def test_without_an_environment_opening_says_which_command_makes_it(tmp_path: Path) -> None:
    sandboxes = make_sandboxes(Settings(data_dir=tmp_path))
    try:
        with pytest.raises(SandboxUnavailable, match=r"understudy sandbox init|bubblewrap|Linux"):
            async with sandboxes.open("key"):
                pass
    finally:
        await sandboxes.close()


async def test_switched_off_nothing_opens(tmp_path: Path) -> None:
    sandboxes = make_sandboxes(Settings(data_dir=tmp_path, code_interpreter="off"))
    with pytest.raises(SandboxUnavailable, match="switched off"):
        async with sandboxes.open("key"):
            pass
    with pytest.raises(SandboxUnavailable, match="switched off"):
        await sandboxes.check()
    await sandboxes.close()
