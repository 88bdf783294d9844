"""One model turn: Chat Completions chunks in, pieces of a message and of tool calls out.

Model servers disagree about the fields of a streamed tool call; what each of them leaves out or repeats is settled
here, so that nothing behind this module sees it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from understudy.core.chat.citations import Citable, Cited
from understudy.core.chat.file_paths import Annotator
from understudy.core.limits import CALLS_PER_TURN_MAX, COMPLETION_BYTES_MAX
from understudy.wire.chat import Chunk, ChunkDelta, ChunkFunction, ChunkToolCall, ChunkUsage
from understudy.wire.messages import Annotation, ImageFile, ImageFilePart, Part, RefusalPart, TextPart, TextValue
from understudy.wire.runs import Usage
from understudy.wire.steps import FunctionCall, FunctionOutcome


class TextPiece(Struct, frozen=True):
    """`index` is the content part's place in its message; `first` is true once per part.

    `annotations` are of what stands in the part up to the end of `value`, which may be empty; it has had `annotated`
    of them before.
    """

    value: str
    index: int
    first: bool
    annotations: Sequence[Annotation] = ()
    annotated: int = 0


class RefusalPiece(Struct, frozen=True):
    value: str
    index: int
    first: bool


class ImagePiece(Struct, frozen=True):
    """A whole part of the message."""

    index: int
    image: ImageFile


class CallStarted(Struct, frozen=True):
    """`index` is the call's place in its step."""

    index: int
    id: str
    name: str


class CallArguments(Struct, frozen=True):
    index: int
    arguments: str


Piece: TypeAlias = TextPiece | RefusalPiece | ImagePiece | CallStarted | CallArguments
Verdict: TypeAlias = Literal["stopped", "truncated", "filtered", "no_finish"]

# Any other word means that the model stopped of its own accord. `model_length` and `error` are Mistral's.
_VERDICTS: Final[Mapping[str, Verdict]] = {
    "length": "truncated",
    "max_tokens": "truncated",
    "model_length": "truncated",
    "content_filter": "filtered",
    "error": "no_finish",
}


def text_alone(chunk: Chunk) -> str | None:
    """The text that a chunk adds to the answer, if it says nothing else."""
    if len(chunk.choices) != 1 or chunk.usage is not None or chunk.error is not None:
        return None
    choice = chunk.choices[0]
    delta = choice.delta
    if delta.refusal or delta.tool_calls or choice.finish_reason:
        return None
    return delta.content or None


class TurnTooLarge(Exception):
    """The model's answer broke a limit of ours. What came before it is still in the turn."""


