"""What programs do with the official Python client, one function per name in scenario_names.txt.

A script of its own, run by the client's interpreter; the server, the key and the scripted model's recorder come from
OPENAI_BASE_URL, OPENAI_API_KEY and MODEL_REQUESTS_URL. Prints one JSON line per scenario: {name, ok, detail, seconds}.
What the model answers is asked for in the messages: support/model_directives.py.
"""

import json
import os
import sys
import time
import traceback
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
from openai import AssistantEventHandler, AzureOpenAI, OpenAI
from typing_extensions import override

NAMES = (Path(__file__).parent / "scenario_names.txt").read_text("utf-8").split()
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
RUN_START = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
RUN_AGAIN = ["thread.run.queued", "thread.run.in_progress"]
STEP_START = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE_START = ["thread.message.created", "thread.message.in_progress", "thread.message.delta"]
TEXT_STEP = [*STEP_START, *MESSAGE_START, "thread.message.completed", "thread.run.step.completed"]
CALL_STEP = [*STEP_START, "thread.run.step.delta"]

# No retries: a scenario shall see the first answer. The clients' own default would hide a lone 500.
client = OpenAI(max_retries=0, timeout=20.0)
assistants = client.beta.assistants
threads = client.beta.threads


class Recorder(AssistantEventHandler):
    """Keeps the events' names, runs of the same name once, and what the helper made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.text = ""
        self.calls: list[str] = []
        self.ended = False

    @override
    def on_event(self, event: Any) -> None:
        add_name(self.events, event.event)

    @override
    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.text += delta.value or ""
        same(snapshot.value, self.text)

    @override
    def on_tool_call_created(self, tool_call: Any) -> None:
        self.calls.append(tool_call.id)

    @override
    def on_end(self) -> None:
        self.ended = True


def add_name(names: list[str], name: str) -> None:
    if not names or names[-1] != name:
        names.append(name)


def same(got: object, wanted: object) -> None:
    assert got == wanted, f"\n     got {got!r}\n  wanted {wanted!r}"


def plain(objects: Iterable[Any]) -> list[dict[str, Any]]:
    return [one.to_dict() for one in objects]


def new_assistant(**more: Any) -> Any:
    return assistants.create(**{"model": "scripted-1", "name": "Tester", "instructions": "Be brief.", **more})


def new_thread(text: str) -> Any:
    return threads.create(messages=[{"role": "user", "content": text}])


def texts(thread_id: str) -> list[str]:
    """All texts of a thread, oldest first."""
    listed = threads.messages.list(thread_id, order="asc")
    return [part.text.value for message in listed for part in message.content if part.type == "text"]


def model_requests(marker: str) -> list[dict[str, Any]]:
    """The bodies of the model server's requests that contain a text, oldest first."""
    url = f"{os.environ['MODEL_REQUESTS_URL']}?contains={urllib.parse.quote(marker)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return [request["body"] for request in json.load(answer)]


def refused(kind: type[openai.APIStatusError], call: Callable[[], object], message: str) -> Any:
    """The error that a call must raise, after a look at its class and its message, letter by letter."""
    try:
        call()
    except openai.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error}"
        body: Any = error.body
        same(body["message"], message)
        same(body["type"], "invalid_request_error")
        return error
    raise AssertionError(f"nothing was raised instead of {kind.__name__}: {message}")


def waiting_run(text: str, **more: Any) -> Any:
    """A run that waits for tool outputs."""
    assistant, thread = new_assistant(tools=[WEATHER]), new_thread(text)
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **more)
    same(run.status, "requires_action")
    return run


# --- objects


