"""Vector stores, their files, batches and search, under whichever names the client has for them."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import openai
from python_client.common import client, new_assistant, new_thread, plain, refused, same, threads

WEEK: Any = {"anchor": "last_active_at", "days": 7}
SMALL: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}}
FINISHED = {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1}


def each_namespace() -> Iterator[Any]:
    """They were in `beta` first; some clients know both places."""
    yield client.vector_stores
    with suppress(AttributeError):
        yield client.beta.vector_stores  # type: ignore[attr-defined]


def text_file(name: str, text: str) -> tuple[str, bytes]:
    return name, text.encode()


def uploaded(name: str, text: str) -> str:
    return client.files.create(file=text_file(name, text), purpose="assistants").id


def vector_stores_are_created_read_changed_and_deleted() -> None:
    for stores in each_namespace():
        bare = stores.create()
        same((bare.name, bare.status, bare.usage_bytes, bare.metadata), ("", "completed", 0, {}))
        made = stores.create(name="Notes", expires_after=WEEK, metadata={"a": "1"})
        same(made.expires_at, made.last_active_at + 7 * 86_400)
        same(stores.retrieve(made.id).to_dict(), made.to_dict())
        changed = stores.update(made.id, name="Renamed", expires_after=None, metadata={"b": "2"})
        same((changed.name, changed.expires_after, changed.expires_at), ("Renamed", None, None))
        same(changed.metadata, {"b": "2"})
        listed = [one.id for one in stores.list(limit=1) if one.id in (bare.id, made.id)]
        same(listed, [made.id, bare.id])
        same(stores.delete(made.id).to_dict(), {"id": made.id, "object": "vector_store.deleted", "deleted": True})
        gone = f"No vector store found with id '{made.id}'."
        refused(openai.NotFoundError, lambda: stores.retrieve(made.id), gone)  # noqa: B023 it is called at once


def files_of_a_vector_store_are_polled_until_they_are_indexed() -> None:
    for stores in each_namespace():
        store = stores.create(name="Zoo")
        file_id = uploaded("zebra.md", "The zebra is striped.")
        file = stores.files.create_and_poll(
            file_id, vector_store_id=store.id, attributes={"legs": 4}, chunking_strategy=SMALL
        )
        same((file.id, file.status, file.last_error), (file_id, "completed", None))
        same((file.attributes, file.chunking_strategy.to_dict()), ({"legs": 4}, SMALL))
        assert file.usage_bytes > 0, file
        other = stores.files.upload_and_poll(vector_store_id=store.id, file=text_file("bee.txt", "The bee hums."))
        same(other.status, "completed")
        same([one.id for one in stores.files.list(store.id, filter="completed", order="asc")], [file_id, other.id])
        same([part.text for part in stores.files.content(file_id, vector_store_id=store.id)], ["The zebra is striped."])
        labelled = stores.files.update(file_id, vector_store_id=store.id, attributes={"legs": 5, "wild": True})
        same(labelled.attributes, {"legs": 5, "wild": True})
        same(stores.retrieve(store.id).file_counts.completed, 2)
        same(stores.files.delete(file_id, vector_store_id=store.id).deleted, True)
        gone = f"No file found with id '{file_id}' in vector store '{store.id}'."
        refused(
            openai.NotFoundError,
            lambda: stores.files.retrieve(file_id, vector_store_id=store.id),  # noqa: B023 it is called at once
            gone,
        )


def a_file_that_cannot_be_indexed_is_polled_until_it_says_why() -> None:
    store = client.vector_stores.create()
    file = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("empty.txt", b" "))
    same(file.status, "failed")
    assert file.last_error is not None
    same(file.last_error.message, "The file could not be parsed because it is empty.")


def file_batches_are_polled_to_their_end() -> None:
    for stores in each_namespace():
        store = stores.create()
        file_id = uploaded("ant.txt", "The ant is small.")
        batch = stores.file_batches.create_and_poll(store.id, file_ids=[file_id])
        same((batch.status, batch.file_counts.to_dict()), ("completed", FINISHED))
        files: Any = [text_file(f"{number}.md", f"Number {number}.") for number in range(3)]
        batch = stores.file_batches.upload_and_poll(store.id, files=files, file_ids=[file_id])
        same((batch.status, batch.file_counts.completed), ("completed", 4))
        listed = [one.id for one in stores.file_batches.list_files(batch.id, vector_store_id=store.id, limit=2)]
        same((len(listed), file_id in listed), (4, True))
        same(stores.file_batches.cancel(batch.id, vector_store_id=store.id).to_dict(), batch.to_dict())


def vector_stores_are_searched() -> None:
    for stores in each_namespace():
        store = stores.create()
        for name, legs in (("zebra", 4), ("ostrich", 2)):
            file_id = uploaded(f"{name}.txt", f"The {name} lives in the zoo.")
            stores.files.create_and_poll(file_id, vector_store_id=store.id, attributes={"legs": legs})
        page = stores.search(store.id, query="Where does the zebra live?", rewrite_query=True, max_num_results=1)
        same([(one.filename, one.content[0].text) for one in page], [("zebra.txt", "The zebra lives in the zoo.")])
        assert 0 < page.data[0].score <= 1, page
        filters: Any = {"type": "and", "filters": [{"type": "lt", "key": "legs", "value": 3}]}
        page = stores.search(store.id, query=["zoo"], filters=filters, ranking_options={"score_threshold": 0.0})
        same([(one.filename, one.attributes) for one in page], [("ostrich.txt", {"legs": 2})])


def attached_files_fill_the_vector_store_of_their_thread() -> None:
    first, second = uploaded("a.txt", "One."), uploaded("b.txt", "Two.")
    tools: Any = [{"type": "file_search"}]
    thread = threads.create(
        messages=[{"role": "user", "content": "Read.", "attachments": [{"file_id": first, "tools": tools}]}]
    )
    store_id = thread.tool_resources.file_search.vector_store_ids[0]  # type: ignore[union-attr,index]
    threads.messages.create(
        thread.id, role="user", content="This too.", attachments=[{"file_id": second, "tools": tools}]
    )
    store = client.vector_stores.retrieve(store_id)
    same((store.expires_after and store.expires_after.to_dict(), store.file_counts.total), (WEEK, 2))
    same([one.id for one in client.vector_stores.files.list(store_id, order="asc")], [first, second])
    message = threads.messages.list(thread.id, limit=1).data[0]
    same(plain(message.attachments or []), [{"file_id": second, "tools": tools}])


def vector_stores_are_made_along_with_what_searches_them() -> None:
    file_id = uploaded("c.txt", "Three.")
    resources: Any = {"file_search": {"vector_stores": [{"file_ids": [file_id], "metadata": {"a": "b"}}]}}
    assistant = new_assistant(tools=[{"type": "file_search"}], tool_resources=resources)
    thread = threads.create(tool_resources=resources)
    for made in (assistant, thread):
        store = client.vector_stores.retrieve(made.tool_resources.file_search.vector_store_ids[0])
        same((store.metadata, store.file_counts.total), ({"a": "b"}, 1))
    shared = {"file_search": {"vector_store_ids": assistant.tool_resources.file_search.vector_store_ids}}
    moved = threads.update(new_thread("Hello").id, tool_resources=shared)  # type: ignore[arg-type]
    same(moved.tool_resources.to_dict(), shared)  # type: ignore[union-attr]
