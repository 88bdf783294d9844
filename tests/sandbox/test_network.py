"""Ways to the network, and to whoever listens on the machine itself: none."""

import socket
from collections.abc import Iterator

import pytest

from support.attacks import TRY
from support.sandboxes import Host


@pytest.fixture(scope="module")
def listener() -> Iterator[int]:
    """The port of a server that listens on this machine's own 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def connected(family: str, kind: str, address: object) -> str:
    return TRY + f"attempt(lambda: socket.socket(socket.{family}, socket.{kind}).connect({address!r}))"


def test_the_machines_own_servers_are_not_reached(server: Host, listener: int) -> None:
    assert server.run(connected("AF_INET", "SOCK_STREAM", ("127.0.0.1", listener))).values == ["'ECONNREFUSED'"]


@pytest.mark.parametrize(
    ("family", "address"),
    [("AF_INET", "169.254.169.254"), ("AF_INET", "192.0.2.1"), ("AF_INET", "10.0.0.1"), ("AF_INET6", "2001:db8::1")],
)
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_no_address_is_reached(server: Host, family: str, address: str, kind: str) -> None:
    assert server.run(connected(family, kind, (address, 80))).values in (["'ENETUNREACH'"], ["'EADDRNOTAVAIL'"])


def test_no_name_is_resolved(server: Host) -> None:
    said = server.run("import socket\ntry: socket.getaddrinfo('example.com', 80)\nexcept socket.gaierror: print('no')")
    assert said.printed == "no\n"


def test_abstract_sockets_of_the_machine_are_not_reached(server: Host) -> None:
    name = f"\0understudy-test-{id(server)}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(name)
        listening.listen()
        assert server.run(connected("AF_UNIX", "SOCK_STREAM", name)).values == ["'ECONNREFUSED'"]


def test_there_are_no_sockets_but_those_of_local_families(server: Host) -> None:
    # Up to AF_MCTP; the local ones are AF_UNIX, AF_INET and AF_INET6.
    others = [family for family in range(46) if family not in (1, 2, 10)]
    said = server.run(TRY + f"{{attempt(lambda: socket.socket(family, socket.SOCK_RAW)) for family in {others}}}")
    assert said.values == ["{'EAFNOSUPPORT'}"]


def test_there_are_no_raw_sockets(server: Host) -> None:
    said = server.run(TRY + "attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))")
    assert said.values == ["'EPERM'"]


def test_code_may_talk_to_itself(server: Host) -> None:
    code = """
import socket
with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as near:
    far, _ = listening.accept()
    near.send(b"hello")
    print(far.recv(9))
    far.close()
"""
    assert server.run(code).printed == "b'hello'\n"
