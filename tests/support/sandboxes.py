"""Sandboxes as tests use them: of a server process of their own, as an ordinary user or as root."""

import base64
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.ordinary import ORDINARY_UID, becoming_ordinary
from support.sandbox_environment import Unavailable, build

__all__ = ["USERS", "Host", "Refused", "Said", "host", "required"]

ROOT = Path(__file__).parents[2]
ANSWER_SECONDS = 60
SECRET = "sk-not-for-the-sandbox"
MEMORY_BYTES_MAX = 50 * 2**20

# Whose sandboxes are tried: those of a server that is an ordinary user and, where the tests are root's, of root's.
USERS = ("ordinary", "root") if os.geteuid() == 0 else ("ordinary",)


class Refused(Exception):
    """What the server process answered instead. `kind` is the exception's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Said:
    """What one call came to."""

    state: str
    how: str
    lost: str | None
    printed: str = ""
    values: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return self.printed.splitlines()


class Host:
    """A running server process. Its sessions' processes can be looked at from here."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process = process
        self.folder = folder
        self._ids = itertools.count()
        self._answers: dict[int, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self, do: str, **words: object) -> int:
        """Asks, beside whatever is under way; `finish` waits for the answer."""
        number = next(self._ids)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": number, "do": do, "beside": True, **words}) + "\n")
        self.process.stdin.flush()
        return number

    def finish(self, number: int) -> Any:
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: number in self._answers or self._ended, ANSWER_SECONDS)
            assert arrived, "the sandboxes' server does not answer"
            assert number in self._answers, "the sandboxes' server has ended"
            answer = self._answers.pop(number)
        if "error" in answer:
            raise Refused(answer["error"], answer["message"])
        return answer["said"]

    def ask(self, do: str, **words: object) -> Any:
        return self.finish(self.begin(do, **words))

    def run(self, code: str, key: str = "shared", seconds: float = 20.0) -> Said:
        return said(self.ask("execute", key=key, code=code, seconds=seconds))

    def get(self, name: str, key: str = "shared") -> bytes:
        return base64.b64decode(self.ask("get", key=key, name=name))

    def memory(self) -> Mapping[str, int]:
        found: Mapping[str, int] = self.ask("memory")
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = json.loads(line)
            with self._arrived:
                self._answers[answer["id"]] = answer
                self._arrived.notify_all()
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()


def said(answer: Mapping[str, Any]) -> Said:
    *events, end = answer["events"]
    assert end["type"] == "ended"
    result = Said(answer["state"], end["how"], end["lost"])
    for event in events:
        match event["type"]:
            case "printed":
                result.printed += event["text"]
            case "value":
                result.values.append(event["text"])
            case "raised":
                result.raised.append(event["text"])
            case "picture":
                result.pictures.append(base64.b64decode(event["png"]))
    return result


def required() -> Path:
    """The sandboxes' environment. Skips, or fails under CI, where there is none, or no bubblewrap."""
    # A run that is to prove something must not pass because nothing was tried.
    say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    if not any(Path(folder, "bwrap").exists() for folder in os.get_exec_path()):
        say("bubblewrap is not installed")
    try:
        return build()
    except Unavailable as reason:
        say(str(reason))


@contextlib.contextmanager
def host(folder: Path, user: str, **options: Any) -> Iterator[Host]:
    """A server process of that user, with its sessions' folders below `folder`. Ends with all that it started."""
    environment = required()
    folder.mkdir(exist_ok=True)
    become = None
    if os.geteuid() == 0 and user == "ordinary":
        os.chown(folder, ORDINARY_UID, ORDINARY_UID)
        become = becoming_ordinary([ROOT, environment, folder])
    given = {"environment": str(environment), "folder": str(folder / "sandboxes"), "warm": 0, **options}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "support.sandbox_host", json.dumps(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if "LOGS" in os.environ else subprocess.DEVNULL,
        text=True,
        cwd="/",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SECRET_API_KEY": SECRET,
        },
        preexec_fn=become,
    )
    with process:
        try:
            yield Host(process, folder / "sandboxes")
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def within_memory(host: Host, before: Mapping[str, int]) -> None:
    after = host.memory()
    assert after["VmHWM"] - before["VmRSS"] < MEMORY_BYTES_MAX, (before, after)


def alive(pids: Sequence[int]) -> list[int]:
    """Those that run; what has ended and waits to be reaped does not."""
    running = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
            if words[words.rindex(")") + 2] != "Z":
                running.append(pid)
    return running
