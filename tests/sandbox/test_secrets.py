"""What the code finds of the machine and of the server: nothing."""

import ast
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.attacks import TRY
from support.sandboxes import ROOT, SECRET, USERS, Host, host


@pytest.fixture(scope="module", params=USERS)
def masked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Sandboxes with a /proc of their own."""
    with host(tmp_path_factory.mktemp("masked"), request.param, proc="masked") as running:
        yield running


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/root", "/usr/../root/.ssh", "/var", "/run"])
def test_the_machines_files_are_not_there(server: Host, path: str) -> None:
    (shown,) = server.run(TRY + f"attempt(lambda: (os.listdir if os.path.isdir({path!r}) else open)({path!r}))").values
    found = ast.literal_eval(shown)
    # A folder that leads to the interpreter, where that is not below /usr, has this one name in it.
    assert found in ("ENOENT", "EACCES", []) or [f"{path}/{name}" for name in found] == [way_to_python(path)]


def way_to_python(path: str) -> str:
    return "/".join(sys.base_prefix.split("/")[: path.count("/") + 2])


def test_etc_shows_four_entries_at_most(server: Host) -> None:
    (shown,) = server.run("import os\nos.listdir('/etc')").values
    assert set(ast.literal_eval(shown)) <= {"ld.so.cache", "alternatives", "fonts", "localtime"}


def test_a_file_of_the_server_that_everybody_may_read_is_not_there(server: Host) -> None:
    with tempfile.NamedTemporaryFile(suffix=".db") as database:
        Path(database.name).chmod(0o644)
        assert server.run(TRY + f"attempt(lambda: open({database.name!r}).read())").values == ["'ENOENT'"]
    assert server.run(TRY + f"attempt(lambda: os.listdir({str(ROOT)!r}))").values == ["'ENOENT'"]
    assert server.run("os.listdir('/tmp')").values == ["[]"]


def test_no_secret_of_the_server_is_in_the_environment(server: Host) -> None:
    (shown,) = server.run("import os\ndict(os.environ)").values
    assert "HOME" in shown
    assert SECRET not in shown


def test_proc_is_empty(server: Host) -> None:
    assert server.run("import os\nos.listdir('/proc')").values == ["[]"]
    assert server.run(TRY + "attempt(lambda: open('/proc/x', 'w'))").values == ["'EROFS'"]


def test_with_a_proc_of_its_own_no_other_process_is_seen(masked: Host) -> None:
    said = masked.run(
        "import os, glob\nprint(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))\n"
        "print(b''.join(open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/environ')))"
    )
    assert said.lines[0] == "[1, 2]"
    assert SECRET not in said.printed
    assert "SECRET" not in said.printed


def test_the_places_of_mounts_name_no_user_and_no_thread(masked: Host) -> None:
    printed = masked.run("print(open('/proc/self/mountinfo').read())", key="thread_secret").printed
    assert "/mnt/data" in printed
    assert "thread_secret" not in printed


def test_sockets_of_daemons_are_not_there(server: Host) -> None:
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/dbus/system_bus_socket"):
        said = server.run(TRY + f"attempt(lambda: socket.socket(socket.AF_UNIX).connect({path!r}))")
        assert said.values == ["'ENOENT'"]


def test_only_three_streams_and_the_two_pipes_are_open(server: Host) -> None:
    said = server.run(
        "import os, stat\nkinds = []\nfor number in range(512):\n"
        "    try: kinds.append((number, stat.S_IFMT(os.fstat(number).st_mode)))\n"
        "    except OSError: pass\n"
        "print([n for n, kind in kinds[:3]], len(kinds), all(kind == stat.S_IFIFO for n, kind in kinds[1:]))",
        key="descriptors",
    )
    assert said.printed == "[0, 1, 2] 5 True\n"


def test_tracebacks_show_no_frames_of_ours(server: Host) -> None:
    said = server.run("def f():\n    return 1/0\nf()")
    (raised,) = said.raised
    assert raised.endswith("ZeroDivisionError: division by zero")
    assert "runner" not in raised
    assert "opt" not in raised
