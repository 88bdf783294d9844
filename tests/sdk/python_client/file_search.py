"""Runs that search files."""

from typing import Any

from python_client.common import (
    RUN_START,
    STEP_START,
    TEXT_STEP,
    Recorder,
    client,
    new_assistant,
    new_thread,
    plain,
    same,
    threads,
)

INCLUDE: Any = {"include[]": "step_details.tool_calls[*].file_search.results[*].content"}
RAIN = "In Bergen it rains on two days of three."


def searching_assistant() -> tuple[Any, str]:
    """An assistant with one file to search, and the file's id."""
    file = client.files.create(file=("rain.txt", RAIN.encode()), purpose="assistants")
    store = client.vector_stores.create(name="Weather")
    same(client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id).status, "completed")
    resources: Any = {"file_search": {"vector_store_ids": [store.id]}}
    return new_assistant(tools=[{"type": "file_search"}], tool_resources=resources), file.id


def file_search_streams_its_step_and_true_citations() -> None:
    assistant, file_id = searching_assistant()
    thread, recorder = new_thread('@call file_search {"queries": ["rain in Bergen"]}'), Recorder()
    with threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=recorder) as stream:
        run = stream.get_final_run()
    searched = [*STEP_START, "thread.run.step.delta", "thread.run.step.completed"]
    same(recorder.events, [*RUN_START, *searched, *TEXT_STEP, "thread.run.completed"])
    same(plain(stream.get_final_messages()), plain(threads.messages.list(thread.id, run_id=run.id)))
    same(plain(reversed(recorder.steps)), plain(threads.runs.steps.list(run.id, thread_id=thread.id)))
    (message,) = stream.get_final_messages()
    (part,) = message.content
    assert part.type == "text"
    same([one.file_citation.file_id for one in part.text.annotations], [file_id, file_id])  # type: ignore[union-attr]
    for one in part.text.annotations:
        same(part.text.value[one.start_index : one.end_index], one.text)


def search_results_have_their_text_for_who_asks() -> None:
    assistant, file_id = searching_assistant()
    thread = new_thread('@call file_search {"queries": ["rain in Bergen"]}')
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    same(run.status, "completed")
    found = [
        next(iter(threads.runs.steps.list(run.id, thread_id=thread.id, order="asc", extra_query=query)))
        for query in ({}, INCLUDE)
    ]
    plain_result, full_result = (step.step_details.tool_calls[0].file_search.results[0] for step in found)
    same((plain_result.file_id, plain_result.file_name, plain_result.content), (file_id, "rain.txt", None))
    same([one.text for one in full_result.content], [RAIN])
    again = threads.runs.steps.retrieve(found[1].id, thread_id=thread.id, run_id=run.id, extra_query=INCLUDE)
    same(again.to_dict(), found[1].to_dict())
