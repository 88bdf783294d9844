"""A small HTTP client for tests: JSON in, JSON out, and event streams as lists."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

__all__ = ["Answer", "Client", "Download", "Event"]

JsonBody = dict[str, Any] | list[Any] | None


@dataclass(frozen=True)
class Answer:
    """What a request brought back. `body` is the decoded JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a refused request."""
        found: dict[str, Any] = self.body["error"]
        return found


@dataclass(frozen=True)
class Event:
    """One frame of a stream. `data` is the decoded JSON, of `done` the text `[DONE]`. `id` is "" where none came."""

    name: str
    data: Any
    id: str = ""


@dataclass(frozen=True)
class Download:
    """What a request for bytes brought back."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Client:
    """Speaks to one server with one key. Paths begin with `/v1`; `url` is the server's where the session has none."""

    def __init__(self, session: aiohttp.ClientSession, key: str | None, *, url: str = "") -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def with_key(self, key: str | None) -> "Client":
        """The same server, asked with another key, or with none."""
        return Client(self._session, key, url=self._url)

    def with_headers(self, headers: Mapping[str, str]) -> "Client":
        """The same server and key, asked with more headers."""
        same = Client(self._session, None, url=self._url)
        same._headers = {**self._headers, **headers}
        return same

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON of a 200."""
        return await self._expect(await self.request("GET", path, params=query))

    async def post(self, path: str, body: JsonBody = None) -> Any:
        """The JSON of a 200."""
        return await self._expect(await self.request("POST", path, body))

    async def delete(self, path: str) -> Any:
        """The JSON of a 200."""
        return await self._expect(await self.request("DELETE", path))

    async def request(
        self,
        method: str,
        path: str,
        body: JsonBody = None,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """Whatever the server answers, good or bad. `body=None` sends no body at all, `raw` these bytes as they are."""
        merged = {**self._headers, **(headers or {})}
        sent: dict[str, Any] = {"json": body} if raw is None else {"data": io.BytesIO(raw)}
        async with self._session.request(method, self._url + path, params=params, headers=merged, **sent) as response:
            return Answer(response.status, response.headers, await response.json(content_type=None))

    async def download(self, path: str, *, method: str = "GET") -> Download:
        """The bytes of an answer that is no JSON."""
        async with self._session.request(method, self._url + path, headers=self._headers) as response:
            return Download(response.status, response.headers, await response.read())

    async def stream(self, path: str, body: dict[str, Any] | None = None) -> list[Event]:
        """All events of a stream, to its end. `stream: true` is added to the body."""
        async with self.open_stream(path, body) as events:
            return [event async for event in events]

    @asynccontextmanager
    async def open_stream(self, path: str, body: dict[str, Any] | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        """The events as they arrive; leaving early drops the connection."""
        sent = {**(body or {}), "stream": True}
        async with self._session.post(self._url + path, json=sent, headers=self._headers) as response:
            assert response.status == 200, f"{response.status}: {await response.text()}"
            assert response.content_type == "text/event-stream"
            yield _events(response.content)

    @asynccontextmanager
    async def resume(self, path: str, last_id: str = "") -> AsyncIterator[AsyncIterator[Event]]:
        """The events of a run's stream behind the one with this id; from the beginning without one."""
        headers = {**self._headers, **({"Last-Event-ID": last_id} if last_id else {})}
        async with self._session.get(self._url + path, headers=headers) as response:
            assert response.status == 200, f"{response.status}: {await response.text()}"
            yield _events(response.content)

    @staticmethod
    async def _expect(answer: Answer) -> Any:
        assert answer.status == 200, f"{answer.status}: {answer.body}"
        return answer.body


async def _events(lines: aiohttp.StreamReader) -> AsyncIterator[Event]:
    name, text, id_ = "", [], ""
    async for raw in lines:
        line = raw.decode().removesuffix("\n").removesuffix("\r")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            text.append(line.removeprefix("data: "))
        elif line.startswith("id: "):
            id_ = line.removeprefix("id: ")
        elif line == "" and text:
            joined = "\n".join(text)
            yield Event(name, joined if joined == "[DONE]" else json.loads(joined), id_)
            name, text, id_ = "", [], ""
        else:
            assert line == "" or line.startswith(":"), f"a line that belongs to no frame: {line!r}"
