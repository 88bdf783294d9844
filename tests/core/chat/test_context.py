import json
from collections.abc import Sequence

import msgspec
import pytest

from support.prompts import a_run, called, entry, function_tool, message, said, settings, text
from understudy.core.chat.context import (
    Entry,
    Prompt,
    Reach,
    Spent,
    Window,
    compose,
    message_tokens,
    prompt_budget,
)
from understudy.core.limits import COMPLETION_RESERVE_TOKENS, MESSAGE_OVERHEAD_TOKENS
from understudy.core.run.state import RunSettings
from understudy.wire.messages import (
    FileCitation,
    FileCitationTarget,
    ImageFile,
    ImageFilePart,
    ImageUrl,
    ImageUrlPart,
    RefusalPart,
    TextPart,
    TextValue,
)
from understudy.wire.runs import Run, Usage
from understudy.wire.steps import CodeInterpreterCall, CodeOutcome, ToolCalls
from understudy.wire.tools import (
    ChooseCodeInterpreter,
    ChooseFileSearch,
    ChooseFunction,
    ChosenFunction,
    CodeInterpreterTool,
    FileSearchTool,
    JsonObjectFormat,
    JsonSchema,
    JsonSchemaFormat,
    TextFormat,
)


def composed(
    window: Window,
    *,
    run: Run | None = None,
    given: RunSettings | None = None,
    turns: int = 0,
    spent: Usage | None = None,
    correction: float = 1.0,
    context_window_tokens: int = 100_000,
    images: dict[str, str] | None = None,
) -> Prompt | Spent:
    return compose(
        run=run or a_run(),
        settings=given or settings(),
        turns=turns,
        window=window,
        spent=spent or Usage(),
        correction=correction,
        context_window_tokens=context_window_tokens,
        count=len,
        images=images,
    )


def request_json(window: Window, **given: object) -> dict[str, object]:
    """The request as the model server reads it."""
    prompt = composed(window, **given)
    assert isinstance(prompt, Prompt)
    return json.loads(msgspec.json.encode(prompt.request))


def messages_json(window: Window, **given: object) -> list[dict[str, object]]:
    shown = request_json(window, **given)["messages"]
    assert isinstance(shown, list)
    return shown


def contents(prompt: Prompt | Spent) -> list[object]:
    assert isinstance(prompt, Prompt)
    return [message.content for message in prompt.request.messages]


HELLO = Window(recent=[entry("msg_1", "user", "Hello")])


# --- messages


def test_the_smallest_request_has_nothing_that_was_not_given() -> None:
    assert request_json(HELLO) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_instructions_come_first_as_the_system_message() -> None:
    assert messages_json(HELLO, given=settings(instructions="Be brief.")) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]


def test_text_and_refusal_parts_are_joined_and_annotations_left_out() -> None:
    citation = FileCitation(
        text="【1†source】", start_index=0, end_index=10, file_citation=FileCitationTarget(file_id="file-1")
    )
    cited = TextPart(text=TextValue(value="【1†source】", annotations=[citation]))
    parts = [cited, text(""), RefusalPart(refusal="I cannot.")]
    assert messages_json(Window(recent=[entry("msg_1", "assistant", parts)])) == [
        {"role": "assistant", "content": "【1†source】\nI cannot."}
    ]


def test_images_of_a_user_make_a_list_of_parts() -> None:
    parts = [
        text("Which?"),
        ImageUrlPart(image_url=ImageUrl(url="https://example.test/a.png", detail="low")),
        ImageFilePart(image_file=ImageFile(file_id="file-known", detail="high")),
        ImageFilePart(image_file=ImageFile(file_id="file-gone")),
    ]
    window = Window(recent=[entry("msg_1", "user", parts)])
    assert messages_json(window, images={"file-known": "data:image/png;base64,AA=="}) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Which?"},
                {"type": "image_url", "image_url": {"url": "https://example.test/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "high"}},
                {"type": "text", "text": "[image file file-gone is not available]"},
            ],
        }
    ]


def test_an_image_file_that_is_not_available_leaves_a_plain_string() -> None:
    parts = [text("Look:"), ImageFilePart(image_file=ImageFile(file_id="file-gone"))]
    assert messages_json(Window(recent=[entry("msg_1", "user", parts)])) == [
        {"role": "user", "content": "Look:\n[image file file-gone is not available]"}
    ]


def test_an_assistants_image_becomes_a_word() -> None:
    parts = [ImageUrlPart(image_url=ImageUrl(url="https://example.test/a.png")), text("There.")]
    assert messages_json(Window(recent=[entry("msg_1", "assistant", parts)])) == [
        {"role": "assistant", "content": "[image]\nThere."}
    ]


