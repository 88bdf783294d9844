"""Code without a sandbox: what still holds then, and that nobody gets there without asking."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog.testing

from support.sandboxes import SECRET, USERS, Host, alive, host
from understudy.app import create_app, make_sandboxes
from understudy.sandbox.arguments import ENVIRONMENT
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.plain import PlainSandboxes
from understudy.sandbox.tree import below
from understudy.settings import SettingError, Settings

WAIT_SECONDS = 10
LIMITS = {"memory_bytes": 400 * 2**20, "disk_bytes": 48 * 2**20, "file_bytes": 32 * 2**20, "grace_seconds": 1.0}


@pytest.fixture(scope="module", params=USERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("plain"), request.param, limits=LIMITS, plain=True) as running:
        yield running


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < ends, "it did not come to be"
        time.sleep(0.005)


def test_the_check_runs_code(server: Host) -> None:
    server.ask("check")


def test_variables_stay_from_call_to_call(server: Host) -> None:
    server.run("x = 6")
    assert server.run("x * 7").values == ["42"]


def test_code_finds_what_was_put_and_its_files_are_had(server: Host) -> None:
    assert server.ask("put", key="files", name="in.txt", text="hello") == "/mnt/data/in.txt"
    code = (
        "open('/mnt/data/out.txt', 'w').write(open('/mnt/data/in.txt').read().upper())\nopen('near.txt', 'w').close()"
    )
    assert server.run(code, key="files").raised == []
    changed = server.ask("changes", key="files")["files"]
    assert [file["name"] for file in changed] == ["near.txt", "out.txt"]
    assert server.get("out.txt", key="files") == b"HELLO"


def test_paths_come_back_as_mnt_data_in_text_values_and_errors(server: Host) -> None:
    said = server.run("import os\nprint(os.getcwd())\nos.getcwd() + '/x'", key="paths")
    assert (said.printed, said.values) == ("/mnt/data\n", ["'/mnt/data/x'"])
    said = server.run("open(os.path.join(os.getcwd(), 'none'))", key="paths")
    assert "No such file or directory: '/mnt/data/none'" in said.raised[0]


def test_a_path_that_comes_in_two_pieces_is_one(server: Host) -> None:
    code = """
import os, time
path = os.getcwd()
for piece in (path[:7], path[7:]):
    os.write(1, piece.encode())
    time.sleep(0.05)
"""
    assert server.run(code, key="pieces").printed == "/mnt/data"


def test_names_that_only_begin_like_the_folder_are_left_alone(server: Host) -> None:
    assert server.run("['/mnt/database', 'x/mnt/data'], len('/mnt/data') > 9", key="alike").values == [
        "(['/mnt/database', 'x/mnt/data'], True)"
    ]


def test_a_figure_is_a_picture(server: Host) -> None:
    (picture,) = server.run("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", key="figure").pictures
    assert picture.startswith(b"\x89PNG")
    assert server.ask("files", key="figure") == []


@pytest.mark.parametrize("code", ["while True: pass", "import subprocess; subprocess.run(['sleep', '99'])"])
def test_code_whose_time_is_over_is_interrupted_and_keeps_its_variables(server: Host, code: str) -> None:
    said = server.run(f"kept = 7\n{code}", seconds=0.3)
    assert (said.how, said.lost) == ("timed_out", None)
    assert server.run("kept").values == ["7"]


def test_memory_files_and_processes_are_bounded(server: Host) -> None:
    said = server.run("x = bytearray(500 * 2**20)\nwhile True: pass", key="memory")
    assert said.lost == "The code used more than 400 MiB of memory. Variables are lost, files are kept."
    assert "File too large" in server.run("open('big', 'wb').write(bytes(40 * 2**20))", key="memory").raised[0]
    code = "import subprocess\nfor _ in range(70): subprocess.Popen(['sleep', '99'])\nwhile True: pass"
    said = server.run(code, key="processes")
    assert said.lost == "The code started more than 64 processes. Variables are lost, files are kept."


def test_the_environment_has_nothing_of_the_servers(server: Host) -> None:
    said = server.run("import os\nprint(os.environ)\n' '.join(sorted(os.environ))", key="environment")
    assert SECRET not in said.printed
    assert set(said.values[0].strip("'").split()) == {*ENVIRONMENT, "TMPDIR"}


def test_no_descriptor_of_the_server_is_open(server: Host) -> None:
    code = """
