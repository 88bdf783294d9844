"""What the model is shown: the request of one model turn, fitted to the model's window and to the run's limits.

Token counts are estimates by the model's table; `correction` is what the model server's own counts were, over ours
(see `budget.py`). Limits are divided by it, so that all sums here are sums of estimates.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from understudy.core.chat.offers import BuiltInKind, Offer
from understudy.core.limits import (
    COMPLETION_RESERVE_TOKENS,
    IMAGE_AUTO_TOKENS,
    IMAGE_HIGH_TOKENS,
    IMAGE_LOW_TOKENS,
    MESSAGE_OVERHEAD_TOKENS,
)
from understudy.core.run.state import Note, RunSettings
from understudy.wire.base import JsonObject
from understudy.wire.chat import ChatCalledFunction, ChatFunction, ChatMessage, ChatRequest, ChatTool, ChatToolCall
from understudy.wire.messages import (
    Detail,
    FileCitation,
    ImageFilePart,
    ImageUrlPart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    TextValue,
)
from understudy.wire.runs import Run, Truncation, Usage
from understudy.wire.steps import (
    CodeInterpreterCall,
    FileSearchCall,
    FunctionCall,
    MessageCreation,
    RunStep,
    ToolCall,
    ToolCalls,
)
from understudy.wire.tools import (
    ChooseCodeInterpreter,
    ChooseFileSearch,
    ChooseFunction,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    TextFormat,
    ToolChoice,
)

T = TypeVar("T")
Role: TypeAlias = Literal["user", "assistant"]

_IMAGE: Final = "[image]"


class Entry(Struct, frozen=True):
    """A message of the thread with its `message_tokens`, as counted when it was written."""

    message: Message
    tokens: int


class Window(Struct, frozen=True, kw_only=True):
    """What was read of a thread for one run. The run's own messages are in `own_messages` and nowhere else.

    `recent` holds the newest messages, oldest first, without a gap; as far back as `Reach` asked for. `head` holds
    the thread's oldest ones, and may repeat messages of `recent`. `own` is all of this run's steps, oldest first;
    `notes` are of their calls of built-in tools, by step and call.
    """

    head: Sequence[Entry] = ()
    recent: Sequence[Entry] = ()
    own: Sequence[RunStep] = ()
    own_messages: Mapping[str, Message] = {}
    notes: Mapping[str, Mapping[str, Note]] = {}


class Prompt(Struct, frozen=True):
    """A request, and the estimate of its prompt's tokens before any correction; `fixed` of them can not be dropped."""

    request: ChatRequest
    tokens: int
    fixed: int = 0


class Spent(Struct, frozen=True):
    """The run's limits leave no room for another turn."""

    reason: Literal["max_prompt_tokens", "max_completion_tokens"]


