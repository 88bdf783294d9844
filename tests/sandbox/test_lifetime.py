"""How code, sessions and the server itself come to their end, and what they leave: no process."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.sandboxes import USERS, Host, alive, host
from understudy.sandbox.tree import below

WAIT_SECONDS = 10


@pytest.fixture(scope="module", params=USERS)
def impatient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A server that gives interrupted code little time."""
    with host(tmp_path_factory.mktemp("impatient"), request.param, limits={"grace_seconds": 0.2}) as running:
        yield running


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < ends, "it did not come to be"
        time.sleep(0.005)


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(99)",
        "import re; re.match('(a+)+$', 'a' * 40 + 'b')",
        "import subprocess; subprocess.run(['sleep', '99'])",
    ],
)
def test_code_whose_time_is_over_is_interrupted_and_keeps_its_variables(server: Host, code: str) -> None:
    said = server.run(f"kept = 7\n{code}", seconds=0.3)
    assert (said.how, said.lost) == ("timed_out", None)
    assert "KeyboardInterrupt" in said.raised[0]
    assert server.run("kept").values == ["7"]


@pytest.mark.parametrize(
    "code",
    [
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "import time\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass",
    ],
)
def test_code_that_ignores_the_interrupt_is_killed(impatient: Host, code: str) -> None:
    said = impatient.run(code, key="stubborn", seconds=0.2)
    assert said.how == "killed"
    assert said.lost == "The code went on after it was interrupted. Variables are lost, files are kept."
    assert impatient.run("1", key="stubborn").state == "restarted"


def test_an_interrupt_is_heard_again_after_code_that_ignored_it(server: Host) -> None:
    server.run("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert server.run("while True: pass", seconds=0.2).how == "timed_out"


def test_running_code_is_interrupted_when_asked(server: Host) -> None:
    number = server.begin("execute", key="asked", code="kept = 1\nwhile True: pass", seconds=15)
    server.ask("running", key="asked")
    server.ask("interrupt", key="asked")
    assert server.finish(number)["events"][-1] == {"type": "ended", "how": "interrupted", "lost": None}


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os\nos._exit(7)", "Python ended with exit code 7."),
        ("import ctypes\nctypes.string_at(0)", "Python was ended by SIGSEGV."),
        ("import os\nos.abort()", "Python was ended by SIGABRT."),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "Python was ended by SIGKILL."),
    ],
)
def test_a_python_that_ends_itself_says_how_and_the_next_starts_clean(server: Host, code: str, why: str) -> None:
    said = server.run(f"print('before')\n{code}", key="ending")
    assert (said.how, said.lost) == ("killed", f"{why} Variables are lost, files are kept.")
    assert said.printed.startswith("before\n")
    assert server.run("'clean'", key="ending").values == ["'clean'"]


def test_killing_everybody_reaches_nobody_outside(server: Host) -> None:
    server.run("import os\nos.kill(-1, 9)", key="everybody")
    assert server.process.poll() is None
    assert server.run("1", key="everybody").values == ["1"]


def test_a_daemon_stays_inside_is_frozen_between_calls_and_ends_with_the_session(server: Host) -> None:
    code = """
import subprocess
_ = subprocess.Popen(["python", "-c", "while True: pass"], start_new_session=True)
"""
    server.run(code, key="daemon")
    pids = server.ask("processes", key="daemon")
    assert len(pids) == 2
    until(lambda: all(state_of(pid) == "T" for pid in pids))
    assert len(server.ask("processes", key="daemon")) == 2
    assert server.run("print('thawed')", key="daemon").printed == "thawed\n"
    server.ask("end", key="daemon")
    assert alive(pids) == []


def test_a_server_that_ends_leaves_no_process_and_no_folder(folder: Path) -> None:
    with host(folder, "ordinary") as server:
        server.run("1", key="a")
        server.run("1", key="b")
        pids = [member.pid for member in below(server.process.pid)]
        assert len(pids) == 6
    assert alive(pids) == []
    assert list((folder / "sandboxes").iterdir()) == []


@pytest.mark.parametrize("user", USERS)
def test_a_killed_server_leaves_no_process(folder: Path, user: str) -> None:
    with host(folder, user) as server:
        server.run("import subprocess\n_ = subprocess.Popen(['sleep', '99'], start_new_session=True)", key="idle")
        server.begin("execute", key="busy", code="while True: pass", seconds=20)
        server.ask("running", key="busy")
        pids = [member.pid for member in below(server.process.pid)]
        assert len(pids) >= 7
        server.process.send_signal(signal.SIGKILL)
        until(lambda: alive(pids) == [])


def state_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    return words[words.rindex(")") + 2]
