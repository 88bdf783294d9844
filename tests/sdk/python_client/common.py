"""The client under test, and what its scenarios share."""

import json
import os
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import openai
from openai import AssistantEventHandler, OpenAI
from typing_extensions import override

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
        self.steps: list[Any] = []
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
    def on_run_step_done(self, run_step: Any) -> None:
        self.steps.append(run_step)

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
        raised = error
    else:
        raise AssertionError(f"nothing was raised instead of {kind.__name__}: {message}")
    same((type(raised), raised.response.headers["content-type"]), (kind, "application/json"))
    body: Any = raised.body
    same((body["message"], body["type"]), (message, "invalid_request_error"))
    return raised


def waiting_run(text: str, **more: Any) -> Any:
    """A run that waits for tool outputs."""
    assistant, thread = new_assistant(tools=[WEATHER]), new_thread(text)
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, **more)
    same(run.status, "requires_action")
    return run
