"""No model server at all: the server starts, and says what to set when a model is needed."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from understudy.core.limits import CONTEXT_WINDOW_TOKENS
from understudy.ports import ModelError
from understudy.wire.chat import ChatRequest
from understudy.wire.models import Model

WHAT_TO_SET = (
    "No model server is configured: set UNDERSTUDY_UPSTREAM_BASE_URL (and UNDERSTUDY_UPSTREAM_API_KEY) to a server "
    "that speaks Chat Completions."
)


class NoModels:
    """A `ports.Models` that has none."""

    async def chat(self, request: ChatRequest) -> NoReturn:  # noqa: ARG002 the port's signature
        raise ModelError(WHAT_TO_SET)

    async def forward(self, path: str, body: bytes, *, content_type: str) -> NoReturn:  # noqa: ARG002 likewise
        raise ModelError(WHAT_TO_SET)

    async def ask(self, path: str, model: str, body: Mapping[str, object]) -> NoReturn:  # noqa: ARG002 likewise
        raise ModelError(WHAT_TO_SET)

    async def models(self) -> Sequence[Model]:
        return ()

    def context_window(self, model: str) -> int:  # noqa: ARG002 likewise
        return CONTEXT_WINDOW_TOKENS

    async def close(self) -> None:
        """Nothing is open."""
