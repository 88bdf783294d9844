"""Daemons that are gone, come back, or talk nonsense: what a server is told, and never more than that."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from support.sandbox_daemon import KEY, daemon_over
from support.sandboxes import required
from understudy.ports import (
    CodeEnded,
    CodeEvent,
    CodePrinted,
    CodeValue,
    FolderChanges,
    SandboxFile,
    SandboxRefusal,
    SandboxSession,
    SandboxUnavailable,
)
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.remote import RemoteSandboxes

HELD = b'{"type":"ping"}\n{"type":"held","lease":"l","state":"resumed"}\n'
NOWHERE = "http://127.0.0.1:9"  # the port of a service that nobody runs


@asynccontextmanager
async def remote(*urls: str, key: str = KEY) -> AsyncIterator[RemoteSandboxes]:
    sandboxes = RemoteSandboxes(urls, key)
    try:
        yield sandboxes
    finally:
        await sandboxes.close()


@asynccontextmanager
async def liar(answers: Callable[[str], bytes], *, status: str = "200 OK") -> AsyncIterator[str]:
    """A daemon that answers a request of that path with these bytes; leases are granted, and stay open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            said = HELD if path == "/v1/leases" else answers(path)
            line = "200 OK" if path == "/v1/leases" else status
            writer.write(f"HTTP/1.1 {line}\r\nconnection: close\r\n\r\n".encode() + said)
            await writer.drain()
            if path == "/v1/leases":
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def run(session: SandboxSession, code: str) -> Sequence[CodeEvent]:
    return [event async for event in session.execute(code)]


def assert_lost(events: Sequence[CodeEvent]) -> None:
    (*_, ended) = events
    assert isinstance(ended, CodeEnded)
    assert ended.how == "killed"
    assert "Variables and files are lost" in (ended.lost or "")


async def test_where_no_daemon_answers_opening_says_how_to_start_one() -> None:
    async with remote(NOWHERE, NOWHERE + "/b") as sandboxes:
        with pytest.raises(SandboxUnavailable, match="understudy sandbox serve"):
            async with sandboxes.open("a"):
                pass
        with pytest.raises(SandboxUnavailable, match="understudy sandbox serve"):
            await sandboxes.check()


async def test_keys_are_spread_over_the_daemons_in_the_same_way_by_every_server() -> None:
    urls = [f"http://127.0.0.1:{port}" for port in (1, 2, 3)]
    firsts = [next(RemoteSandboxes(order, KEY)._order(str(n))) for n in range(60) for order in (urls, urls[::-1])]
    assert firsts[::2] == firsts[1::2]
    assert set(firsts) == set(urls)


async def test_a_session_of_a_daemon_that_is_gone_is_fresh_at_the_next_and_stays_there(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        locals_ = [LocalSandboxes(environment=required(), folder=tmp_path / n, warm=0) for n in ("one", "two")]
        for local in locals_:
            opened.push_async_callback(local.close)
        stacks = [await opened.enter_async_context(AsyncExitStack()) for _ in locals_]
        urls = [
            await stack.enter_async_context(daemon_over(local, tmp_path / f"incoming-{number}"))
            for number, (stack, local) in enumerate(zip(stacks, locals_, strict=True))
        ]
        async with remote(*urls) as sandboxes:
            async with sandboxes.open("a") as session:
                await run(session, "x = 1")
            async with sandboxes.open("a") as session:
                assert session.state == "resumed"
            first = next(sandboxes._order("a"))
            await stacks[urls.index(first)].aclose()
            async with sandboxes.open("a") as session:
                assert session.state == "fresh"
                assert (await run(session, "x = 2; x"))[0] == CodeValue("2")
            sandboxes._down.clear()  # as after some time
            async with sandboxes.open("a") as session:
                assert session.state == "resumed"
                assert (await run(session, "x"))[0] == CodeValue("2")


async def test_what_a_daemon_has_of_a_session_that_went_on_elsewhere_is_forgotten(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        local = LocalSandboxes(environment=required(), folder=tmp_path / "sandboxes", warm=0)
        opened.push_async_callback(local.close)
        url = await opened.enter_async_context(daemon_over(local, tmp_path / "incoming"))
        sandboxes = await opened.enter_async_context(remote(url))
        async with sandboxes.open("a") as session:
            await run(session, "x = 'old'")
        sandboxes._remember("a", NOWHERE)
        async with sandboxes.open("a") as session:
            assert session.state == "fresh"


async def test_a_wrong_key_is_told_as_what_it_is(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        local = LocalSandboxes(environment=tmp_path, folder=tmp_path / "sandboxes", warm=0)
        opened.push_async_callback(local.close)
        url = await opened.enter_async_context(daemon_over(local, tmp_path / "incoming"))
        sandboxes = await opened.enter_async_context(remote(url, key="wrong"))
        with pytest.raises(SandboxUnavailable, match="sandbox_key"):
            async with sandboxes.open("a"):
                pass


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\n",
        b"[" * 200_000 + b"\n",
        b'{"type":"held","lease":"x","state":"fresh"}\n',
        b'{"type":"printed","text":"\xff"}\n',
        b'{"type":"printed","text":"x"}\n',
        b'{"type":"ended","how":"won"}\n',
        b"x" * 12_000_000,
    ],
    ids=lambda said: said[:20].decode(errors="replace") + f" {len(said)}",
)
async def test_a_call_ends_as_lost_when_its_daemon_talks_nonsense(said: bytes) -> None:
    async with liar(lambda _: said) as url, remote(url) as sandboxes, sandboxes.open("a") as session:
        assert_lost(await run(session, "1"))
        assert_lost(await run(session, "1"))
        assert await session.changes() == FolderChanges()
        assert await session.files() == ()
        await session.interrupt()
        await session.end()


async def test_nul_and_names_that_lead_elsewhere_do_not_come_in() -> None:
    def answers(path: str) -> bytes:
        if path.endswith("execute"):
            return (
                b'{"type":"printed","text":"a\\u0000b"}\n{"type":"picture","png":"AAAA"}\n'
                b'{"type":"ended","how":"done"}\n'
            )
        names = ("fine/x.txt", "../up", "/etc/passwd", "a//b", "new\\nline", "nul\\u0000")
        return (
            b'{"left_out":1,"files":['
            + b",".join(b'{"name":"%b","size_bytes":1}' % name.encode() for name in names)
            + b"]}"
        )

    async with liar(answers) as url, remote(url) as sandboxes, sandboxes.open("a") as session:
        assert await run(session, "1") == [CodePrinted("ab"), CodeEnded("done")]
        assert await session.changes() == FolderChanges([SandboxFile("fine/x.txt", 1)], 6)


async def test_answers_without_an_end_are_not_kept_in_memory() -> None:
    async with liar(lambda _: b"x" * 110_000_000) as url, remote(url) as sandboxes, sandboxes.open("a") as session:
        with pytest.raises(SandboxRefusal, match="larger"):
            async for _ in session.get("x"):
                pass
        with pytest.raises(SandboxRefusal):
            await session.changes()


async def test_refusals_of_a_daemon_are_told_in_its_words() -> None:
    said = b'{"error":{"type":"refused","message":"There is no file \'x\'."}}'
    async with liar(lambda _: said, status="422 No") as url, remote(url) as sandboxes, sandboxes.open("a") as session:
        with pytest.raises(SandboxRefusal, match="There is no file"):
            await session.put("x", b"")
        with pytest.raises(SandboxRefusal, match="There is no file"):
            async for _ in session.get("x"):
                pass
