import copy
from typing import Any

import msgspec
import pytest

from understudy.api.decode import decode_body, v1_rewrite
from understudy.core.errors import InvalidField
from understudy.wire.assistants import CreateAssistant, UpdateAssistant
from understudy.wire.base import Body
from understudy.wire.messages import CreateMessage
from understudy.wire.runs import CreateRun, CreateThreadAndRun, SubmitToolOutputs
from understudy.wire.threads import CreateThread

CODE = {"type": "code_interpreter"}
SEARCH = {"type": "file_search"}
RETRIEVAL = {"type": "retrieval"}
V1_MESSAGE = {"role": "user", "content": "Read it", "file_ids": ["file-1"]}


def v2_message(*tools: dict[str, str]) -> dict[str, Any]:
    attachments = [{"file_id": "file-1", "tools": list(tools)}]
    return {"role": "user", "content": "Read it", "attachments": attachments}


def rewritten(type_: type[Body], body: dict[str, Any]) -> dict[str, Any]:
    """The body in today's spelling, which must be acceptable, and must leave the given one as it was."""
    rewrite = v1_rewrite(type_)
    assert rewrite is not None
    before = copy.deepcopy(body)
    today = rewrite(body)
    assert body == before
    assert decode_body(msgspec.json.encode(body), type_, rewrite=rewrite) == msgspec.convert(today, type_)
    return today


def refused_param(type_: type[Body], body: dict[str, Any]) -> str | None:
    with pytest.raises(InvalidField) as caught:
        decode_body(msgspec.json.encode(body), type_, rewrite=v1_rewrite(type_))
    return caught.value.param


def test_retrieval_becomes_file_search() -> None:
    assert rewritten(CreateAssistant, {"model": "m", "tools": [RETRIEVAL, CODE]}) == {
        "model": "m",
        "tools": [SEARCH, CODE],
    }
    assert rewritten(UpdateAssistant, {"tools": [RETRIEVAL]}) == {"tools": [SEARCH]}


def test_retrieval_may_be_chosen_for_a_run() -> None:
    body = {"assistant_id": "asst_1", "tools": [RETRIEVAL], "tool_choice": RETRIEVAL}
    assert rewritten(CreateRun, body) == {"assistant_id": "asst_1", "tools": [SEARCH], "tool_choice": SEARCH}


@pytest.mark.parametrize(
    ("tools", "resources"),
    [
        ([CODE], {"code_interpreter": {"file_ids": ["file-1"]}}),
        ([RETRIEVAL], {"file_search": {"vector_stores": [{"file_ids": ["file-1"]}]}}),
        ([SEARCH], {"file_search": {"vector_stores": [{"file_ids": ["file-1"]}]}}),
        (
            [CODE, RETRIEVAL],
            {
                "file_search": {"vector_stores": [{"file_ids": ["file-1"]}]},
                "code_interpreter": {"file_ids": ["file-1"]},
            },
        ),
        ([], {"code_interpreter": {"file_ids": ["file-1"]}}),
    ],
)
def test_an_assistants_files_go_to_its_tools(tools: list[dict[str, str]], resources: dict[str, Any]) -> None:
    body = {"model": "m", "tools": tools, "file_ids": ["file-1"]}
    assert rewritten(CreateAssistant, body)["tool_resources"] == resources


def test_an_update_gives_files_to_code_interpreter() -> None:
    body = {"tools": [CODE], "file_ids": ["file-1"]}
    assert rewritten(UpdateAssistant, body)["tool_resources"] == {"code_interpreter": {"file_ids": ["file-1"]}}


@pytest.mark.parametrize("tools", [{"tools": [RETRIEVAL]}, {}])
def test_an_update_that_cannot_place_its_files_is_refused_rather_than_losing_them(tools: dict[str, Any]) -> None:
    assert refused_param(UpdateAssistant, {**tools, "file_ids": ["file-1"]}) == "file_ids"


@pytest.mark.parametrize("file_ids", [None, []])
def test_no_files_are_no_resources(file_ids: list[str] | None) -> None:
    assert rewritten(CreateAssistant, {"model": "m", "file_ids": file_ids}) == {"model": "m"}
    message = {"role": "user", "content": "Hello"}
    assert rewritten(CreateMessage, {**message, "file_ids": file_ids}) == message


def test_a_messages_files_are_attached_for_both_tools() -> None:
    assert rewritten(CreateMessage, V1_MESSAGE) == v2_message(CODE, SEARCH)
    assert rewritten(CreateThread, {"messages": [V1_MESSAGE]}) == {"messages": [v2_message(CODE, SEARCH)]}


def test_messages_within_a_run_know_its_tools() -> None:
    run = {"assistant_id": "asst_1"}
    assert rewritten(CreateRun, {**run, "additional_messages": [V1_MESSAGE]}) == {
        **run,
        "additional_messages": [v2_message(CODE, SEARCH)],
    }
    assert rewritten(CreateThreadAndRun, {**run, "tools": [RETRIEVAL], "thread": {"messages": [V1_MESSAGE]}}) == {
        **run,
        "tools": [SEARCH],
        "thread": {"messages": [v2_message(SEARCH)]},
    }


def test_both_spellings_at_once_are_refused_by_name() -> None:
    assert refused_param(CreateMessage, {**v2_message(CODE), "file_ids": ["file-1"]}) == "file_ids"
    body = {"model": "m", "file_ids": ["file-1"], "tool_resources": {}}
    assert refused_param(CreateAssistant, body) == "file_ids"


def test_a_body_in_todays_spelling_is_left_alone() -> None:
    body = {"model": "m", "tools": [SEARCH, CODE], "tool_resources": {"code_interpreter": {"file_ids": ["file-1"]}}}
    assert rewritten(CreateAssistant, body) == body


@pytest.mark.parametrize(
    ("type_", "body", "param"),
    [
        (CreateAssistant, {"model": "m", "tools": "retrieval"}, "tools"),
        (CreateAssistant, {"model": "m", "tools": [7], "file_ids": ["file-1"]}, "tools[0]"),
        (CreateAssistant, {"model": "m", "file_ids": "file-1"}, "tool_resources.code_interpreter.file_ids"),
        (CreateMessage, {"role": "user", "content": "x", "file_ids": "file-1"}, "file_ids"),
        (CreateMessage, {"role": "user", "content": "x", "file_ids": [7]}, "attachments[0].file_id"),
        (CreateThread, {"messages": {}}, "messages"),
        (CreateThreadAndRun, {"assistant_id": "asst_1", "thread": []}, "thread"),
    ],
)
def test_what_is_faulty_in_any_spelling_is_still_refused(type_: type[Body], body: dict[str, Any], param: str) -> None:
    assert refused_param(type_, body) == param


def test_without_the_rewrite_the_old_spellings_are_refused() -> None:
    with pytest.raises(InvalidField, match="Invalid value: 'retrieval'"):
        decode_body(msgspec.json.encode({"model": "m", "tools": [RETRIEVAL]}), CreateAssistant)


def test_bodies_that_never_had_another_spelling_have_no_rewrite() -> None:
    assert v1_rewrite(SubmitToolOutputs) is None
