"""Model servers, and the counting of what they are sent."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from understudy.core import errors
from understudy.wire.chat import ChatRequest, Chunk
from understudy.wire.models import Model
from understudy.wire.runs import RunErrorCode


class ModelError(Exception):
    """A model server failed, or refused. `message` is safe to show to the client.

    `code` is the run's `last_error.code`. `retryable`: nothing was answered yet and trying again may help,
    not before `retry_after` seconds where the server named a time.
    """

    def __init__(
        self,
        message: str,
        *,
        code: RunErrorCode = "server_error",
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code: RunErrorCode = code
        self.retryable = retryable
        self.retry_after = retry_after


class UnknownModel(ModelError):
    """No model server is set for this model."""

    def __init__(self, model: str) -> None:
        super().__init__(errors.model_unknown(model).message)
        self.model = model


class ChunkStream(Protocol):
    """A model's answer while it arrives. `over`: nothing follows what `next` gave last, and no failure."""

    @property
    def over(self) -> bool: ...

    async def next(
        self,
        take: Callable[[Sequence[Chunk]], bool] | None = None,
        take_text: Callable[[str], bool] | None = None,
    ) -> Sequence[Chunk]:
        """The chunks of the next read, at least one. Empty after `[DONE]` or the end of the body.

        What arrives while it waits is offered to `take` first, within the loop's own callback: chunks that it answers
        `True` to are taken, and the wait goes on. In place of a chunk that only goes on with a text, that text may be
        offered to `take_text` first.

        Raises `ModelError`: a chunk that is no JSON, an error chunk, silence, a cut connection; and what `take` and
        `take_text` raise.
        """

    async def close(self) -> None:
        """Lets the connection go; a model that is still talking is cut off."""


class Forwarded(Protocol):
    """A model server's answer to a passed-through request, whatever its status, while it arrives.

    `headers` are the answer's own without those that belong to one connection, and without its content's type, length
    and encoding: the pieces are decompressed.
    """

    status: int
    content_type: str
    headers: Mapping[str, str]

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `ModelError`: silence, a cut connection."""

    async def close(self) -> None:
        """Lets the connection go; an answer that is still arriving is cut off."""


class Models(Protocol):
    async def chat(self, request: ChatRequest) -> ChunkStream:
        """Raises `ModelError`, `UnknownModel`."""

    async def forward(self, path: str, body: bytes, *, content_type: str) -> Forwarded:
        """A client's own request, sent as it is: `path` is `/chat/completions` or `/embeddings`.

        Raises `ModelError`: no connection, no answer, or the configured key was refused; `UnknownModel`.
        """

    async def ask(self, path: str, model: str, body: Mapping[str, object]) -> bytes:
        """The whole answer to a question of our own: `path` is `/embeddings` or `/rerank`, `body` lacks the model.

        Raises `ModelError`, also for an answer that is a refusal or too long; `UnknownModel`.
        """

    async def models(self) -> Sequence[Model]:
        """What the model servers offer. Raises `ModelError`."""

    def context_window(self, model: str) -> int:
        """Tokens that a prompt and its answer may have together."""

    async def close(self) -> None: ...


class Tokens(Protocol):
    def count(self, text: str, model: str = "") -> int:
        """Tokens of a text, by the table of the model's family."""
