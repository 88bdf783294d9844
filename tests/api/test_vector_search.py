"""Search in a vector store over HTTP: the request's fields, and the page that answers. Contract section 6.3."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.files import new_file
from support.http_shelf import Shelf, open_shelf, path_of
from support.model_server import ScriptedModel
from support.server import running_server
from support.talk import polled
from understudy.core.limits import FILTER_PARTS_MAX, QUERIES_MAX


@pytest.fixture(scope="module")
async def shelf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shelf]:
    async with open_shelf(tmp_path_factory.mktemp("shelf")) as opened:
        yield opened


@pytest.fixture
async def animals(shelf: Shelf) -> Any:
    """A store in which files differ by their attributes, and passages by their words."""
    store = await shelf.store()
    for name, legs in (("cats.txt", 4), ("birds.txt", 2)):
        await shelf.attach(store, await shelf.file(name), attributes={"legs": legs, "name": name})
        await shelf.index(f"The zebra meets {name}", "Nothing of note", "A zebra, a zebra, and a third zebra")
    return store


async def found(shelf: Shelf, store: Any, **body: Any) -> Any:
    return await shelf.client.post(f"{path_of(store)}/search", body)


async def test_a_page_of_results_has_every_key(shelf: Shelf, animals: Any) -> None:
    page = await found(shelf, animals, query="cats", max_num_results=1)
    (result,) = page["data"]
    assert page == {
        "object": "vector_store.search_results.page",
        "search_query": ["cats"],
        "data": [result],
        "has_more": False,
        "next_page": None,
    }
    assert result == {
        "file_id": result["file_id"],
        "filename": "cats.txt",
        "score": result["score"],
        "attributes": {"legs": 4, "name": "cats.txt"},
        "content": [{"type": "text", "text": "The zebra meets cats.txt"}],
    }
    assert 0 < result["score"] <= 1


async def test_results_come_best_first_and_no_more_than_asked_for(shelf: Shelf, animals: Any) -> None:
    page = await found(shelf, animals, query="zebra", max_num_results=3)
    scores = [result["score"] for result in page["data"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


async def test_several_queries_are_searched_together(shelf: Shelf, animals: Any) -> None:
    page = await found(shelf, animals, query=["cats", "birds"])
    assert page["search_query"] == ["cats", "birds"]
    assert {result["filename"] for result in page["data"]} == {"cats.txt", "birds.txt"}


async def test_a_rewritten_query_is_shown_as_it_was_used(shelf: Shelf, animals: Any) -> None:
    page = await found(shelf, animals, query="Could you tell me about cats?", rewrite_query=True)
    assert page["search_query"] == ["cats"]
    assert page["data"][0]["filename"] == "cats.txt"
    page = await found(shelf, animals, query="About cats?", rewrite_query=False)
    assert page["search_query"] == ["About cats?"]


async def test_filters_choose_files_by_their_attributes(shelf: Shelf, animals: Any) -> None:
    two = {"type": "lt", "key": "legs", "value": 4}
    page = await found(shelf, animals, query="zebra", filters=two)
    assert {result["filename"] for result in page["data"]} == {"birds.txt"}
    both = {"type": "and", "filters": [two, {"type": "eq", "key": "name", "value": "cats.txt"}]}
    assert (await found(shelf, animals, query="zebra", filters=both))["data"] == []


async def test_a_threshold_keeps_weak_results_away(shelf: Shelf, animals: Any) -> None:
    every = await found(shelf, animals, query="zebra cats", ranking_options={"score_threshold": 0.0})
    best = every["data"][0]["score"]
    options = {"ranker": "none", "score_threshold": best}
    page = await found(shelf, animals, query="zebra cats", ranking_options=options)
    assert 0 < len(page["data"]) < len(every["data"])


async def test_nothing_is_found_where_nothing_is(shelf: Shelf) -> None:
    store = await shelf.store()
    page = await found(shelf, store, query="zebra")
    assert (page["data"], page["has_more"]) == ([], False)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "query", "missing_required_parameter"),
        ({"query": 7}, "query", "invalid_type"),
        ({"query": ""}, "query", "empty_string"),
        ({"query": []}, "query", "empty_array"),
        ({"query": [""]}, "query[0]", "empty_string"),
        ({"query": "x", "max_num_results": 0}, "max_num_results", "integer_below_min_value"),
        ({"query": "x", "max_num_results": 51}, "max_num_results", "integer_above_max_value"),
        ({"query": "x", "rewrite_query": "yes"}, "rewrite_query", "invalid_type"),
        ({"query": "x", "ranking_options": {"ranker": "best"}}, "ranking_options.ranker", "invalid_value"),
        (
            {"query": "x", "ranking_options": {"score_threshold": 2}},
            "ranking_options.score_threshold",
            "decimal_above_max_value",
        ),
        ({"query": "x", "filters": {"type": "like", "key": "a", "value": 1}}, "filters.type", "invalid_value"),
        ({"query": "x", "filters": {"type": "eq", "key": "a"}}, "filters.value", "missing_required_parameter"),
        ({"query": "x", "filters": {"type": "eq", "key": "a", "value": None}}, "filters.value", "invalid_type"),
        ({"query": "x", "filters": {"type": "and", "filters": [{"type": "or"}]}}, "filters.filters[0].filters", None),
    ],
)
async def test_what_is_not_as_described_is_refused(shelf: Shelf, body: Any, param: str, code: str | None) -> None:
    store = await shelf.store()
    answer = await shelf.client.request("POST", f"{path_of(store)}/search", body)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert code is None or answer.error["code"] == code


async def test_filters_as_deep_as_a_body_may_be_neither_crash_nor_hang(shelf: Shelf, animals: Any) -> None:
    deep: Any = {"type": "eq", "key": "legs", "value": 4}
    for _ in range(25):
        deep = {"type": "and", "filters": [deep, deep]} if _ < 8 else {"type": "or", "filters": [deep]}
    answer = await shelf.client.request("POST", f"{path_of(animals)}/search", {"query": "zebra", "filters": deep})
    assert answer.status in (200, 400)
    for _ in range(60):
        deep = {"type": "or", "filters": [deep]}
    answer = await shelf.client.request("POST", f"{path_of(animals)}/search", {"query": "zebra", "filters": deep})
    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ["x"] * (QUERIES_MAX + 1)}, "query"),
        ({"query": "x", "filters": {"type": "in", "key": "a", "value": [1] * FILTER_PARTS_MAX}}, "filters"),
    ],
)
async def test_a_search_that_asks_for_too_much_is_refused(shelf: Shelf, animals: Any, body: Any, param: str) -> None:
    answer = await shelf.client.request("POST", f"{path_of(animals)}/search", body)
    assert (answer.status, answer.error["param"], answer.error["type"]) == (400, param, "invalid_request_error")


async def test_files_are_embedded_and_searched_by_the_configured_model(tmp_path: Path) -> None:
    async with (
        ScriptedModel() as model,
        running_server(model, tmp_path, embedding_model="embed-1", embedding_request_texts=2) as server,
    ):
        client = server.client
        file = await new_file(client, filename="a.txt", content=b"The heron waits in shallow water.")
        store = await client.post("/v1/vector_stores", {"file_ids": [file["id"]]})

        async def indexed() -> Any:
            found = await client.get(path_of(store))
            return found if found["file_counts"]["completed"] else None

        await polled(indexed)
        page = await client.post(f"{path_of(store)}/search", {"query": "a bird in shallow water"})
        assert page["data"][0]["content"][0]["text"] == "The heron waits in shallow water."
        asked = [request.body for request in model.requests if request.path == "/embeddings"]
        assert {body["model"] for body in asked} == {"embed-1"}
        assert asked[-1]["input"] == ["a bird in shallow water"]


async def test_a_server_without_its_embedding_model_makes_no_store_and_says_why(tmp_path: Path) -> None:
    async with open_shelf(tmp_path, embedding_model="embed-1", embedding_dimensions=8) as shelf:
        store = await shelf.store(await shelf.file())
        await shelf.index("zebra")
        answer = await shelf.client.request("POST", f"{path_of(store)}/search", {"query": "zebra"})
        assert answer.status == 400
        assert "UNDERSTUDY_UPSTREAM_BASE_URL" in answer.error["message"]
