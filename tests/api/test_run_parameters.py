"""What a run is given is in the run object and in the request that its model server reads: no more, no less."""

from typing import Any

import pytest

from support import lasting
from support.client import Client
from support.model_server import Call, Interleaved, Reply, ScriptedModel
from support.talk import WEATHER, Talk

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()

TIME = {"type": "function", "function": {"name": "time", "description": "Now", "strict": True, "parameters": {}}}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object", "default": None}},
}
NAMED = {"type": "function", "function": {"name": "weather"}}
ONLY_RESULTS = "step_details.tool_calls[*].file_search.results[*].content"


async def completed(talk: Talk, **body: Any) -> dict[str, Any]:
    return await talk.until(await talk.run(**body), "completed", "failed", "incomplete", "requires_action")


def settings_of(chat: Any) -> dict[str, Any]:
    """A request without what every one has."""
    constant = ("messages", "model", "stream", "stream_options")
    return {key: value for key, value in chat.body.items() if key not in constant}


async def test_a_plain_run_sends_the_thread_and_nothing_else(talk: Talk, model: ScriptedModel) -> None:
    run = await completed(talk)
    assert run["status"] == "completed"
    assert model.chats[0].body == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "What is 2+2?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("body", "shown", "sent"),
    [
        ({"temperature": 0}, {"temperature": 0.0}, {"temperature": 0.0}),
        ({"temperature": 1.25}, {"temperature": 1.25}, {"temperature": 1.25}),
        ({"top_p": 0.5}, {"top_p": 0.5}, {"top_p": 0.5}),
        ({"top_p": None, "temperature": None}, {"top_p": 1.0, "temperature": 1.0}, {}),
        ({"max_completion_tokens": 256}, {"max_completion_tokens": 256}, {"max_tokens": 256}),
        ({"max_prompt_tokens": 256}, {"max_prompt_tokens": 256, "max_completion_tokens": None}, {}),
        ({"response_format": None}, {"response_format": "auto"}, {}),
        ({"response_format": "auto"}, {"response_format": "auto"}, {}),
        ({"response_format": "none"}, {"response_format": "auto"}, {}),
        *(
            ({"response_format": form}, {"response_format": form}, {"response_format": form})
            for form in ({"type": "text"}, {"type": "json_object"}, SCHEMA)
        ),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none"}, {"reasoning_effort": "none"}),
        ({"reasoning_effort": "xhigh"}, {"reasoning_effort": "xhigh"}, {"reasoning_effort": "xhigh"}),
        ({"metadata": {"a": "1"}}, {"metadata": {"a": "1"}}, {}),
        ({"metadata": None}, {"metadata": {}}, {}),
        ({"stream": None}, {}, {}),
        ({"stream": False}, {}, {}),
        ({"tools": []}, {"tools": []}, {}),
        ({"tools": None}, {"tools": []}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "required", "parallel_tool_calls": True}, {}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False, "tool_choice": "auto"}, {}),
        (
            {"truncation_strategy": None},
            {"truncation_strategy": {"type": "auto", "last_messages": None}},
            {},
        ),
        (
            {"truncation_strategy": {"type": "auto", "last_messages": 1}},
            {"truncation_strategy": {"type": "auto", "last_messages": 1}},
            {},
        ),
        (
            {"truncation_strategy": {"type": "last_messages", "last_messages": 3}},
            {"truncation_strategy": {"type": "last_messages", "last_messages": 3}},
            {},
        ),
    ],
)
async def test_a_parameter_is_shown_and_sent(
    talk: Talk, model: ScriptedModel, body: dict[str, Any], shown: dict[str, Any], sent: dict[str, Any]
) -> None:
    created = await talk.run(**body)
    run = await talk.until(created, "completed")
    assert {key: run[key] for key in shown} == shown
    assert {key: created[key] for key in shown} == shown
    assert settings_of(model.chats[0]) == sent


async def test_a_model_of_any_name_replaces_the_assistants(talk: Talk, model: ScriptedModel) -> None:
    assert (await completed(talk, model="my/odd model:7b"))["model"] == "my/odd model:7b"
    assert model.chats[0].body["model"] == "my/odd model:7b"