def assistants_are_created_read_changed_and_deleted() -> None:
    tools = [
        {"type": "code_interpreter"},
        {"type": "file_search", "file_search": {"max_num_results": 5}},
        {**WEATHER, "function": {**WEATHER["function"], "strict": False}},
    ]
    made = new_assistant(
        description="For tests",
        tools=tools,
        metadata={"a": "1"},
        temperature=0.5,
        top_p=0.9,
        response_format={"type": "json_object"},
    )
    assert made.id.startswith("asst_"), made.id
    same(made.object, "assistant")
    same([tool.type for tool in made.tools], ["code_interpreter", "file_search", "function"])
    same(made.tools[1].file_search.max_num_results, 5)
    same(made.tools[2].to_dict(), tools[2])
    same((made.temperature, made.top_p, made.response_format.type), (0.5, 0.9, "json_object"))
    assert str(made._request_id).startswith("req_"), made._request_id
    same(assistants.retrieve(made.id).to_dict(), made.to_dict())
    changed = assistants.update(made.id, name="Renamed", tools=[])
    same((changed.name, changed.tools, changed.instructions), ("Renamed", [], "Be brief."))
    same(changed.created_at, made.created_at)
    deleted = assistants.delete(made.id)
    same(deleted.to_dict(), {"id": made.id, "object": "assistant.deleted", "deleted": True})
    gone = f"No assistant found with id '{made.id}'."
    refused(openai.NotFoundError, lambda: assistants.retrieve(made.id), gone)


def assistants_are_listed_page_by_page() -> None:
    made = [new_assistant(name=f"Number {number}").id for number in range(51)]
    listed = [one.id for one in assistants.list(limit=20, order="asc", after=made[0]) if one.id in set(made)]
    same(listed, made[1:])
    newest_first = [one.id for one in assistants.list(limit=7) if one.id in set(made)]
    same(newest_first, made[::-1])
    page = assistants.list(limit=2, order="asc", before=made[2])
    same((page.object, len(page.data), page.first_id), ("list", 2, page.data[0].id))
    for id_ in made:
        assistants.delete(id_)


def threads_and_messages_are_created_read_changed_and_deleted() -> None:
    thread = threads.create(metadata={"a": "1"}, messages=[{"role": "user", "content": "First"}])
    same(threads.retrieve(thread.id).to_dict(), thread.to_dict())
    second = threads.messages.create(thread.id, role="assistant", content=[{"type": "text", "text": "Second"}])
    same((second.role, second.content[0].text.value, second.content[0].text.annotations), ("assistant", "Second", []))
    same((second.run_id, second.assistant_id, second.attachments), (None, None, []))
    same(texts(thread.id), ["First", "Second"])
    same(threads.messages.retrieve(second.id, thread_id=thread.id).to_dict(), second.to_dict())
    removed = threads.messages.delete(second.id, thread_id=thread.id)
    same(removed.to_dict(), {"id": second.id, "object": "thread.message.deleted", "deleted": True})
    same(texts(thread.id), ["First"])
    same(threads.delete(thread.id).to_dict(), {"id": thread.id, "object": "thread.deleted", "deleted": True})
    gone = f"No thread found with id '{thread.id}'."
    refused(openai.NotFoundError, lambda: threads.retrieve(thread.id), gone)


def metadata_is_replaced_on_every_object() -> None:
    run = waiting_run("@call get_weather {}", metadata={"old": "1"})
    new = {"new": "2"}
    message = next(iter(threads.messages.list(run.thread_id)))
    same(assistants.update(run.assistant_id, metadata=new).metadata, new)
    same(threads.update(run.thread_id, metadata=new).metadata, new)
    same(threads.messages.update(message.id, thread_id=run.thread_id, metadata=new).metadata, new)
    same(threads.runs.update(run.id, thread_id=run.thread_id, metadata=new).metadata, new)
    same(threads.runs.retrieve(run.id, thread_id=run.thread_id).metadata, new)


# --- runs with text


def create_and_poll_answers_with_text() -> None:
    assistant, thread = new_assistant(), new_thread("@say Hello there")
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    same((run.status, run.expires_at, run.last_error), ("completed", None, None))
    same((run.usage.prompt_tokens, run.usage.completion_tokens, run.usage.total_tokens), (20, 10, 30))
    same(texts(thread.id), ["@say Hello there", "Hello there"])
    same([one.id for one in threads.runs.list(thread.id)], [run.id])
    (answer,) = threads.messages.list(thread.id, run_id=run.id)
    same((answer.assistant_id, answer.run_id, answer.role), (assistant.id, run.id, "assistant"))


