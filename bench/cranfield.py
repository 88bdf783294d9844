"""How well search finds, on the Cranfield collection: 1,400 abstracts, 225 questions, judged by hand.

The collection is no part of this repository: UNDERSTUDY_BENCH_CRANFIELD names the folder of `cran.all.1400`, `cran.qry`
and `cranqrel`.
"""

import asyncio
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from bench.table import Row, row, shown
from understudy.ports import Embedding, IndexedFile, IndexHead, IndexRow
from understudy.retrieval.index import StoreIndex
from understudy.retrieval.ranking import Query, rank
from understudy.retrieval.static import StaticModel
from understudy.retrieval.terms import term_counts

__all__ = ["quality"]

_COLLECTION_ENV: Final = "UNDERSTUDY_BENCH_CRANFIELD"
_WEIGHTS_ENV: Final = "UNDERSTUDY_TEST_WEIGHTS"
_WEIGHTS: Final = Path(__file__).parents[1] / "data" / "weights"
_BEST: Final = 10

Embed = Callable[[Sequence[str]], Sequence[bytes]]


class Collection(Struct, frozen=True):
    """`relevant[i]` are the ids of the documents that answer `questions[i]`."""

    documents: Mapping[int, str]
    questions: Sequence[str]
    relevant: Sequence[frozenset[int]]


def quality(*, slow: bool) -> list[Row]:
    """nDCG@10 by words alone, which is the yardstick, and together with the embeddings of this machine.

    `slow`: MiniLM too, which takes a minute.
    """
    what = "search quality, nDCG@10 on Cranfield"
    named = os.environ.get(_COLLECTION_ENV)
    if not named:
        return [Row(what=f"{what}: left out, {_COLLECTION_ENV} names no folder")]
    collection = read_collection(Path(named))
    words = ndcg(collection, None)
    rows = [row(f"{what}, by words alone", words, "")]
    folder = Path(os.environ.get(_WEIGHTS_ENV) or _WEIGHTS)
    tried = [("the built-in embedding", 0.4, "make local", _static), ("MiniLM", 0.43, "docs/search.md", _minilm)]
    for name, least, how, load in tried[: 2 if slow else 1]:
        try:
            found = ndcg(collection, load(folder))
        except (FileNotFoundError, ImportError):
            rows.append(Row(what=f"{what}, with {name}: left out, see {how} for how to get it"))
        else:
            note = f"{shown(found / words)}x of words alone"
            rows.append(row(f"{what}, with {name}", found, "", at_least=least, understudy=note))
    return rows


def _static(folder: Path) -> Embed:
    return StaticModel.load(folder).embed


def _minilm(folder: Path) -> Embed:
    from understudy.embeddings.minilm import MiniLm  # an optional part

    model = MiniLm.load(folder)
    return lambda texts: asyncio.run(model.embed(texts))


def ndcg(collection: Collection, embed: Embed | None) -> float:
    """The mean over all questions, relevance being yes or no."""
    ids = list(collection.documents)
    asked = [] if embed is None else embed(collection.questions)
    space = None if embed is None else Embedding(model="tried", dimensions=len(asked[0]) // 2)
    texts = list(collection.documents.values())
    vectors: Sequence[bytes | None] = [None] * len(texts) if embed is None else embed(texts)
    rows = [
        IndexRow(number=number, terms=term_counts(text), vector=vector)
        for number, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]
    file = IndexedFile(file_id="", file_name="", generation=1, attributes={})
    head = IndexHead(version=1, embedding=space, files=[file])
    index = StoreIndex.empty(head).becoming(head, {1: rows})
    gains = []
    for place, (question, relevant) in enumerate(zip(collection.questions, collection.relevant, strict=True)):
        spaces = {} if space is None else {space: np.frombuffer(asked[place], "<f2").astype(np.float32)}
        found = [ids[one.row] for one in rank([index], [Query(question, spaces)], None, limit=_BEST)]
        gains.append(_gain([one in relevant for one in found]) / _gain([True] * min(_BEST, len(relevant))))
    return sum(gains) / len(gains)


def _gain(hits: Sequence[bool]) -> float:
    return sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)


def read_collection(folder: Path) -> Collection:
    documents = {}
    for entry in _entries(folder / "cran.all.1400"):
        fields = dict(re.findall(r"^\.([TABW])\n(.*?)(?=^\.[TABW]\n|\Z)", entry, re.MULTILINE | re.DOTALL))
        documents[int(entry.split("\n", 1)[0])] = f"{fields.get('T', '')}{fields.get('W', '')}".strip()
    questions = [entry.split(".W\n", 1)[1].strip() for entry in _entries(folder / "cran.qry")]
    # Judgements name questions by their place, not by their number. Codes 1 to 4 are degrees of relevance.
    relevant: dict[int, set[int]] = defaultdict(set)
    for line in (folder / "cranqrel").read_text().splitlines():
        question, document, code = (int(part) for part in line.split())
        if 1 <= code <= 4:
            relevant[question].add(document)
    judged = [place for place in range(len(questions)) if relevant[place + 1]]
    return Collection(
        documents, [questions[place] for place in judged], [frozenset(relevant[place + 1]) for place in judged]
    )


def _entries(path: Path) -> list[str]:
    return re.split(r"^\.I ", path.read_text(), flags=re.MULTILINE)[1:]
