"""Refusals over HTTP, letter for letter, on every resource. Contract sections 7.1 and 7.2."""

from dataclasses import dataclass
from typing import Any

import pytest

from support.answers import assert_refused
from support.client import Client
from support.server import RunningServer
from support.talk import WEATHER, Talk

TOOLS = "Supported values are: 'code_interpreter', 'function', and 'file_search'."
LONG_TEXT = "string too long. Expected a string with maximum length"


@dataclass(frozen=True)
class Site:
    """A thread with everything on it; `path` and `body` make the shortest valid request of a name."""

    client: Client
    assistant: str
    thread: str
    message: str
    run: str

    def path(self, name: str) -> str:
        thread = f"/v1/threads/{self.thread}"
        return {
            "assistant": "/v1/assistants",
            "assistant+": f"/v1/assistants/{self.assistant}",
            "thread": "/v1/threads",
            "thread+": thread,
            "message": f"{thread}/messages",
            "message+": f"{thread}/messages/{self.message}",
            "run": f"{thread}/runs",
            "run+": f"{thread}/runs/{self.run}",
            "outputs": f"{thread}/runs/{self.run}/submit_tool_outputs",
            "thread&run": "/v1/threads/runs",
        }[name]

    def body(self, name: str) -> dict[str, Any]:
        return {
            "assistant": {"model": "m"},
            "message": {"role": "user", "content": "x"},
            "run": {"assistant_id": self.assistant},
            "thread&run": {"assistant_id": self.assistant},
            "outputs": {"tool_outputs": []},
        }.get(name, {})

    async def everything(self) -> list[Any]:
        """All that could have changed."""
        lists = ("assistant", "message", "run")
        ones = ("assistant+", "thread+", "message+", "run+")
        pages = [await self.client.get(self.path(name), limit=100) for name in lists]
        return pages + [await self.client.get(self.path(name)) for name in ones]


@pytest.fixture(scope="module")
async def site(shared: RunningServer) -> Site:
    talk = await Talk.begin(shared.client, content="@call weather {}", tools=[WEATHER])
    run = (await talk.stream())[-2].data
    message = (await talk.messages())[0]
    return Site(shared.client, talk.assistant["id"], talk.thread["id"], message["id"], run["id"])


async def refused(site: Site, name: str, fields: dict[str, Any], *without: str) -> Any:
    """The answer to a request that must change nothing."""
    before = await site.everything()
    body = {key: value for key, value in {**site.body(name), **fields}.items() if key not in without}
    answer = await site.client.request("POST", site.path(name), body)
    assert await site.everything() == before
    return answer


def wrong_type(path: str, expected: str, got: str) -> tuple[str, str, str]:
    return f"Invalid type for '{path}': expected {expected}, but got {got} instead.", path, "invalid_type"


def too_long(path: str, most: int, length: int) -> tuple[str, str, str]:
    return (
        f"Invalid '{path}': {LONG_TEXT} {most}, but got a string with length {length} instead.",
        path,
        "string_above_max_length",
    )


def long_array(path: str, most: int, length: int) -> tuple[str, str, str]:
    return (
        f"Invalid '{path}': array too long. Expected an array with maximum length {most}, "
        f"but got an array with length {length} instead.",
        path,
        "array_above_max_length",
    )


def empty(path: str, kind: str) -> tuple[str, str, str]:
    article = "an" if kind == "array" else "a"
    return (
        f"Invalid '{path}': empty {kind}. Expected {article} {kind} with minimum length 1, "
        f"but got an empty {kind} instead.",
        path,
        f"empty_{kind}",
    )


def number(path: str, kind: str, side: str, bound: str, got: str) -> tuple[str, str, str]:
    sign = ">=" if side == "below minimum" else "<="
    code = f"{kind}_{side.replace(' ', '_').replace('minimum', 'min').replace('maximum', 'max')}_value"
    return f"Invalid '{path}': {kind} {side} value. Expected a value {sign} {bound}, but got {got} instead.", path, code


def wrong_value(path: str, value: str, supported: str) -> tuple[str, str, str]:
    return f"Invalid value: '{value}'. Supported values are: {supported}.", path, "invalid_value"


def unknown(path: str, hint: str = "") -> tuple[str, str, str]:
    return f"Unknown parameter: '{path}'.{hint}", path, "unknown_parameter"