def stream_text(open_stream: Callable[..., Any]) -> None:
    assistant, thread, recorder = new_assistant(), new_thread("@say Hello there, friend"), Recorder()
    with open_stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=recorder) as stream:
        stream.until_done()
    same(recorder.events, [*RUN_START, *TEXT_STEP, "thread.run.completed"])
    same((recorder.text, recorder.ended), ("Hello there, friend", True))
    same(texts(thread.id)[-1], recorder.text)


def stream_sends_text_in_the_documented_order() -> None:
    stream_text(threads.runs.stream)


def create_and_stream_sends_text_in_the_documented_order() -> None:
    stream_text(threads.runs.create_and_stream)


def streamed_snapshots_equal_what_is_polled() -> None:
    assistant, thread = new_assistant(), new_thread("@say Ünï 🎭 code")
    with threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        run, steps, messages = stream.get_final_run(), stream.get_final_run_steps(), stream.get_final_messages()
    same(run.to_dict(), threads.runs.retrieve(run.id, thread_id=thread.id).to_dict())
    same(plain(steps), plain(threads.runs.steps.list(run.id, thread_id=thread.id)))
    same(plain(messages), plain(threads.messages.list(thread.id, run_id=run.id)))
    step = threads.runs.steps.retrieve(steps[0].id, thread_id=thread.id, run_id=run.id)
    same(step.to_dict(), steps[0].to_dict())


def raw_events_are_read_without_the_helper() -> None:
    assistant, thread = new_assistant(), new_thread("@say Hello there")
    names: list[str] = []
    pieces = []
    for event in threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True):
        add_name(names, event.event)
        if event.event == "thread.message.delta":
            pieces.append(event.data.delta.content[0].text.value)
    same(names, [*RUN_START, *TEXT_STEP, "thread.run.completed"])
    same("".join(pieces), "Hello there")


# --- runs with functions


def function_call_is_streamed_and_its_output_submitted_streaming() -> None:
    assistant, thread = new_assistant(tools=[WEATHER]), new_thread('@call get_weather {"city": "Paris"}')
    first, second = Recorder(), Recorder()
    with threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=first) as stream:
        run, steps = stream.get_final_run(), stream.get_final_run_steps()
    same(first.events, [*RUN_START, *CALL_STEP, "thread.run.requires_action"])
    same((run.status, run.usage), ("requires_action", None))
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    same((call.type, call.function.name, call.function.arguments), ("function", "get_weather", '{"city": "Paris"}'))
    same(first.calls, [call.id])
    same(steps[0].step_details.tool_calls[0].function.arguments, call.function.arguments)
    same(plain(steps), plain(threads.runs.steps.list(run.id, thread_id=thread.id)))
    with threads.runs.submit_tool_outputs_stream(
        thread_id=thread.id,
        run_id=run.id,
        tool_outputs=[{"tool_call_id": call.id, "output": "18 degrees"}],
        event_handler=second,
    ) as stream:
        ended = stream.get_final_run()
    same(second.events, ["thread.run.step.completed", *RUN_AGAIN, *TEXT_STEP, "thread.run.completed"])
    same(second.text, "The tools say: 18 degrees")
    same((ended.status, ended.required_action, ended.usage.total_tokens), ("completed", None, 60))
    steps = list(threads.runs.steps.list(run.id, thread_id=thread.id, order="asc"))
    same([step.type for step in steps], ["tool_calls", "message_creation"])
    same(steps[0].step_details.tool_calls[0].function.output, "18 degrees")


