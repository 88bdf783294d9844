"""The model that answers when no model server is configured: a small one, in a process of its own on this machine.

Its process is `local_server` (the parent's side) and `local_child`; what it is asked is `local_chat`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import structlog

from understudy.core.limits import LOCAL_CONTEXT_WINDOW_TOKENS, LOCAL_SLOTS, LOCAL_START_SECONDS
from understudy.models.http import HttpModels
from understudy.models.local_chat import CallWriter, adapt
from understudy.models.local_server import COMMAND, Address, LocalServer, LocalUnavailable
from understudy.models.upstream import Upstream
from understudy.ports import ChunkStream, Forwarded, ModelError, NewId
from understudy.wire.chat import ChatRequest, Chunk
from understudy.wire.models import Model

__all__ = ["LocalModels", "LocalUnavailable", "model_name"]

log = structlog.get_logger(__name__)

_QUANTIZATION: Final = re.compile(r"[.-](I?Q\d\w*|F16|BF16|F32)$", re.IGNORECASE)


def model_name(gguf: Path) -> str:
    """The model's name as its file says it: `SmolLM2-135M-Instruct.Q4_1.gguf` is `smollm2-135m-instruct`."""
    return _QUANTIZATION.sub("", gguf.name.removesuffix(".gguf")).lower()


class LocalModels:
    """A `ports.Models` with one text-only model, which answers to every name and calls only functions that are forced.

    `gguf` gives the weights' path at the first use; it may block, and raise `WeightsUnavailable`.
    """

    def __init__(
        self,
        *,
        gguf: Callable[[], Path],
        model: str,
        new_id: NewId,
        context_window_tokens: int = LOCAL_CONTEXT_WINDOW_TOKENS,
        slots: int = LOCAL_SLOTS,
        command: Sequence[str] = COMMAND,
        start_seconds: float = LOCAL_START_SECONDS,
    ) -> None:
        self._model = model
        self._new_id = new_id
        self._context_window_tokens = context_window_tokens
        # Prompts are measured with another model's table, and the template's own tokens are not counted.
        slot_tokens = context_window_tokens + context_window_tokens // 4
        self._server = LocalServer(
            gguf=gguf, model=model, slots=slots, slot_tokens=slot_tokens, command=command, start_seconds=start_seconds
        )
        self._client: HttpModels | None = None
        self._client_of: Address | None = None

    async def start(self) -> None:
        """Returns once the model can answer. Not needed: the first use starts it. Raises `ModelError`."""
        await self._connected()

    async def chat(self, request: ChatRequest) -> ChunkStream:
        adapted = adapt(request, model=self._model)
        if adapted.tools_left_out:
            log.info("local_tools_left_out", tools=adapted.tools_left_out, model=self._model)
        if adapted.images_left_out:
            log.info("local_images_left_out", images=adapted.images_left_out, model=self._model)
        client = await self._connected()
        stream = await client.chat(adapted.request)
        return _CallStream(stream, CallWriter(adapted.forced, self._new_id)) if adapted.forced else stream

    async def forward(self, path: str, body: bytes, *, content_type: str) -> Forwarded:
        client = await self._connected()
        return await client.forward(path, body, content_type=content_type)

    async def ask(self, path: str, model: str, body: Mapping[str, object]) -> NoReturn:  # noqa: ARG002 - a port's
        raise ModelError("The stand-in model neither embeds nor reranks: UNDERSTUDY_UPSTREAM_BASE_URL names a server.")

    async def models(self) -> Sequence[Model]:
        return (Model(id=self._model, created=0, owned_by="local"),)

    def context_window(self, model: str) -> int:  # noqa: ARG002 - every name is this one model's
        return self._context_window_tokens

    async def close(self) -> None:
        """Ends answers that are still written, and the model's process within two seconds."""
        if self._client is not None:
            await self._client.close()
        await self._server.close()

    async def _connected(self) -> HttpModels:
        address = await self._server.address()
        if self._client is None or self._client_of != address:
            last = self._client
            self._client_of = address
            self._client = HttpModels(_upstream(address))
            if last is not None:
                await last.close()
        return self._client


def _upstream(address: Address) -> Upstream:
    # llama.cpp's server promises to keep a connection, and closes it after every stream: the next request that takes
    # it may come just before that, and get no answer.
    return Upstream(name="local", base_url=address.base_url, api_key=address.key, headers={"Connection": "close"})


class _CallStream:
    """A `ports.ChunkStream`: a forced answer as a tool call."""

    def __init__(self, stream: ChunkStream, writer: CallWriter) -> None:
        self._stream = stream
        self._writer = writer

    @property
    def over(self) -> bool:
        return self._stream.over

    async def next(
        self,
        take: Callable[[Sequence[Chunk]], bool] | None = None,
        take_text: Callable[[str], bool] | None = None,  # noqa: ARG002 - a call is no text
    ) -> Sequence[Chunk]:
        while chunks := await self._stream.next():
            written = [chunk for read in chunks if (chunk := self._writer.write(read)) is not None]
            if written and (take is None or not take(written)):
                return written
        return ()

    async def close(self) -> None:
        await self._stream.close()
