"""The code interpreter: a model's Python, run in its thread's session of the sandbox."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from typing import Final, assert_never

import msgspec
import structlog

from understudy.core.chat.code_input import read_code
from understudy.core.chat.file_paths import PREFIX
from understudy.core.chat.offers import BuiltInKind
from understudy.core.files import image_type
from understudy.core.ids import ProjectId
from understudy.core.limits import (
    CODE_NAMES_TOLD_MAX,
    CODE_SESSIONS_REMEMBERED_MAX,
    CODE_TOKENS,
    CODE_WINDOW_SHARE,
    SANDBOX_CALL_SECONDS,
)
from understudy.core.run.state import MadeFile, Note, RunSettings
from understudy.ports import (
    CodeEnded,
    CodePicture,
    CodePrinted,
    CodeRaised,
    CodeValue,
    Emit,
    Outcome,
    SandboxBusy,
    Sandboxes,
    SandboxRefusal,
    SandboxSession,
    SandboxUnavailable,
    ToolContext,
    ToolFailed,
)
from understudy.tools.code_files import CodeFiles, Made, Placed
from understudy.tools.code_outputs import Outputs
from understudy.wire.chat import ChatFunction
from understudy.wire.runs import Run
from understudy.wire.steps import CodeInterpreterCall, CodeOutcome, FunctionCall, ImageOutput, ToolCall
from understudy.wire.tools import ToolResources

log = structlog.get_logger()

_DESCRIPTION: Final = (
    "Runs Python code and returns what it prints, the value of its last expression, and its errors. Use it to compute, "
    "to read and write files, and to draw. Variables and files stay from call to call. There is no network, and no "
    "package can be installed. A call takes {seconds:.0f} seconds at most. Figures and images that the code shows are "
    "shown to the user above your answer: do not link to them. To give the user a file, save it in /mnt/data and write "
    "a link such as [name](sandbox:/mnt/data/name) in your answer."
)
_FILES: Final = " The user's files in /mnt/data: {names}."
_PARAMETERS: Final = {
    "type": "object",
    "properties": {"code": {"type": "string", "description": "The Python code, as it is: no Markdown around it."}},
    "required": ["code"],
}
_NO_CODE: Final = 'There was no code in the call. Call again with a JSON object of this form: {"code": "print(1)"}.'
_NO_OUTPUT: Final = "The code ran to its end and put out nothing."
_FRESH: Final = "The session was ended meanwhile: variables, and files that code wrote, are gone."
_RESTARTED: Final = "Python was started anew: variables of earlier calls are gone, files are still there."
_TIMED_OUT: Final = "The code ran for too long and was interrupted. Variables are kept."
_INTERRUPTED: Final = "The code was interrupted."
_LEFT_OUT: Final = "{count} of the files in /mnt/data could not be kept for the user: too large, too many, or no files."


class CodeInterpreter:
    """Implements `ports.BuiltIn`."""

    kind: BuiltInKind = "code_interpreter"

    def __init__(self, files: CodeFiles, sandboxes: Sandboxes, *, call_seconds: float = SANDBOX_CALL_SECONDS) -> None:
        """Code of one call that runs for longer than `call_seconds` is interrupted: the model is told so."""
        self._files = files
        self._sandboxes = sandboxes
        self._call_seconds = call_seconds
        # Of each session, by its key, which file it was given under which name.
        self._given: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._endings: set[asyncio.Task[None]] = set()

    async def function(self, project: ProjectId, run: Run, settings: RunSettings) -> ChatFunction:
        description = _DESCRIPTION.format(seconds=self._call_seconds)
        if placed := await self._files.of_run(project, run.thread_id, settings):
            names = ", ".join(msgspec.json.encode(one.name).decode() for one in placed)
            description += _FILES.format(names=names)
        return ChatFunction(name=self.kind, description=description, parameters=_PARAMETERS)

    async def check(self, project: ProjectId, settings: RunSettings, thread_resources: ToolResources) -> None:
        """Whether code can be run is found when there is some: a run that needs none goes well without."""

    async def prepare(self, project: ProjectId, run: Run, settings: RunSettings) -> None:
        """Files are given to the sandbox when there is code that may need them."""

    async def call(self, context: ToolContext, call: FunctionCall, emit: Emit) -> Outcome:
        code = read_code(call.function.arguments)
        outputs = Outputs(emit)
        if not code.strip():
            return _outcome(context, call, code, outputs, _NO_CODE)
        try:
            async with self._sandboxes.open(_key(context.project, context.run.thread_id)) as session:
                return await self._run(context, call, code, session, outputs)
        except (SandboxUnavailable, SandboxBusy) as error:
            raise ToolFailed(str(error)) from error
        finally:
            outputs.close()

    async def take_back(self, project: ProjectId, call: ToolCall, note: Note | None) -> None:
        made = [] if note is None else [file.file_id for file in note.files]
        if isinstance(call, CodeInterpreterCall):
            outputs = call.code_interpreter.outputs
            made += [output.image.file_id for output in outputs if isinstance(output, ImageOutput)]
        await self._files.unmake(project, made)

    async def leave(self, project: ProjectId, thread_id: str) -> None:
        key = _key(project, thread_id)
        if self._given.pop(key, None) is not None:
            ending = asyncio.create_task(self._end(key))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def close(self) -> None:
        endings = list(self._endings)
        for ending in endings:
            ending.cancel()
        await asyncio.gather(*endings, return_exceptions=True)

    async def _run(
        self, context: ToolContext, call: FunctionCall, code: str, session: SandboxSession, outputs: Outputs
    ) -> Outcome:
        sentences: list[str] = []
        try:
            sentences += await self._give(context, session)
            sentences += await self._execute(context.project, session, code, outputs)
        except SandboxRefusal as refusal:
            sentences.append(str(refusal))
        outputs.flush()
        try:
            made = await self._files.keep_changes(context.project, session)
        except SandboxRefusal as refusal:
            sentences.append(str(refusal))
            made = Made()
        if made.files:
            sentences.append(f"Files that the code wrote: {_links(made.files)}")
        if made.left_out:
            sentences.append(_LEFT_OUT.format(count=made.left_out))
        budget = min(CODE_TOKENS, context.context_window_tokens // CODE_WINDOW_SHARE, context.room_tokens // 2)
        told = outputs.told(sentences, budget, context.count)
        return _outcome(context, call, code, outputs, told or _NO_OUTPUT, made.files)

    async def _give(self, context: ToolContext, session: SandboxSession) -> list[str]:
        """Puts what is new of the run's files into the session; sentences about what is not as it was."""
        key = _key(context.project, context.run.thread_id)
        placed = await self._files.of_run(context.project, context.run.thread_id, context.settings)
        given, sentences = self._given.get(key), list[str]()
        if session.state == "fresh":
            sentences += [_FRESH] if given is not None else []
            given = {}
        else:
            sentences += [_RESTARTED] if session.state == "restarted" else []
            given = await _still_given(session, placed, given)
        self._remember(key, given)
        for one in placed:
            if given.get(one.name) == one.stored.file.id:
                continue
            refused = await self._files.put(session, one)
            if refused is None:
                given[one.name] = one.stored.file.id
            else:
                sentences.append(refused)
        return sentences

    def _remember(self, key: str, given: dict[str, str]) -> None:
        self._given[key] = given
        self._given.move_to_end(key)
        while len(self._given) > CODE_SESSIONS_REMEMBERED_MAX:
            self._given.popitem(last=False)

    async def _execute(self, project: ProjectId, session: SandboxSession, code: str, outputs: Outputs) -> Sequence[str]:
        """Runs the code to its end; a sentence about how it ended, unless it ended well."""
        events = session.execute(code, seconds=self._call_seconds)
        try:
            async for event in events:
                match event:
                    case CodePrinted(text=text):
                        outputs.print(text)
                    case CodeValue(text=text) | CodeRaised(text=text):
                        outputs.line(text)
                    case CodePicture(png=png):
                        await self._show(project, png, outputs)
                    case CodeEnded():
                        return _ended(event, outputs)
                    case _:
                        assert_never(event)
        finally:
            # Broken off, the code is interrupted before anything else happens to its session.
            if isinstance(events, AsyncGenerator):
                await events.aclose()
        return ()

    async def _show(self, project: ProjectId, png: bytes, outputs: Outputs) -> None:
        if not outputs.takes_image or image_type(png) != "image/png":
            return
        file_id = await self._files.keep_picture(project, png, outputs.images + 1)
        if file_id is not None:
            outputs.image(file_id)

    async def _end(self, key: str) -> None:
        try:
            async with self._sandboxes.open(key) as session:
                await session.end()
        except (SandboxUnavailable, SandboxBusy) as error:
            log.info("session_not_ended", reason=str(error))