async def test_an_empty_model_name_is_refused(talk: Talk) -> None:
    answer = await talk.client.request("POST", f"{talk.path}/runs", {"assistant_id": talk.assistant["id"], "model": ""})
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "model", "empty_string")


@pytest.mark.parametrize(
    ("body", "joined"),
    [
        ({}, "Be brief."),
        ({"instructions": "Be long."}, "Be long."),
        ({"additional_instructions": "Be kind."}, "Be brief.\nBe kind."),
        ({"instructions": "Be long.", "additional_instructions": "Be kind."}, "Be long.\nBe kind."),
        ({"instructions": None, "additional_instructions": None}, "Be brief."),
        ({"instructions": ""}, ""),
    ],
)
async def test_instructions_replace_and_additional_ones_follow(
    client: Client, model: ScriptedModel, body: dict[str, Any], joined: str
) -> None:
    talk = await Talk.begin(client, instructions="Be brief.")
    assert (await completed(talk, **body))["instructions"] == joined
    system = [{"role": "system", "content": joined}] if joined else []
    assert model.chats[0].body["messages"] == [*system, {"role": "user", "content": "What is 2+2?"}]


async def test_additional_messages_are_stored_in_order_before_the_run_begins(talk: Talk, model: ScriptedModel) -> None:
    additional = [
        {"role": "assistant", "content": "Which numbers?"},
        {"role": "user", "content": [{"type": "text", "text": "Two"}, {"type": "text", "text": "and two."}]},
    ]
    run = await completed(talk, additional_messages=additional)
    messages = await talk.messages()
    assert [(one["role"], one["run_id"]) for one in messages] == [
        ("user", None),
        ("assistant", None),
        ("user", None),
        ("assistant", run["id"]),
    ]
    assert model.chats[0].body["messages"] == [
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "Which numbers?"},
        {"role": "user", "content": "Two\nand two."},
    ]


async def test_images_by_url_reach_the_model_as_parts(talk: Talk, model: ScriptedModel) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://images.test/cat.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://images.test/dog.png"}},
    ]
    await completed(talk, additional_messages=[{"role": "user", "content": content}])
    assert model.chats[0].body["messages"][-1] == {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://images.test/cat.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://images.test/dog.png", "detail": "auto"}},
        ],
    }


# --- tools


async def test_tools_replace_the_assistants(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    run = await completed(talk, tools=[TIME])
    assert [tool["function"]["name"] for tool in run["tools"]] == ["time"]
    assert model.chats[0].body["tools"] == [TIME]


async def test_an_empty_list_of_tools_takes_the_assistants_away(client: Client, model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    run = await completed(talk, tools=[], tool_choice="auto", parallel_tool_calls=False)
    assert run["tools"] == []
    assert settings_of(model.chats[0]) == {}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, {"tools": [WEATHER]}),
        ("auto", {"tools": [WEATHER], "tool_choice": "auto"}),
        ("none", {}),
        ("required", {"tools": [WEATHER], "tool_choice": "required"}),
        (NAMED, {"tools": [WEATHER], "tool_choice": NAMED}),
    ],
)
async def test_a_tool_choice_is_shown_and_sent(
    client: Client, model: ScriptedModel, choice: object, sent: dict[str, Any]
) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    run = await completed(talk, tool_choice=choice)
    assert run["tool_choice"] == (choice or "auto")
    assert settings_of(model.chats[0]) == sent


@pytest.mark.parametrize("choice", ["required", NAMED])
async def test_a_forced_choice_holds_for_the_first_turn_only(
    client: Client, model: ScriptedModel, choice: object
) -> None:
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Call("call_a", "weather", "{}")))
    run = await completed(talk, tool_choice=choice)
    await talk.submit(run, call_a="Rain")
    await talk.until(run, "completed")
    assert [chat.body.get("tool_choice") for chat in model.chats] == [choice, None]
    assert model.chats[1].body["tools"] == [WEATHER]