def test_messages_that_say_nothing_are_left_out_and_incomplete_ones_are_kept() -> None:
    window = Window(
        recent=[
            entry("msg_1", "user", "Hello"),
            Entry(message("msg_2", "assistant", [], "incomplete"), 4),
            Entry(message("msg_3", "assistant", [text("")], "incomplete"), 4),
            Entry(message("msg_4", "assistant", "Hel", "incomplete"), 4),
        ]
    )
    assert contents(composed(window)) == ["Hello", "Hel"]


# --- the run's own rounds


def test_text_and_the_calls_right_after_it_are_one_message() -> None:
    window = Window(
        recent=HELLO.recent,
        own=[said("msg_2"), called(("call_a", "f", "{}", "3"), ("call_b", "g", '{"x":1}', None)), said("msg_3")],
        own_messages={
            "msg_2": message("msg_2", "assistant", "Let me see."),
            "msg_3": message("msg_3", "assistant", "Three"),
        },
    )
    assert messages_json(window)[1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
            ],
        },
        {"role": "tool", "content": "3", "tool_call_id": "call_a"},
        {"role": "tool", "content": "", "tool_call_id": "call_b"},
        {"role": "assistant", "content": "Three"},
    ]


def test_two_rounds_without_text_stay_two_messages() -> None:
    window = Window(
        own=[said("msg_2"), called(("call_a", "f", "{}", "1")), called(("call_b", "f", "{}", "2"))],
        own_messages={"msg_2": message("msg_2", "assistant", [])},
    )
    shown = messages_json(window)
    assert [one["role"] for one in shown] == ["assistant", "tool", "assistant", "tool"]
    assert all("content" not in one for one in shown if one["role"] == "assistant")


@pytest.mark.parametrize("status", ["in_progress", "cancelled", "expired", "failed"])
def test_calls_that_were_not_answered_are_never_shown(status: str) -> None:
    window = Window(
        recent=HELLO.recent,
        own=[said("msg_2"), called(("call_a", "f", "{}", "1"), ("call_b", "f", "{}", None), status=status)],
        own_messages={"msg_2": message("msg_2", "assistant", "Let me see.")},
    )
    assert contents(composed(window)) == ["Hello", "Let me see."]


def test_calls_of_built_in_tools_are_not_shown() -> None:
    step = called(("call_a", "f", "{}", "1"))
    assert isinstance(step.step_details, ToolCalls)
    code = CodeInterpreterCall(id="call_c", code_interpreter=CodeOutcome(input="1"))
    mixed = msgspec.structs.replace(step, step_details=ToolCalls(tool_calls=[code, *step.step_details.tool_calls]))
    alone = msgspec.structs.replace(step, step_details=ToolCalls(tool_calls=[code]))
    shown = messages_json(Window(recent=HELLO.recent, own=[mixed, alone]))
    assert [one["role"] for one in shown] == ["user", "assistant", "tool"]


# --- settings


def test_only_functions_are_offered_and_only_with_what_was_given() -> None:
    tools = [
        CodeInterpreterTool(),
        function_tool("f"),
        FileSearchTool(),
        function_tool("g", description="G", parameters={"type": "object"}, strict=True),
    ]
    assert request_json(HELLO, given=settings(tools=tools))["tools"] == [
        {"type": "function", "function": {"name": "f"}},
        {
            "type": "function",
            "function": {"name": "g", "description": "G", "parameters": {"type": "object"}, "strict": True},
        },
    ]


def test_without_functions_nothing_about_tools_is_sent() -> None:
    given = settings(tools=[FileSearchTool()], tool_choice="required", parallel_tool_calls=False)
    assert set(request_json(HELLO, given=given)) == {"model", "messages", "stream", "stream_options"}


def test_tool_choice_none_hides_the_tools() -> None:
    given = settings(tools=[function_tool("f")], tool_choice="none", parallel_tool_calls=True)
    assert set(request_json(HELLO, given=given)) == {"model", "messages", "stream", "stream_options"}


NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("choice", "first", "later"),
    [
        (None, None, None),
        ("auto", "auto", "auto"),
        ("required", "required", None),
        (ChooseFunction(function=ChosenFunction(name="f")), NAMED, None),
        (ChooseFileSearch(), None, None),
        (ChooseCodeInterpreter(), None, None),
    ],
)
def test_a_forced_tool_choice_holds_for_the_first_turn_only(choice: object, first: object, later: object) -> None:
    given = settings(tools=[function_tool("f")], tool_choice=choice)
    assert request_json(HELLO, given=given, turns=0).get("tool_choice") == first
    assert request_json(HELLO, given=given, turns=1).get("tool_choice") == later