class Turn:
    """What a model has said so far.

    `content` and `calls` are at every moment the sum of the pieces handed out, so what is stored of a turn that is
    cut off is what its clients were shown. Calls are numbered in the order in which they first appear.

    Text that arrives after the first sign of a call is left out: a step's message is completed before its calls
    begin, and cannot be opened again. `late_characters` counts what was lost, without white space.

    With `one_call` the first call is kept and all others are left out. A call that never got a name is left out too:
    nobody could answer it. With `citable` the markers of citations in the text get their annotations, and with
    `made`, ids of files by their paths in the sandbox, those paths do. A message begins with the files of `images`.
    """

    def __init__(
        self,
        *,
        new_call_id: Callable[[], str],
        one_call: bool = False,
        citable: Citable | None = None,
        made: Mapping[str, str] | None = None,
        images: Sequence[str] = (),
    ) -> None:
        self._new_call_id = new_call_id
        self._one_call = one_call
        self._citable = citable
        self._made = made or {}
        self._images = [ImageFile(file_id=file_id) for file_id in images]
        self._images_shown = 0
        self._parts: list[_Part] = []  # those of which something was handed out
        self._part: _Part | None = None  # the one that text is added to
        self._calls: list[_Call] = []
        self._front = 0  # the call that is being handed out; those after it wait until it is whole
        self._started: list[_Call] = []
        self._routes = _Routes()
        self._bytes = 0
        self._usage: ChunkUsage | None = None
        self.finish_reason: str | None = None
        self.late_characters = 0

    @property
    def content(self) -> tuple[Part, ...]:
        images = [ImageFilePart(image_file=image) for image in self._images[: self._images_shown]]
        return (*images, *(part.content() for part in self._parts))

    @property
    def calls(self) -> tuple[FunctionCall, ...]:
        return tuple(
            FunctionCall(id=call.id, function=FunctionOutcome(name=call.name, arguments=call.shown()))
            for call in self._started
        )

    @property
    def usage(self) -> Usage:
        """Zeros when the server reported none: see `usage_reported`. Of several reports the last one counts."""
        usage = self._usage or ChunkUsage()
        return Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
        )

    @property
    def usage_reported(self) -> bool:
        return self._usage is not None

    @property
    def empty(self) -> bool:
        return not self._parts and not self._images_shown and not self._started

    def verdict(self) -> Verdict:
        """How the turn ended, as its `finish_reason` tells. `no_finish`: the answer broke off and is not to be used."""
        if self.finish_reason is None:
            return "no_finish"
        return _VERDICTS.get(self.finish_reason, "stopped")

    def feed(self, chunk: Chunk) -> Sequence[Piece]:
        """The pieces that can be shown now. Raises `TurnTooLarge`."""
        if chunk.usage is not None:
            self._usage = chunk.usage
        if not chunk.choices:
            return ()
        choice = chunk.choices[0]
        delta = choice.delta
        calls_begun = self._routes.seen > 0
        # Whatever may be refused comes before the text, so that no text is kept that was not handed out.
        self._measure(delta)
        for part in delta.tool_calls or ():
            self._add_call(part)
        pieces: list[Piece] = []
        if calls_begun:
            self.late_characters += len("".join(((delta.content or "") + (delta.refusal or "")).split()))
        else:
            if delta.content:
                pieces += self._add_text("text", delta.content)
            if delta.refusal:
                pieces += self._add_text("refusal", delta.refusal)
        if delta.tool_calls:
            pieces += self._end_part()
            pieces += self._release(ended=False)
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        return pieces

    def more_text(self, value: str) -> bool:
        """What `feed` does with nearly every chunk, in a tenth of its steps: adds to the part of text whose beginning
        was handed out. `False`: there is none that only grows, nothing was taken, and the chunk is to be fed.

        `value` is a chunk's `text_alone`. Raises `TurnTooLarge`.
        """
        part = self._part
        if part is None or not part.only_grows:
            return False
        self._bytes += len(value) if value.isascii() else len(value.encode())
        if self._bytes > COMPLETION_BYTES_MAX:
            raise _too_large()
        part.values.append(value)
        return True

    def finish(self) -> Sequence[Piece]:
        """The pieces that were held back. No chunk follows."""
        return [*self._end_part(), *self._release(ended=True)]

    def begin_message(self) -> Sequence[ImagePiece]:
        """What the message begins with, unless it was handed out already."""
        begun, self._images_shown = self._images_shown, len(self._images)
        return [ImagePiece(index, image) for index, image in enumerate(self._images)][begun:]

    def _add_text(self, kind: Literal["text", "refusal"], value: str) -> Sequence[Piece]:
        part = self._part
        if part is None or part.kind != kind:
            ended = self._end_part()
            marks = (self._citable is not None or self._made) and kind == "text"
            self._part = _Part(kind, Annotator(self._citable, self._made) if marks else None)
            return [*ended, *self._hand_out(self._part, self._part.cited(value))]
        return self._hand_out(part, part.cited(value))

    def _end_part(self) -> Sequence[Piece]:
        part, self._part = self._part, None
        if part is None or part.annotator is None:
            return ()
        return self._hand_out(part, part.annotator.finish())

    def _hand_out(self, part: "_Part", cited: Cited) -> Sequence[Piece]:
        if not cited.value and not cited.annotations:
            return ()
        first = not part.values
        images = self.begin_message() if first else ()
        if first:
            self._parts.append(part)
            part.only_grows = part.annotator is None and part.kind == "text"
        index, annotated = len(self._images) + len(self._parts) - 1, len(part.annotations)
        part.values.append(cited.value)
        part.annotations += cited.annotations
        if part.kind == "refusal":
            return (*images, RefusalPiece(cited.value, index, first))
        return (*images, TextPiece(cited.value, index, first, cited.annotations, annotated))

    def _add_call(self, part: ChunkToolCall) -> None:
        function = part.function or ChunkFunction()
        name, arguments = function.name or "", function.arguments or ""
        call = self._routes.find(part.index, part.id or "", name, arguments)
        if call is None:
            if self._routes.seen >= CALLS_PER_TURN_MAX:
                raise TurnTooLarge(f"The model made more than {CALLS_PER_TURN_MAX} tool calls at once.")
            call = self._routes.open()
            if not (self._one_call and self._calls):
                self._calls.append(call)
        self._routes.touch(call, part.index, part.id or "")
        call.add(name, arguments)

    def _release(self, *, ended: bool) -> list[Piece]:
        pieces: list[Piece] = []
        while self._front < len(self._calls):
            call = self._calls[self._front]
            # A name may come in pieces, and an id late: both are settled when the arguments begin.
            if call.index is None and call.name and (call.fragments or ended):
                call.index = len(self._started)
                taken = {other.id for other in self._started}
                call.id = call.server_id if call.server_id not in taken | {""} else self._new_call_id()
                self._started.append(call)
                pieces.append(CallStarted(call.index, call.id, call.name))
            if call.index is not None and (arguments := call.show()):
                pieces.append(CallArguments(call.index, arguments))
            is_last = self._front + 1 == len(self._calls)
            if not ended and (is_last or call.index is None or not call.whole()):
                break
            # Nothing that still comes for this call is handed out: no arguments follow a whole JSON object.
            self._front += 1
        return pieces

    def _measure(self, delta: ChunkDelta) -> None:
        if delta.content:
            self._bytes += _size_bytes(delta.content)
        if delta.refusal:
            self._bytes += _size_bytes(delta.refusal)
        for part in delta.tool_calls or ():
            if part.function is not None:
                self._bytes += _size_bytes(part.function.name) + _size_bytes(part.function.arguments)
        if self._bytes > COMPLETION_BYTES_MAX:
            raise _too_large()


