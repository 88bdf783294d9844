"""Scores of a server's `/rerank`."""

import json
from collections.abc import Sequence

import pytest

from support.raw_server import Exchange, raw_server
from understudy.embeddings.rerank import HttpReranker
from understudy.models.http import HttpModels
from understudy.models.upstream import Upstream
from understudy.ports import RerankFailed

TEXTS = ["first", "second", "third"]


async def scores(body: object, status: int = 200) -> tuple[Sequence[float], Exchange]:
    async def script(exchange: Exchange) -> None:
        exchange.answer(status, body if isinstance(body, bytes) else json.dumps(body).encode())

    async with raw_server(script) as server:
        models = HttpModels(Upstream(name="a", base_url=server.url))
        try:
            return await HttpReranker(models, "rerank-1").scores("what", TEXTS), server.exchanges[0]
        finally:
            await models.close()


def results(*scored: tuple[int, object]) -> object:
    return {"results": [{"index": index, "relevance_score": score} for index, score in scored]}


async def test_scores_come_back_in_the_order_of_the_texts() -> None:
    found, asked = await scores(results((2, 0.9), (0, 0.5), (1, 0)))
    assert found == [0.5, 0.0, 0.9]
    assert asked.path == "/v1/rerank"
    assert json.loads(asked.body) == {
        "model": "rerank-1",
        "query": "what",
        "documents": TEXTS,
        "top_n": 3,
        "return_documents": False,
    }


async def test_logits_become_scores_between_0_and_1() -> None:
    found, _ = await scores(results((0, -1000), (1, 0), (2, 5.5)))
    assert found == [pytest.approx(0, abs=1e-6), 0.5, pytest.approx(0.996, abs=1e-3)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 200),
        ({"results": None}, 200),
        (results((0, 1), (1, 1)), 200),
        (results((0, 1), (1, 1), (1, 1)), 200),
        (results((0, 1), (1, 1), (3, 1)), 200),
        (results((0, "good"), (1, 1), (2, 1)), 200),
        ({"error": {"message": "No."}}, 400),
        (b"", 503),
    ],
)
async def test_an_answer_without_a_score_for_each_text_is_a_failure(body: object, status: int) -> None:
    with pytest.raises(RerankFailed):
        await scores(body, status)