@pytest.mark.parametrize("parallel", [True, False])
def test_parallel_tool_calls_are_sent_as_given(parallel: bool) -> None:
    given = settings(tools=[function_tool("f")], parallel_tool_calls=parallel)
    assert request_json(HELLO, given=given)["parallel_tool_calls"] is parallel


def test_sampling_settings_are_sent_when_given_also_when_zero() -> None:
    request = request_json(HELLO, given=settings(temperature=0.0, top_p=0.0, reasoning_effort="none"))
    assert (request["temperature"], request["top_p"], request["reasoning_effort"]) == (0, 0, "none")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("auto", None),
        ("none", None),
        (TextFormat(), {"type": "text"}),
        (JsonObjectFormat(), {"type": "json_object"}),
        (
            JsonSchemaFormat(json_schema=JsonSchema(name="s", schema={"enum": [None, 1]})),
            {"type": "json_schema", "json_schema": {"name": "s", "schema": {"enum": [None, 1]}}},
        ),
    ],
)
def test_response_formats_are_sent_as_given_without_nulls(given: object, sent: object) -> None:
    assert request_json(HELLO, given=settings(response_format=given)).get("response_format") == sent


# --- the run's limits


def test_what_is_left_of_the_completion_limit_becomes_max_tokens() -> None:
    run = a_run(max_completion_tokens=1_000)
    assert request_json(HELLO, run=run, spent=Usage(completion_tokens=300))["max_tokens"] == 700


def test_a_used_up_completion_limit_ends_the_run() -> None:
    run = a_run(max_completion_tokens=300)
    assert composed(HELLO, run=run, spent=Usage(completion_tokens=300)) == Spent("max_completion_tokens")


def test_the_prompt_limit_counts_over_all_turns_and_truncates_first() -> None:
    window = Window(recent=[entry(f"msg_{n}", "user", str(n), 100) for n in range(10)])
    run = a_run(max_prompt_tokens=500)
    assert contents(composed(window, run=run)) == ["0", "6", "7", "8", "9"]
    assert contents(composed(window, run=run, spent=Usage(prompt_tokens=200))) == ["0", "8", "9"]
    assert contents(composed(window, run=run, spent=Usage(prompt_tokens=400))) == ["9"]
    assert composed(window, run=run, spent=Usage(prompt_tokens=401)) == Spent("max_prompt_tokens")


def test_a_used_up_prompt_limit_ends_even_an_empty_run() -> None:
    assert composed(Window(), run=a_run(max_prompt_tokens=5), spent=Usage(prompt_tokens=5)) == Spent(
        "max_prompt_tokens"
    )


def test_own_rounds_instructions_tools_and_formats_count_towards_the_limit() -> None:
    window = Window(recent=HELLO.recent, own=[called(("call_a", "f", "{}", "x" * 100))])
    plain = composed(window)
    assert isinstance(plain, Prompt)
    assert plain.tokens == 10 + len("f{}") + 100 + 2 * MESSAGE_OVERHEAD_TOKENS
    assert isinstance(composed(window, run=a_run(max_prompt_tokens=plain.tokens)), Prompt)
    for given in (
        settings(instructions="Hi"),
        settings(tools=[function_tool("f")]),
        settings(response_format=JsonObjectFormat()),
    ):
        assert composed(window, given=given, run=a_run(max_prompt_tokens=plain.tokens)) == Spent("max_prompt_tokens")


def test_the_correction_scales_every_estimate() -> None:
    window = Window(recent=[entry(f"msg_{n}", "user", str(n), 100) for n in range(10)])
    run = a_run(max_prompt_tokens=500)
    assert contents(composed(window, run=run, correction=1.25)) == ["0", "7", "8", "9"]
    assert contents(composed(window, run=run, correction=0.8)) == ["0", "5", "6", "7", "8", "9"]


# --- truncation


def test_auto_drops_messages_from_the_middle() -> None:
    thread = [
        entry("msg_0", "assistant", "greeting"),
        entry("msg_1", "user", "first"),
        *(entry(f"msg_{n}", "assistant" if n % 2 == 0 else "user", str(n)) for n in range(2, 10)),
    ]
    run = a_run(max_prompt_tokens=40)
    assert contents(composed(Window(head=thread[:3], recent=thread[4:]), run=run)) == ["first", "7", "8", "9"]
    assert contents(composed(Window(head=thread[:3], recent=thread), run=run)) == ["first", "7", "8", "9"]


