"""Passages that were found -> the text that the model is told, with the place of each passage in it."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from understudy.core.chat.citations import marker
from understudy.core.limits import FILE_SEARCH_PASSAGE_TOKENS_MIN
from understudy.core.run.state import Source
from understudy.ports import Passage

_HOW_TO_CITE: Final = (
    "These passages were found in the files. Wherever your answer uses one of them, write its marker, such as "
    "{example}, right behind what you take from it, exactly as it stands here. Never write a marker that is not here."
)


class Told(Struct, frozen=True):
    """`sources` are of the first of the passages: those that there was room for."""

    output: str
    sources: Sequence[Source]


def tell(
    passages: Sequence[Passage], *, turn: int, first: int, budget_tokens: int, count: Callable[[str], int]
) -> Told:
    """As many of the passages as the budget has room for, the last of them cut if need be."""
    output = _HOW_TO_CITE.format(example=marker(turn, first))
    left = budget_tokens - count(output)
    sources: list[Source] = []
    for number, passage in enumerate(passages, first):
        head = f"\n\n{marker(turn, number)} {_origin(passage)}\n"
        text = _cut(passage.text, left - count(head), count)
        if not text:
            break
        left -= count(head) + count(text)
        start = len(output) + len(head)
        output += head + text
        sources.append(
            Source(
                file_id=passage.file_id,
                file_name=passage.file_name,
                start=start,
                end=len(output),
                page=passage.page,
            )
        )
    return Told(output if sources else "", sources)


def _origin(passage: Passage) -> str:
    return passage.file_name if passage.page is None else f"{passage.file_name}, page {passage.page}"


def _cut(text: str, budget_tokens: int, count: Callable[[str], int]) -> str:
    """The beginning of the text that fits; nothing when that would be too little to make sense of."""
    tokens = count(text)
    if tokens <= budget_tokens:
        return text
    if budget_tokens < FILE_SEARCH_PASSAGE_TOKENS_MIN:
        return ""
    return text[: len(text) * budget_tokens // tokens]
