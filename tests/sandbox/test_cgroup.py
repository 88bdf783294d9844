"""Cgroups, where this machine lets a test make one; and where they are looked for."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sandboxes import required
from understudy.ports import CodeValue
from understudy.sandbox.cgroup import Cgroups, find_cgroups
from understudy.sandbox.local import LocalSandboxes

# Of version 1, where a machine still has it: the same files, for one controller.
PIDS = Path("/sys/fs/cgroup/pids")


@pytest.fixture
def parent() -> Iterator[Path]:
    """A cgroup that is this test's own, and that counts processes."""
    folder = PIDS / f"understudy-test-{os.getpid()}"
    if not (PIDS / "cgroup.procs").exists() or not os.access(PIDS, os.W_OK):
        pytest.skip("no cgroup can be made here")
    folder.mkdir()
    yield folder
    folder.rmdir()


async def test_a_session_is_in_its_cgroup_from_its_first_moment(parent: Path, tmp_path: Path) -> None:
    sandboxes = LocalSandboxes(environment=required(), folder=tmp_path / "sandboxes", warm=0, cgroups=Cgroups(parent))
    code = """
import os, signal
children = []
try:
    while len(children) < 99:
        if (child := os.fork()) == 0: signal.pause()
        children.append(child)
except OSError: pass
for child in children: os.kill(child, 9), os.waitpid(child, 0)
len(children)
"""
    try:
        async with sandboxes.open("a") as session:
            (made,) = inner(parent)
            assert len((made / "cgroup.procs").read_text("ascii").split()) == 2
            assert (made / "pids.max").read_text("ascii").strip() == "72"
            (made / "pids.max").write_text("10", "ascii")
            result, _ = [event async for event in session.execute(code)]
            assert result == CodeValue("8")
    finally:
        await sandboxes.close()
    assert inner(parent) == []


def inner(parent: Path) -> list[Path]:
    return [folder for folder in parent.iterdir() if folder.is_dir()]


def tree(root: Path, own: str, control: str) -> tuple[Path, Path]:
    """A picture of a version 2 hierarchy, and of what /proc says of ours."""
    folder = root / own
    folder.mkdir(parents=True)
    for each in (folder, folder.parent):
        (each / "cgroup.subtree_control").write_text(control, "ascii")
    says = root.parent / "self"
    says.write_text(f"0::/{own}\n", "ascii")
    return root, says


def test_a_delegated_cgroup_is_found(tmp_path: Path) -> None:
    cgroups = find_cgroups(*tree(tmp_path / "fs", "system.slice/understudy.service", "cpu memory pids"))
    assert cgroups is not None
    cgroup = cgroups.make(memory_bytes=2**20, processes=9)
    cgroup.remove()


def test_without_a_cgroup_of_its_own_none_is_made(tmp_path: Path) -> None:
    assert find_cgroups(tmp_path, tmp_path / "absent") is None
    (tmp_path / "self").write_text("9:memory:/x\n", "ascii")
    assert find_cgroups(tmp_path, tmp_path / "self") is None


def test_the_machines_own_cgroups_are_read_without_harm() -> None:
    before = subprocess.run(["find", "/sys/fs/cgroup", "-maxdepth", "3"], capture_output=True, check=False).stdout
    find_cgroups()
    after = subprocess.run(["find", "/sys/fs/cgroup", "-maxdepth", "3"], capture_output=True, check=False).stdout
    assert before == after