def test_messages_read_twice_are_shown_once() -> None:
    thread = [entry(f"msg_{n}", "user", str(n)) for n in range(3)]
    assert contents(composed(Window(head=thread[:2], recent=thread))) == ["0", "1", "2"]


def test_the_newest_user_message_stays_when_newer_ones_fill_the_room() -> None:
    thread = [
        entry("msg_1", "user", "first"),
        entry("msg_2", "user", "question"),
        entry("msg_3", "assistant", "long", 1_000),
        entry("msg_4", "assistant", "short"),
    ]
    assert contents(composed(Window(recent=thread), run=a_run(max_prompt_tokens=30))) == ["first", "question", "short"]


def test_last_messages_keeps_the_newest_and_never_drops_own_rounds() -> None:
    thread = [entry(f"msg_{n}", "user", str(n)) for n in range(9)]
    window = Window(head=thread[:1], recent=thread, own=[called(("call_a", "f", "{}", "out"))])
    prompt = composed(window, run=a_run(last_messages=2))
    assert isinstance(prompt, Prompt)
    assert [one.role for one in prompt.request.messages] == ["user", "user", "assistant", "tool"]
    assert contents(prompt)[:2] == ["7", "8"]


def test_last_messages_does_not_count_messages_that_say_nothing() -> None:
    thread = [entry("msg_1", "user", "1"), entry("msg_2", "user", "2"), entry("msg_3", "assistant", [])]
    assert contents(composed(Window(recent=thread), run=a_run(last_messages=2))) == ["1", "2"]


def test_last_messages_too_are_cut_to_the_prompt_limit_oldest_first() -> None:
    thread = [entry(f"msg_{n}", "user", str(n)) for n in range(9)]
    run = a_run(last_messages=5, max_prompt_tokens=30)
    assert contents(composed(Window(recent=thread), run=run)) == ["6", "7", "8"]


def test_what_only_the_window_forbids_is_sent_all_the_same() -> None:
    thread = [entry("msg_1", "user", "1"), entry("msg_2", "assistant", "2"), entry("msg_3", "user", "3", 50_000)]
    assert contents(composed(Window(recent=thread), context_window_tokens=4_096)) == ["3"]


# --- the budget


@pytest.mark.parametrize(
    ("run", "spent", "window", "budget"),
    [
        (a_run(), Usage(), 8_192, 8_192 - COMPLETION_RESERVE_TOKENS),
        (a_run(), Usage(), 1_000, 500),
        (a_run(max_completion_tokens=4_000), Usage(completion_tokens=1_000), 8_192, 5_192),
        (a_run(max_completion_tokens=100_000), Usage(), 8_192, 8_192 - COMPLETION_RESERVE_TOKENS),
        (a_run(max_prompt_tokens=500), Usage(prompt_tokens=200), 8_192, 300),
        (a_run(max_prompt_tokens=100_000), Usage(), 8_192, 8_192 - COMPLETION_RESERVE_TOKENS),
        (a_run(max_prompt_tokens=500), Usage(prompt_tokens=600), 8_192, -100),
    ],
)
def test_the_prompt_has_what_window_answer_and_limit_leave(run: Run, spent: Usage, window: int, budget: int) -> None:
    assert prompt_budget(run, spent, window) == budget


def enough(run: Run, budget: int, read: Sequence[Entry]) -> bool:
    reach = Reach(run, budget)
    for each in read:
        reach.add(each)
    return reach.enough


def test_a_loader_reads_until_more_could_not_be_shown() -> None:
    thread: Sequence[Entry] = [entry(f"msg_{n}", "user", str(n), 100) for n in range(5)]
    assert not enough(a_run(), 500, thread)
    assert enough(a_run(), 499, thread)
    assert enough(a_run(last_messages=5), 10_000, thread)
    assert not enough(a_run(last_messages=6), 10_000, thread)
    assert not enough(a_run(last_messages=6), 10_000, [*thread, entry("msg_6", "assistant", "", 100)])
    assert enough(a_run(), -1, ())


def test_a_message_costs_its_text_its_images_and_what_stands_around_it() -> None:
    parts = [text("12345"), ImageUrlPart(image_url=ImageUrl(url="u" * 999, detail="low"))]
    assert message_tokens(message("msg_1", "user", "12345"), len) == 5 + MESSAGE_OVERHEAD_TOKENS
    assert message_tokens(message("msg_1", "user", parts), len) == 5 + 85 + MESSAGE_OVERHEAD_TOKENS
    costs = [
        message_tokens(message("msg_1", "user", [ImageFilePart(image_file=ImageFile(file_id="f", detail=detail))]), len)
        for detail in ("low", "auto", "high")
    ]
    assert costs == sorted(set(costs))
