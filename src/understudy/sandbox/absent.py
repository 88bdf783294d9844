"""No sandbox at all: whoever wants to run code is told why there is none, and what to do about it."""

from contextlib import AbstractAsyncContextManager

from understudy.ports import SandboxSession, SandboxUnavailable

__all__ = ["NoSandboxes"]


class NoSandboxes:
    """`reason` is what `SandboxUnavailable` says, for every key."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def open(self, key: str) -> AbstractAsyncContextManager[SandboxSession]:  # noqa: ARG002 - the port's
        return _Refusal(self._reason)

    async def check(self) -> None:
        raise SandboxUnavailable(self._reason)

    async def close(self) -> None:
        pass


class _Refusal(AbstractAsyncContextManager[SandboxSession]):
    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def __aenter__(self) -> SandboxSession:
        raise SandboxUnavailable(self._reason)

    async def __aexit__(self, *_: object) -> None:
        pass