def compose(
    *,
    run: Run,
    settings: RunSettings,
    turns: int,
    window: Window,
    spent: Usage,
    correction: float,
    context_window_tokens: int,
    count: Callable[[str], int],
    images: Mapping[str, str] | None = None,
    offers: Sequence[Offer] = (),
) -> Prompt | Spent:
    """The request of the run's next model turn.

    `turns` is the number of model turns the run has had, `spent` what they cost. `images` maps file ids to URLs that
    a model server can read; an image file that is not in it is named in words. `offers` are the built-in tools.

    When even the newest user message and the run's own rounds are more than the window, they are sent all the same:
    the model server knows its window better than we do.
    """
    completion_left = _left(run.max_completion_tokens, spent.completion_tokens)
    if completion_left is not None and completion_left < 1:
        return Spent("max_completion_tokens")
    resolved = images or {}
    tools = [*_functions(settings), *(ChatTool(function=offer.function) for offer in offers)]
    names = {offer.kind: offer.function.name for offer in offers}
    response_format = _response_format(settings)
    system = [ChatMessage(role="system", content=settings.instructions)] if settings.instructions else []
    own = _own_rounds(window, resolved, names)

    fixed_tokens = sum(_chat_message_tokens(message, count) for message in [*system, *own])
    fixed_tokens += sum(count(msgspec.json.encode(part).decode()) for part in (tools, response_format) if part)
    budget = prompt_budget(run, spent, context_window_tokens, correction)
    entries = _entries(window, run.truncation_strategy)
    kept = _fit(entries, budget - fixed_tokens, keep_first=run.truncation_strategy.type == "auto")
    tokens = fixed_tokens + sum(entry.tokens for entry in kept)

    prompt_left = _left(run.max_prompt_tokens, spent.prompt_tokens)
    if prompt_left is not None and max(tokens, 1) > int(prompt_left / correction):
        return Spent("max_prompt_tokens")
    thread = [
        ChatMessage(role=entry.message.role, content=_content(_without_markers(entry.message), resolved))
        for entry in kept
    ]
    request = ChatRequest(
        model=settings.model,
        messages=[*system, *thread, *own],
        tools=tools or UNSET,
        tool_choice=_tool_choice(settings.tool_choice, turns, names) if tools else UNSET,
        parallel_tool_calls=_given(settings.parallel_tool_calls) if tools else UNSET,
        temperature=_given(settings.temperature),
        top_p=_given(settings.top_p),
        max_tokens=_given(completion_left),
        response_format=response_format or UNSET,
        reasoning_effort=_given(settings.reasoning_effort),
    )
    newest = next((entry.tokens for entry in reversed(kept) if entry.message.role == "user"), 0)
    return Prompt(request, tokens, fixed_tokens + newest)


def prompt_budget(run: Run, spent: Usage, context_window_tokens: int, correction: float = 1.0) -> int:
    """Estimated tokens that the next prompt may have. Not positive when the run's limit is used up."""
    reserve = min(COMPLETION_RESERVE_TOKENS, context_window_tokens // 2)
    asked = _left(run.max_completion_tokens, spent.completion_tokens)
    # A limit as large as the window is a ceiling, not a wish for an answer of that length.
    if asked is not None and asked < context_window_tokens:
        reserve = asked
    room = context_window_tokens - reserve
    prompt_left = _left(run.max_prompt_tokens, spent.prompt_tokens)
    return int((room if prompt_left is None else min(room, prompt_left)) / correction)


class Reach:
    """How far back a run reads its thread: what it reads is bounded by its window. `budget` is the `prompt_budget`."""

    def __init__(self, run: Run, budget: int) -> None:
        truncation = run.truncation_strategy
        self._last = truncation.last_messages if truncation.type == "last_messages" else None
        self._budget = budget
        self._messages = 0
        self._tokens = 0

    def add(self, entry: Entry) -> None:
        """A message that was read. Those that say nothing do not count."""
        if _says_something(entry.message):
            self._messages += 1
            self._tokens += entry.tokens

    @property
    def enough(self) -> bool:
        """Whether older messages than the added ones could not be shown anyway."""
        return (self._last is not None and self._messages >= self._last) or self._tokens > self._budget


def message_tokens(message: Message, count: Callable[[str], int]) -> int:
    """What a message costs in a prompt: its text, an estimate for each image, and what stands around a message."""
    return content_tokens(message.content, count, message.role)


def content_tokens(content: Sequence[Part], count: Callable[[str], int], role: Role) -> int:
    """The same, of a message that is not made yet."""
    return _parts_tokens(content, count, role) + MESSAGE_OVERHEAD_TOKENS


# --- which messages


def _left(limit: int | None, used: int) -> int | None:
    return None if limit is None else limit - used


def _entries(window: Window, truncation: Truncation) -> Sequence[Entry]:
    """The messages that truncation may choose from. Those that say nothing, as after a cancel, do not count."""
    recent = [entry for entry in window.recent if _says_something(entry.message)]
    if truncation.type == "last_messages" and truncation.last_messages is not None:
        return recent[-truncation.last_messages :]
    read = {entry.message.id for entry in window.recent}
    head = [entry for entry in window.head if entry.message.id not in read and _says_something(entry.message)]
    return head + recent


def _fit(entries: Sequence[Entry], room: int, *, keep_first: bool) -> Sequence[Entry]:
    """The newest user message, then the first one if asked for, then the newest messages, as far as there is room."""
    if not entries or sum(entry.tokens for entry in entries) <= room:
        return entries
    users = [place for place, entry in enumerate(entries) if entry.message.role == "user"]
    newest = users[-1] if users else len(entries) - 1
    kept = {newest}
    room -= entries[newest].tokens
    if keep_first and users and users[0] != newest and entries[users[0]].tokens <= room:
        kept.add(users[0])
        room -= entries[users[0]].tokens
    for place in reversed(range(len(entries))):
        if place in kept:
            continue
        room -= entries[place].tokens
        if room < 0:
            break
        kept.add(place)
    return [entry for place, entry in enumerate(entries) if place in kept]


# --- how a message is shown


def _says_something(message: Message) -> bool:
    return any(_text(part) != "" for part in message.content)


def _text(part: Part) -> str | None:
    """`None` for an image."""
    match part:
        case TextPart(text=text):
            return text.value
        case RefusalPart(refusal=refusal):
            return refusal
        case ImageUrlPart() | ImageFilePart():
            return None


def _content(message: Message, images: Mapping[str, str]) -> str | list[JsonObject]:
    shown = [_shown(part, message.role, images) for part in message.content if _text(part) != ""]
    texts = [part for part in shown if isinstance(part, str)]
    if len(texts) == len(shown):
        return "\n".join(texts)
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in shown]


