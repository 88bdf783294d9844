"""Runs, messages and steps for tests of what the model is shown."""

from collections.abc import Sequence

from understudy.core.chat.context import Entry
from understudy.core.run.state import RunSettings
from understudy.wire.messages import Message, Part, TextPart, TextValue
from understudy.wire.runs import Run, Truncation
from understudy.wire.steps import CreatedMessage, FunctionCall, FunctionOutcome, MessageCreation, RunStep, ToolCalls
from understudy.wire.tools import Function, FunctionTool


def a_run(
    *,
    max_prompt_tokens: int | None = None,
    max_completion_tokens: int | None = None,
    last_messages: int | None = None,
) -> Run:
    return Run(
        id="run_1",
        created_at=1,
        assistant_id="asst_1",
        thread_id="thread_1",
        status="in_progress",
        expires_at=601,
        model="m",
        instructions="",
        tools=[],
        metadata={},
        temperature=1.0,
        top_p=1.0,
        max_completion_tokens=max_completion_tokens,
        max_prompt_tokens=max_prompt_tokens,
        truncation_strategy=Truncation(
            type="auto" if last_messages is None else "last_messages", last_messages=last_messages
        ),
        response_format="auto",
        tool_choice="auto",
        parallel_tool_calls=True,
    )


def settings(**given: object) -> RunSettings:
    return RunSettings(**{"model": "m", "instructions": "", "tools": [], **given})


def text(value: str) -> TextPart:
    return TextPart(text=TextValue(value=value))


def message(id_: str, role: str, parts: str | Sequence[Part], status: str = "completed") -> Message:
    content = [text(parts)] if isinstance(parts, str) else list(parts)
    return Message(id=id_, created_at=1, thread_id="thread_1", status=status, role=role, content=content)


def entry(id_: str, role: str, parts: str | Sequence[Part], tokens: int = 10) -> Entry:
    return Entry(message(id_, role, parts), tokens)


def said(message_id: str) -> RunStep:
    return _step("message_creation", MessageCreation(message_creation=CreatedMessage(message_id=message_id)))


def called(*calls: tuple[str, str, str, str | None], status: str = "completed") -> RunStep:
    """A tool_calls step; each call is (id, name, arguments, output)."""
    made = [FunctionCall(id=i, function=FunctionOutcome(name=n, arguments=a, output=o)) for i, n, a, o in calls]
    return _step("tool_calls", ToolCalls(tool_calls=made), status)


def _step(type_: str, details: MessageCreation | ToolCalls, status: str = "completed") -> RunStep:
    return RunStep(
        id="step_1",
        created_at=1,
        run_id="run_1",
        assistant_id="asst_1",
        thread_id="thread_1",
        type=type_,
        status=status,
        expires_at=601,
        step_details=details,
    )


def function_tool(name: str, **given: object) -> FunctionTool:
    return FunctionTool(function=Function(name=name, **given))
