"""`GET /threads`: what the vendor's service never had."""

from typing import Any

import pytest

from support.client import Client
from support.model_server import ScriptedModel

PATH = "/v1/threads"


async def made(client: Client, count: int, **body: Any) -> list[str]:
    return [(await client.post(PATH, body))["id"] for _ in range(count)]


async def all_pages(client: Client, **query: str | int) -> list[str]:
    """The ids of every page, followed as the SDKs follow them."""
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await client.get(PATH, **query, **after)
        found += [thread["id"] for thread in page["data"]]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


async def test_threads_come_newest_first_and_page_exactly(client: Client) -> None:
    ids = await made(client, 51)
    assert await all_pages(client) == ids[::-1]
    assert await all_pages(client, order="asc", limit=7) == ids


async def test_before_gives_the_threads_nearest_to_the_cursor(client: Client) -> None:
    ids = await made(client, 10)
    page = await client.get(PATH, order="asc", before=ids[7], limit=3)
    assert [thread["id"] for thread in page["data"]] == ids[4:7]
    assert page["has_more"]


async def test_metadata_narrows_the_list_and_follows_updates(client: Client) -> None:
    (mine,) = await made(client, 1, metadata={"user": "u1", "shop": "s1"})
    (other,) = await made(client, 1, metadata={"user": "u2", "shop": "s1"})
    await made(client, 1)
    assert await all_pages(client, **{"metadata[user]": "u1"}) == [mine]
    assert await all_pages(client, **{"metadata[shop]": "s1"}) == [other, mine]
    assert await all_pages(client, **{"metadata[shop]": "s1", "metadata[user]": "u2"}) == [other]
    await client.post(f"{PATH}/{other}", {"metadata": {"user": "u1"}})
    assert await all_pages(client, **{"metadata[user]": "u1"}) == [other, mine]
    assert await all_pages(client, **{"metadata[shop]": "s1"}) == [mine]
    await client.delete(f"{PATH}/{mine}")
    assert await all_pages(client, **{"metadata[user]": "u1"}) == [other]


async def test_an_assistant_narrows_the_list_to_threads_that_it_ran_on(client: Client, model: ScriptedModel) -> None:
    asked = [(await client.post("/v1/assistants", {"model": "m"}))["id"] for _ in range(2)]
    threads = await made(client, 3, metadata={"a": "b"})
    for assistant, thread in [(asked[0], threads[0]), (asked[0], threads[2]), (asked[1], threads[1])]:
        for _ in range(2):
            said = {"role": "user", "content": "Hello"}
            await client.stream(f"{PATH}/{thread}/runs", {"assistant_id": assistant, "additional_messages": [said]})
    assert await all_pages(client, assistant_id=asked[0]) == [threads[2], threads[0]]
    assert await all_pages(client, assistant_id=asked[1], **{"metadata[a]": "b"}) == [threads[1]]
    assert await all_pages(client, assistant_id=asked[1], **{"metadata[a]": "c"}) == []


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({"limit": "500"}, "limit", "integer_above_max_value"),
        ({"after": "thread_unknown"}, "after", None),
        ({f"metadata[{'k' * 65}]": "v"}, f"metadata.{'k' * 65}", "property_name_above_max_length"),
        ({"metadata[k]": "v" * 513}, "metadata.k", "string_above_max_length"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused(
    client: Client, query: dict[str, str], param: str, code: str | None
) -> None:
    refused = await client.request("GET", PATH, params=query)
    assert (refused.status, refused.error["param"], refused.error["code"]) == (400, param, code)
