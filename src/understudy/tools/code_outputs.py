"""What code puts out on its way to the readers of a run, and to its model."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from understudy.core.limits import CODE_IMAGES_MAX, CODE_LOGS_LENGTH_MAX, CODE_LOGS_SECONDS
from understudy.ports import Emit
from understudy.wire.steps import ImageOutput, ImageOutputFile, LogsOutput

_CHARACTERS_OF_A_TOKEN: Final = 8  # more than any text has on average
_LEFT_OUT: Final = "\n[What follows is left out.]\n"


class Outputs:
    """Shown while they come, but what is printed a few times a second only. `close` when the call is over."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._outputs: list[list[str] | ImageOutput] = []
        self._room = CODE_LOGS_LENGTH_MAX
        self._unshown: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._images = 0
        self._breaks = False  # what follows a value begins a line of its own
        self._last = ""

    @property
    def outputs(self) -> Sequence[LogsOutput | ImageOutput]:
        """All so far."""
        return [LogsOutput(logs="".join(out)) if isinstance(out, list) else out for out in self._outputs]

    @property
    def takes_image(self) -> bool:
        return self._images < CODE_IMAGES_MAX

    @property
    def images(self) -> int:
        return self._images

    def print(self, text: str) -> None:
        """More of what the code prints. Text that no database or client takes is made into such."""
        if text:
            self._add(("\n" if self._breaks and self._last not in ("", "\n") else "") + _plain(text))
            self._breaks = False

    def line(self, text: str) -> None:
        """A value, a traceback, or a sentence: on a line of its own."""
        if text:
            self._breaks = True
            self.print(text)
            self._breaks = True

    def image(self, file_id: str) -> None:
        self.flush()
        output = ImageOutput(image=ImageOutputFile(file_id=file_id))
        self._outputs.append(output)
        self._images += 1
        self._last, self._breaks = "", False
        self._emit(output)

    def flush(self) -> None:
        """Shows what was held back for a moment."""
        if self._unshown:
            logs = "".join(self._unshown)
            self._unshown.clear()
            self._emit(LogsOutput(logs=logs))

    def close(self) -> None:
        """Nothing is shown any more."""
        if self._timer is not None:
            self._timer.cancel()

    def told(self, sentences: Sequence[str], budget_tokens: int, count: Callable[[str], int]) -> str:
        """What the model is told: the logs' beginning and end, where its images stand, and the sentences."""
        number, parts = 0, list[str]()
        for output in self.outputs:
            if isinstance(output, LogsOutput):
                parts.append(output.logs.rstrip("\n"))
            else:
                number += 1
                parts.append(f"[image {number}: the user is shown it above your answer]")
        rest = "\n".join(sentences)
        logs = clipped("\n".join(parts), budget_tokens - count(rest), count)
        return "\n".join(part for part in (logs, rest) if part)

    def _add(self, text: str) -> None:
        if self._room <= 0:
            return
        if len(text) > self._room:
            text = text[: self._room] + _LEFT_OUT
        self._room -= len(text)
        if not self._outputs or isinstance(self._outputs[-1], ImageOutput):
            self._outputs.append([])
        logs = self._outputs[-1]
        assert isinstance(logs, list)
        logs.append(text)
        self._last = text[-1]
        self._unshown.append(text)
        if self._timer is None:
            self._show_now_and_then()

    def _show_now_and_then(self) -> None:
        if not self._unshown:
            self._timer = None
            return
        self.flush()
        self._timer = asyncio.get_running_loop().call_later(CODE_LOGS_SECONDS, self._show_now_and_then)


def clipped(text: str, budget_tokens: int, count: Callable[[str], int]) -> str:
    """The text's beginning and its end, with a line between them that says how much is left out."""
    length = max(budget_tokens, 0) * _CHARACTERS_OF_A_TOKEN
    while True:
        shown = text if len(text) <= length else _without_middle(text, length)
        tokens = count(shown)
        if tokens <= budget_tokens or length <= 0:
            return shown
        length = min(length, len(text)) * budget_tokens // tokens - 1


def _without_middle(text: str, length: int) -> str:
    if length <= 0:
        return f"[{len(text):,} characters are left out here.]"
    head, tail = text[: (length + 1) // 2], text[len(text) - length // 2 :]
    return f"{head}\n[{len(text) - length:,} characters are left out here.]\n{tail}"


def _plain(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
