"""The server's HTTP API as `understudy chat` needs it; the server may well be another machine's."""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from understudy.cli.banner import base_url as local_base_url
from understudy.cli.terminal import Stop
from understudy.keys import read_first_key
from understudy.models.sse import SseParser, TooLong
from understudy.settings import Settings

__all__ = ["Client", "Event", "Refused", "Target", "target"]

T = TypeVar("T")

CONNECT_SECONDS: Final = 10.0
# The server pings a quiet stream every 15 seconds.
SILENCE_SECONDS: Final = 60.0
EVENT_BYTES_MAX: Final = 16 * 1024 * 1024


class Target(Struct, frozen=True):
    base_url: str
    key: str


class Refused(Exception):
    """The server answered with an error. Its text is the server's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


# What a conversation needs of the API's objects, and no more.


class _Named(Struct, frozen=True):
    id: str


class _Listed(Struct, frozen=True):
    data: list[_Named]


class _Failure(Struct, frozen=True):
    message: str | None = None


class _Answer(Struct, frozen=True):
    error: _Failure


class _Text(Struct, frozen=True):
    value: str = ""


class _Part(Struct, frozen=True):
    text: _Text = _Text()
    refusal: str = ""


class _Delta(Struct, frozen=True):
    content: list[_Part] = []


class Event(Struct, frozen=True):
    """The data of any event of a run's stream. `object` says which; it is empty for an error of the stream itself."""

    object: str = ""
    id: str = ""
    status: str = ""
    delta: _Delta = _Delta()
    last_error: _Failure | None = None
    error: _Failure | None = None

    @property
    def text(self) -> str:
        """What this event adds to the answer."""
        return "".join(part.text.value or part.refusal for part in self.delta.content)


class _Ignored(Struct, frozen=True):
    pass


def target(settings: Settings, environ: Mapping[str, str], *, base_url: str | None, api_key: str | None) -> Target:
    """Which server, and with which key. Raises `Stop` when no key is known.

    OPENAI_API_KEY belongs to OPENAI_BASE_URL: a shell that has only the key has one of somebody else's service, which
    is not sent to the server on this machine while that one's own key can be read.
    """
    url = base_url or environ.get("OPENAI_BASE_URL")
    try:
        own = settings.api_key or read_first_key(settings.data_dir)
    except OSError:
        own = None
    exported = environ.get("OPENAI_API_KEY")
    key = api_key or ((exported or own) if url else (own or exported))
    if not key:
        raise Stop(f"No API key: set OPENAI_API_KEY, or name the server's --data-dir ({settings.data_dir} has none).")
    return Target((url or local_base_url(settings.host, settings.port)).rstrip("/"), key)


class Client:
    """One server. Calls raise `Refused` for the server's errors and `Stop` when it cannot be reached."""

    def __init__(self, where: Target) -> None:
        self._where = where
        # The loop stands still while somebody types, so a connection that was kept would be found dead.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            headers={"Authorization": f"Bearer {where.key}", "OpenAI-Beta": "assistants=v2"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def first_model(self) -> str:
        """The first that the server lists."""
        listed = (await self._call("GET", "/models", _Listed)).data
        if not listed:
            raise Stop("The server lists no model: name one with --model.")
        return listed[0].id

    async def create(self, path: str, body: Mapping[str, object]) -> str:
        """The new object's id."""
        return (await self._call("POST", path, _Named, body)).id

    async def delete(self, path: str) -> None:
        await self._call("DELETE", path, _Ignored)

    async def cancel(self, thread_id: str, run_id: str) -> None:
        await self._call("POST", f"/threads/{thread_id}/runs/{run_id}/cancel", _Ignored, {})

    async def stream(self, path: str, body: Mapping[str, object]) -> AsyncIterator[Event]:
        """The events of a run, `[DONE]` left out."""
        parser = SseParser(event_bytes_max=EVENT_BYTES_MAX)
        try:
            async with self._session.post(self._where.base_url + path, data=_json(body), headers=_JSON) as response:
                await self._refuse(response)
                async for read in response.content.iter_any():
                    for payload in parser.feed(read):
                        if payload != b"[DONE]":
                            yield msgspec.json.decode(payload, type=Event)
        except (aiohttp.ClientError, OSError, TimeoutError, TooLong, msgspec.DecodeError) as error:
            raise self._broken(error) from error

    async def _call(self, method: str, path: str, type_: type[T], body: Mapping[str, object] | None = None) -> T:
        content = None if body is None else _json(body)
        try:
            async with self._session.request(
                method, self._where.base_url + path, data=content, headers=_JSON
            ) as response:
                await self._refuse(response)
                return msgspec.json.decode(await response.read(), type=type_)
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            raise self._broken(error) from error

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        if response.status < 400:
            return
        message = msgspec.json.decode(await response.read(), type=_Answer).error.message
        if response.status == 401:
            raise Stop(f"The server at {self._where.base_url} refused the key: {message}")
        raise Refused(response.status, message or f"The server answered with status {response.status}.")

    def _broken(self, error: Exception) -> Stop:
        url = self._where.base_url
        match error:
            case aiohttp.InvalidURL():
                return Stop(f"'{url}' is no base URL: it looks like http://127.0.0.1:8000/v1.")
            case aiohttp.ClientConnectorError():
                return Stop(f"No server answers at {url}: start one with `understudy serve`, or name it by --base-url.")
            case msgspec.DecodeError() | aiohttp.ClientResponseError():
                return Stop(f"What answers at {url} is not this API; a base URL ends in /v1.")
            case TimeoutError():
                return Stop(f"The server at {url} fell silent.")
            case _:
                return Stop(f"The connection to {url} broke: {error}.")


_JSON: Final = {"Content-Type": "application/json"}


def _json(body: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(body)