def _shown(part: Part, role: Role, images: Mapping[str, str]) -> str | JsonObject:
    match part:
        case TextPart(text=text):
            return text.value
        case RefusalPart(refusal=refusal):
            return refusal
        # Chat Completions takes images from users only.
        case ImageUrlPart() | ImageFilePart() if role == "assistant":
            return _IMAGE
        case ImageUrlPart(image_url=image):
            url, detail = image.url, image.detail
        case ImageFilePart(image_file=file):
            if file.file_id not in images:
                return f"[image file {file.file_id} is not available]"
            url, detail = images[file.file_id], file.detail
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


def _without_markers(message: Message) -> Message:
    """A message of an earlier run without its citations: this run's model would see them point nowhere."""
    if not any(isinstance(part, TextPart) and part.text.annotations for part in message.content):
        return message
    return replace(message, content=[_without_its_markers(part) for part in message.content])


def _without_its_markers(part: Part) -> Part:
    if not isinstance(part, TextPart):
        return part
    value = part.text.value
    for annotation in sorted(part.text.annotations, key=lambda one: one.start_index, reverse=True):
        if isinstance(annotation, FileCitation):
            value = value[: annotation.start_index] + value[annotation.end_index :]
    return TextPart(text=TextValue(value=value if value.strip() else part.text.value))


def _own_rounds(window: Window, images: Mapping[str, str], names: Mapping[BuiltInKind, str]) -> list[ChatMessage]:
    """This run's messages and tool rounds. Text and the calls right after it came from one model turn: one message.

    Calls that were never answered are not shown: strict servers refuse a call without its output.
    """
    messages: list[ChatMessage] = []
    said: str | list[JsonObject] | UnsetType = UNSET
    for step in window.own:
        match step.step_details:
            case MessageCreation(message_creation=created):
                message = window.own_messages.get(created.message_id)
                said = UNSET
                if message is not None and _says_something(message):
                    said = _content(message, images)
                    messages.append(ChatMessage(role="assistant", content=said))
            case ToolCalls(tool_calls=calls):
                notes = window.notes.get(step.id, {})
                rounds = [shown for call in calls if (shown := _shown_call(call, notes, names)) is not None]
                if rounds and _answered(step, calls):
                    if said is not UNSET:
                        messages.pop()
                    called = [call for call, _ in rounds]
                    messages.append(ChatMessage(role="assistant", content=said, tool_calls=called))
                    messages += [output for _, output in rounds]
                said = UNSET
    return messages