import os
for number in range(3, 256):
    try:
        print(os.readlink(f"/proc/self/fd/{number}").split(":")[0])
    except OSError:
        pass
"""
    assert server.run(code, key="descriptors").lines == ["pipe", "pipe"]


def test_it_is_never_root_and_cannot_become_it(server: Host) -> None:
    assert server.run("import os\nos.getuid() == 0, os.geteuid() == 0", key="who").values == ["(False, False)"]
    assert server.run("'NoNewPrivs:\\t1' in open('/proc/self/status').read()", key="who").values == ["True"]


def test_how_a_python_ended_is_told(server: Host) -> None:
    for code, why in (
        ("os._exit(7)", "Python ended with exit code 7."),
        ("os.abort()", "Python was ended by SIGABRT."),
    ):
        said = server.run(f"import os\n{code}", key="ending")
        assert (said.how, said.lost) == ("killed", f"{why} Variables are lost, files are kept.")
    assert server.run("1", key="ending").state == "restarted"


def test_what_a_session_started_is_frozen_between_calls_and_ends_with_it(server: Host) -> None:
    code = """
import os, subprocess
_ = subprocess.Popen(["sleep", "99"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: pass
    os._exit(0)
"""
    server.run(code, key="daemon")
    pids = server.ask("processes", key="daemon")
    assert len(pids) >= 3
    server.ask("end", key="daemon")
    assert alive(pids) == []


@pytest.mark.parametrize("user", USERS)
def test_a_server_that_ends_leaves_no_process_and_no_folder(tmp_path: Path, user: str) -> None:
    with host(tmp_path / "host", user, plain=True) as server:
        server.run("1", key="a")
        pids = [member.pid for member in below(server.process.pid)]
        assert len(pids) == 2
    assert alive(pids) == []
    assert list((tmp_path / "host" / "sandboxes").iterdir()) == []


@pytest.mark.parametrize("user", USERS)
def test_a_killed_server_leaves_no_process(tmp_path: Path, user: str) -> None:
    with host(tmp_path / "host", user, plain=True) as server:
        server.run("import subprocess\n_ = subprocess.Popen(['sleep', '99'], start_new_session=True)", key="idle")
        server.begin("execute", key="busy", code="while True: pass", seconds=20)
        server.ask("running", key="busy")
        pids = [member.pid for member in below(server.process.pid)]
        assert len(pids) == 5
        server.process.send_signal(signal.SIGKILL)
        until(lambda: alive(pids) == [])


async def test_only_the_typed_out_setting_leads_here_and_every_start_warns_of_it(tmp_path: Path) -> None:
    for mode in ("sandbox", "unsafe-local"):
        for _ in range(2):
            with structlog.testing.capture_logs() as logs:
                sandboxes = make_sandboxes(Settings(data_dir=tmp_path, code_interpreter=mode))  # type: ignore[arg-type]
            assert isinstance(sandboxes, LocalSandboxes)
            assert isinstance(sandboxes, PlainSandboxes) == (mode == "unsafe-local")
            warned = [each["event"] for each in logs if each["log_level"] == "warning"]
            assert warned == (["code_runs_without_a_sandbox"] if mode == "unsafe-local" else [])
            await sandboxes.close()
    assert Settings(data_dir=tmp_path).code_interpreter == "sandbox"


def test_beside_daemons_it_is_refused(tmp_path: Path) -> None:
    both = Settings(data_dir=tmp_path, code_interpreter="unsafe-local", sandbox_urls="http://127.0.0.1:1")
    for refused in (create_app, make_sandboxes):
        with pytest.raises(SettingError, match="exclude each other"):
            refused(both)