def parallel_function_calls_are_streamed_and_submitted() -> None:
    wanted = [{"name": "get_weather", "arguments": {"city": city}} for city in ("Paris", "Rome")]
    assistant, thread = new_assistant(tools=[WEATHER]), new_thread(f"@calls {json.dumps(wanted)}")
    with threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        run, (step,) = stream.get_final_run(), stream.get_final_run_steps()
    calls = run.required_action.submit_tool_outputs.tool_calls
    same([json.loads(call.function.arguments) for call in calls], [one["arguments"] for one in wanted])
    streamed = [(call.id, call.function.arguments) for call in step.step_details.tool_calls]
    same(streamed, [(call.id, call.function.arguments) for call in calls])
    outputs = [{"tool_call_id": call.id, "output": f"{number} degrees"} for number, call in enumerate(calls)]
    with threads.runs.submit_tool_outputs_stream(
        thread_id=thread.id, run_id=run.id, tool_outputs=outputs[::-1]
    ) as stream:
        same(stream.get_final_run().status, "completed")
    same(texts(thread.id)[-1], "The tools say: 0 degrees; 1 degrees")


def tool_outputs_are_submitted_and_polled() -> None:
    run = waiting_run('@call get_weather {"city": "Paris"}')
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    ended = threads.runs.submit_tool_outputs_and_poll(
        run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": call.id, "output": "rain"}]
    )
    same(ended.status, "completed")
    same(texts(run.thread_id)[-1], "The tools say: rain")


def text_before_a_call_comes_in_a_step_of_its_own() -> None:
    assistant, thread, recorder = new_assistant(tools=[WEATHER]), new_thread("@saycall get_weather {}"), Recorder()
    with threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=recorder) as stream:
        stream.until_done()
    same(recorder.events, [*RUN_START, *TEXT_STEP, *CALL_STEP, "thread.run.requires_action"])
    same(recorder.text, "Let me look that up.")


def thread_is_created_and_run_streaming() -> None:
    assistant, recorder = new_assistant(), Recorder()
    thread: Any = {"messages": [{"role": "user", "content": "@say From nothing"}], "metadata": {"a": "1"}}
    with threads.create_and_run_stream(assistant_id=assistant.id, thread=thread, event_handler=recorder) as stream:
        run = stream.get_final_run()
    same(recorder.events, ["thread.created", *RUN_START, *TEXT_STEP, "thread.run.completed"])
    same(threads.retrieve(run.thread_id).metadata, {"a": "1"})
    same(texts(run.thread_id), ["@say From nothing", "From nothing"])


def thread_is_created_and_run_polling() -> None:
    thread: Any = {"messages": [{"role": "user", "content": "@say From nothing"}]}
    run = threads.create_and_run_poll(assistant_id=new_assistant().id, thread=thread, metadata={"b": "2"})
    same((run.status, run.metadata), ("completed", {"b": "2"}))
    same(texts(run.thread_id)[-1], "From nothing")


# --- runs that end otherwise


def cancelled_stream_ends_cancelled() -> None:
    assistant, thread = new_assistant(), new_thread("@hang Some words")
    names: list[str] = []
    with threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True) as events:
        for event in events:
            if event.event == "thread.message.delta" and "thread.message.delta" not in names:
                asked = threads.runs.cancel(event_run(names, event, thread.id), thread_id=thread.id)
                assert asked.status in ("cancelling", "cancelled"), asked.status
            add_name(names, event.event)
    ends = ["thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled"]
    # The cancel races the words that are still on their way: where `cancelling` falls among them is open.
    same([name for name in names if name not in RUN_START + STEP_START + MESSAGE_START], ends)
    (message,) = threads.messages.list(thread.id, limit=1)
    same((message.status, message.incomplete_details.reason), ("incomplete", "run_cancelled"))


def event_run(names: list[str], event: Any, thread_id: str) -> str:
    """The id of the thread's only run: a delta does not carry it."""
    (run,) = threads.runs.list(thread_id)
    return str(run.id)


def cancelled_run_is_polled_to_its_end() -> None:
    assistant, thread = new_assistant(), new_thread("@hang")
    run = threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    threads.runs.cancel(run.id, thread_id=thread.id)
    ended = threads.runs.poll(run.id, thread_id=thread.id)
    same(ended.status, "cancelled")
    assert ended.cancelled_at, ended
    threads.messages.create(thread.id, role="user", content="The thread is free again.")