def _key(project: ProjectId, thread_id: str) -> str:
    return f"{project}.{thread_id}"


async def _still_given(
    session: SandboxSession, placed: Sequence[Placed], known: dict[str, str] | None
) -> dict[str, str]:
    """What the session has of the files. One that others used before is believed to have been given what is there."""
    if known is not None and session.state == "resumed":
        return known
    names = {file.name for file in await session.files()}
    before = {one.name: one.stored.file.id for one in placed} if known is None else known
    return {name: file_id for name, file_id in before.items() if name in names}


def _ended(ended: CodeEnded, outputs: Outputs) -> Sequence[str]:
    match ended.how:
        case "done":
            return ()
        case "timed_out":
            return [_TIMED_OUT]
        case "interrupted":
            return [_INTERRUPTED]
        case "killed":
            # Nothing else tells the user why there is no result.
            outputs.line(ended.lost or _RESTARTED)
            return ()


def _links(files: Sequence[MadeFile]) -> str:
    links = ", ".join(f"{PREFIX}{file.name}" for file in files[:CODE_NAMES_TOLD_MAX])
    more = len(files) - CODE_NAMES_TOLD_MAX
    return f"{links} and {more} more" if more > 0 else links


def _outcome(
    context: ToolContext, call: FunctionCall, code: str, outputs: Outputs, told: str, files: Sequence[MadeFile] = ()
) -> Outcome:
    arguments = msgspec.json.encode({"code": code}).decode()
    outcome = CodeOutcome(input=code, outputs=[*outputs.outputs])
    note = Note(arguments=arguments, output=told, turn=context.turn, first=context.first_source, files=[*files])
    return Outcome(call=CodeInterpreterCall(id=call.id, code_interpreter=outcome), note=note)
