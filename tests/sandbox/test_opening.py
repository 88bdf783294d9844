"""The sandboxes that follow from a server's settings."""

from pathlib import Path

import pytest

from support.sandboxes import required
from understudy.app import make_sandboxes
from understudy.ports import SandboxUnavailable
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.opening import environment_in
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


@pytest.mark.parametrize("warm", [0, 1])
async def test_as_many_wait_ready_as_the_operator_wants(tmp_path: Path, warm: int) -> None:
    environment = required()
    (tmp_path / "sandbox").mkdir()
    environment_in(tmp_path / "sandbox").symlink_to(environment)
    sandboxes = make_sandboxes(Settings(data_dir=tmp_path, sandbox_warm=warm))
    assert isinstance(sandboxes, LocalSandboxes)
    try:
        sandboxes.warm_up()
        if sandboxes._filling is not None:
            await sandboxes._filling
        assert sandboxes.ready == warm
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
