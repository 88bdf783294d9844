"""The shipped nginx in front of servers of the tests: `deploy/nginx.conf` as it is, with other addresses.

Without nginx (Debian's `nginx-light`) the tests that need it are skipped; with CI=true they fail.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
SECONDS_MAX = 10.0
# Where Debian's nginx keeps these only root may write.
_SCRATCH = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Balancer(NamedTuple):
    """`url` has no path. `log` is what nginx warns of."""

    url: str
    log: Path


@contextlib.contextmanager
def balancer(directory: Path, nodes: Sequence[str]) -> Iterator[Balancer]:
    """nginx in front of the servers of these URLs, once it listens. `directory` is its own."""
    program = _program()
    directory.mkdir()
    port = _free_port()
    (directory / "nginx.conf").write_text(_configuration(directory, port), "utf-8")
    (directory / "nodes.conf").write_text(_nodes(nodes), "utf-8")
    log = directory / "log"
    with log.open("wb") as warnings:
        process = subprocess.Popen(
            [program, "-e", "stderr", "-p", directory, "-c", directory / "nginx.conf", "-g", "daemon off; pid pid;"],
            stdout=subprocess.DEVNULL,
            stderr=warnings,
        )
    try:
        _wait_until_listening(process, port, log)
        yield Balancer(f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(SECONDS_MAX)


def _configuration(directory: Path, port: int) -> str:
    shipped = (DEPLOY / "nginx.conf").read_text("utf-8")
    scratch = "".join(f"\n    {kind}_temp_path {directory / kind};" for kind in _SCRATCH)
    for found, instead in (("listen 8000;", f"listen 127.0.0.1:{port};"), ("http {", f"http {{{scratch}")):
        assert shipped.count(found) == 1
        shipped = shipped.replace(found, instead)
    return shipped


def _nodes(urls: Sequence[str]) -> str:
    """Each with what the shipped lines say of a node; without the DNS of containers."""
    (said,) = set(re.findall(r"^server \S+ resolve( .*;)$", (DEPLOY / "nodes.conf").read_text("utf-8"), re.MULTILINE))
    return "".join(f"server {urlsplit(url).netloc}{said}\n" for url in urls)


def _program() -> str:
    # An ordinary user's PATH may lack the directory.
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        reason = "nginx is not here: on Debian and Ubuntu `apt install nginx-light`"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.01)  # there is no event to wait on in another process's start
        else:
            return
    raise RuntimeError("nginx did not start:\n" + log.read_text("utf-8"))
