"""What is refused, as the client's error classes and letter by letter."""

from collections.abc import Callable
from typing import Any

import openai
from openai import OpenAI
from python_client.common import assistants, client, new_assistant, refused, same, threads, waiting_run

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
