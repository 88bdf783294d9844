"""SQLite is not opened on what several machines may share."""

import asyncio
from pathlib import Path

import pytest

from support.store import refusal
from understudy.ports import StoreUnavailable
from understudy.store import opening
from understudy.store.mounts import network_file_system
from understudy.store.opening import open_store

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:40 / /mnt/share rw,relatime shared:1 - nfs4 server:/export rw,vers=4.2
41 40 0:41 / /mnt/share/disk rw,relatime - xfs /dev/vdb rw
42 27 0:42 / /mnt/with\040blank rw - fuse.sshfs me@there: rw,user_id=0
43 27 0:43 / /over rw - ext4 /dev/vdc rw
44 27 0:44 / /over rw master:1 propagate_from:2 - cifs //there/share rw
45 27 0:45 / /windows rw - 9p drvfs rw,aname=drvfs;path=C:\134,trans=fd
46 27 0:46 / /sandbox rw - 9p none rw,trans=fd,rfdno=4,wfdno=4,cache=remote_revalidating,directfs
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    return _mounts_of(tmp_path, MOUNTS.lstrip())


def _mounts_of(directory: Path, text: str) -> Path:
    written = directory / "mountinfo"
    written.write_text(text)
    return written


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/understudy.db", None),
        ("/mnt/share/understudy/understudy.db", "nfs4"),
        ("/mnt/shared/understudy.db", None),
        ("/mnt/share/disk/understudy.db", None),
        ("/mnt/with blank/understudy.db", "fuse.sshfs"),
        ("/over/understudy.db", "cifs"),
        ("/windows/understudy.db", "9p"),
        ("/sandbox/understudy.db", None),
    ],
)
def test_the_file_system_is_that_of_the_deepest_and_last_mount(path: str, kind: str | None, mounts: Path) -> None:
    assert network_file_system(Path(path), mounts) == kind


def test_where_nobody_tells_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "missing") is None


def test_a_link_is_followed_to_where_the_file_is(tmp_path: Path, mounts: Path) -> None:
    (tmp_path / "link").symlink_to("/mnt/share/understudy")
    assert network_file_system(tmp_path / "link" / "understudy.db", mounts) == "nfs4"


def test_this_machines_own_disk_is_none(tmp_path: Path) -> None:
    assert network_file_system(tmp_path / "understudy.db") is None


async def test_a_sqlite_file_on_a_network_file_system_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = await asyncio.to_thread(_mounts_of, tmp_path, f"27 1 254:0 / {tmp_path} rw - nfs there:/ rw\n")
    monkeypatch.setattr(opening, "network_file_system", lambda path: network_file_system(path, mounts))
    refused = await refusal(StoreUnavailable, open_store(tmp_path / "understudy.db"))
    assert str(refused) == (
        f"A SQLite file does not work on a network file system, and {tmp_path} is on one (nfs): set data_dir to a disk "
        "of this machine, or database_url to a PostgreSQL database that machines share."
    )
    assert not (tmp_path / "understudy.db").exists()