def _answered(step: RunStep, calls: Sequence[ToolCall]) -> bool:
    """A completed step was answered, also where an output is null: a function that returns nothing."""
    return step.status == "completed" or all(
        isinstance(call, FunctionCall) and call.function.output is not None for call in calls
    )


def _shown_call(
    call: ToolCall, notes: Mapping[str, Note], names: Mapping[BuiltInKind, str]
) -> tuple[ChatToolCall, ChatMessage] | None:
    """A call and its output, as the model wrote the one and was told the other. `None` where nothing is known of it."""
    match call:
        case FunctionCall(function=function):
            name, arguments, output = function.name, function.arguments, function.output or ""
        case FileSearchCall() | CodeInterpreterCall():
            kind: BuiltInKind = "file_search" if isinstance(call, FileSearchCall) else "code_interpreter"
            note = notes.get(call.id)
            if note is None or kind not in names:
                return None
            name, arguments, output = names[kind], note.arguments, note.output
    told = ChatMessage(role="tool", tool_call_id=call.id, content=output)
    return ChatToolCall(id=call.id, function=ChatCalledFunction(name=name, arguments=arguments)), told


# --- settings


def _functions(settings: RunSettings) -> list[ChatTool]:
    if settings.tool_choice == "none":
        return []
    return [_chat_tool(tool) for tool in settings.tools if isinstance(tool, FunctionTool)]


def _chat_tool(tool: FunctionTool) -> ChatTool:
    function = tool.function
    return ChatTool(
        function=ChatFunction(
            name=function.name,
            description=function.description,
            parameters=function.parameters,
            strict=True if function.strict else UNSET,
        )
    )


def _tool_choice(
    choice: ToolChoice | None, turns: int, names: Mapping[BuiltInKind, str]
) -> str | JsonObject | UnsetType:
    """A forced choice holds for the first turn only, or the run would call for ever."""
    match choice:
        case "auto":
            return "auto"
        case "required" if turns == 0:
            return "required"
        case ChooseFunction(function=chosen) if turns == 0:
            return _chosen(chosen.name)
        case ChooseFileSearch() if turns == 0 and "file_search" in names:
            return _chosen(names["file_search"])
        case ChooseCodeInterpreter() if turns == 0 and "code_interpreter" in names:
            return _chosen(names["code_interpreter"])
        case _:
            return UNSET


def _chosen(name: str) -> JsonObject:
    return {"type": "function", "function": {"name": name}}


def _response_format(settings: RunSettings) -> TextFormat | JsonObjectFormat | JsonSchemaFormat | None:
    return None if isinstance(settings.response_format, str) else settings.response_format


def _given(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


# --- estimates


def _parts_tokens(parts: Sequence[Part], count: Callable[[str], int], role: Role) -> int:
    if role == "assistant":
        said = [_text(part) for part in parts]
        return count("\n".join(_IMAGE if text is None else text for text in said if text != ""))
    texts = [text for part in parts if (text := _text(part))]
    images = [part.image_url.detail for part in parts if isinstance(part, ImageUrlPart)]
    images += [part.image_file.detail for part in parts if isinstance(part, ImageFilePart)]
    return count("\n".join(texts)) + sum(_image_tokens(detail) for detail in images)


def _image_tokens(detail: Detail) -> int:
    match detail:
        case "low":
            return IMAGE_LOW_TOKENS
        case "auto":
            return IMAGE_AUTO_TOKENS
        case "high":
            return IMAGE_HIGH_TOKENS


def _chat_message_tokens(message: ChatMessage, count: Callable[[str], int]) -> int:
    """Of the system text and of the run's own rounds, which hold no images."""
    tokens = count(message.content) if isinstance(message.content, str) else 0
    if message.tool_calls is not UNSET:
        tokens += sum(count(call.function.name) + count(call.function.arguments) for call in message.tool_calls)
    return tokens + MESSAGE_OVERHEAD_TOKENS
