"""Runs: text, functions, and every other way to end."""

import json
from collections.abc import Callable
from typing import Any

from python_client.common import (
    CALL_STEP,
    MESSAGE_START,
    RUN_AGAIN,
    RUN_START,
    STEP_START,
    TEXT_STEP,
    WEATHER,
    Recorder,
    add_name,
    new_assistant,
    new_thread,
    plain,
    same,
    texts,
    threads,
    waiting_run,
)

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
    assistant, thread, recorder = new_assistant(), new_thread("@say Ünï 🎭 code"), Recorder()
    with threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=recorder) as stream:
        run = stream.get_final_run()
    same(run.to_dict(), threads.runs.retrieve(run.id, thread_id=thread.id).to_dict())
    # Not `get_final_run_steps()`: of a step without deltas it keeps the first state that it saw.
    same(plain(recorder.steps), plain(threads.runs.steps.list(run.id, thread_id=thread.id)))
    same(plain(stream.get_final_messages()), plain(threads.messages.list(thread.id, run_id=run.id)))
    (step,) = recorder.steps
    again = threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=run.id)
    same(again.to_dict(), step.to_dict())


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
    same(without_indices(plain(steps)), plain(threads.runs.steps.list(run.id, thread_id=thread.id)))
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


def without_indices(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The helper leaves the deltas' `index` in the calls that it adds up."""
    for step in steps:
        for call in step["step_details"]["tool_calls"]:
            del call["index"]
    return steps


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
        run_id=run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": call.id, "output": "rain"}]
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
            if event.event == "thread.message.delta" and event.event not in names:
                (run,) = threads.runs.list(thread.id)
                asked = threads.runs.cancel(run.id, thread_id=thread.id)
                assert asked.status in ("cancelling", "cancelled"), asked.status
            add_name(names, event.event)
    # The cancel races the words that are still on their way: deltas may come behind `cancelling`.
    rest = [name for name in names if name != "thread.message.delta"]
    ends = ["thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled"]
    same(rest, [*RUN_START, *STEP_START, *MESSAGE_START[:2], *ends])
    (message,) = threads.messages.list(thread.id, limit=1).data
    same((message.status, message.incomplete_details.reason), ("incomplete", "run_cancelled"))


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
    (message,) = threads.messages.list(thread.id, limit=1).data
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
    (message,) = threads.messages.list(thread.id, limit=1).data
    same((message.content[0].type, message.content[0].refusal), ("refusal", "I cannot help with that."))