@pytest.mark.parametrize(("parallel", "calls"), [(None, 2), (True, 2), (False, 1)])
async def test_parallel_tool_calls_are_allowed_or_not(
    client: Client, model: ScriptedModel, parallel: bool | None, calls: int
) -> None:
    """The model server is told, and where it calls twice all the same the second call is left out."""
    talk = await Talk.begin(client, tools=[WEATHER])
    model.script(Reply(Interleaved(Call("call_a", "weather", "{}"), Call("call_b", "weather", "{}"))))
    run = await completed(talk, parallel_tool_calls=parallel)
    assert run["parallel_tool_calls"] is (parallel is not False)
    assert model.chats[0].body.get("parallel_tool_calls") is parallel
    required = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [call["id"] for call in required] == ["call_a", "call_b"][:calls]


# --- where settings come from


async def test_what_the_assistant_was_given_holds_unless_the_run_says_otherwise(
    client: Client, model: ScriptedModel
) -> None:
    own = {
        "temperature": 0.25,
        "top_p": 0.75,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "none",
    }
    talk = await Talk.begin(client, **own)
    run = await completed(talk)
    assert {key: run[key] for key in own} == own
    assert settings_of(model.chats[0]) == own
    other = {"temperature": 1.5, "top_p": 0.5, "response_format": {"type": "text"}, "reasoning_effort": "high"}
    run = await completed(talk, **other)
    assert {key: run[key] for key in other} == other
    assert settings_of(model.chats[1]) == other


async def test_changing_or_deleting_the_assistant_changes_nothing_in_a_run(
    client: Client, model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, instructions="Be brief.", tools=[WEATHER], temperature=0.5)
    model.script(Reply(Call("call_a", "weather", "{}")))
    run = await completed(talk)
    path = f"/v1/assistants/{talk.assistant['id']}"
    await client.post(path, {"model": "other", "instructions": "Be rude.", "tools": [], "temperature": 1.5})
    await client.delete(path)
    await talk.submit(run, call_a="Rain")
    ended = await talk.until(run, "completed")
    first, second = (chat.body for chat in model.chats)
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert {**second, "messages": []} == {**first, "messages": []}
    assert (ended["model"], ended["instructions"], ended["assistant_id"]) == (
        "gpt-4o",
        "Be brief.",
        run["assistant_id"],
    )
    answer = await client.request("POST", f"{talk.path}/runs", {"assistant_id": run["assistant_id"]})
    assert (answer.status, answer.error["message"]) == (404, f"No assistant found with id '{run['assistant_id']}'.")


async def test_included_results_may_be_asked_for(talk: Talk) -> None:
    path = f"{talk.path}/runs?include[]={ONLY_RESULTS}"
    run = await talk.client.post(path, {"assistant_id": talk.assistant["id"]})
    assert (await talk.until(run, "completed"))["status"] == "completed"
    answer = await talk.client.request(
        "POST", f"{talk.path}/runs?include[]=everything", {"assistant_id": talk.assistant["id"]}
    )
    assert (answer.status, answer.error["code"]) == (400, "invalid_value")


async def test_a_thread_and_its_run_take_the_same_parameters(client: Client, model: ScriptedModel) -> None:
    assistant = await client.post("/v1/assistants", {"model": "gpt-4o", "instructions": "Be brief."})
    body = {
        "assistant_id": assistant["id"],
        "thread": {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"t": "1"}},
        "model": "other",
        "instructions": "Be long.",
        "tools": [WEATHER],
        "metadata": {"r": "1"},
        "temperature": 0.5,
        "top_p": 0.5,
        "max_prompt_tokens": 300,
        "max_completion_tokens": 400,
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
    }
    run = await client.post("/v1/threads/runs", body)
    shown = {key: value for key, value in body.items() if key not in ("thread", "tools")}
    assert {key: run[key] for key in shown} == shown
    await model.until(lambda: bool(model.chats))
    assert {**model.chats[0].body, "stream_options": None} == {
        "model": "other",
        "messages": [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": None,
        "tools": [WEATHER],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 0.5,
        "max_tokens": 400,
        "response_format": {"type": "json_object"},
    }


@pytest.mark.parametrize("kind", ["file_search", "code_interpreter"])
async def test_a_tool_that_a_run_hides_from_its_model_need_not_be_there(
    client: Client, model: ScriptedModel, kind: str
) -> None:
    talk = await Talk.begin(client, tools=[{"type": kind}, WEATHER])
    assert (await completed(talk, tool_choice="none"))["status"] == "completed"
    assert settings_of(model.chats[0]) == {}
