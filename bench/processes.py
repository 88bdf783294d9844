"""The processes that are measured, and what the kernel says of them. Linux only."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from bench.orders import Order, Outcome

_ROOT: Final = Path(__file__).parents[1]
KEY: Final = "sk-understudy-bench-3f9c1d7a5be84026"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.005
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """A process of the measurements did not do what it is for. The text says what it wrote last."""


def process_seconds(pid: int) -> float:
    """User and system time of all threads of a process since it began. Raises `OSError` when it has ended."""
    # How Linux numbers the CPU clock of another process: clock_getcpuclockid(3).
    return time.clock_gettime(~pid << 3 | 2)


class Server:
    """A process that listens on `port` of 127.0.0.1."""

    def __init__(self, name: str, child: "subprocess.Popen[bytes]", port: int) -> None:
        self.name = name
        self.port = port
        self._child = child

    def cpu_seconds(self) -> float:
        """User and system time of all its threads since it began."""
        return process_seconds(self._child.pid)

    def forget_peak(self) -> None:
        """From now on `peak_bytes` is of what comes."""
        Path(f"/proc/{self._child.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The most memory that was resident."""
        lines = Path(f"/proc/{self._child.pid}/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self._child.pid}/statm").read_text().split()[1]) * _PAGE_BYTES


class LoadClient:
    def __init__(self, child: "subprocess.Popen[bytes]", log: Path) -> None:
        self._child = child
        self._log = log

    def obey(self, order: Order) -> Outcome:
        """Returns when the order is carried out. Raises `Failed` unless every answer was as expected."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(msgspec.json.encode(order) + b"\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise Failed(f"The load client ended: {_last_words(self._log)}")
        outcome = msgspec.json.decode(line, type=Outcome)
        if outcome.failures:
            raise Failed(f"{outcome.failures} requests failed: {'; '.join(outcome.failed)}")
        return outcome


@contextmanager
def module_server(name: str, log: Path, *arguments: str) -> Iterator[Server]:
    """`bench.NAME`, which writes its port to its output."""
    with _child([sys.executable, "-m", f"bench.{name}", *arguments], log, cwd=_ROOT) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise Failed(f"{name} did not start: {_last_words(log)}")
        yield Server(name, child, int(line))


@contextmanager
def load_client(log: Path) -> Iterator[LoadClient]:
    with _child([sys.executable, "-m", "bench.load"], log, cwd=_ROOT) as child:
        yield LoadClient(child, log)


@contextmanager
def understudy(upstream: Server, data_dir: Path, **settings: str) -> Iterator[Server]:
    """`understudy serve` with its defaults, but for the log's level and what is given here, as in its environment.

    Yields when its first request was answered.
    """
    data_dir.mkdir(exist_ok=True)
    port = free_port()
    values = {
        "port": str(port),
        "data_dir": str(data_dir),
        "api_key": KEY,
        "upstream_base_url": f"http://127.0.0.1:{upstream.port}/v1",
        "log_level": "warning",
        **settings,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    environment = {**inherited, **{f"UNDERSTUDY_{name.upper()}": value for name, value in values.items()}}
    log = data_dir / f"log-{port}"  # processes may share the directory
    with _child([sys.executable, "-m", "understudy", "serve"], log, environment, cwd=data_dir) as child:
        _wait_for_answer(child, port, "/healthz", log)
        yield Server("understudy", child, port)


@contextmanager
def litellm(upstream: Server, model: str, directory: Path) -> Iterator[Server | None]:
    """LiteLLM's proxy with one model, where its command is installed; else `None`."""
    beside = Path(sys.executable).with_name("litellm")
    command = str(beside) if beside.exists() else shutil.which("litellm")
    if command is None:
        yield None
        return
    directory.mkdir(exist_ok=True)
    port = free_port()
    parameters = {
        "model": f"openai/{model}",
        "api_base": f"http://127.0.0.1:{upstream.port}/v1",
        "api_key": "none",
    }
    config = directory / "config.yaml"
    config.write_text(json.dumps({"model_list": [{"model_name": model, "litellm_params": parameters}]}))
    log = directory / "log"
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # It would fetch a table of prices from the internet.
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": KEY,
    }
    with _child([command, *arguments], log, environment, cwd=directory) as child:
        _wait_for_answer(child, port, "/health/liveliness", log)
        yield Server("litellm", child, port)


@contextmanager
def _child(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None, *, cwd: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as errors:
        # A server's output would fill a pipe that nobody reads; ours write a line or two.
        output: int | IO[bytes] = errors if environment is not None else subprocess.PIPE
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=errors, env=environment, cwd=cwd)
        try:
            yield child
        finally:
            assert child.stdin is not None
            child.stdin.close()
            if environment is not None:
                child.terminate()
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()


def _wait_for_answer(child: "subprocess.Popen[bytes]", port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            if call(port, "GET", path)[0] == 200:
                return
        except OSError:
            time.sleep(_LOOK_SECONDS)  # there is no event to wait on in another process's start
    raise Failed(f"It did not start: {_last_words(log)}")


def call(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """An answer's status and body, over a connection of its own. Raises `OSError`."""
    with socket.create_connection(("127.0.0.1", port), _START_SECONDS) as connection:
        connection.settimeout(_START_SECONDS)
        connection.sendall(request(method, path, body, "connection: close").encode())
        answer = http.client.HTTPResponse(connection, method=method)
        try:
            answer.begin()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError("no answer") from error


def request(method: str, path: str, body: bytes = b"", *more: str) -> str:
    """A whole request, with the headers that an official client sends."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: 127.0.0.1",
        f"authorization: Bearer {KEY}",
        "openai-beta: assistants=v2",
        "content-type: application/json",
        "accept: application/json",
        "accept-encoding: gzip, deflate",
        "user-agent: OpenAI/Python 2.0.0",
        "x-stainless-lang: python",
        "x-stainless-package-version: 2.0.0",
        "x-stainless-os: Linux",
        "x-stainless-arch: x64",
        "x-stainless-runtime: CPython",
        "x-stainless-runtime-version: 3.11.7",
        "x-stainless-async: false",
        "x-stainless-retry-count: 0",
        "x-stainless-read-timeout: 600",
        f"content-length: {len(body)}",
        *more,
    ]
    return "\r\n".join(lines) + "\r\n\r\n" + body.decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-1000:]
