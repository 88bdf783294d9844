"""What a daemon of sandboxes says to whoever asks it, and what is left of those who go away."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.sandbox_daemon import KEY, daemon_over
from support.sandboxes import alive, required
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.tree import below

SECONDS = 20.0


class Asked:
    """A daemon, its sandboxes, and a client with the key."""

    def __init__(self, url: str, http: aiohttp.ClientSession, local: LocalSandboxes) -> None:
        self.url = url
        self.http = http
        self.local = local

    @asynccontextmanager
    async def held(self, key: str = "a") -> AsyncIterator[str]:
        """The URL of a lease."""
        async with self.http.post(f"{self.url}/v1/leases", json={"key": key}) as answer:
            said = json.loads(await answer.content.readline())
            assert said["type"] == "held", said
            yield f"{self.url}/v1/leases/{said['lease']}"
            answer.close()

    async def run(self, lease: str, code: str) -> list[dict[str, Any]]:
        async with self.http.post(f"{lease}/execute", json={"code": code}) as answer:
            assert answer.status == 200
            return [json.loads(line) async for line in answer.content]

    def pids(self, key: str = "a") -> list[int]:
        session = self.local._places[key].session
        assert session is not None
        return [member.pid for member in below(session._bubble.root)]


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    async with AsyncExitStack() as opened:
        local = LocalSandboxes(environment=required(), folder=tmp_path / "sandboxes", warm=0, sessions_max=2)
        opened.push_async_callback(local.close)
        url = await opened.enter_async_context(daemon_over(local, tmp_path / "incoming", holds_max=2))
        headers = {"authorization": f"Bearer {KEY}"}
        http = await opened.enter_async_context(aiohttp.ClientSession(headers=headers))
        yield Asked(url, http, local)


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # the daemon tells nobody


@pytest.mark.parametrize(
    "given", ["", "Bearer ", "Bearer wrong", f"bearer {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}"]
)
async def test_without_the_key_nothing_is_answered_but_that_it_is_there(asked: Asked, given: str) -> None:
    for method, path in (("POST", "/v1/leases"), ("POST", "/v1/check"), ("GET", "/v1/leases/x/files"), ("GET", "/x")):
        async with asked.http.request(method, asked.url + path, headers={"authorization": given}) as answer:
            assert answer.status == 401
            assert (await answer.json())["error"]["type"] == "unauthorized"
    async with asked.http.get(f"{asked.url}/healthz", headers={"authorization": given}) as answer:
        assert await answer.json() == {"status": "ok"}
    assert not asked.local._places


async def test_what_is_no_request_is_refused_and_changes_nothing(asked: Asked) -> None:
    for body in (
        b"",
        b"{",
        b"[" * 100_000,
        b'{"key": ""}',
        b'{"key": "a", "more": 1}',
        b'{"key": "' + b"x" * 600 + b'"}',
    ):
        async with asked.http.post(f"{asked.url}/v1/leases", data=body) as answer:
            assert answer.status == 400
    async with asked.http.post(f"{asked.url}/v1/leases/none/execute", json={"code": "1"}) as answer:
        assert answer.status == 404
    async with asked.held() as lease:
        for body in (b"", b'{"code": 1}', b'{"code": "1", "seconds": -1}', b'{"code": "\\ud800"}'):
            async with asked.http.post(f"{lease}/execute", data=body) as answer:
                assert answer.status == 400
        async with asked.http.put(f"{lease}/file", data=b"x") as answer:
            assert answer.status == 400
        async with asked.http.get(f"{lease}/file", params={"name": "../../etc/passwd"}) as answer:
            assert answer.status == 422
        assert (await asked.run(lease, "1"))[0] == {"type": "value", "text": "1"}


async def test_code_cannot_forge_the_lines_of_its_answer(asked: Asked) -> None:
    forged = r"""print('{"type": "ended", "how": "done"}\n{"type": "refused", "kind": "busy", "message": ""}\n')"""
    async with asked.held() as lease:
        said = await asked.run(lease, forged)
    assert {event["type"] for event in said[:-1]} == {"printed"}
    assert said[-1] == {"type": "ended", "how": "done", "lost": None}


async def test_no_more_sessions_are_asked_for_at_once_than_may_be(asked: Asked) -> None:
    async with asked.held("a"), asked.held("b"):
        answer = await asked.http.post(f"{asked.url}/v1/leases", json={"key": "c"})
        assert answer.status == 503
        assert (await answer.json())["error"]["type"] == "busy"
    await until(lambda: all(place.wanted == 0 for place in asked.local._places.values()))
    async with asked.held("c"):
        pass


async def test_a_client_that_goes_away_in_the_middle_of_a_call_leaves_no_code_running(asked: Asked) -> None:
    held = asked.held()
    lease = await held.__aenter__()
    running = asyncio.create_task(asked.run(lease, "x = 1\nopen('on', 'w').close()\nwhile True: pass"))
    session = asked.local._places["a"].session
    assert session is not None
    await until(lambda: session.folder.path.joinpath("on").exists())
    running.cancel()
    await asyncio.wait([running])
    await until(lambda: not session.is_busy)
    assert (await asked.run(lease, "x"))[0] == {"type": "value", "text": "1"}
    await held.__aexit__(None, None, None)
    await until(lambda: asked.local._places["a"].wanted == 0)


async def test_a_lease_ends_with_its_connection_and_what_it_runs_with_it(asked: Asked) -> None:
    async with asked.held() as lease:
        running = asyncio.create_task(asked.run(lease, "open('on', 'w').close()\nwhile True: pass"))
        session = asked.local._places["a"].session
        assert session is not None
        await until(lambda: session.folder.path.joinpath("on").exists())
    await until(lambda: asked.local._places["a"].wanted == 0)
    assert not session.is_busy
    with pytest.raises(aiohttp.ClientError):
        await running
    async with asked.http.post(f"{lease}/changes") as answer:
        assert answer.status == 404


async def test_a_reader_that_asked_to_wait_and_went_away_leaves_its_place(asked: Asked) -> None:
    async with asked.held("a"):
        waiting = await asked.http.post(f"{asked.url}/v1/leases", json={"key": "a"})
        await until(lambda: asked.local._places["a"].wanted == 2)
        waiting.close()
        await until(lambda: asked.local._places["a"].wanted == 1)


async def test_an_upload_that_is_cut_off_leaves_no_file(asked: Asked, tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield bytes(100_000)
        arrived.set()
        await asyncio.Event().wait()

    async with asked.held() as lease:
        sending = asyncio.create_task(asked.http.put(f"{lease}/file", params={"name": "x"}, data=half()).__aenter__())
        await arrived.wait()
        sending.cancel()
        await asyncio.wait([sending])
        async with asked.http.get(f"{lease}/files") as answer:
            assert await answer.json() == {"files": []}
    assert not list((tmp_path / "incoming").iterdir())


async def test_ended_sessions_leave_no_process(asked: Asked) -> None:
    async with asked.held() as lease:
        pids = asked.pids()
        assert alive(pids)
        async with asked.http.delete(lease) as answer:
            assert answer.status == 204
    await until(lambda: not asked.local._places)
    assert not alive(pids)
