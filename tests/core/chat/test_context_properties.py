"""What holds of every request that is composed, whatever the thread and the run are like."""

import json

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from support.prompts import a_run, called, entry, function_tool, message, said, settings
from understudy.core.chat.context import Entry, Prompt, Reach, Spent, Window, compose, prompt_budget
from understudy.core.run.state import RunSettings
from understudy.wire.messages import ImageUrl, ImageUrlPart, Message
from understudy.wire.runs import Run, Usage
from understudy.wire.steps import RunStep
from understudy.wire.tools import FileSearchTool, JsonObjectFormat, JsonSchema, JsonSchemaFormat

limits = st.none() | st.integers(1, 400)
corrections = st.floats(0.7, 1.5)
usages = st.builds(Usage, prompt_tokens=st.integers(0, 300), completion_tokens=st.integers(0, 300))
runs = st.builds(
    a_run, max_prompt_tokens=limits, max_completion_tokens=limits, last_messages=st.none() | st.integers(1, 6)
)
any_settings = st.builds(
    settings,
    instructions=st.sampled_from(["", "Be brief."]),
    tools=st.lists(st.sampled_from([function_tool("f"), function_tool("g", parameters={}), FileSearchTool()])),
    temperature=st.none() | st.just(0.5),
    top_p=st.none() | st.just(1.0),
    tool_choice=st.sampled_from([None, "none", "auto", "required"]),
    parallel_tool_calls=st.none() | st.booleans(),
    reasoning_effort=st.none() | st.just("low"),
    response_format=st.sampled_from(["auto", JsonObjectFormat(), JsonSchemaFormat(json_schema=JsonSchema(name="s"))]),
)


@st.composite
def threads(draw: st.DrawFn) -> list[Entry]:
    """Messages whose texts are their places, some of them empty, some with an image."""
    thread = []
    for place in range(draw(st.integers(0, 12))):
        role = draw(st.sampled_from(["user", "assistant"]))
        kind = draw(st.sampled_from(["text", "text", "text", "image", "empty"]))
        parts = {
            "text": f"#{place}",
            "image": [ImageUrlPart(image_url=ImageUrl(url=f"#{place}"))],
            "empty": [],
        }[kind if role == "user" or kind != "image" else "text"]
        thread.append(entry(f"msg_{place}", role, parts, draw(st.integers(1, 120))))
    return thread


@st.composite
def own_rounds(draw: st.DrawFn) -> tuple[list[RunStep], dict[str, Message]]:
    steps, messages = [], {}
    for place in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            id_ = f"msg_own{place}"
            messages[id_] = message(id_, "assistant", draw(st.sampled_from(["own", []])))
            steps.append(said(id_))
        else:
            outputs = draw(st.lists(st.none() | st.just("out"), max_size=3))
            status = draw(st.sampled_from(["completed", "in_progress", "cancelled"]))
            made = [(f"call_{place}_{nth}", "f", "{}", output) for nth, output in enumerate(outputs)]
            steps.append(called(*made, status=status))
    return steps, messages


def shown(prompt: Prompt) -> list[dict[str, object]]:
    return json.loads(msgspec.json.encode(prompt.request.messages))


def place_of(one: dict[str, object]) -> int | None:
    """The place in the thread of a message that is shown; `None` for the system text and the run's own."""
    content = one.get("content")
    if isinstance(content, list):
        content = content[0]["image_url"]["url"]
    return int(content[1:]) if isinstance(content, str) and content.startswith("#") else None


def nulls(tree: object) -> bool:
    if isinstance(tree, dict):
        return any(nulls(value) for value in tree.values())
    return any(nulls(value) for value in tree) if isinstance(tree, list) else tree is None


