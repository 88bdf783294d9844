"""`understudy chat`: a conversation in the terminal, over HTTP like any other client's."""

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Final

from understudy.cli.client import Client, Event, Refused, Target
from understudy.cli.terminal import Stop, note

__all__ = ["Conversation", "chat"]

PROMPT: Final = "you> "
NAME: Final = "understudy chat"


def chat(where: Target, *, model: str | None, instructions: str) -> None:
    """Returns at the end of the input. Raises `Stop`; when the input is piped, also for an answer that failed."""
    typed = sys.stdin.isatty()
    failures = 0
    # Lines are read between runs of the loop, so that typing has the terminal's own editing and Ctrl-C.
    with asyncio.Runner() as runner:
        conversation = runner.run(Conversation.open(where, model, instructions))
        try:
            if typed:
                note(f"{conversation.model} at {where.base_url}")
                note("/new begins again, /quit or Ctrl-D ends, Ctrl-C cancels an answer.")
            for line in _typed_lines() if typed else _piped_lines():
                if line == "/quit":
                    break
                if line == "/new":
                    runner.run(conversation.begin_again())
                    note("A new conversation.")
                    continue
                failures += not runner.run(conversation.say(line))
        finally:
            runner.run(conversation.close())
    if failures and not typed:
        raise Stop(f"{failures} of the answers failed.")


class Conversation:
    """An assistant and a thread. Both are deleted at the end."""

    def __init__(self, client: Client, model: str, assistant_id: str, thread_id: str) -> None:
        self.model = model
        self._client = client
        self._assistant_id = assistant_id
        self._thread_id = thread_id

    @classmethod
    async def open(cls, where: Target, model: str | None, instructions: str) -> "Conversation":
        """Raises `Stop`."""
        client = Client(where)
        try:
            model = model or await client.first_model()
            assistant_id = await client.create(
                "/assistants", {"model": model, "name": NAME, "instructions": instructions}
            )
            return cls(client, model, assistant_id, await client.create("/threads", {}))
        except Refused as refused:
            await client.close()
            raise Stop(str(refused)) from refused
        except BaseException:
            await client.close()
            raise

    async def begin_again(self) -> None:
        await self._drop(f"/threads/{self._thread_id}")
        self._thread_id = await self._client.create("/threads", {})

    async def close(self) -> None:
        """Leaves nothing behind on a server that still answers."""
        await self._drop(f"/threads/{self._thread_id}")
        await self._drop(f"/assistants/{self._assistant_id}")
        await self._client.close()

    async def say(self, text: str) -> bool:
        """Prints the answer as it comes; whether it came to its end. Ctrl-C cancels the run, and that is an end too."""
        run_id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        answer = asyncio.create_task(self._answer(text, run_id))
        try:
            await asyncio.shield(answer)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            await asyncio.wait((answer, run_id), return_when=asyncio.FIRST_COMPLETED)
            if run_id.done() and not answer.done():
                with contextlib.suppress(Refused):  # it ended meanwhile
                    await self._client.cancel(self._thread_id, run_id.result())
        return await answer

    async def _answer(self, text: str, run_id: "asyncio.Future[str]") -> bool:
        body = {
            "assistant_id": self._assistant_id,
            "additional_messages": [{"role": "user", "content": text}],
            "stream": True,
        }
        problem: str | None = "the stream ended before the run did"
        try:
            async for event in self._client.stream(f"/threads/{self._thread_id}/runs", body):
                if event.object == "thread.run" and not run_id.done():
                    run_id.set_result(event.id)
                sys.stdout.write(event.text)
                sys.stdout.flush()
                if event.object in {"thread.run", ""}:
                    problem = _problem(event)
        except Refused as refused:
            problem = str(refused)
        sys.stdout.write("\n")
        sys.stdout.flush()
        if problem is not None:
            note(f"[{problem}]")
        return problem in {None, CANCELLED}

    async def _drop(self, path: str) -> None:
        with contextlib.suppress(Refused, Stop):
            await self._client.delete(path)


CANCELLED: Final = "cancelled"


def _problem(event: Event) -> str | None:
    """What an event about the run, or about the stream, means for the answer: `None` is a good end."""
    if event.error is not None:
        return f"failed: {event.error.message}"
    match event.status:
        case "completed":
            return None
        case "failed" if event.last_error is not None:
            return f"failed: {event.last_error.message}"
        case "queued" | "in_progress" | "cancelling":
            return "the stream ended before the run did"
        case status:
            return status


def _typed_lines() -> Iterator[str]:
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # being imported is what it does: history and editing for `input`
    while True:
        try:
            line = input(PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            note("")
            return
        if line:
            yield line


def _piped_lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip():
            yield line.strip()
