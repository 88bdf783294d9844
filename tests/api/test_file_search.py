"""Files that are searched in runs, from the upload to the citation, over the whole server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from support.answers import assert_refused
from support.client import Client
from support.clock import Clock, clock_set
from support.files import new_file
from support.model_server import Call, Reply, ScriptedModel
from support.server import RunningServer, running_server
from support.talk import Talk, polled

SEARCH = {"type": "file_search"}
INCLUDE = "step_details.tool_calls[*].file_search.results[*].content"
RAIN = "In Bergen it rains on two days of three.\n"
SUN = "In Yuma the sun shines on nine days of ten.\n"
Stores: TypeAlias = list[tuple[str, dict[str, str]]]
ASKS = Reply(Call("call_s", "file_search", '{"queries": ["rain in', ' Bergen"]}'))
ANSWER = Reply("On two days of three【0:", "0†source】.")


@pytest.fixture
def client(shared: RunningServer, shared_model: ScriptedModel) -> Iterator[Client]:
    shared_model.forget()
    yield shared.client
    shared_model.forget()


async def new_store(client: Client, **files: str) -> tuple[str, dict[str, str]]:
    """A store's id, and the ids of its files by their names, once they can be searched."""
    ids = {name: (await new_file(client, text.encode(), filename=f"{name}.txt"))["id"] for name, text in files.items()}
    store = await client.post("/v1/vector_stores", {"file_ids": [*ids.values()]})

    async def look() -> bool | None:
        counts = (await client.get(f"/v1/vector_stores/{store['id']}"))["file_counts"]
        assert not counts["failed"]
        return True if counts["completed"] == len(ids) else None

    await polled(look, seconds=20)
    return store["id"], ids


@pytest.fixture(scope="module")
async def stores(shared: RunningServer) -> Stores:
    """Two stores that can be searched: the first knows of rain and sun, the second of Bergen."""
    made = [new_store(shared.client, rain=RAIN, sun=SUN), new_store(shared.client, bergen="Bergen has rain and fish.")]
    return [*await asyncio.gather(*made)]


async def searching(client: Client, store_id: str, **fields: Any) -> Talk:
    resources = {"file_search": {"vector_store_ids": [store_id]}}
    return await Talk.begin(client, tools=[SEARCH], tool_resources=resources, **fields)


def annotations_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    (part,) = message["content"]
    found: list[dict[str, Any]] = part["text"]["annotations"]
    for annotation in found:
        assert part["text"]["value"][annotation["start_index"] : annotation["end_index"]] == annotation["text"]
    return found


async def test_an_answer_cites_the_file_that_it_is_from(
    client: Client, shared_model: ScriptedModel, stores: Stores
) -> None:
    store_id, ids = stores[0]
    talk = await searching(client, store_id)
    shared_model.script(ASKS, ANSWER)
    run = (await talk.stream())[-2].data
    assert run["status"] == "completed"
    message = (await talk.messages())[-1]
    assert message["content"][0]["text"]["value"] == "On two days of three【0:0†source】."
    assert [one["file_citation"] for one in annotations_of(message)] == [{"file_id": ids["rain"]}]
    searched, _ = await talk.steps(run)
    (call,) = searched["step_details"]["tool_calls"]
    assert call["file_search"]["ranking_options"] == {"ranker": "default_2024_08_21", "score_threshold": 0.0}
    best = call["file_search"]["results"][0]
    assert {**best, "score": None} == {"file_id": ids["rain"], "file_name": "rain.txt", "score": None}
    assert 0 < best["score"] <= 1


async def test_the_text_of_results_is_there_for_who_asks(
    client: Client, shared_model: ScriptedModel, stores: Stores
) -> None:
    talk = await searching(client, stores[0][0])
    shared_model.script(ASKS, ANSWER)
    events = await client.stream(f"{talk.path}/runs?include[]={INCLUDE}", {"assistant_id": talk.assistant["id"]})
    run = events[-2].data
    streamed = next(event.data for event in events if event.name == "thread.run.step.completed")
    path = f"{talk.path}/runs/{run['id']}/steps"
    listed = (await client.get(path, **{"include[]": INCLUDE, "order": "asc"}))["data"][0]
    retrieved = await client.get(f"{path}/{listed['id']}", **{"include[]": INCLUDE})
    assert streamed == listed == retrieved
    results = listed["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert [result.pop("content") for result in results] == [[{"type": "text", "text": text}] for text in (RAIN, SUN)][
        : len(results)
    ]
    plain = await client.get(f"{path}/{listed['id']}")
    assert plain["step_details"]["tool_calls"][0]["file_search"]["results"] == results


async def test_a_file_of_a_message_is_waited_for_and_searched(client: Client, shared_model: ScriptedModel) -> None:
    file = await new_file(client, RAIN.encode(), filename="rain.txt")
    assistant = await client.post("/v1/assistants", {"model": "gpt-4o", "tools": [SEARCH]})
    attached = {"role": "user", "content": "Rain?", "attachments": [{"file_id": file["id"], "tools": [SEARCH]}]}
    shared_model.script(ASKS, ANSWER)
    events = await client.stream(
        "/v1/threads/runs", {"assistant_id": assistant["id"], "thread": {"messages": [attached]}}
    )
    message = next(event.data for event in events if event.name == "thread.message.completed")
    assert [one["file_citation"] for one in annotations_of(message)] == [{"file_id": file["id"]}]


async def test_the_stores_of_assistant_and_thread_are_searched_together(
    client: Client, shared_model: ScriptedModel, stores: Stores
) -> None:
    (one, of_assistant), (other, of_thread) = stores
    talk = await searching(client, one)
    await client.post(talk.path, {"tool_resources": {"file_search": {"vector_store_ids": [other]}}})
    shared_model.script(ASKS, ANSWER)
    run = (await talk.stream())[-2].data
    results = (await talk.steps(run))[0]["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert {of_assistant["rain"], of_thread["bergen"]} <= {result["file_id"] for result in results}


@pytest.fixture
def clock() -> Iterator[Clock]:
    with clock_set() as clock:
        yield clock


@pytest.fixture
async def aging(clock: Clock, shared_model: ScriptedModel, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(shared_model, tmp_path, citation_details=True) as running:
        yield running


async def test_a_run_over_an_expired_store_is_refused_and_one_over_a_used_store_is_not(
    aging: RunningServer, clock: Clock, shared_model: ScriptedModel
) -> None:
    client = aging.client
    store_id, _ = await new_store(client, rain=RAIN)
    await client.post(f"/v1/vector_stores/{store_id}", {"expires_after": {"anchor": "last_active_at", "days": 1}})
    talk = await searching(client, store_id)
    clock.advance(80_000)
    shared_model.script(ASKS, ANSWER)
    assert (await talk.stream())[-2].data["status"] == "completed"
    (annotation,) = annotations_of((await talk.messages())[-1])
    assert annotation["file_citation"]["quote"].strip() == RAIN.strip()
    assert annotation["file_citation"]["filename"] == "rain.txt"
    assert (await client.get(f"/v1/vector_stores/{store_id}"))["last_active_at"] == clock.now
    clock.advance(86_401)
    body = {"assistant_id": talk.assistant["id"]}
    for path in (f"{talk.path}/runs", "/v1/threads/runs"):
        assert_refused(await client.request("POST", path, body), f"Vector store {store_id} is expired.")
