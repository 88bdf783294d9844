"""Vectors of a server's model: batches, patience, and answers that are not believed."""

import base64
import json
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support.raw_server import Exchange, RawServer, Script, raw_server
from support.store import refusal
from understudy.core import limits
from understudy.embeddings.choice import ChosenEmbedders
from understudy.embeddings.http import HttpEmbedding
from understudy.embeddings.static import STATIC
from understudy.models.http import HttpModels
from understudy.models.router import RoutedModels
from understudy.models.routes import Route, Routes, Target
from understudy.models.upstream import Upstream
from understudy.ports import Embedder, Embedders, Embedding, EmbeddingFailed

SETTING = HttpEmbedding(model="embed-1", dimensions=2, request_texts=2, retry_seconds=0.01)


def vectors_of(texts: Sequence[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


def embed(exchange: Exchange) -> None:
    """As many vectors as there are texts, the last one first."""
    texts = json.loads(exchange.body)["input"]
    listed = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(vectors_of(texts))]
    exchange.answer(200, json.dumps({"object": "list", "data": listed[::-1]}).encode())


async def well(exchange: Exchange) -> None:
    embed(exchange)


def answering(body: object, status: int = 200, *headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        exchange.answer(status, body if isinstance(body, bytes) else json.dumps(body).encode(), *headers)

    return script


@asynccontextmanager
async def serving(
    script: Script, directory: Path, setting: HttpEmbedding = SETTING
) -> AsyncIterator[tuple[RawServer, Embedders]]:
    async with raw_server(script) as server:
        upstream = HttpModels(Upstream(name="a", base_url=server.url, api_key="sk-secret"))
        models = RoutedModels(
            {"a": upstream}, Routes(rows=(Route(model="embed-*", to=(Target(upstream="a", model="own-name"),)),))
        )
        try:
            yield server, ChosenEmbedders(models, setting, directory)
        finally:
            await models.close()


async def preferred(embedders: Embedders) -> Embedder:
    found = await embedders.preferred()
    assert found is not None
    return found


def numbers(packed: Sequence[bytes]) -> NDArray[np.float32]:
    return np.stack([np.frombuffer(one, "<f2") for one in packed]).astype(np.float32)


async def test_texts_go_in_batches_to_the_routes_server_and_come_back_in_their_order(tmp_path: Path) -> None:
    async with serving(well, tmp_path) as (server, embedders):
        packed = await (await preferred(embedders)).embed(["a", "bbb", "cc", "", "\ud800"])
        expected = np.array(vectors_of(["a", "bbb", "cc", " ", "?"]))
        assert numbers(packed) == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=1e-3)
        bodies = [json.loads(exchange.body) for exchange in server.exchanges]
        assert [body["input"] for body in bodies] == [["a", "bbb"], ["cc", " "], ["?"]]
        assert {(body["model"], body["dimensions"]) for body in bodies} == {("own-name", 2)}
        assert server.exchanges[0].path == "/v1/embeddings"
        assert server.exchanges[0].headers["authorization"] == "Bearer sk-secret"


async def test_long_texts_go_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EMBEDDING_REQUEST_CHARACTERS_MAX", 10)
    async with serving(well, tmp_path) as (server, embedders):
        await (await preferred(embedders)).embed(["a" * 9, "b" * 9, "c"])
        assert [len(json.loads(exchange.body)["input"]) for exchange in server.exchanges] == [1, 2]


async def test_no_texts_ask_nobody(tmp_path: Path) -> None:
    async with serving(well, tmp_path) as (server, embedders):
        assert await (await preferred(embedders)).embed([]) == []
        assert server.exchanges == []


async def test_the_servers_own_dimensions_are_found_out_once(tmp_path: Path) -> None:
    setting = HttpEmbedding(model="embed-1")
    async with serving(well, tmp_path, setting) as (server, embedders):
        for _ in range(2):
            assert (await preferred(embedders)).embedding == Embedding(model="embed-1", dimensions=2)
        assert len(server.exchanges) == 1
        assert "dimensions" not in json.loads(server.exchanges[0].body)


async def test_base64_is_understood(tmp_path: Path) -> None:
    coded = base64.b64encode(struct.pack("<2f", 3, 4)).decode()
    async with serving(answering({"data": [{"embedding": coded}]}), tmp_path) as (_, embedders):
        packed = await (await preferred(embedders)).embed(["a"])
        assert numbers(packed)[0] == pytest.approx([0.6, 0.8], abs=1e-3)


async def test_huge_numbers_and_zeros_are_brought_to_scale(tmp_path: Path) -> None:
    both = {"data": [{"embedding": [1e38, 1e38]}, {"embedding": [0, 0]}]}
    async with serving(answering(both), tmp_path) as (_, embedders):
        packed = await (await preferred(embedders)).embed(["a", "b"])
        assert numbers(packed).tolist() == [pytest.approx([0.7071, 0.7071], abs=1e-3), [0, 0]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "no list of vectors"),
        ({"data": "none"}, "no list of vectors"),
        ({"data": []}, "0 vectors for 1 texts"),
        ({"data": [{"embedding": [1, 0]}, {"embedding": [1, 0]}]}, "2 vectors for 1 texts"),
        ({"data": [{"embedding": [1, 0], "index": 7}]}, "numbered wrongly"),
        ({"data": [{"embedding": [1, 0, 0]}]}, "vectors of 3 instead of 2 numbers"),
        ({"data": [{"embedding": []}]}, "a vector of 0 numbers"),
        ({"data": [{"embedding": "!"}]}, "neither numbers nor base64"),
        ({"data": [{"embedding": "AAA="}]}, "neither numbers nor base64"),
        (b'{"data": [{"embedding": [1e400, 0]}]}', "no list of vectors|not finite"),
        (b'{"data": [{"embedding": [1e39, 0]}]}', "not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
async def test_an_answer_that_is_wrong_is_not_believed(tmp_path: Path, body: object, words: str) -> None:
    async with serving(answering(body), tmp_path) as (_, embedders):
        embedder = await preferred(embedders)
        with pytest.raises(EmbeddingFailed, match=words) as failed:
            await embedder.embed(["a"])
        assert not failed.value.retryable


def failing(times: int, status: int, *headers: str) -> Callable[[list[Exchange]], Script]:
    def scripted(seen: list[Exchange]) -> Script:
        async def script(exchange: Exchange) -> None:
            seen.append(exchange)
            if len(seen) <= times:
                exchange.answer(status, b'{"error": {"message": "No."}}', *headers)
            else:
                embed(exchange)

        return script

    return scripted


@pytest.mark.parametrize(("status", "headers"), [(429, ("Retry-After: 0.01",)), (503, ()), (500, ())])
async def test_a_busy_server_is_asked_again(tmp_path: Path, status: int, headers: tuple[str, ...]) -> None:
    seen: list[Exchange] = []
    async with serving(failing(2, status, *headers)(seen), tmp_path) as (_, embedders):
        assert len(await (await preferred(embedders)).embed(["a"])) == 1
    assert len(seen) == 3


@pytest.mark.parametrize(("status", "asked", "retryable"), [(400, 1, False), (401, 1, False), (503, 3, True)])
async def test_a_server_that_keeps_refusing_is_an_error(
    tmp_path: Path, status: int, asked: int, retryable: bool
) -> None:
    seen: list[Exchange] = []
    async with serving(failing(9, status)(seen), tmp_path) as (_, embedders):
        failed = await refusal(EmbeddingFailed, (await preferred(embedders)).embed(["a"]))
    assert (len(seen), failed.retryable) == (asked, retryable)
    assert "sk-secret" not in failed.message


async def test_a_server_that_is_away_says_so_when_its_dimensions_are_wanted(tmp_path: Path) -> None:
    setting = HttpEmbedding(model="embed-1", retry_seconds=0.01)
    async with serving(answering(b"", 503), tmp_path, setting) as (_, embedders):
        assert (await refusal(EmbeddingFailed, embedders.preferred())).retryable


async def test_a_model_that_no_route_takes_is_an_error(tmp_path: Path) -> None:
    async with serving(well, tmp_path, HttpEmbedding(model="other", dimensions=2)) as (_, embedders):
        failed = await refusal(EmbeddingFailed, (await preferred(embedders)).embed(["a"]))
    assert "'other' does not exist" in failed.message


@pytest.mark.parametrize(
    ("space", "known"),
    [
        (Embedding(model="embed-1", dimensions=2), True),
        (Embedding(model="embed-1", dimensions=3), False),
        (Embedding(model="embed-2", dimensions=2), False),
        (STATIC, False),
    ],
)
async def test_vectors_are_made_only_in_the_space_that_is_set_up(tmp_path: Path, space: Embedding, known: bool) -> None:
    async with serving(well, tmp_path) as (_, embedders):
        found = await embedders.of(space)
        assert (found is not None) is known
        assert found is None or found.embedding == space
        await embedders.close()
