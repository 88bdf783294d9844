"""Assistants, threads and messages; models, and what is passed through to the model server."""

import os

import openai
from openai import AzureOpenAI
from python_client.common import WEATHER, assistants, client, new_assistant, refused, same, texts, threads, waiting_run

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
    same([one.id for one in assistants.list()], made[::-1])
    same([one.id for one in assistants.list(limit=7, order="asc")], made)
    same([one.id for one in assistants.list(limit=20, order="asc", after=made[0])], made[1:])
    page = assistants.list(limit=2, order="asc", before=made[5])
    same(([one.id for one in page.data], page.first_id, page.has_more), (made[3:5], made[3], True))  # type: ignore[attr-defined]


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
