"""Limits and filters as a child process meets them: really applied, by this machine's kernel."""

import subprocess
import sys
import textwrap

import pytest

from understudy.confine.filters import filters_exist

pytestmark = pytest.mark.skipif(not filters_exist(), reason="no seccomp filters are made for this machine")

START = "import errno, os, resource, socket, subprocess, sys, threading\nfrom understudy.confine import *\n"


def said_by_child(code: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_no_socket_is_opened_once_the_network_is_denied() -> None:
    said = said_by_child("""
        open_before = socket.socket()
        assert deny_network()
        for refused in (socket.socket, lambda: open_before.connect(("127.0.0.1", 9))):
            try:
                refused()
            except PermissionError:
                print("refused", end=" ")
        left, right = socket.socketpair()
        left.send(b"x")
        print(right.recv(1))
    """)
    assert said == "refused refused b'x'"


def test_threads_that_were_there_and_children_are_denied_too() -> None:
    said = said_by_child("""
        go = threading.Event()
        def later():
            go.wait()
            try:
                socket.socket()
            except PermissionError:
                print("thread refused", flush=True)
        thread = threading.Thread(target=later)
        thread.start()
        deny_network()
        go.set()
        thread.join()
        child = "import socket\\ntry: socket.socket()\\nexcept PermissionError: print('child refused')"
        subprocess.run([sys.executable, "-c", child])
    """)
    assert said == "thread refused\nchild refused"


def test_what_is_over_the_memory_limit_raises() -> None:
    said = said_by_child("""
        assert limit(memory_bytes=512 * 2**20)
        try:
            bytearray(2**30)
        except MemoryError:
            print("refused")
    """)
    assert said == "refused"


def test_a_file_stops_at_its_limit() -> None:
    said = said_by_child("""
        import tempfile
        limit(file_bytes=1000)
        with tempfile.TemporaryFile(buffering=0) as file:
            print(file.write(b"x" * 5000))
            try:
                file.write(b"x")
            except OSError as error:
                print(error.errno == errno.EFBIG)
    """)
    assert said == "1000\nTrue"


def test_limits_are_never_raised() -> None:
    said = said_by_child("""
        limit(open_files=50, processes=20, cpu_seconds=5)
        limit(open_files=100, processes=40, cpu_seconds=10)
        kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CPU, resource.RLIMIT_CORE)
        print([resource.getrlimit(kind) for kind in kinds])
    """)
    assert said == "[(50, 50), (20, 20), (5, 6), (0, 0)]"


def test_code_that_computes_for_too_long_is_ended() -> None:
    code = "limit(cpu_seconds=1)\nwhile True: pass"
    ended = subprocess.run([sys.executable, "-c", START + code], capture_output=True, timeout=30, check=False)
    assert ended.returncode < 0