def _too_large() -> TurnTooLarge:
    return TurnTooLarge(f"The model's answer is longer than {COMPLETION_BYTES_MAX} bytes.")


def _size_bytes(value: str | None) -> int:
    if not value:
        return 0
    return len(value) if value.isascii() else len(value.encode())


class _Part:
    """A part of the message: what was handed out of it."""

    def __init__(self, kind: Literal["text", "refusal"], annotator: Annotator | None) -> None:
        self.kind = kind
        self.annotator = annotator
        self.values: list[str] = []
        self.annotations: list[Annotation] = []
        self.only_grows = False  # text that was begun, in which nothing is looked for

    def cited(self, value: str) -> Cited:
        return Cited(value) if self.annotator is None else self.annotator.feed(value)

    def content(self) -> Part:
        value = "".join(self.values)
        if self.kind == "refusal":
            return RefusalPart(refusal=value)
        return TextPart(text=TextValue(value=value, annotations=[*self.annotations]))


class _Call:
    """A call as its server streams it. `id` and `index` are set when it is first shown."""

    def __init__(self) -> None:
        self.id = ""
        self.index: int | None = None
        self.server_id = ""
        self.name = ""
        self.fragments: list[str] = []
        self._shown = 0
        self._parsed = 0
        self._whole = False

    def add(self, name: str, arguments: str) -> None:
        # Some servers repeat the whole name in every chunk; none was seen to change it once arguments have begun.
        if name != self.name and not (self.name and self.fragments):
            self.name += name
        if arguments:
            self.fragments.append(arguments)

    def show(self) -> str:
        """The arguments not handed out yet."""
        new = "".join(self.fragments[self._shown :])
        self._shown = len(self.fragments)
        return new

    def shown(self) -> str:
        return "".join(self.fragments[: self._shown])

    def whole(self) -> bool:
        """The arguments are a JSON object, so that nothing more can come."""
        if self._parsed != len(self.fragments) and self.fragments[-1].rstrip().endswith("}"):
            self._parsed = len(self.fragments)
            try:
                self._whole = isinstance(msgspec.json.decode("".join(self.fragments)), dict)
            except msgspec.DecodeError:
                self._whole = False
        return self._whole


class _Routes:
    """Which call a chunk belongs to: by its `index`, else by its `id`, else it goes on with the last one."""

    def __init__(self) -> None:
        self.seen = 0
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._last: _Call | None = None

    def find(self, index: int | None, id_: str, name: str, arguments: str) -> _Call | None:
        """The call that these fields continue; `None` when they begin another."""
        if index is not None:
            call = self._by_index.get(index)
        elif id_:
            call = self._by_id.get(id_)
        else:
            call = None if name else self._last
        return None if call is None or _begins_another(call, id_, name, arguments) else call

    def open(self) -> _Call:
        self.seen += 1
        return _Call()

    def touch(self, call: _Call, index: int | None, id_: str) -> None:
        """Chunks that name this index or this id belong to this call from now on."""
        self._last = call
        if index is not None:
            self._by_index[index] = call
        if id_ and not call.server_id and call.index is None:
            call.server_id = id_
        if id_:
            self._by_id[id_] = call


def _begins_another(call: _Call, id_: str, name: str, arguments: str) -> bool:
    if id_ and call.server_id and id_ != call.server_id:
        # Some servers make up a fresh id for every chunk of one call: without a name, only whole arguments end it.
        return name != "" or (arguments != "" and call.whole())
    if not (name and call.name and call.fragments):
        return False
    # Servers that send whole calls without ids may give all of them index 0: then a name after complete arguments
    # tells them apart, even when the same function is called twice.
    return name != call.name or (not id_ and arguments != "" and call.whole())
