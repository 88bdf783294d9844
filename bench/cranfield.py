"""How well search finds, on the Cranfield collection: 1,400 abstracts, 225 questions, judged by hand.

The collection is no part of this repository: UNDERSTUDY_BENCH_CRANFIELD names the folder of `cran.all.1400`, `cran.qry`
and `cranqrel`.
"""

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
_SPACE: Final = Embedding(model="built-in", dimensions=256)
_BEST: Final = 10

Embed = Callable[[Sequence[str]], Sequence[bytes]]


class Collection(Struct, frozen=True):
    """`relevant[i]` are the ids of the documents that answer `questions[i]`."""

    documents: Mapping[int, str]
    questions: Sequence[str]
    relevant: Sequence[frozenset[int]]


def quality() -> list[Row]:
    """nDCG@10 by words alone, which is the yardstick, and together with the built-in embedding."""
    what = "search quality, nDCG@10 on Cranfield"
    folder = os.environ.get(_COLLECTION_ENV)
    if not folder:
        return [Row(what=f"{what}: left out, {_COLLECTION_ENV} names no folder")]
    collection = read_collection(Path(folder))
    words = ndcg(collection, None)
    rows = [row(f"{what}, by words alone", words, "")]
    try:
        model = StaticModel.load(Path(os.environ.get(_WEIGHTS_ENV) or _WEIGHTS))
    except FileNotFoundError:
        return [*rows, Row(what=f"{what}, with the built-in embedding: left out, `make local` fetches its weights")]
    hybrid = ndcg(collection, model.embed)
    note = f"{shown(hybrid / words)}x of words alone"
    return [*rows, row(f"{what}, with the built-in embedding", hybrid, "", at_least=0.4, understudy=note)]


def ndcg(collection: Collection, embed: Embed | None) -> float:
    """The mean over all questions, relevance being yes or no."""
    ids = list(collection.documents)
    texts = list(collection.documents.values())
    vectors: Sequence[bytes | None] = [None] * len(texts) if embed is None else embed(texts)
    rows = [
        IndexRow(number=number, terms=term_counts(text), vector=vector)
        for number, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]
    file = IndexedFile(file_id="", file_name="", generation=1, attributes={})
    head = IndexHead(version=1, embedding=None if embed is None else _SPACE, files=[file])
    index = StoreIndex.empty(head).becoming(head, {1: rows})
    asked = [b""] * len(collection.questions) if embed is None else embed(collection.questions)
    gains = []
    for question, packed, relevant in zip(collection.questions, asked, collection.relevant, strict=True):
        spaces = {} if embed is None else {_SPACE: np.frombuffer(packed, "<f2").astype(np.float32)}
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
