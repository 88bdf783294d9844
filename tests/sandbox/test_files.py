"""Files on their way in and out, past code that lays traps for whoever reads them from outside."""

import os
from pathlib import Path

import pytest

from support.sandboxes import Host, Refused

TRAPS = """
import os, socket
os.makedirs("traps/inner", exist_ok=True)
os.chdir("traps")
os.symlink("/etc/shadow", "shadow.txt")
os.symlink("/etc", "etc")
os.symlink("/", "root")
os.mkfifo("pipe")
unix = socket.socket(socket.AF_UNIX)
unix.bind("socket")
with open("sparse.bin", "wb") as file:
    file.truncate(30 * 2**20)
open("linked.txt", "w").write("two names")
os.link("linked.txt", "inner/again.txt")
open("inner/honest.txt", "w").write("honest")
open("setuid", "w").write("x")
os.chmod("setuid", 0o4755)
open("new\\nline.txt", "w").write("newline")
open(b"bad-\\xff-utf8.txt", "w").write("bytes")
os.chdir("..")
"""


def names(listed: list[dict[str, object]]) -> set[object]:
    return {each["name"] for each in listed}


def test_what_is_put_is_found_by_its_name_and_is_no_news(server: Host) -> None:
    assert server.ask("put", key="files", name="report.csv", text="a,b\n1,2\n") == "/mnt/data/report.csv"
    assert server.run("open('/mnt/data/report.csv').read()", key="files").values == ["'a,b\\n1,2\\n'"]
    assert server.ask("changes", key="files") == {"files": [], "left_out": 0}


def test_what_the_code_writes_and_changes_is_told_once(server: Host) -> None:
    server.ask("put", key="changing", name="in.txt", text="before")
    server.run("open('in.txt', 'a').write('!')\nopen('out.txt', 'w').write('new')", key="changing")
    changed = server.ask("changes", key="changing")
    assert changed["files"] == [{"name": "in.txt", "size_bytes": 7}, {"name": "out.txt", "size_bytes": 3}]
    assert server.get("in.txt", key="changing") == b"before!"
    assert server.ask("changes", key="changing")["files"] == []
    assert names(server.ask("files", key="changing")) == {"in.txt", "out.txt"}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/cron.d/x", "x"),
        ("..", "file"),
        ("", "file"),
        ("a\0b\n.txt", "a_b_.txt"),
        ("C:\\Users\\me\\räport.xlsx", "räport.xlsx"),
        ("x" * 400 + ".csv", "x" * 251 + ".csv"),
    ],
)
def test_a_name_is_made_a_plain_one(server: Host, name: str, plain: str) -> None:
    assert server.ask("put", key="names", name=name, text="x") == f"/mnt/data/{plain}"


def test_what_is_put_replaces_a_link_and_not_what_it_leads_to(server: Host, folder: Path) -> None:
    victim = folder / "victim"
    victim.write_text("untouched", "utf-8")
    victim.chmod(0o666)
    server.run(f"import os\nos.symlink({str(victim)!r}, 'link.txt')\nos.mkdir('taken')", key="links")
    server.ask("put", key="links", name="link.txt", text="mine")
    assert victim.read_text("utf-8") == "untouched"
    assert server.run("os.path.islink('link.txt'), open('link.txt').read()", key="links").values == ["(False, 'mine')"]
    with pytest.raises(Refused, match="taken is a folder"):
        server.ask("put", key="links", name="taken", text="x")


def test_more_than_there_is_room_for_is_not_put(server: Host) -> None:
    with pytest.raises(Refused, match="larger than"):
        server.ask("put", key="room", name="big", size_bytes=49 * 2**20)
    assert server.ask("files", key="room") == []


def test_traps_are_left_out_and_the_honest_file_beside_them_is_not(server: Host) -> None:
    assert server.run(TRAPS, key="traps").raised == []
    changed = server.ask("changes", key="traps")
    assert names(changed["files"]) == {
        "traps/inner/honest.txt",
        "traps/sparse.bin",
        "traps/setuid",
        "traps/new_line.txt",
        "traps/bad-_-utf8.txt",
    }
    assert changed["left_out"] == 7
    assert server.get("traps/inner/honest.txt", key="traps") == b"honest"
    assert server.get("traps/new_line.txt", key="traps") == b"newline"
    assert server.get("traps/bad-_-utf8.txt", key="traps") == b"bytes"
    for name in ("traps/shadow.txt", "traps/etc/passwd", "traps/pipe", "../../../etc/passwd", "traps/linked.txt"):
        with pytest.raises(Refused, match="no file"):
            server.get(name, key="traps")


def test_a_file_that_became_a_trap_after_it_was_told_is_refused(server: Host) -> None:
    server.run("open('turning.txt', 'w').write('x'); os.mkdir('way'); open('way/x.txt', 'w').write('x')", key="turning")
    server.run("import os\nopen('turning.txt', 'w').write('x')\nos.makedirs('way', exist_ok=True)\n"
               "open('way/x.txt', 'w').write('x')", key="turning")  # fmt: skip
    assert names(server.ask("changes", key="turning")["files"]) == {"turning.txt", "way/x.txt"}
    server.run("import shutil\nos.unlink('turning.txt'); os.symlink('/etc/hostname', 'turning.txt')\n"
               "shutil.rmtree('way'); os.symlink('/etc', 'way')", key="turning")  # fmt: skip
    for name in ("turning.txt", "way/x.txt"):
        with pytest.raises(Refused, match="cannot be had"):
            server.get(name, key="turning")


def test_files_survive_a_killed_python(server: Host) -> None:
    server.run("open('kept.txt', 'w').write('kept')\nx = 1", key="survivor")
    assert server.run("import os\nos.kill(os.getpid(), 9)", key="survivor").how == "killed"
    said = server.run("open('kept.txt').read(), 'x' in dir()", key="survivor")
    assert (said.state, said.values) == ("restarted", ["('kept', False)"])


def test_an_ended_session_leaves_nothing(server: Host) -> None:
    server.run("import os\nos.mkdir('closed'); open('closed/x', 'w').close(); os.chmod('closed', 0)", key="leaver")
    before = set(session_folders(server))
    server.ask("end", key="leaver")
    gone = before - set(session_folders(server))
    assert len(gone) == 1
    assert server.run("os = __import__('os'); os.listdir('/mnt/data')", key="leaver").values == ["[]"]


def test_a_setuid_file_is_never_roots(server: Host) -> None:
    server.run("import os\nopen('s', 'w').close(); os.chmod('s', 0o4755)", key="setuid")
    (found,) = [folder / "s" for folder in session_folders(server) if (folder / "s").exists()]
    assert found.stat().st_uid != 0


def session_folders(server: Host) -> list[Path]:
    """As the server sees them, also where it sees other mounts than these tests."""
    return [path for path in Path(f"/proc/{server.process.pid}/root{server.folder}").glob("*/*") if path.is_dir()]


def test_folders_of_a_killed_server_are_removed_by_the_next(folder: Path) -> None:
    from understudy.sandbox.scratch import Scratch

    uid = 61_000 if os.geteuid() == 0 else None
    first = Scratch(folder, uid)
    first.make().put("x", b"x", 10)
    living = Scratch(folder, uid)
    assert first.path.exists()
    os.close(first._lock)  # what the kernel does for a killed process
    third = Scratch(folder, uid)
    assert not first.path.exists()
    assert living.path.exists()
    living.close()
    third.close()
    assert list(folder.iterdir()) == []
