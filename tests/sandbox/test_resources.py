"""Code that takes all it can get of memory, processes and disk: it, or its session, ends, and nothing else does."""

import platform

import pytest

from support.attacks import TRY
from support.sandboxes import Host
from understudy.confine.syscalls import MACHINES, NUMBERS

MIB = 2**20


def killed(server: Host, code: str, why: str, key: str = "greedy") -> None:
    said = server.run(code, key=key)
    assert said.how == "killed", said
    assert said.lost is not None
    assert why in said.lost
    assert said.lost.count("\n") == 0
    # Whoever comes next starts clean.
    assert server.run("1 + 1", key=key).values == ["2"]


def test_more_memory_than_a_process_may_have_raises(server: Host) -> None:
    said = server.run("kept = 1\nbytearray(10 * 2**30)")
    assert said.raised[0].endswith("MemoryError: ")
    assert server.run("kept").values == ["1"]


def test_memory_that_is_used_ends_the_session(server: Host) -> None:
    code = "kept = [bytearray(b'x' * 50 * 2**20) for _ in range(40)]\nimport time\ntime.sleep(9)"
    killed(server, code, "more than 400 MiB of memory. Variables are lost, files are kept.")


def test_memory_of_many_processes_counts_together(server: Host) -> None:
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        mine = bytearray(b"x" * 100 * 2**20)
        time.sleep(9)
        os._exit(0)
time.sleep(9)
"""
    killed(server, code, "of memory")


def test_memory_that_no_process_has_mapped_is_refused(server: Host) -> None:
    shmget = NUMBERS["shmget"][list(MACHINES).index(platform.machine())]
    code = f"(attempt(lambda: os.memfd_create('x')), call({shmget}, 0, 2**30, 0o1600))"
    assert server.run(TRY + code).values == ["('EPERM', 'EPERM')"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/tmp/x", "ENOSPC"),
        ("/dev/shm/x", "ENOSPC"),
        ("~/x", "ENOSPC"),
        ("/x", "EROFS"),
        ("/dev/x", "EROFS"),
    ],
)
def test_a_folder_in_memory_is_full_at_its_size(server: Host, path: str, why: str) -> None:
    code = f"""
path = os.path.expanduser({path!r})
def fill():
    with open(path, "wb") as file:
        for _ in range(64):
            file.write(bytes(2**20))
            file.flush()
filled = attempt(fill)
attempt(lambda: os.unlink(path))
filled
"""
    assert server.run(TRY + code).values == [repr(why)]


def test_forks_end_at_the_limit_of_processes(server: Host) -> None:
    code = """
import signal
children = []
def fork():
    while len(children) < 200:
        if (child := os.fork()) == 0:
            signal.pause()
        children.append(child)
stopped = attempt(fork)
for child in children:
    os.kill(child, 9), os.waitpid(child, 0)
(stopped, 20 < len(children) < 64)
"""
    assert server.run(TRY + code, key="forks").values == ["('EAGAIN', True)"]


def test_threads_end_at_the_limit_of_processes(server: Host) -> None:
    code = """
import threading
stop, started = threading.Event(), []
try:
    while len(started) < 200:
        thread = threading.Thread(target=stop.wait)
        thread.start()
        started.append(thread)
except RuntimeError as error:
    print(error)
stop.set()
[thread.join() for thread in started]
20 < len(started) < 64
"""
    said = server.run(code)
    assert (said.printed, said.values) == ("can't start new thread\n", ["True"])


def test_a_fork_bomb_ends_with_its_time(server: Host) -> None:
    code = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    said = server.run(code, key="bomb", seconds=0.5)
    assert said.how in ("killed", "timed_out")
    assert server.run("2", key="bomb").values == ["2"]


def test_one_file_ends_at_its_limit(server: Host) -> None:
    code = """
def fill():
    with open("huge", "wb", buffering=0) as file:
        for _ in range(64):
            file.write(bytes(2**20)) == 2**20
ended = attempt(fill)
size = os.stat("huge").st_size
os.unlink("huge")
(ended, size)
"""
    assert server.run(TRY + code).values == [f"('EFBIG', {32 * MIB})"]


def test_many_large_files_end_the_session(server: Host) -> None:
    code = "import time\nfor n in range(9):\n    open(f'{n}.bin', 'wb').write(b'x' * 2**23)\ntime.sleep(9)"
    killed(server, code, "more than 48 MiB to /mnt/data. Variables and files are lost.")
    assert server.ask("files", key="greedy") == []


def test_files_without_a_name_count_too(server: Host) -> None:
    code = """
import os, time
held = []
for n in range(9):
    held.append(open("nameless", "wb"))
    os.unlink("nameless")
    held[-1].write(b"x" * 2**23)
    held[-1].flush()
time.sleep(9)
"""
    killed(server, code, "more than 48 MiB")


def test_many_empty_files_end_the_session(server: Host) -> None:
    code = "import time\nfor n in range(20_000):\n    open(str(n), 'w').close()\ntime.sleep(9)"
    killed(server, code, "more than 500 files")


@pytest.mark.parametrize("folder", ["closed", "."])
@pytest.mark.parametrize("mode", [0, 0o600, 0o300])
def test_files_in_a_folder_whose_mode_hides_them_count_too(server: Host, folder: str, mode: int) -> None:
    code = f"""
import os, time
os.makedirs({folder!r}, exist_ok=True)
for n in range(600):
    open(os.path.join({folder!r}, str(n)), "w").close()
os.chmod({folder!r}, {mode})
time.sleep(9)
"""
    killed(server, code, "more than 500 files")


def test_files_of_many_short_calls_count_too(server: Host) -> None:
    for n in range(8):
        said = server.run(f"open('{n}.part', 'wb').write(b'x' * 2**23)", key="patient")
        if said.how == "killed":
            break
    assert said.how == "killed"
    assert n <= 6


def test_folders_in_folders_end_the_session_and_are_removed(server: Host) -> None:
    code = """
import os, time
for _ in range(60):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
os.chmod(".", 0)
time.sleep(9)
"""
    killed(server, code, "nested folders")
    assert server.ask("files", key="greedy") == []