MISSING = [
    ("assistant", "model"),
    ("message", "role"),
    ("message", "content"),
    ("run", "assistant_id"),
    ("thread&run", "assistant_id"),
    ("outputs", "tool_outputs"),
]
WITH_METADATA = ["assistant", "assistant+", "thread", "thread+", "message", "message+", "run", "run+", "thread&run"]
EVERY_BODY = [*WITH_METADATA, "outputs"]
FAULTS: list[tuple[str, dict[str, Any], tuple[str, str, str]]] = [
    ("assistant", {"model": ""}, empty("model", "string")),
    ("assistant", {"model": 7}, wrong_type("model", "a string", "an integer")),
    ("assistant", {"model": None}, wrong_type("model", "a string", "null")),
    ("assistant", {"name": "n" * 257}, too_long("name", 256, 257)),
    ("assistant+", {"description": "d" * 513}, too_long("description", 512, 513)),
    ("assistant", {"instructions": "i" * 256_001}, too_long("instructions", 256_000, 256_001)),
    ("assistant", {"tools": [{"type": "retrieve"}]}, wrong_value("tools[0].type", "retrieve", TOOLS[22:-1])),
    ("assistant", {"tools": {}}, wrong_type("tools", "an array of objects", "an object")),
    ("assistant", {"tools": ["function"]}, wrong_type("tools[0]", "an object", "a string")),
    ("assistant+", {"tools": [WEATHER] * 217}, long_array("tools", 128, 217)),
    (
        "assistant",
        {"tools": [{"type": "function", "function": {"name": "get weather"}}]},
        (
            "Invalid 'tools[0].function.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            "tools[0].function.name",
            "invalid_value",
        ),
    ),
    (
        "run",
        {"tools": [WEATHER, {"type": "function", "function": {"name": "f" * 65}}]},
        too_long("tools[1].function.name", 64, 65),
    ),
    (
        "assistant",
        {"tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]},
        number("tools[0].file_search.max_num_results", "integer", "above maximum", "50", "51"),
    ),
    (
        "assistant",
        {"tools": [{"type": "file_search", "file_search": {"ranking_options": {}}}]},
        (
            "Missing required parameter: 'tools[0].file_search.ranking_options.score_threshold'.",
            "tools[0].file_search.ranking_options.score_threshold",
            "missing_required_parameter",
        ),
    ),
    (
        "assistant",
        {"tool_resources": {"code_interpreter": {"file_ids": ["file-1"] * 21}}},
        long_array("tool_resources.code_interpreter.file_ids", 20, 21),
    ),
    (
        "thread",
        {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1", "vs_2"]}}},
        long_array("tool_resources.file_search.vector_store_ids", 1, 2),
    ),
    ("assistant", {"temperature": 2.5}, number("temperature", "decimal", "above maximum", "2", "2.5")),
    ("assistant+", {"temperature": -1}, number("temperature", "decimal", "below minimum", "0", "-1")),
    ("run", {"top_p": 1.5}, number("top_p", "decimal", "above maximum", "1", "1.5")),
    ("run", {"temperature": "hot"}, wrong_type("temperature", "a decimal", "a string")),
    ("run", {"max_prompt_tokens": 0}, number("max_prompt_tokens", "integer", "below minimum", "1", "0")),
    (
        "thread&run",
        {"max_completion_tokens": 1.5},
        wrong_type("max_completion_tokens", "an integer", "a decimal number"),
    ),
    ("run", {"stream": "yes"}, wrong_type("stream", "a boolean", "a string")),
    ("run", {"parallel_tool_calls": 1}, wrong_type("parallel_tool_calls", "a boolean", "an integer")),
    (
        "assistant",
        {"reasoning_effort": "huge"},
        wrong_value(
            "reasoning_effort", "huge", "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'"
        ),
    ),
    (
        "run",
        {"truncation_strategy": {"type": "some"}},
        wrong_value("truncation_strategy.type", "some", "'auto' and 'last_messages'"),
    ),
    (
        "run",
        {"truncation_strategy": {"type": "last_messages"}},
        (
            "Missing required parameter: 'truncation_strategy.last_messages'.",
            "truncation_strategy.last_messages",
            "missing_required_parameter",
        ),
    ),
    (
        "run",
        {"assistant_id": "foo"},
        ("Invalid 'assistant_id': 'foo'. Expected an ID that begins with 'asst'.", "assistant_id", "invalid_value"),
    ),
    ("run", {"additional_messages": [{"role": "user"}]}, (
        "Missing required parameter: 'additional_messages[0].content'.",
        "additional_messages[0].content",
        "missing_required_parameter",
    )),
    ("message", {"role": "system"}, wrong_value("role", "system", "'user' and 'assistant'")),
    ("message", {"content": ""}, empty("content", "string")),
    ("message", {"content": []}, empty("content", "array")),
    ("message", {"content": 7}, wrong_type("content", "one of a string or array of objects", "an integer")),
    ("message", {"content": "x" * 256_001}, too_long("content", 256_000, 256_001)),
    ("message", {"content": [{"type": "text"}]}, (
        "Missing required parameter: 'content[0].text'.", "content[0].text", "missing_required_parameter"
    )),
    ("message", {"content": [{"type": "text", "text": ""}]}, empty("content[0].text", "string")),
    (
        "message",
        {"content": [{"type": "image_url", "image_url": {"url": "u", "detail": "big"}}]},
        wrong_value("content[0].image_url.detail", "big", "'auto', 'low', and 'high'"),
    ),
    ("message", {"attachments": [{"file_id": "file-1"}] * 21}, long_array("attachments", 20, 21)),
    ("thread", {"messages": [{"role": "user", "content": "x"}, {"content": "x"}]}, (
        "Missing required parameter: 'messages[1].role'.", "messages[1].role", "missing_required_parameter"
    )),
    ("thread&run", {"thread": {"messages": [{"role": "user", "content": 0}]}}, wrong_type(
        "thread.messages[0].content", "one of a string or array of objects", "an integer"
    )),
    ("outputs", {"tool_outputs": {}}, wrong_type("tool_outputs", "an array of objects", "an object")),
    ("outputs", {"tool_outputs": ["x"]}, wrong_type("tool_outputs[0]", "an object", "a string")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key"), MISSING)
async def test_a_missing_parameter_is_named(site: Site, name: str, key: str) -> None:
    message = f"Missing required parameter: '{key}'."
    assert_refused(await refused(site, name, {}, key), message, param=key, code="missing_required_parameter")


@pytest.mark.parametrize("name", EVERY_BODY)
async def test_an_unknown_parameter_is_named(site: Site, name: str) -> None:
    message, param, code = unknown("zebra")
    assert_refused(await refused(site, name, {"zebra": 1}), message, param=param, code=code)


@pytest.mark.parametrize("name", WITH_METADATA)
async def test_metadata_is_held_to_its_limits_everywhere(site: Site, name: str) -> None:
    pairs = {f"k{n}": "v" for n in range(17)}
    cases: list[tuple[Any, tuple[str, str, str]]] = [
        ("x", wrong_type("metadata", "a metadata object", "a string")),
        ({"k": 1}, wrong_type("metadata.k", "a string", "an integer")),
        ({"k": None}, wrong_type("metadata.k", "a string", "null")),
        ({"k": "v" * 600}, too_long("metadata.k", 512, 600)),
        (
            pairs,
            (
                "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
                "but got an object with 17 properties instead.",
                "metadata",
                "object_above_max_properties",
            ),
        ),
        (
            {"k" * 70: "v"},
            (
                f"Invalid property name in 'metadata': 'kkk...kkk' is too long. {LONG_TEXT[17:]} 64, "
                "but got a string with length 70 instead.",
                f"metadata.{'k' * 70}",
                "property_name_above_max_length",
            ),
        ),
    ]
    for metadata, (message, param, code) in cases:
        assert_refused(await refused(site, name, {"metadata": metadata}), message, param=param, code=code)


@pytest.mark.parametrize(("name", "fields", "expected"), FAULTS)
async def test_a_fault_is_refused_in_the_services_words_and_changes_nothing(
    site: Site, name: str, fields: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    message, param, code = expected
    assert_refused(await refused(site, name, fields), message, param=param, code=code)


async def test_of_several_faults_the_first_in_the_services_order_is_told(site: Site) -> None:
    faults = {"zebra": 1, "temperature": 9, "name": 7}
    assert (await refused(site, "assistant", faults, "model")).error["code"] == "missing_required_parameter"
    assert (await refused(site, "assistant", faults)).error["param"] == "zebra"
    assert (await refused(site, "assistant", faults, "zebra")).error["param"] == "name"


async def test_a_faulty_body_is_told_before_an_unknown_thread(site: Site) -> None:
    nowhere = "/v1/threads/thread_nobody"
    for path, body in ((f"{nowhere}/messages", {"role": "user"}), (f"{nowhere}/runs", {})):
        assert (await site.client.request("POST", path, body)).status == 400


@pytest.mark.parametrize(
    ("path", "field", "prefix"),
    [
        ("/v1/assistants/foo", "assistant_id", "asst"),
        ("/v1/threads/foo", "thread_id", "thread"),
        ("/v1/threads/foo/messages", "thread_id", "thread"),
        ("/v1/threads/thread_1/messages/foo", "message_id", "msg"),
        ("/v1/threads/thread_1/runs/foo", "run_id", "run"),
        ("/v1/threads/thread_1/runs/run_1/steps/foo", "step_id", "step"),
    ],
)
async def test_an_id_that_cannot_be_of_its_kind_is_invalid(site: Site, path: str, field: str, prefix: str) -> None:
    assert_refused(
        await site.client.request("GET", path),
        f"Invalid '{field}': 'foo'. Expected an ID that begins with '{prefix}'.",
        param=field,
        code="invalid_value",
    )


async def test_swapped_ids_are_told_by_name(site: Site) -> None:
    """Contract section 11.7: a new-style call on an old Node client puts the run's id in the thread's place."""
    answer = await site.client.request("GET", f"/v1/threads/{site.run}/runs/{site.thread}")
    assert_refused(answer, f"No thread found with id '{site.run}'.", status=404)


async def test_vector_stores_that_do_not_exist_are_refused_by_name(site: Site) -> None:
    resources = {"tool_resources": {"file_search": {"vector_store_ids": ["vs_nobody"]}}}
    for name in ("assistant", "assistant+", "thread", "thread+", "thread&run"):
        answer = await refused(site, name, resources)
        assert_refused(answer, "No vector store found with id 'vs_nobody'.", status=404)


async def test_files_that_do_not_exist_are_refused_by_name(site: Site) -> None:
    resources = {"tool_resources": {"code_interpreter": {"file_ids": ["file-nobody"]}}}
    for name in ("assistant", "assistant+", "thread", "thread+", "thread&run"):
        answer = await refused(site, name, resources)
        assert_refused(answer, "No such File object: file-nobody", status=404, param="id")
