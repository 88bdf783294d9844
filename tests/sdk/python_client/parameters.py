"""What a run is created with, and what of it reaches the model server."""

import uuid
from typing import Any

from python_client.common import WEATHER, model_requests, new_assistant, new_thread, same, threads

# --- parameters


def image_url_reaches_the_model() -> None:
    marker = uuid.uuid4().hex
    image: Any = {"url": f"https://example.com/{marker}.png", "detail": "low"}
    content: Any = [{"type": "text", "text": "@say A picture"}, {"type": "image_url", "image_url": image}]
    thread = threads.create(messages=[{"role": "user", "content": content}])
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=new_assistant(model="gpt-4o").id)
    same(run.status, "completed")
    (request,) = model_requests(marker)
    same(request["messages"][-1]["content"], content)
    (kept,) = [message for message in threads.messages.list(thread.id) if message.role == "user"]
    same(kept.content[1].to_dict(), {"type": "image_url", "image_url": image})


def every_seed_parameter_is_accepted_at_once() -> None:
    marker = uuid.uuid4().hex
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    thread = threads.create(messages=[{"role": "user", "content": text} for text in ("One", "Two", "Three")])
    with threads.runs.create_and_stream(
        thread_id=thread.id,
        assistant_id=new_assistant(instructions="Replaced.").id,
        model="gpt-4o-2024-05-13",
        instructions="Answer in JSON.",
        additional_instructions="Be kind.",
        additional_messages=[{"role": "user", "content": f"@say {marker}", "metadata": {"m": "1"}}],
        tools=[WEATHER],
        metadata={"purpose": "test"},
        temperature=0.25,
        top_p=0.75,
        max_prompt_tokens=4000,
        max_completion_tokens=500,
        truncation_strategy={"type": "last_messages", "last_messages": 2},
        tool_choice=choice,
        response_format={"type": "json_object"},
    ) as stream:
        run = stream.get_final_run()
    same((run.status, run.model, run.temperature, run.top_p), ("completed", "gpt-4o-2024-05-13", 0.25, 0.75))
    same((run.max_prompt_tokens, run.max_completion_tokens), (4000, 500))
    same(run.instructions, "Answer in JSON.\nBe kind.")
    same((run.metadata, run.tools[0].function.name), ({"purpose": "test"}, "get_weather"))
    same(run.truncation_strategy.to_dict(), {"type": "last_messages", "last_messages": 2})
    same((run.tool_choice.to_dict(), run.response_format.to_dict()), (choice, {"type": "json_object"}))
    (request,) = model_requests(marker)
    check_seed_request(request, marker, choice)


def check_seed_request(request: dict[str, Any], marker: str, choice: object) -> None:
    same(
        request["messages"],
        [
            {"role": "system", "content": "Answer in JSON.\nBe kind."},
            {"role": "user", "content": "Three"},
            {"role": "user", "content": f"@say {marker}"},
        ],
    )
    same((request["model"], request["temperature"], request["top_p"]), ("gpt-4o-2024-05-13", 0.25, 0.75))
    same((request["max_tokens"], request["stream"]), (500, True))
    same((request["tools"], request["tool_choice"]), ([WEATHER], choice))
    same(request["response_format"], {"type": "json_object"})


def null_parameters_count_as_absent() -> None:
    absent: Any = None
    run = threads.runs.create_and_poll(
        thread_id=new_thread("@say Nothing given").id,
        assistant_id=new_assistant(temperature=0.5).id,
        model=absent,
        instructions=absent,
        additional_instructions=absent,
        additional_messages=absent,
        tools=absent,
        metadata=absent,
        temperature=absent,
        top_p=absent,
        max_prompt_tokens=absent,
        max_completion_tokens=absent,
        truncation_strategy=absent,
        tool_choice=absent,
        response_format=absent,
    )
    same((run.status, run.model, run.instructions), ("completed", "scripted-1", "Be brief."))
    same((run.temperature, run.top_p, run.metadata, run.tools), (0.5, 1.0, {}, []))
    same((run.tool_choice, run.response_format, run.parallel_tool_calls), ("auto", "auto", True))
    same((run.max_prompt_tokens, run.max_completion_tokens), (None, None))
    same(run.truncation_strategy.to_dict(), {"type": "auto", "last_messages": None})


def newer_parameters_are_accepted_at_once() -> None:
    marker = uuid.uuid4().hex
    schema: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    odd: Any = {"type": "auto", "last_messages": 1}
    run = threads.runs.create_and_poll(
        thread_id=new_thread(f"@say {marker}").id,
        assistant_id=new_assistant(tools=[WEATHER]).id,
        parallel_tool_calls=False,
        reasoning_effort=as_any("none"),
        response_format=schema,
        truncation_strategy=odd,
        tool_choice="none",
        max_prompt_tokens=256,
        max_completion_tokens=256,
        include=["step_details.tool_calls[*].file_search.results[*].content"],
    )
    same((run.status, run.parallel_tool_calls, run.tool_choice), ("completed", False, "none"))
    (request,) = model_requests(marker)
    same((request["reasoning_effort"], request["response_format"]), ("none", schema))


def as_any(value: object) -> Any:
    return value