@given(
    runs, any_settings, threads(), own_rounds(), st.integers(0, 2), usages, corrections, st.integers(1, 600), st.data()
)
def test_every_request_is_one_that_a_strict_server_takes(
    run: Run,
    given_settings: RunSettings,
    thread: list[Entry],
    own: tuple[list[RunStep], dict[str, Message]],
    turns: int,
    spent: Usage,
    correction: float,
    context_window_tokens: int,
    data: st.DataObject,
) -> None:
    head = thread[: data.draw(st.integers(0, len(thread)))]
    recent = thread[data.draw(st.integers(0, len(head))) :]
    window = Window(head=head, recent=recent, own=own[0], own_messages=own[1])
    prompt = compose(
        run=run,
        settings=given_settings,
        turns=turns,
        window=window,
        spent=spent,
        correction=correction,
        context_window_tokens=context_window_tokens,
        count=len,
    )
    if isinstance(prompt, Spent):
        limit = run.max_prompt_tokens if prompt.reason == "max_prompt_tokens" else run.max_completion_tokens
        assert limit is not None
        return

    request = json.loads(msgspec.json.encode(prompt.request))
    assert not nulls(request)
    assert request.get("tools") != []
    assert "tools" in request or not {"tool_choice", "parallel_tool_calls"} & set(request)
    assert request.get("max_tokens", 1) >= 1
    assert_calls_are_answered(request["messages"])

    places = [place for one in request["messages"] if (place := place_of(one)) is not None]
    assert places == sorted(set(places))
    said_something = [
        each for each in (thread if run.truncation_strategy.type == "auto" else recent) if each.message.content
    ]
    last = run.truncation_strategy.last_messages
    candidates = said_something[-last:] if last else said_something
    users = [int(each.message.id[4:]) for each in candidates if each.message.role == "user"]
    assert not users or users[-1] in places
    assert_budget_is_respected(prompt, places, thread, run, spent, correction, context_window_tokens)


def assert_calls_are_answered(messages: list[dict[str, object]]) -> None:
    waiting: list[object] = []
    for one in messages:
        if one["role"] == "tool":
            assert one["tool_call_id"] == waiting.pop(0)
            continue
        assert waiting == []
        waiting = [call["id"] for call in one.get("tool_calls", [])]
        assert waiting or one["content"]
    assert waiting == []


def assert_budget_is_respected(
    prompt: Prompt,
    places: list[int],
    thread: list[Entry],
    run: Run,
    spent: Usage,
    correction: float,
    context_window_tokens: int,
) -> None:
    if run.max_prompt_tokens is not None:
        assert prompt.tokens * correction <= run.max_prompt_tokens - spent.prompt_tokens + 0.001
    if prompt.tokens > prompt_budget(run, spent, context_window_tokens, correction):
        assert len(places) <= 1  # the newest user message alone, which is never dropped
    fixed = prompt.tokens - sum(thread[place].tokens for place in places)
    assert fixed >= 0


@given(runs, st.sampled_from([Usage(), Usage(prompt_tokens=9)]), threads(), corrections, st.integers(200, 1_200))
def test_a_loader_that_stops_when_it_has_enough_loses_nothing(
    run: Run,
    spent: Usage,
    thread: list[Entry],
    correction: float,
    context_window_tokens: int,
) -> None:
    reach = Reach(run, prompt_budget(run, spent, context_window_tokens, correction))
    start = len(thread)
    while start and not reach.enough:
        start -= 1
        reach.add(thread[start])
    assume(any(each.message.role == "user" and each.message.content for each in thread[start:]) or start == 0)
    first_user = next(
        (place for place, each in enumerate(thread) if each.message.role == "user" and each.message.content), 0
    )

    def prompt_of(window: Window) -> Prompt | Spent:
        return compose(
            run=run,
            settings=settings(),
            turns=0,
            window=window,
            spent=spent,
            correction=correction,
            context_window_tokens=context_window_tokens,
            count=len,
        )

    assert prompt_of(Window(head=thread[: first_user + 1], recent=thread[start:])) == prompt_of(Window(recent=thread))
