"""Assistant + request -> the run's effective settings, and the run as it is first written.

What the request leaves out comes from the assistant, then from the API's defaults. A setting that neither gave is
shown with its default, and not sent to the model server.
"""

from msgspec import UNSET
from msgspec.structs import replace

from understudy.core import objects
from understudy.core.errors import InvalidField
from understudy.core.objects import given
from understudy.core.run.state import RunSettings
from understudy.wire.assistants import Assistant
from understudy.wire.runs import CreateRun, CreateThreadAndRun, Run, Truncation, TruncationBody
from understudy.wire.tools import ToolResources


def run_settings(
    assistant: Assistant,
    body: CreateRun | CreateThreadAndRun,
    *,
    assistant_temperature: float | None,
    assistant_top_p: float | None,
) -> RunSettings:
    """The snapshot that the run works with. The assistant's sampling values are those it was given, if any."""
    effort = body.reasoning_effort if isinstance(body, CreateRun) else None
    return RunSettings(
        model=given(body.model, otherwise=assistant.model),
        instructions=_instructions(assistant, body),
        tools=assistant.tools if body.tools is None else objects.tools(body.tools),
        temperature=given(body.temperature, otherwise=assistant_temperature),
        top_p=given(body.top_p, otherwise=assistant_top_p),
        response_format=objects.response_format(body.response_format, assistant.response_format),
        tool_choice=body.tool_choice,
        parallel_tool_calls=body.parallel_tool_calls,
        reasoning_effort=given(
            effort, otherwise=None if assistant.reasoning_effort is UNSET else assistant.reasoning_effort
        ),
        assistant_resources=assistant.tool_resources,
    )


def _instructions(assistant: Assistant, body: CreateRun | CreateThreadAndRun) -> str:
    """The run's own instructions replace the assistant's; additional ones follow on a line of their own."""
    base = given(body.instructions, otherwise=assistant.instructions or "")
    additional = body.additional_instructions if isinstance(body, CreateRun) else None
    return "\n".join(text for text in (base, additional) if text)


def new_run(
    body: CreateRun | CreateThreadAndRun,
    settings: RunSettings,
    *,
    run_id: str,
    thread_id: str,
    at: int,
    lifetime_seconds: int,
) -> Run:
    resources = ToolResources()
    if isinstance(body, CreateThreadAndRun):
        resources = objects.tool_resources(body.tool_resources)
    return Run(
        id=run_id,
        created_at=at,
        assistant_id=body.assistant_id,
        thread_id=thread_id,
        status="queued",
        expires_at=at + lifetime_seconds,
        model=settings.model,
        instructions=settings.instructions,
        tools=settings.tools,
        tool_resources=resources,
        metadata=body.metadata or {},
        temperature=given(settings.temperature, otherwise=1.0),
        top_p=given(settings.top_p, otherwise=1.0),
        max_completion_tokens=body.max_completion_tokens,
        max_prompt_tokens=body.max_prompt_tokens,
        truncation_strategy=_truncation(body.truncation_strategy),
        response_format=settings.response_format,
        tool_choice=given(settings.tool_choice, otherwise="auto"),
        parallel_tool_calls=given(settings.parallel_tool_calls, otherwise=True),
        reasoning_effort=UNSET if settings.reasoning_effort is None else settings.reasoning_effort,
    )


def _truncation(body: TruncationBody | None) -> Truncation:
    if body is None:
        return Truncation()
    if body.type == "last_messages" and body.last_messages is None:
        field = "truncation_strategy.last_messages"
        raise InvalidField(f"Missing required parameter: '{field}'.", param=field, code="missing_required_parameter")
    return Truncation(type=body.type, last_messages=body.last_messages)


def changed_run(before: Run, metadata: dict[str, str] | None) -> Run:
    return replace(before, metadata=given(metadata, otherwise=before.metadata))