def model_failure_fails_the_run_and_ends_the_helper_normally() -> None:
    assistant, thread, recorder = new_assistant(), new_thread("@fail 400 The model refuses."), Recorder()
    with threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=recorder) as stream:
        run = stream.get_final_run()
    same(recorder.events, [*RUN_START, "thread.run.failed"])
    same((run.status, run.last_error.code, recorder.ended), ("failed", "server_error", True))
    assert run.failed_at, run
    assert run.last_error.message, run
    thread = new_thread("@cut Some words")
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    same((run.status, run.last_error.code), ("failed", "server_error"))
    (message,) = threads.messages.list(thread.id, limit=1)
    same((message.status, message.incomplete_details.reason), ("incomplete", "run_failed"))


def length_makes_run_and_message_incomplete() -> None:
    assistant, thread, recorder = new_assistant(), new_thread("@length Some words"), Recorder()
    with threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=256, event_handler=recorder
    ) as stream:
        run, (message,) = stream.get_final_run(), stream.get_final_messages()
    ends = ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    same(recorder.events, [*RUN_START, *STEP_START, *MESSAGE_START, *ends])
    same((run.status, run.incomplete_details.reason), ("incomplete", "max_completion_tokens"))
    same((message.status, message.incomplete_details.reason), ("incomplete", "max_tokens"))
    same(texts(thread.id)[-1], "Some words")


def refusal_arrives_as_its_own_kind_of_content() -> None:
    assistant, thread = new_assistant(), new_thread("@refuse I cannot help with that.")
    pieces = []
    for event in threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True):
        if event.event == "thread.message.delta":
            (part,) = event.data.delta.content
            same((part.index, part.type), (0, "refusal"))
            pieces.append(part.refusal)
    same("".join(pieces), "I cannot help with that.")
    (message,) = threads.messages.list(thread.id, limit=1)
    same((message.content[0].type, message.content[0].refusal), ("refusal", "I cannot help with that."))


# --- errors


def unknown_ids_raise_not_found() -> None:
    thread = threads.create()

    def missing(kind: str, id_: str, call: Callable[[], object]) -> None:
        error = refused(openai.NotFoundError, call, f"No {kind} found with id '{id_}'.")
        same((error.status_code, error.param, error.code), (404, None, None))

    missing("assistant", "asst_x", lambda: assistants.retrieve("asst_x"))
    missing("thread", "thread_x", lambda: threads.retrieve("thread_x"))
    missing("thread", "thread_x", lambda: threads.messages.create("thread_x", role="user", content="Hi"))
    missing("message", "msg_x", lambda: threads.messages.retrieve("msg_x", thread_id=thread.id))
    missing("run", "run_x", lambda: threads.runs.retrieve("run_x", thread_id=thread.id))
    missing("assistant", "asst_x", lambda: threads.runs.create(thread.id, assistant_id="asst_x"))


def wrong_values_raise_bad_request() -> None:
    thread, anything = threads.create(), Any
    wrong: Any = "retrieval"

    def bad(param: str, code: str, message: str, call: Callable[[], anything]) -> None:
        error = refused(openai.BadRequestError, call, message)
        same((error.status_code, error.param, error.code), (400, param, code))

    bad(
        "assistant_id",
        "invalid_value",
        "Invalid 'assistant_id': 'foo'. Expected an ID that begins with 'asst'.",
        lambda: threads.runs.create(thread.id, assistant_id="foo"),
    )
    bad(
        "tools[0].type",
        "invalid_value",
        "Invalid value: 'retrieval'. Supported values are: 'code_interpreter', 'function', and 'file_search'.",
        lambda: new_assistant(tools=[{"type": wrong}]),
    )
    bad(
        "model",
        "missing_required_parameter",
        "Missing required parameter: 'model'.",
        lambda: client.post("/assistants", cast_to=object, body={}),
    )
    bad(
        "nonsense",
        "unknown_parameter",
        "Unknown parameter: 'nonsense'.",
        lambda: new_assistant(extra_body={"nonsense": 1}),
    )
    bad(
        "metadata.k",
        "string_above_max_length",
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
        "but got a string with length 600 instead.",
        lambda: threads.create(metadata={"k": "x" * 600}),
    )


def busy_threads_raise_bad_request() -> None:
    run = waiting_run('@calls [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]')
    thread_id = run.thread_id
    calls = [call.id for call in run.required_action.submit_tool_outputs.tool_calls]

    def submit(*ids: str) -> Any:
        outputs: Any = [{"tool_call_id": id_, "output": "x"} for id_ in ids]
        return threads.runs.submit_tool_outputs(run.id, thread_id=thread_id, tool_outputs=outputs)

    def busy(message: str, call: Callable[[], object]) -> None:
        error = refused(openai.BadRequestError, call, message)
        same((error.status_code, error.param, error.code), (400, None, None))

    busy(
        f"Can't add messages to {thread_id} while a run {run.id} is active.",
        lambda: threads.messages.create(thread_id, role="user", content="Hi"),
    )
    busy(
        f"Thread {thread_id} already has an active run {run.id}.",
        lambda: threads.runs.create(thread_id, assistant_id=run.assistant_id),
    )
    busy(f"Expected tool outputs for call_ids {calls}, got {calls[:1]}", lambda: submit(calls[0]))
    submit(*calls)
    same(threads.runs.poll(run.id, thread_id=thread_id).status, "completed")
    busy('Runs in status "completed" do not accept tool outputs.', lambda: submit(*calls))
    busy("Cannot cancel run with status 'completed'.", lambda: threads.runs.cancel(run.id, thread_id=thread_id))


def wrong_key_raises_authentication_error() -> None:
    stranger = OpenAI(api_key="sk-nobody-has-this-key", max_retries=0)
    error = refused(
        openai.AuthenticationError,
        lambda: stranger.beta.threads.create(),
        "Incorrect API key provided: 'sk-no***ey'. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
    )
    same((error.status_code, error.code), (401, "invalid_api_key"))


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


# --- beside the assistants


def models_are_listed() -> None:
    assert "scripted-1" in [model.id for model in client.models.list()]


def chat_completion_passes_through() -> None:
    answer = client.chat.completions.create(
        model="scripted-1",
        messages=[{"role": "user", "content": '@call get_weather {"city": "Rome"}'}],
        tools=[WEATHER],
    )
    choice = answer.choices[0]
    same(choice.finish_reason, "tool_calls")
    same(choice.message.tool_calls[0].function.arguments, '{"city": "Rome"}')  # type: ignore[index, union-attr]


def chat_completion_streams_through() -> None:
    chunks = client.chat.completions.create(
        model="scripted-1",
        messages=[{"role": "user", "content": "@say Piece by piece"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    received = list(chunks)
    same("".join(choice.delta.content or "" for chunk in received for choice in chunk.choices), "Piece by piece")
    same(received[-1].usage.total_tokens, 30)  # type: ignore[union-attr]


def embeddings_pass_through() -> None:
    answer = client.embeddings.create(model="scripted-1", input=["one two", "three"])
    same([len(row.embedding) for row in answer.data], [64, 64])


def azure_client_runs_an_assistant() -> None:
    endpoint = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
    azure = AzureOpenAI(
        azure_endpoint=endpoint, api_version="2024-05-01-preview", api_key=os.environ["OPENAI_API_KEY"], max_retries=0
    )
    assistant = azure.beta.assistants.create(model="scripted-1", instructions="Be brief.")
    thread = azure.beta.threads.create(messages=[{"role": "user", "content": "@say Hello from the cloud"}])
    run = azure.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    same(run.status, "completed")
    same(texts(thread.id)[-1], "Hello from the cloud")


def perform(name: str) -> str:
    """One scenario, and its line."""
    started = time.monotonic()
    try:
        globals()[name]()
    except Exception:
        detail, ok = traceback.format_exc(limit=-6), False
    else:
        detail, ok = "", True
    return json.dumps({"name": name, "ok": ok, "detail": detail, "seconds": round(time.monotonic() - started, 3)})


def main() -> None:
    # Four at a time: most of a scenario is waiting, and a server has more than one client anyway.
    with ThreadPoolExecutor(4) as pool:
        for line in pool.map(perform, sys.argv[1:] or NAMES):
            print(line, flush=True)


if __name__ == "__main__":
    main()
